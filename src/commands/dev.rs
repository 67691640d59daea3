//! `natsgate dev`: the demo's set-up, kept running, and small clients to try it by hand.
#![allow(clippy::print_stdout, reason = "commands that talk to a person")]

use std::time::Duration;

use anyhow::{Context, bail};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event};
use clap::{Args, Subcommand};
use futures::StreamExt;
use secrecy::ExposeSecret;

use crate::lifecycle;
use crate::stage::{Ports, Stage};

/// The nats-server's port unless told otherwise.
const NATS_PORT: u16 = 4222;

/// The provider's.
const PROVIDER_PORT: u16 = 4280;

/// The gRPC API's, which is also where `natsgate revoke` looks for it.
const API_PORT: u16 = 7222;

/// How often it is looked whether all is still up.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long after a publish the server may take to refuse it.
const REFUSAL_TIME: Duration = Duration::from_millis(300);

/// What to do.
#[derive(Args)]
pub struct Arguments {
    /// The nats-server's port
    #[arg(long, default_value_t = NATS_PORT, global = true)]
    nats_port: u16,
    /// The OpenID provider's port
    #[arg(long, default_value_t = PROVIDER_PORT, global = true)]
    provider_port: u16,
    /// The gRPC API's port
    #[arg(long, default_value_t = API_PORT, global = true)]
    api_port: u16,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// Print an access token for somebody: alice is a member of apollo and hermes, bob of gemini, carol of none, backend calls the API
    Token {
        /// alice, bob, carol or backend
        name: String,
    },
    /// Publish a message with a token
    Pub {
        /// The access token
        #[arg(long, env = "TOKEN", hide_env_values = true)]
        token: String,
        /// Where to
        subject: String,
        /// What
        payload: String,
    },
    /// Subscribe with a token and print what comes
    Sub {
        /// The access token
        #[arg(long, env = "TOKEN", hide_env_values = true)]
        token: String,
        /// What to
        subject: String,
        /// End after this many messages
        #[arg(long)]
        count: Option<usize>,
    },
}

/// Runs.
///
/// # Errors
/// What could not be started, or what the server refused.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments {
        nats_port,
        provider_port,
        api_port,
        action,
    } = arguments;
    lifecycle::block_on(async move {
        match action {
            None => {
                let ports = Ports {
                    nats: Some(nats_port),
                    provider: Some(provider_port),
                    api: Some(api_port),
                };
                stay(ports).await
            }
            Some(Action::Token { name }) => token(provider_port, &name).await,
            Some(Action::Pub {
                token,
                subject,
                payload,
            }) => publish(nats_port, token, subject, payload).await,
            Some(Action::Sub {
                token,
                subject,
                count,
            }) => subscribe(nats_port, token, subject, count).await,
        }
    })
}

async fn stay(ports: Ports) -> anyhow::Result<()> {
    let stop = lifecycle::stop_signal()?;
    let chosen = chosen(&ports);
    let starting = Stage::start(ports, |started| println!("  {}", started.what));
    let mut stage = tokio::select! {
        stage = starting => stage.context("other ports can be chosen with --nats-port, --provider-port and --api-port")?,
        () = stop.cancelled() => return Ok(()),
    };
    let natsgate =
        std::env::current_exe().map_or_else(|_| "natsgate".to_owned(), |path| path.display().to_string());
    let program = format!("{natsgate} dev{chosen}");
    let endpoint = match stage.api() {
        "http://127.0.0.1:7222" => String::new(),
        other => format!(" --endpoint {other}"),
    };
    let url = stage.nats.client_url();
    println!(
        "
Try it, in another terminal:

  {program} token alice                               # a token for alice, member of apollo and hermes; bob's is gemini
  export TOKEN=$({program} token alice)
  {program} sub projects.apollo.'>'                   # allowed
  {program} pub projects.apollo.in.hello hi           # allowed
  {program} pub projects.gemini.in.hello hi           # refused by the server
  TOKEN=${{TOKEN%?}} {program} pub projects.apollo.in.hello hi   # a damaged token: refused at the door

The same with other tools:

  curl -s -d username=alice {token_url}
  nats --server {url} --token \"$TOKEN\" pub projects.apollo.in.hello hi

Taking it away again, while {program} sub … runs, as the backend that may:

  export NATSGATE_TOKEN=$({program} token backend)
  {natsgate} sessions{endpoint}                                  # who is connected
  {natsgate} revoke watch{endpoint}                              # what is revoked, as it happens
  {natsgate} revoke principal{endpoint} --issuer {issuer} --subject alice   # until she has a new token
  {natsgate} revoke --direct --config {configuration} everyone   # with nothing but the nats-server

Permissions that change under open connections; carol is a guest, and guests get the account's default permissions:

  {natsgate} account push --config {account} {guests}   # news.> for guests; edit the file, and push it again
  TOKEN=$({program} token carol) {program} sub news.'>'

The configuration: {configuration}
Ctrl-C ends it all.",
        token_url = stage.provider.token_url(),
        issuer = stage.provider.issuer(),
        configuration = stage.configuration().display(),
        account = stage.account_configuration().display(),
        guests = stage.guests().display(),
    );
    let mut told = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let log = stage.log();
        for line in log
            .lines()
            .skip(told)
            .filter(|line| line.contains("natsgate::audit") || line.contains("WARN"))
        {
            println!("{line}");
        }
        told = log.lines().count();
        if !stage.is_up() {
            bail!("natsgate all ended:\n{log}");
        }
    }
}

