//! Which way permissions should reach live sessions, in numbers: for a workload, what each mode would come to and which
//! one to take, and why.
//!
//! Sizes are those of JWTs really encoded, for the numbers of subjects and tags given; everything else is arithmetic on
//! what is given, and on what was measured of nats-servers. One session has one template: whoever has two roles at once
//! needs a template for the two.

mod explain;
mod sizes;

use std::fmt;

use natsgate_claims::EncodeError;

use crate::plan::CAP;
use crate::template::MAX_EXPANSIONS;
use crate::version::ServerVersion;
use sizes::Sizes;

/// The most subjects a grant may have (`natsgate-policy`); a session with more is denied.
pub const MAX_GRANT_SUBJECTS: u64 = 1000;

/// The length of a subject where none is given, in bytes: `projects.apollo.in.>`.
pub const USUAL_SUBJECT_BYTES: usize = 20;

/// The most templates that are worked out: several times what fits into an account.
const MAX_TEMPLATES: u64 = 20_000;

/// The most subjects of all templates that are worked out.
const MAX_SUBJECTS: u64 = 1_000_000;

/// The most memberships of a user that are worked out.
const MAX_MEMBERSHIPS: u64 = 10_000;

/// How a change reaches live sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// By a kick, and a fresh decision.
    Reconnect,
    /// By a template in the account JWT, generation beside generation.
    ScopedKey,
    /// By the account's default permissions, pushed.
    Live,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Reconnect, Self::ScopedKey, Self::Live];
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Reconnect => "reconnect",
            Self::ScopedKey => "scoped_key",
            Self::Live => "live",
        })
    }
}

/// What an account's users and their permissions are like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Workload {
    /// Users connected at once.
    pub users: u64,
    /// Different sets of permissions, not counting what differs by membership.
    pub templates: u64,
    /// Memberships that put a value into a user's subjects; 0: users of a template have the very same permissions.
    pub memberships_per_user: u64,
    /// Subjects of a template, or of a membership where users have some.
    pub subjects_per_template: u64,
    /// Bytes of a subject, on average.
    pub subject_bytes: usize,
    /// Changes of permissions an hour.
    pub changes_per_hour: f64,
    /// The share of the users that a change concerns, from 0 to 1.
    pub share: f64,
    /// The oldest nats-server of the cluster.
    pub server_version: ServerVersion,
    /// Reconnects an hour that may be.
    pub acceptable_reconnects_per_hour: f64,
}

/// What is wrong with a workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdviseError {
    /// A number that nothing can be worked out for.
    #[error("advising on a workload: {field} must be {expected}")]
    Number {
        /// Which.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A JWT could not be encoded.
    #[error("advising on a workload: {0}")]
    Encode(#[from] EncodeError),
}

/// What one mode would come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// The mode.
    pub mode: Mode,
    /// Why it cannot be, if it cannot.
    pub impossible: Option<String>,
    /// Bytes of the account JWT.
    pub account_bytes: usize,
    /// Bytes of it while changes are under way, with two generations of what changes.
    pub account_bytes_at_most: usize,
    /// Bytes of a user JWT.
    pub user_bytes: usize,
    /// Reconnects an hour.
    pub reconnects_per_hour: f64,
    /// Account pushes an hour.
    pub pushes_per_hour: f64,
    /// Decisions an hour that changes cause: sessions judged anew, and decided again when they reconnect.
    pub decisions_per_hour: f64,
    /// What a revocation costs, in words.
    pub revocation: String,
}

/// What each mode would come to, and which one to take.
#[derive(Debug, Clone, PartialEq)]
pub struct Advice {
    /// The workload.
    pub workload: Workload,
    /// Every mode, in the order of [`Mode::ALL`].
    pub estimates: [Estimate; 3],
    /// The mode to take; `None` if none is possible.
    pub recommended: Option<Mode>,
    /// Why, in words.
    pub reasons: Vec<String>,
}

impl Workload {
    /// What each mode would come to for this workload, and which one to take.
    ///
    /// # Errors
    /// [`AdviseError`] if a number is beyond what can be worked out.
    pub fn advise(&self) -> Result<Advice, AdviseError> {
        self.check()?;
        let sizes = Sizes::of(self)?;
        let estimates = [self.reconnect(&sizes), self.scoped_key(&sizes), self.live(&sizes)];
        let (recommended, reasons) = self.recommend(&estimates);
        Ok(Advice {
            workload: *self,
            estimates,
            recommended,
            reasons,
        })
    }

