//! `natsgate account drain`, and what a push does at once for those that lose something.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use natsgate_accounts::account::{OlderKeys, TemplateState};
use natsgate_accounts::writer::Request;
use natsgate_accounts::{ManagedAccount, Operation, ScopeRole};
use natsgate_core::Deadline;
use natsgate_shim::draining::{Drained, close, drain};

use super::site::{Configured, Site};
use super::{EXIT_INCOMPLETE, Which, push};
use crate::commands::{note, say};
use crate::lifecycle;

/// How long taking keys out may take.
const PUSH_TIME: Duration = Duration::from_secs(60);

/// Which sessions of older generations are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Those to whom the newest gives less, or of whom that cannot be told.
    Losing,
    /// The others.
    Keeping,
}

/// What came of moving sessions.
pub(super) struct Moved {
    drained: Drained,
    /// Sessions of older generations that were not to be moved.
    pub(super) others: u64,
}

impl Moved {
    pub(super) fn tell(&self, who: Who) -> anyhow::Result<()> {
        let Drained { closed, left } = self.drained;
        let what = match who {
            Who::Losing => "that lose something",
            Who::Keeping => "that lose nothing",
        };
        if closed > 0 {
            say(format!(
                "{closed} sessions {what} were closed, to come back with the newest generation"
            ))?;
        }
        if left > 0 {
            note(&format!(
                "NOT COMPLETE: {left} sessions {what} are still on older generations; run natsgate account drain again"
            ));
        }
        Ok(())
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        if self.drained.left > 0 {
            ExitCode::from(EXIT_INCOMPLETE)
        } else {
            ExitCode::SUCCESS
        }
    }
}

/// Moves sessions of older generations, evenly over `over`.
///
/// # Errors
/// The servers do not tell who is there.
pub(super) async fn move_sessions(site: &Site, who: Who, over: Duration) -> anyhow::Result<Moved> {
    let OlderKeys { losing, keeping } = site.account().await?.older_keys();
    let (moving, staying) = match who {
        Who::Losing => (losing, keeping),
        Who::Keeping => (keeping, losing),
    };
    let drained = if moving.is_empty() {
        Drained::default()
    } else {
        let evictor = site.evictor().await?;
        drain(site.at_servers(), &evictor, site.key(), &moving, over)
            .await
            .context("moving sessions to the newest generation")?
    };
    let there = site.sessions().await?;
    let others = staying.iter().filter_map(|key| there.by_issuer.get(key)).sum();
    Ok(Moved { drained, others })
}

/// Closes those once to whom the newest gives less.
///
/// # Errors
/// The servers do not tell who is there.
pub(super) async fn close_losing(site: &Site) -> anyhow::Result<Drained> {
    let losing = site.account().await?.older_keys().losing;
    if losing.is_empty() {
        return Ok(Drained::default());
    }
    let closed = close(site.at_servers(), &site.evictor().await?, site.key(), &losing).await;
    closed.context("closing sessions that lose something")
}

/// Moves all of them, those that lose something first, and takes out the keys that have no session left.
///
/// # Errors
/// What is wrong, or why a key was not taken out.
pub(super) fn run(which: &Which, over: Duration) -> anyhow::Result<ExitCode> {
    let configured = Configured::load(which)?;
    // Keys that are taken out here go everywhere, and with them the sessions there that were not moved.
    let clusters = configured.clusters();
    if clusters.len() > 1 {
        bail!(
            "the account is written for several clusters ({}), and this command sees the sessions of one: those of the others \
             would all be closed at once when the keys go",
            clusters.join(", ")
        );
    }
    lifecycle::block_on(async {
        let site = Site::reach(configured).await?;
        // Who is moved has to find the newest generation everywhere.
        let request = Request {
            sessions: site.sessions().await?,
            max_payload: site.max_payload(),
            ..Request::default()
        };
        if !write(&site, &request).await? {
            note(
                "NOT COMPLETE: not every server has what was pushed last, so nobody is moved; run this again once they are there",
            );
            return Ok(ExitCode::from(EXIT_INCOMPLETE));
        }
        let account = site.account().await?;
        let before: Vec<ScopeRole> = removable(&account);
        if before.is_empty() {
            say("nothing to drain: every template has one generation, and none is retired")?;
            return Ok(ExitCode::SUCCESS);
        }
        for (who, over) in [(Who::Losing, Duration::ZERO), (Who::Keeping, over)] {
            let moved = move_sessions(&site, who, over).await?;
            moved.tell(who)?;
            if moved.drained.left > 0 {
                return Ok(moved.exit_code());
            }
        }
        let request = Request {
            operations: before.iter().cloned().map(Operation::RemoveGeneration).collect(),
            sessions: site.sessions().await?,
            max_payload: site.max_payload(),
            ..Request::default()
        };
        if write(&site, &request).await? {
            Ok(ExitCode::SUCCESS)
        } else {
            note("NOT COMPLETE: not every server has it; run this again once they are there");
            Ok(ExitCode::from(EXIT_INCOMPLETE))
        }
    })
}

/// Does `request`, and says so if it changed anything; whether every server has it. The writer's file is free again afterwards.
async fn write(site: &Site, request: &Request) -> anyhow::Result<bool> {
    let writer = site.writer().await?;
    let pushed = writer.push(request, Deadline::after(PUSH_TIME)).await;
    push::let_go(&writer, &pushed).await;
    let report = pushed.context("writing the account")?;
    if report.pushes > 0 || !report.is_complete() {
        push::tell(&report)?;
    }
    Ok(report.is_complete())
}

/// The generations that can go once nobody is on them: older ones, and the last of a retired template, which allows nothing.
fn removable(account: &ManagedAccount) -> Vec<ScopeRole> {
    let of = |state: &TemplateState| {
        let all = state.generations().filter(|generation| {
            state.is_retired() || generation.generation() != state.newest().generation()
        });
        let role = |generation| ScopeRole {
            template: state.name().clone(),
            generation,
        };
        all.map(|generation| role(generation.generation()))
            .collect::<Vec<_>>()
    };
    account.templates().flat_map(of).collect()
}
