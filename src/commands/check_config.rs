//! `natsgate check-config`: everything a start would check, without starting.

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use natsgate_core::SystemClock;

use crate::cli::ConfigFile;
use crate::config::store::StoreConfig;
use crate::config::{self, Loaded, Problem, Problems};
use crate::{lifecycle, telemetry};

/// What to check.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// Print the configuration's JSON schema instead
    #[arg(long)]
    schema: bool,
}

/// Checks, and says what is there or what is wrong.
///
/// # Errors
/// All that is wrong.
#[allow(clippy::print_stdout, reason = "a command's answer")]
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.schema {
        println!(
            "{}",
            serde_json::to_string_pretty(&config::schema()).context("writing the schema")?
        );
        return Ok(());
    }
    let loaded = config::load(&arguments.file.config, &lifecycle::variables()?)?;
    telemetry::filter(&loaded.config.log)?;
    lifecycle::block_on(async {
        let Checked { good_for, notes } = check(&loaded).await?;
        for note in notes {
            println!("note: {note}");
        }
        println!(
            "{}: good for {}",
            arguments.file.config.display(),
            good_for.join(", ")
        );
        Ok(())
    })
}

/// What a configuration that can work is.
struct Checked {
    /// The commands it is good for.
    good_for: Vec<&'static str>,
    /// What somebody who relies on it should know.
    notes: Vec<String>,
}

async fn check(loaded: &Loaded) -> Result<Checked, Problems> {
    let Loaded { config, base } = loaded;
    let mut problems = Problems::default();
    let mut good_for = Vec::new();
    let mut notes = Vec::new();
    if let Some(shim) = &config.shim {
        if let Err(more) = shim.settings(base) {
            problems.extend(more);
        }
        if let Some(service) = &shim.accounts_service
            && let Err(more) = service.link(base)
        {
            problems.extend(more);
        }
        if shim.decision.is_some() {
            good_for.push("natsgate shim");
            if let Err(more) = shim.decision_point(base) {
                problems.extend(more);
            }
        }
    }
    if let Some(accounts) = &config.accounts {
        problems.take(accounts.signer());
        problems.take(accounts.check_store(base));
        if let Some(system) = &accounts.system
            && let Err(more) = system.settings("accounts.system", base)
        {
            problems.extend(more);
        }
        good_for.push("natsgate account");
        if !accounts.clusters.is_empty() || accounts.listen.is_some() {
            good_for.push("natsgate accounts");
            if let Err(more) = accounts.served(config.shim.as_ref(), base) {
                problems.extend(more);
            }
            problems.take(accounts.access().tls_material(base));
            if let Some(address) = accounts.listen {
                problems.take(accounts.access().check_exposure(address));
            }
        }
    }
    if let Some(decision) = &config.decision {
        good_for.push("natsgate decision");
        let clock = Arc::new(SystemClock);
        // Stores of this process alone stand in for the configured ones, which are checked and not opened.
        let stores = StoreConfig::default()
            .open(base, decision.can_revoke(), clock.clone())
            .await;
        match stores {
            Ok(mut stores) => {
                stores.clock_skew = config.store.follow.clock_skew;
                stores.log_retention = config.store.log.retention;
                match decision.parts(base, &stores, clock).await {
                    Ok(parts) => notes = parts.notes,
                    Err(more) => problems.extend(more),
                }
            }
            Err(error) => problems.push(Problem::new("store", error)),
        }
        problems.take(config.store.check_shared());
        if let Err(more) = config.store.check(base) {
            problems.extend(more);
        }
    }
    if config.shim.is_some() && config.decision.is_some() {
        good_for.push("natsgate all");
    }
    if good_for.is_empty() {
        let what = "is good for nothing: it has neither a `decision` section, nor a `shim` section with `decision` in it, nor \
                    an `accounts` section";
        problems.push(Problem::new("the file", what));
    }
    problems.or(Some(Checked { good_for, notes }))
}