    fn check(&self) -> Result<(), AdviseError> {
        let rate = |number: f64| number.is_finite() && number >= 0.0;
        let subjects = self.templates.saturating_mul(self.subjects_per_template);
        for (holds, field, expected) in [
            (self.users > 0, "users", "1 or more"),
            (
                (1..=MAX_TEMPLATES).contains(&self.templates),
                "templates",
                "1 to 20000: some 2600 small ones fit into an account",
            ),
            (
                self.subjects_per_template > 0 && subjects <= MAX_SUBJECTS,
                "subjects_per_template",
                "1 or more, and a million in all templates at most",
            ),
            (
                self.memberships_per_user <= MAX_MEMBERSHIPS,
                "memberships_per_user",
                "10000 or fewer",
            ),
            (
                (1..=natsgate_core::subject::MAX_SUBJECT_BYTES).contains(&self.subject_bytes),
                "subject_bytes",
                "1 to 1024",
            ),
            (rate(self.changes_per_hour), "changes_per_hour", "0 or more"),
            (rate(self.share) && self.share <= 1.0, "share", "from 0 to 1"),
            (
                rate(self.acceptable_reconnects_per_hour),
                "acceptable_reconnects_per_hour",
                "0 or more",
            ),
        ] {
            if !holds {
                return Err(AdviseError::Number { field, expected });
            }
        }
        Ok(())
    }

    /// Subjects of one user, spelled out.
    fn subjects_per_user(&self) -> u64 {
        self.subjects_per_template
            .saturating_mul(self.memberships_per_user.max(1))
    }

    /// Users that a change concerns.
    fn concerned(&self) -> f64 {
        (count(self.users) * self.share).ceil()
    }

    /// Reconnects an hour if every user concerned by a change reconnects once.
    fn reconnects(&self) -> f64 {
        self.changes_per_hour * self.concerned()
    }

    /// Hours until the sessions a change concerns are drained, at the pace that is acceptable.
    fn drain_hours(&self) -> f64 {
        if self.concerned() == 0.0 {
            return 0.0;
        }
        self.concerned() / self.acceptable_reconnects_per_hour
    }

    /// How many templates have two generations at once while changes are drained at the acceptable pace.
    fn in_change(&self) -> u64 {
        if self.changes_per_hour == 0.0 {
            return 0;
        }
        let at_once = (self.changes_per_hour * self.drain_hours()).ceil();
        // More than there are templates is all of them; so is a pace of nothing.
        if at_once >= count(self.templates) {
            return self.templates;
        }
        (1..self.templates)
            .find(|number| count(*number) >= at_once)
            .unwrap_or(self.templates)
    }

    fn reconnect(&self, sizes: &Sizes) -> Estimate {
        let subjects = self.subjects_per_user();
        let impossible = if subjects > MAX_GRANT_SUBJECTS {
            Some(format!(
                "a user has {subjects} subjects, and a grant has {MAX_GRANT_SUBJECTS} at most: use wildcards"
            ))
        } else if sizes.user_with_subjects > CAP {
            Some(format!(
                "the user JWT would have {} bytes, and {CAP} are the most",
                sizes.user_with_subjects
            ))
        } else {
            None
        };
        Estimate {
            mode: Mode::Reconnect,
            impossible,
            account_bytes: sizes.plain_account,
            account_bytes_at_most: sizes.plain_account,
            user_bytes: sizes.user_with_subjects,
            reconnects_per_hour: self.reconnects(),
            pushes_per_hour: 0.0,
            // Judged anew, and decided again.
            decisions_per_hour: 2.0 * self.reconnects(),
            revocation: format!(
                "a person: one kick a session, no push; everyone: {} kicks, or one push of {} bytes (revocation '*')",
                self.users, sizes.plain_account
            ),
        }
    }

    fn scoped_key(&self, sizes: &Sizes) -> Estimate {
        let in_one_list = self
            .subjects_per_template
            .div_ceil(2)
            .saturating_mul(self.memberships_per_user.max(1));
        let expansions = u64::try_from(MAX_EXPANSIONS).unwrap_or(u64::MAX);
        let impossible = if sizes.scoped_account_in_change > CAP {
            Some(format!(
                "the account JWT would have {} bytes with {} templates and {} of them in change, and {CAP} are the most",
                sizes.scoped_account_in_change,
                self.templates,
                self.in_change()
            ))
        } else if in_one_list > expansions {
            Some(format!(
                "a user's tags would come to {in_one_list} subjects in one list, and a nats-server makes {MAX_EXPANSIONS} \
                 at most"
            ))
        } else {
            None
        };
        Estimate {
            mode: Mode::ScopedKey,
            impossible,
            account_bytes: sizes.scoped_account,
            account_bytes_at_most: sizes.scoped_account_in_change,
            user_bytes: sizes.scoped_user,
            reconnects_per_hour: self.reconnects(),
            // One that adds the new generation, one that removes the old one.
            pushes_per_hour: 2.0 * self.changes_per_hour,
            decisions_per_hour: self.reconnects(),
            revocation: format!(
                "a person: one kick a session, no push; a template: one push of {} bytes, and the servers close its sessions \
                 (about {:.0}); everyone: one push (revocation '*')",
                sizes.scoped_account,
                count(self.users) / count(self.templates)
            ),
        }
    }

