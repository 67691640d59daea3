//! The bare revoker's two processes beside a site.

use std::process::Command;
use std::time::Duration;

use natsgate_benches::bare_revoker::Told;
use natsgate_devkit::process::Process;
use natsgate_faults::{Site, until};
use natsgate_proto::v1;
use natsgate_proto::v1::revocation_service_client::RevocationServiceClient;
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

/// Both. Dropping it ends them.
pub(crate) struct Bare {
    client: RevocationServiceClient<Channel>,
    _halves: Vec<Process>,
    _folder: TempDir,
}

impl Bare {
    /// Starts both, with the site's Redis, the nats-server of its first shim, and a decision service's certificate.
    pub(crate) async fn start(site: &Site) -> Self {
        let certificates = site.decisions[0].folder();
        let user = &site.nats.keys.system_user;
        let told = Told {
            redis: site.redis.url(),
            nats: site.nats.servers[0].client_url().to_owned(),
            user: user.user.clone(),
            password: user.password.expose_secret().to_owned(),
            port: free_port(),
            certificate: certificates.join("decision.pem"),
            key: certificates.join("decision.key"),
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("told.json");
        std::fs::write(&file, serde_json::to_vec(&told).unwrap()).unwrap();
        let mut halves = Vec::new();
        for half in ["serve", "kick"] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_bare-revoker"));
            command.arg(half).arg(&file);
            let mut process = Process::spawn(half, &mut command, &folder.path().join(half)).unwrap();
            until("the bare revoker is ready", || {
                assert!(process.is_running(), "{}", process.logs());
                std::future::ready(process.logs().contains("ready"))
            })
            .await;
            halves.push(process);
        }
        let authority = std::fs::read_to_string(certificates.join("ca.pem")).unwrap();
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(authority))
            .domain_name("localhost");
        let channel = Endpoint::from_shared(format!("https://127.0.0.1:{}", told.port))
            .unwrap()
            .tls_config(tls)
            .unwrap()
            .tcp_nodelay(true)
            .connect()
            .await
            .unwrap();
        Self {
            client: RevocationServiceClient::new(channel),
            _halves: halves,
            _folder: folder,
        }
    }

    /// Has one connection closed.
    pub(crate) async fn revoke(&self, request: v1::RevokeRequest) {
        let mut request = tonic::Request::new(request);
        request.set_timeout(Duration::from_secs(10));
        self.client.clone().revoke(request).await.unwrap();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