/// The arguments that choose `ports`, where they are not the usual.
fn chosen(ports: &Ports) -> String {
    let each = [
        ("nats", ports.nats, NATS_PORT),
        ("provider", ports.provider, PROVIDER_PORT),
        ("api", ports.api, API_PORT),
    ];
    let arguments = each.into_iter().filter_map(|(name, port, usual)| {
        let port = port.filter(|port| *port != usual)?;
        Some(format!(" --{name}-port {port}"))
    });
    arguments.collect()
}

async fn token(provider_port: u16, name: &str) -> anyhow::Result<()> {
    let url = format!("http://127.0.0.1:{provider_port}/token");
    let token = natsgate_devkit::oidc::development::fetch_token(&url, name)
        .await
        .context("is `natsgate dev` running?")?;
    println!("{}", token.expose_secret());
    Ok(())
}

/// A client, and the refusals the server sends it.
async fn connect(
    port: u16,
    token: String,
) -> anyhow::Result<(
    Client,
    tokio::sync::mpsc::UnboundedReceiver<async_nats::ServerError>,
)> {
    let (told, refusals) = tokio::sync::mpsc::unbounded_channel();
    let options = ConnectOptions::with_token(token)
        .max_reconnects(1)
        .event_callback(move |event| {
            if let Event::ServerError(error) = event {
                // The command may have ended.
                let _ = told.send(error);
            }
            async {}
        });
    let client = options
        .connect(format!("nats://127.0.0.1:{port}"))
        .await
        .map_err(|error| {
            let violation = error.kind() == ConnectErrorKind::AuthorizationViolation;
            let hint = if violation {
                "refused at the door; the log of `natsgate dev` says why"
            } else {
                "is `natsgate dev` running?"
            };
            anyhow::anyhow!("{error}: {hint}")
        })?;
    Ok((client, refusals))
}

async fn publish(port: u16, token: String, subject: String, payload: String) -> anyhow::Result<()> {
    let (client, mut refusals) = connect(port, token).await?;
    client.publish(subject.clone(), payload.into()).await?;
    client.flush().await?;
    // A server that takes a message does not say so.
    match tokio::time::timeout(REFUSAL_TIME, refusals.recv()).await {
        Ok(Some(refusal)) => bail!("refused: {refusal}"),
        _ => println!("published to {subject}"),
    }
    Ok(())
}

async fn subscribe(port: u16, token: String, subject: String, count: Option<usize>) -> anyhow::Result<()> {
    let (client, mut refusals) = connect(port, token).await?;
    let mut messages = client.subscribe(subject).await?.take(count.unwrap_or(usize::MAX));
    loop {
        tokio::select! {
            message = messages.next() => match message {
                Some(message) => println!("{}: {}", message.subject, String::from_utf8_lossy(&message.payload).escape_debug()),
                None => return Ok(()),
            },
            Some(refusal) = refusals.recv() => bail!("refused: {refusal}"),
        }
    }
}
