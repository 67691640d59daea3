//! A cluster of nats-servers in config mode, with a callout and an xkey.

use std::net::SocketAddr;
use std::time::Duration;

use async_nats::ConnectOptions;
use natsgate_devkit::{
    ClusterOptions, ConfigMode, ConfigModeOptions, ConfiguredUser, NatsServer, NatsServerOptions,
};
use secrecy::ExposeSecret;

/// The servers and their keys.
pub struct Nats {
    /// The servers, the first one first.
    pub servers: Vec<NatsServer>,
    /// Keys and users, the same for all of them.
    pub keys: ConfigMode,
}

impl Nats {
    /// Starts `count` servers, each routed to those before it. Whether they are connected with one another is for whoever
    /// has a system user to see: [`crate::System::servers`].
    pub async fn start(count: usize) -> Self {
        let keys = ConfigMode::generate(ConfigModeOptions {
            xkey: true,
            auth_timeout: Duration::from_secs(3),
            ..ConfigModeOptions::default()
        })
        .unwrap();
        let mut servers: Vec<NatsServer> = Vec::new();
        for number in 0..count {
            let routes = servers.iter().filter_map(NatsServer::cluster_url);
            let options = NatsServerOptions {
                name: Some(format!("n{number}")),
                // A token has to fit into CONNECT; connections come in thousands.
                config: format!("{}\nmax_control_line: 65536\n", keys.server_config()),
                cluster: Some(ClusterOptions {
                    name: "site".to_owned(),
                    routes: routes.map(str::to_owned).collect(),
                }),
                port: Some(crate::free_port()),
                debug: false,
                ..NatsServerOptions::default()
            };
            servers.push(NatsServer::start(options).await.unwrap());
        }
        Self { servers, keys }
    }

    /// Where clients connect.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers
            .iter()
            .map(|server| SocketAddr::from(([127, 0, 0, 1], server.port())))
            .collect()
    }

    /// All URLs for clients.
    pub fn urls(&self) -> Vec<String> {
        self.servers
            .iter()
            .map(|server| server.client_url().to_owned())
            .collect()
    }

    /// Options of one of the configured users.
    pub fn options(user: &ConfiguredUser) -> ConnectOptions {
        ConnectOptions::with_user_and_password(user.user.clone(), user.password.expose_secret().to_owned())
    }
}
