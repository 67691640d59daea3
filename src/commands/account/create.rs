//! `natsgate account create`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use natsgate_accounts::ManagedAccount;
use natsgate_core::{AccountAtServer, AccountServers, Clock, Deadline, SystemClock};

use super::site::{Configured, Site};
use super::{EXIT_INCOMPLETE, Which};
use crate::commands::{note, say};
use crate::lifecycle;

/// How long the servers may take.
const TIME: Duration = Duration::from_secs(10);

/// Signs and pushes the JWT of an account that no server knows.
///
/// # Errors
/// A server has it, or not all say whether they do; or none takes it.
pub(super) fn run(which: &Which) -> anyhow::Result<ExitCode> {
    let configured = Configured::load(which)?;
    lifecycle::block_on(async {
        let site = Site::reach(configured).await?;
        let signer = site.signer()?;
        if site.writer().await?.is_written(Deadline::after(TIME)).await? {
            bail!(
                "the account {} was written before: natsgate account push gives it to servers that lack it",
                site.key()
            );
        }
        let servers = site.at_servers();
        let roster = servers.all_servers(Deadline::after(TIME)).await?;
        let known = servers.look_up(site.key(), Deadline::after(TIME)).await?;
        let mut exists = !known.is_empty();
        for server in &roster {
            let asked = servers.in_force(&server.id, site.key(), Deadline::after(TIME));
            let there = asked.await.with_context(|| {
                format!("it is not known whether {} has the account already", server.name)
            })?;
            exists |= matches!(there, AccountAtServer::InForce(_));
        }
        if exists {
            bail!(
                "the account {} is there already: change it with natsgate account push",
                site.key()
            );
        }
        let account = ManagedAccount::create(site.name(), site.keys());
        let jwt = signer
            .sign(account.claims(), SystemClock.unix_seconds())
            .await
            .context("signing the account")?;
        let answers = servers.push(&jwt, roster.len(), Deadline::after(TIME)).await?;
        let mut taken = 0_usize;
        for server in &roster {
            let answer = answers.iter().find(|answer| answer.server_id == server.id);
            match answer.map(|answer| &answer.taken) {
                Some(Ok(())) => taken = taken.saturating_add(1),
                Some(Err(why)) => note(&format!("{} refused it: {why}", server.name)),
                None => note(&format!("{} did not answer", server.name)),
            }
        }
        if taken == 0 {
            bail!("no server took the account");
        }
        say(format!(
            "the account {} ({}) is there, on {taken} of {} servers: without limits, JetStream, templates or default permissions",
            site.name(),
            site.key(),
            roster.len()
        ))?;
        Ok(if taken == roster.len() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(EXIT_INCOMPLETE)
        })
    })
}
