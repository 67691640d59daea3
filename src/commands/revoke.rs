//! `natsgate revoke`: revokes over the gRPC API, or, on the day that is down, closes sessions through the system account.

mod arguments;
mod bans;
mod direct;
mod watch;

use std::process::ExitCode;

use anyhow::Context;
use natsgate_proto::v1;
use natsgate_proto::v1::revocation_service_client::RevocationServiceClient;

pub use arguments::Arguments;
use arguments::{How, What};

use crate::client::{Client, Failed, json, repeated, words};
use crate::commands::{note, say};
use crate::config::Problem;
use crate::lifecycle;

/// The exit code for what was done, but not everywhere.
const EXIT_INCOMPLETE: u8 = 3;

/// Runs.
///
/// # Errors
/// Arguments that do not go together, or what was refused or failed.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.direct.direct {
        return direct::run(arguments);
    }
    arguments.direct.refuse()?;
    lifecycle::block_on(async {
        let how = &arguments.how;
        match &arguments.what {
            What::Lift { entry } => bans::lift(&arguments.api.client()?, entry, how).await,
            What::Bans { all } => {
                how.refuse("bans", &[])?;
                bans::list(&arguments.api.client()?, *all, how.json).await
            }
            What::Watch { after } => {
                how.refuse("watch", &[])?;
                watch::run(&arguments.api.client()?, after.clone(), how.json).await
            }
            what => {
                let selector = what
                    .selector()
                    .ok_or_else(|| Problem::new("everyone", EVERYONE_IS_DIRECT))?;
                revoke(&arguments.api.client()?, selector, how).await
            }
        }
    })
}

const EVERYONE_IS_DIRECT: &str = "is for --direct alone; over the API revoke an account, or a provider";

async fn revoke(client: &Client, selector: v1::Selector, how: &How) -> anyhow::Result<ExitCode> {
    let key = how.key();
    let wait = how.wait();
    let told = words::selector(Some(&selector));
    let request = v1::RevokeRequest {
        idempotency_key: key.clone(),
        selector: Some(selector),
        reason: how.reason(),
        ban: how.ban()?,
        spread: how.spread.map(proto_duration).transpose()?,
        wait: wait.map(proto_duration).transpose()?,
    };
    // What was asked for by its distance from now is another request a moment later.
    let until = match request.ban.as_ref().and_then(|ban| ban.scope) {
        Some(v1::ban_request::Scope::EveryoneUntil(at)) => format!(" --ban-until {at}"),
        _ => String::new(),
    };
    note(&format!(
        "to ask for the same again: --idempotency-key {key}{until}"
    ));
    let service = RevocationServiceClient::new(client.channel());
    let answer = repeated(|| {
        let mut service = service.clone();
        let call = client.call(request.clone(), wait.unwrap_or_default());
        async move { service.revoke(call).await }
    })
    .await
    .map_err(|status| Failed::new("revoking", status).repeatable(&key))?;
    tell(&answer, &told, &request, how)?;
    Ok(if wait.is_some() && !answer.complete {
        ExitCode::from(EXIT_INCOMPLETE)
    } else {
        ExitCode::SUCCESS
    })
}

fn tell(
    answer: &v1::RevokeResponse,
    told: &str,
    request: &v1::RevokeRequest,
    how: &How,
) -> anyhow::Result<()> {
    if how.json {
        return say(json::revoked(answer, &request.idempotency_key));
    }
    let before = if answer.repeated {
        " by an earlier call"
    } else {
        ""
    };
    say(format!("revoked{before}: {told}"))?;
    say(format!("  revision {}, entry {}", answer.revision, answer.id))?;
    if !answer.confirmed {
        say(
            "  NOT CONFIRMED by the log's replicas: a failover may lose it, until an instance that knows of it appends it again",
        )?;
    }
    if request.ban.is_some() {
        say(format!(
            "  banned; to lift that: natsgate revoke lift {}",
            answer.id
        ))?;
    }
    if request.wait.is_some() {
        for line in words::clusters(&answer.clusters) {
            say(line)?;
        }
        if !answer.complete {
            say(
                "NOT COMPLETE: it is in the log, and shims carry it out as soon as they can; whoever did not answer may still have \
                 sessions open",
            )?;
        }
    } else {
        say("  not waited for: shims close what it concerns as they read it")?;
    }
    Ok(())
}

fn proto_duration(time: std::time::Duration) -> anyhow::Result<prost_types::Duration> {
    time.try_into().context("a duration is longer than can be said")
}
