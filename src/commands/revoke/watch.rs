//! `natsgate revoke watch`: what is revoked or changed, as it happens.

use std::process::ExitCode;
use std::time::Duration;

use natsgate_proto::v1;
use natsgate_proto::v1::revocation_service_client::RevocationServiceClient;
use natsgate_proto::v1::watch_revocations_response::Change;
use tonic::Status;

use crate::client::{Client, Failed, is_passing, json, words};
use crate::commands::{note, say};

/// How often in a row watching is begun again after it broke.
const ATTEMPTS: usize = 10;

/// Pause before it is.
const PAUSE: Duration = Duration::from_millis(500);

/// Prints until it is ended; what breaks is gone on with after the last revision.
///
/// # Errors
/// What was refused, or does not come back.
pub async fn run(client: &Client, after: Option<String>, in_json: bool) -> anyhow::Result<ExitCode> {
    let mut after = after.unwrap_or_default();
    let mut attempts = ATTEMPTS;
    loop {
        let before = after.clone();
        let ended = match follow(client, &mut after, in_json).await? {
            Some(status) if !is_passing(&status) => {
                return Err(resumable(status, &after));
            }
            other => other,
        };
        attempts = if after == before {
            attempts.saturating_sub(1)
        } else {
            ATTEMPTS
        };
        if let Some(status) = ended
            && attempts == 0
        {
            return Err(resumable(status, &after));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn resumable(status: Status, after: &str) -> anyhow::Error {
    let failed = anyhow::Error::new(Failed::new("watching revocations", status));
    match after {
        "" => failed,
        after => anyhow::anyhow!("{failed}\nto go on from here: --after {after}"),
    }
}

/// Follows one stream to its end, which is what it ended with. `after` is where to go on.
async fn follow(client: &Client, after: &mut String, in_json: bool) -> anyhow::Result<Option<Status>> {
    let request = v1::WatchRevocationsRequest { after: after.clone() };
    let mut service = RevocationServiceClient::new(client.channel());
    let mut answers = match service.watch_revocations(client.stream(request)).await {
        Ok(answers) => answers.into_inner(),
        Err(status) => return Ok(Some(status)),
    };
    loop {
        match answers.message().await {
            Ok(Some(answer)) => {
                tell(&answer, in_json)?;
                *after = answer.revision;
            }
            Ok(None) => return Ok(None),
            Err(status) => return Ok(Some(status)),
        }
    }
}

fn tell(answer: &v1::WatchRevocationsResponse, in_json: bool) -> anyhow::Result<()> {
    if answer.id.is_empty() {
        note(&format!("watching after {}", words::readable(&answer.revision)));
        return Ok(());
    }
    if in_json {
        return say(json::change(answer));
    }
    say(format!(
        "{}  {}  {}",
        words::time(answer.at),
        words::readable(&answer.revision),
        change(answer.change.as_ref())
    ))
}

fn change(change: Option<&Change>) -> String {
    match change {
        Some(Change::Revoked(one)) => {
            let banned = if one.banned { ", banned" } else { "" };
            let what = words::selector(one.selector.as_ref());
            format!("revoked{banned}: {what}{}", by(&one.actor, &one.reason))
        }
        Some(Change::MembershipsChanged(one)) => {
            let whose = one.principal.as_ref().map(words::principal).unwrap_or_default();
            let list = |what: &str, memberships: &[v1::Membership]| {
                let each = memberships.iter().map(|one| {
                    let (role, kind, id) = (
                        words::readable(&one.role),
                        words::readable(&one.kind),
                        words::readable(&one.id),
                    );
                    format!("{what} {role} of {kind} {id}")
                });
                each.collect::<Vec<_>>()
            };
            let changes = [list("given", &one.given), list("taken", &one.taken)].concat();
            format!(
                "memberships of {whose}: {}{}",
                changes.join(", "),
                by(&one.actor, "")
            )
        }
        Some(Change::PolicyChanged(one)) => format!(
            "policy generation {} in force ({})",
            one.generation,
            words::readable(&one.digest)
        ),
        Some(Change::BanLifted(one)) => {
            let of = words::selector(one.selector.as_ref());
            format!("lifted: the ban of {of}{}", by(&one.actor, &one.reason))
        }
        None => "something that this caller may not see".to_owned(),
    }
}

fn by(actor: &str, reason: &str) -> String {
    let reason = match reason {
        "" => String::new(),
        reason => format!(" ({})", words::readable(reason)),
    };
    format!("; by {}{reason}", words::readable(actor))
}