    fn live(&self, sizes: &Sizes) -> Estimate {
        let impossible = if self.templates > 1 {
            Some(format!(
                "an account has one set of default permissions, and there are {}: give each an account of its own, say",
                self.templates
            ))
        } else if self.memberships_per_user > 0 {
            Some("default permissions are the same for all, and these differ by membership".to_owned())
        } else if !self.server_version.applies_defaults_live() {
            Some(format!(
                "nats-server {} does not apply them to live connections; 2.14.3 and later do",
                self.server_version
            ))
        } else if sizes.live_account > CAP {
            Some(format!(
                "the account JWT would have {} bytes, and {CAP} are the most",
                sizes.live_account
            ))
        } else {
            None
        };
        Estimate {
            mode: Mode::Live,
            impossible,
            account_bytes: sizes.live_account,
            account_bytes_at_most: sizes.live_account,
            user_bytes: sizes.plain_user,
            reconnects_per_hour: 0.0,
            pushes_per_hour: self.changes_per_hour,
            decisions_per_hour: 0.0,
            revocation: format!(
                "a person: one kick a session, no push; a permission of everyone: one push of {} bytes, nobody is \
                 disconnected",
                sizes.live_account
            ),
        }
    }

    fn recommend(&self, estimates: &[Estimate; 3]) -> (Option<Mode>, Vec<String>) {
        let [reconnect, scoped_key, live] = estimates;
        let possible = |estimate: &Estimate| estimate.impossible.is_none();
        let within = self.reconnects() <= self.acceptable_reconnects_per_hour;
        let rate = format!(
            "changes cause {:.0} reconnects an hour, and {:.0} are acceptable",
            self.reconnects(),
            self.acceptable_reconnects_per_hour
        );
        let no_live = || {
            format!(
                "live is not possible: {}",
                live.impossible.as_deref().unwrap_or_default()
            )
        };
        let no_scoped = || {
            let why = scoped_key.impossible.as_deref().unwrap_or_default();
            format!("scoped_key is not possible: {why}")
        };
        if possible(live) {
            let reason = "all users have the same permissions, and every server applies them to live connections: a change is \
                          one push, and nobody reconnects";
            return (Some(Mode::Live), vec![reason.to_owned()]);
        }
        if possible(reconnect) && within {
            let reason = format!("{rate}: kicks do, and need nothing in the account and no push");
            return (Some(Mode::Reconnect), vec![reason, no_live()]);
        }
        if possible(reconnect) && !possible(scoped_key) {
            let mend = "more than is acceptable in every mode that is possible: change permissions less often, or several \
                        at once, so that a session reconnects once for them";
            return (
                Some(Mode::Reconnect),
                vec![format!("{rate}: {mend}"), no_live(), no_scoped()],
            );
        }
        if possible(scoped_key) {
            let mut reasons = Vec::new();
            match &reconnect.impossible {
                Some(why) => reasons.push(format!("reconnect is not possible: {why}")),
                None => reasons.push(format!(
                    "{rate}: a generation holds while the one before is drained at that pace{}, a session that waits reconnects \
                     once for all changes in between, and nobody has to be judged anew",
                    self.drain_text()
                )),
            }
            reasons.push(
                "who loses something is moved at once in every mode: changes that narrow cannot be paced"
                    .to_owned(),
            );
            reasons.push(no_live());
            return (Some(Mode::ScopedKey), reasons);
        }
        let why = reconnect.impossible.as_deref().unwrap_or_default();
        (
            None,
            vec![
                format!("reconnect is not possible: {why}"),
                no_scoped(),
                no_live(),
            ],
        )
    }

    fn drain_text(&self) -> String {
        let hours = self.drain_hours();
        if hours.is_finite() {
            format!(" ({hours:.1} hours a change)")
        } else {
            String::new()
        }
    }
}

/// As a number that can be multiplied with shares and rates. Exact up to 2^53.
#[allow(clippy::cast_precision_loss, reason = "estimates of counts far below 2^53")]
fn count(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests;
