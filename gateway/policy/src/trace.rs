//! What became of each rule: the explanation of a decision.
//!
//! Holds rules' names, templates as they were written, and memberships; never a claim's value.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use natsgate_core::{Denial, Membership};

/// What became of one rule, or of one rule for one membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleTrace {
    /// The rule's name.
    pub rule: Arc<str>,
    /// The membership it was evaluated for, if it is repeated for memberships and there was one that fits.
    pub membership: Option<Membership>,
    /// What became of it.
    pub outcome: RuleOutcome,
}

/// What became of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleOutcome {
    /// It matched.
    Matched {
        /// What it gave, as templates: `publish projects.{membership.id}.in.>`.
        gives: Arc<[String]>,
        /// What it took: `deny publish …`, `limit subscriptions 100`.
        takes: Arc<[String]>,
    },
    /// It did not match: why.
    NotMatched(Cow<'static, str>),
    /// It denied the whole decision: why.
    Denied(Denial),
}

impl fmt::Display for RuleTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rule)?;
        if let Some(m) = &self.membership {
            let [kind, id, role] = [&m.kind, &m.id, &m.role].map(|text| text.escape_debug());
            write!(f, " (for {role} of {kind} {id})")?;
        }
        match &self.outcome {
            RuleOutcome::NotMatched(why) => write!(f, ": no match: {why}"),
            RuleOutcome::Denied(denial) => write!(f, ": denied: {denial}"),
            RuleOutcome::Matched { gives, takes } => {
                f.write_str(": match")?;
                gives
                    .iter()
                    .chain(takes.iter())
                    .try_for_each(|line| write!(f, "\n  {line}"))
            }
        }
    }
}
