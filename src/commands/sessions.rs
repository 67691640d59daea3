//! `natsgate sessions`: who is connected, in every cluster, as the shims see it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use natsgate_proto::v1;
use natsgate_proto::v1::session_service_client::SessionServiceClient;
use natsgate_proto::v1::watch_sessions_response::Event;
use serde_json::json;
use tonic::Code;

use crate::client::{Api, Client, Failed, json, repeated, words};
use crate::commands::{note, say};
use crate::lifecycle;

/// Sessions on a page.
const PAGE: u32 = 500;

/// Which sessions, and how to tell.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    filter: Filter,
    /// Then tell who comes and goes, as it happens
    #[arg(long)]
    watch: bool,
    /// Answer in JSON; with --watch one object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: Api,
}

/// Which sessions; what is not given does not bound.
#[derive(Args)]
struct Filter {
    /// In this cluster
    #[arg(long)]
    cluster: Option<String>,
    /// In this NATS account, by the name policies have for it
    #[arg(long)]
    account: Option<String>,
    /// Of this issuer's people
    #[arg(long)]
    issuer: Option<String>,
    /// Of people of this subject
    #[arg(long)]
    subject: Option<String>,
    /// Of whom this is the digest, which the session's name in NATS' own monitoring has
    #[arg(long)]
    principal_digest: Option<String>,
    /// On this nats-server (its id, N…)
    #[arg(long)]
    server: Option<String>,
}

/// Runs.
///
/// # Errors
/// What was refused or failed.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    lifecycle::block_on(async {
        let client = arguments.api.client()?;
        let filter = arguments.filter.proto();
        if !arguments.watch {
            let (sessions, shims) = list(&client, &filter).await?;
            return tell_all(&sessions, &shims, arguments.json);
        }
        loop {
            watch(&client, &filter, arguments.json).await?;
            note("events were lost; listing again");
        }
    })
}

impl Filter {
    fn proto(&self) -> v1::SessionFilter {
        v1::SessionFilter {
            cluster: self.cluster.clone().unwrap_or_default(),
            account: self.account.clone().unwrap_or_default(),
            issuer: self.issuer.clone().unwrap_or_default(),
            subject: self.subject.clone().unwrap_or_default(),
            principal_digest: self.principal_digest.clone().unwrap_or_default(),
            server_id: self.server.clone().unwrap_or_default(),
        }
    }
}

/// All sessions, and the shims that are there.
async fn list(
    client: &Client,
    filter: &v1::SessionFilter,
) -> Result<(Vec<v1::Session>, Vec<v1::ShimState>), Failed> {
    let service = SessionServiceClient::new(client.channel());
    let mut sessions = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListSessionsRequest {
            filter: Some(filter.clone()),
            page_size: PAGE,
            page_token,
        };
        let page = repeated(|| {
            let mut service = service.clone();
            let call = client.call(request.clone(), Duration::ZERO);
            async move { service.list_sessions(call).await }
        })
        .await
        .map_err(|status| Failed::new("listing sessions", status))?;
        sessions.extend(page.sessions);
        if page.next_page_token.is_empty() {
            return Ok((sessions, page.shims));
        }
        page_token = page.next_page_token;
    }
}

fn tell_all(sessions: &[v1::Session], shims: &[v1::ShimState], in_json: bool) -> anyhow::Result<ExitCode> {
    if in_json {
        say(json!({
            "sessions": sessions.iter().map(json::session).collect::<Vec<_>>(),
            "shims": shims.iter().map(json::shim).collect::<Vec<_>>(),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    for session in sessions {
        say(line(session))?;
    }
    note(&words::count(sessions.len() as u64, "session"));
    for one in shims {
        note(&shim(one));
    }
    if shims.is_empty() {
        note("no shim is there: sessions may be, and nobody tells of them");
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists, and tells what happens after that; ends when events were lost.
async fn watch(client: &Client, filter: &v1::SessionFilter, in_json: bool) -> anyhow::Result<()> {
    let failed = |status| Failed::new("watching sessions", status);
    let mut service = SessionServiceClient::new(client.channel());
    let request = v1::WatchSessionsRequest {
        filter: Some(filter.clone()),
    };
    let mut events = service
        .watch_sessions(client.stream(request))
        .await
        .map_err(failed)?
        .into_inner();
    loop {
        let event = match events.message().await {
            Ok(Some(event)) => event.event,
            Ok(None) => return Ok(()),
            Err(status) if status.code() == Code::DataLoss => return Ok(()),
            Err(status) => return Err(failed(status).into()),
        };
        match event {
            // What happens from here on is told; so what is there already is to be listed only now.
            Some(Event::Begun(_)) => {
                for session in list(client, filter).await?.0 {
                    tell(&Event::Connected(session), in_json)?;
                }
            }
            Some(event) => tell(&event, in_json)?,
            None => {}
        }
    }
}

fn tell(event: &Event, in_json: bool) -> anyhow::Result<()> {
    if in_json {
        return say(json::event(event));
    }
    match event {
        Event::Connected(session) => say(format!("+ {}", line(session))),
        Event::Gone(gone) => say(format!(
            "- {}/{}/{}  {}",
            words::readable(&gone.cluster),
            words::readable(&gone.server_id),
            gone.client_id,
            words::readable(&gone.reason)
        )),
        Event::Begun(_) => Ok(()),
    }
}

fn line(one: &v1::Session) -> String {
    let who = one
        .principal
        .as_ref()
        .map_or_else(|| words::readable(&one.name), words::principal);
    format!(
        "{}/{}/{}  {who}  account {}, from {}, since {}, until {}{}",
        words::readable(&one.cluster),
        words::readable(&one.server_id),
        one.client_id,
        words::readable(&one.account),
        words::readable(&one.client_host),
        words::time(one.connected_at),
        words::time(one.expires_at),
        match one.client_name.as_str() {
            "" => String::new(),
            name => format!(", \"{}\"", words::readable(name)),
        }
    )
}

fn shim(one: &v1::ShimState) -> String {
    let mut line = format!(
        "shim {} of cluster {}: knows {}, has applied {}",
        words::readable(&one.shim),
        words::readable(&one.cluster),
        words::count(one.sessions, "session"),
        words::readable(&one.applied)
    );
    if !one.confirmed {
        line.push_str(", AND DOES NOT KNOW WHETHER THAT IS ALL");
    }
    if one.pending > 0 {
        line.push_str(&format!(", {} STILL TO BE CLOSED", one.pending));
    }
    if !one.unreachable_servers.is_empty() {
        let servers: Vec<String> = one
            .unreachable_servers
            .iter()
            .map(|server| words::readable(server))
            .collect();
        line.push_str(&format!(", SERVERS OUT OF REACH: {}", servers.join(", ")));
    }
    line
}
