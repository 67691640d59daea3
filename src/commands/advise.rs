//! `natsgate advise`: which way changed permissions should reach live sessions, in numbers.

use clap::Args;
use natsgate_accounts::ServerVersion;
use natsgate_accounts::advise::{USUAL_SUBJECT_BYTES, Workload};

use super::say;
use crate::config::Problem;

/// What the users of an account and their permissions are like.
#[derive(Args)]
pub struct Arguments {
    /// Users connected at once
    #[arg(long, value_name = "NUMBER")]
    users: u64,
    /// Different sets of permissions, not counting what differs by membership
    #[arg(long, value_name = "NUMBER")]
    templates: u64,
    /// Memberships of a user that put a value into its subjects; 0 if users of a template have the very same permissions
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    memberships: u64,
    /// Subjects of a template, or of each membership where users have some
    #[arg(long, value_name = "NUMBER", default_value_t = 4)]
    subjects: u64,
    /// Bytes of a subject, on average
    #[arg(long, value_name = "BYTES", default_value_t = USUAL_SUBJECT_BYTES)]
    subject_bytes: usize,
    /// Changes of permissions an hour
    #[arg(long, value_name = "NUMBER")]
    changes_per_hour: f64,
    /// Percent of the users that a change concerns
    #[arg(long, value_name = "PERCENT", default_value_t = 100.0)]
    concerned: f64,
    /// The oldest nats-server of the cluster: 2.14.6
    #[arg(long, value_name = "VERSION")]
    server_version: String,
    /// Reconnects an hour that may be
    #[arg(long, value_name = "NUMBER")]
    acceptable_reconnects: f64,
}

/// Works it out, and says it.
///
/// # Errors
/// A [`Problem`] for a number that nothing can be worked out for.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let server_version = ServerVersion::parse(&arguments.server_version).ok_or_else(|| {
        Problem::new(
            "--server-version",
            "is not a version of nats-server; write 2.14.6, as `nats-server --version` says it",
        )
    })?;
    let workload = Workload {
        users: arguments.users,
        templates: arguments.templates,
        memberships_per_user: arguments.memberships,
        subjects_per_template: arguments.subjects,
        subject_bytes: arguments.subject_bytes,
        changes_per_hour: arguments.changes_per_hour,
        share: arguments.concerned / 100.0,
        server_version,
        acceptable_reconnects_per_hour: arguments.acceptable_reconnects,
    };
    let advice = workload
        .advise()
        .map_err(|error| Problem::new("natsgate advise", error))?;
    say(advice)
}
