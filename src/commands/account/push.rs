//! `natsgate account push`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use natsgate_accounts::Operation;
use natsgate_accounts::plan::DefaultsEffect;
use natsgate_accounts::writer::{Report, Request, Standing, Writer, WriterError};
use natsgate_core::Deadline;
use natsgate_shim::draining::{Drained, close};

use super::drain::{Who, close_losing, move_sessions};
use super::site::{Configured, Site};
use super::{Changes, EXIT_INCOMPLETE, Which};
use crate::commands::{note, say};
use crate::config::account_changes;
use crate::lifecycle;

/// How long a push may take, with reading it back and pushing it again.
const PUSH_TIME: Duration = Duration::from_secs(60);

/// How long giving the lease back may take.
const RELEASE_TIME: Duration = Duration::from_secs(2);

/// Pushes, says what it did, and moves at once who loses something.
///
/// # Errors
/// What is wrong, or why it was not pushed.
pub(super) fn run(changes: &Changes, which: &Which) -> anyhow::Result<ExitCode> {
    push(
        account_changes::load(&changes.changes)?,
        changes.may_reconnect,
        which,
    )
}

/// Pushes `operations`, as [`run`] does.
pub(super) fn push(
    operations: Vec<Operation>,
    may_reconnect: bool,
    which: &Which,
) -> anyhow::Result<ExitCode> {
    let configured = Configured::load(which)?;
    lifecycle::block_on(async {
        let site = Site::reach(configured).await?;
        let writer = site.writer().await?;
        let request = Request {
            operations,
            sessions: site.sessions().await?,
            max_payload: site.max_payload(),
            may_reconnect,
            once: None,
        };
        let pushed = writer.push(&request, Deadline::after(PUSH_TIME)).await;
        let_go(&writer, &pushed).await;
        let report = pushed.context("pushing the account")?;
        tell(&report)?;
        let unreached = site.others();
        if !unreached.is_empty() {
            note(&format!(
                "NOT COMPLETE: nothing of it is in the clusters {} until natsgate accounts runs, which gives it to them",
                unreached.join(", ")
            ));
        }
        let left = close_where_defaults_do_not_reach(&site, &report).await?;
        if !report.is_complete() {
            let closed = close_losing(&site).await?.closed;
            note(&format!(
                "NOT COMPLETE: not every server has it. Push the same again once they are there. {closed} sessions that lose something \
                 were closed, and may have come back with what they had where a server does not have it"
            ));
            return Ok(ExitCode::from(EXIT_INCOMPLETE));
        }
        let moved = move_sessions(&site, Who::Losing, Duration::ZERO).await?;
        moved.tell(Who::Losing)?;
        let waiting = moved.others;
        if waiting > 0 {
            say(format!(
                "{waiting} sessions of older generations lose nothing and stay; to move them: natsgate account drain"
            ))?;
        }
        if left > 0 || !unreached.is_empty() {
            return Ok(ExitCode::from(EXIT_INCOMPLETE));
        }
        Ok(moved.exit_code())
    })
}

/// Gives the lease back after what came of a push, so that the next one, on another machine perhaps, need not wait for its end. Not
/// where servers failed: something may still be on its way to them.
pub(super) async fn let_go(writer: &Writer, pushed: &Result<Report, WriterError>) {
    if !matches!(pushed, Err(WriterError::Servers { .. })) {
        // Where that fails, it ends by itself after a while.
        let _ = writer.release(Deadline::after(RELEASE_TIME)).await;
    }
}

/// Closes sessions that may have default permissions which their server does not take away from them by itself. Returns of how many it is
/// not known that they are closed.
async fn close_where_defaults_do_not_reach(site: &Site, report: &Report) -> anyhow::Result<u64> {
    let change = report.plan.as_ref().and_then(|plan| plan.defaults.as_ref());
    let Some(change) = change else { return Ok(0) };
    if !matches!(change.effect, DefaultsEffect::Reconnect { .. }) || !change.difference.narrows() {
        return Ok(0);
    }
    let account = site.account().await?;
    let there = site.sessions().await?;
    let plain = there
        .by_issuer
        .into_keys()
        .filter(|key| account.is_plain_key(key))
        .collect();
    let Drained { closed, left } =
        close(site.at_servers(), &site.evictor().await?, site.key(), &plain).await?;
    say(format!(
        "{closed} sessions were closed that may have the default permissions, since not every server applies them to open connections"
    ))?;
    if left > 0 {
        note(&format!(
            "NOT COMPLETE: {left} more could not be closed; push the same again"
        ));
    }
    Ok(left)
}

pub(super) fn tell(report: &Report) -> anyhow::Result<()> {
    match &report.plan {
        Some(plan) => say(plan)?,
        None => say("nothing changes")?,
    }
    for foreign in report.foreign.iter() {
        let what = if foreign.merged {
            "is in what was pushed"
        } else {
            "IS NOT in what was pushed: others came with it, and only the newest counts; look at it"
        };
        note(&format!(
            "somebody else pushed this account (signed by {}, issued at {}); that {what}",
            foreign.issuer, foreign.issued_at
        ));
    }
    for role in &report.restored {
        note(&format!(
            "the key {role} was missing or changed there, and is back"
        ));
    }
    for server in &report.servers {
        let standing = match &server.standing {
            Standing::InForce => "in force".to_owned(),
            Standing::NotLoaded => {
                "kept; to be loaded when somebody of the account connects there".to_owned()
            }
            Standing::Missed => "ANOTHER ONE IS IN FORCE".to_owned(),
            Standing::Silent(why) => format!("NOT KNOWN: {why}"),
        };
        let refused = match &server.answer {
            Some(Err(why)) => format!("; it refused it: {why}"),
            _ => String::new(),
        };
        let (name, version) = (&server.server.name, &server.server.version);
        say(format!("  {name} ({version}): {standing}{refused}"))?;
    }
    Ok(())
}
