//! `natsgate revoke lift` and `natsgate revoke bans`.

use std::process::ExitCode;
use std::time::Duration;

use natsgate_proto::v1;
use natsgate_proto::v1::ban::Scope;
use natsgate_proto::v1::revocation_service_client::RevocationServiceClient;

use super::arguments::How;
use crate::client::{Client, Failed, json, repeated, words};
use crate::commands::{note, say};

/// Bans on a page.
const PAGE: u32 = 500;

/// Lifts `ban`.
///
/// # Errors
/// Arguments that do not go together, or what was refused or failed.
pub async fn lift(client: &Client, ban: &str, how: &How) -> anyhow::Result<ExitCode> {
    how.refuse("lift", &["--reason", "--idempotency-key"])?;
    let key = how.key();
    note(&format!("to ask for the same again: --idempotency-key {key}"));
    let request = v1::LiftBanRequest {
        idempotency_key: key.clone(),
        ban: ban.to_owned(),
        reason: how.reason(),
    };
    let service = RevocationServiceClient::new(client.channel());
    let answer = repeated(|| {
        let mut service = service.clone();
        let call = client.call(request.clone(), Duration::ZERO);
        async move { service.lift_ban(call).await }
    })
    .await
    .map_err(|status| Failed::new("lifting the ban", status).repeatable(&key))?;
    if how.json {
        say(json::lifted(&answer, &key))?;
        return Ok(ExitCode::SUCCESS);
    }
    let lifted = answer.ban.as_ref();
    let of = words::selector(lifted.and_then(|ban| ban.selector.as_ref()));
    say(format!("lifted: the ban of {of}"))?;
    say(format!("  revision {}", answer.revision))?;
    if !answer.confirmed {
        say("  not confirmed by the log's replicas")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists bans.
///
/// # Errors
/// What was refused or failed.
pub async fn list(client: &Client, all: bool, in_json: bool) -> anyhow::Result<ExitCode> {
    let service = RevocationServiceClient::new(client.channel());
    let mut bans = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListBansRequest {
            all,
            page_size: PAGE,
            page_token: page_token.clone(),
        };
        let page = repeated(|| {
            let mut service = service.clone();
            let call = client.call(request.clone(), Duration::ZERO);
            async move { service.list_bans(call).await }
        })
        .await
        .map_err(|status| Failed::new("listing bans", status))?;
        bans.extend(page.bans);
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    if in_json {
        say(serde_json::Value::Array(bans.iter().map(json::ban).collect()))?;
    } else {
        for ban in &bans {
            say(line(ban))?;
        }
        note(&words::count(bans.len() as u64, "ban"));
    }
    Ok(ExitCode::SUCCESS)
}

fn line(ban: &v1::Ban) -> String {
    let whom = match ban.scope {
        Some(Scope::TokensIssuedUntil(at)) => format!("tokens issued until {}", words::time(Some(at))),
        Some(Scope::EveryoneUntil(at)) => format!("everyone until {}", words::time(Some(at))),
        None => "?".to_owned(),
    };
    let mut line = format!(
        "{}  {}: {whom}; by {} at {}",
        words::readable(&ban.id),
        words::selector(ban.selector.as_ref()),
        words::readable(&ban.actor),
        words::time(ban.imposed_at),
    );
    if !ban.reason.is_empty() {
        line.push_str(&format!(" ({})", words::readable(&ban.reason)));
    }
    if ban.lifted_at.is_some() {
        let (by, at) = (words::readable(&ban.lifted_by), words::time(ban.lifted_at));
        line.push_str(&format!("; LIFTED by {by} at {at}"));
    }
    line
}
