//! The port that answers: does this fact still count?
//!
//! Behind it is whoever reads the revocation log. A fact carries the revision its reader had applied *before* it was
//! fetched (its stamp), less what its source lags behind. It counts only if nothing applied since concerns it, and, out
//! of a cache, only while the position in the log is confirmed. So nothing has to be deleted from any cache, and nothing
//! can be deleted too late.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::concern::Concern;
use crate::deadline::Deadline;
use crate::outcome::Unavailable;
use crate::revision::Revision;
use crate::revocation::PolicyGeneration;

/// How far this instance has applied the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// Never caught up since it started: it must not decide anything.
    Unknown,
    /// To here, and that this is the end was confirmed lately.
    Confirmed(Revision),
    /// To here once; since then the log could not be reached. Facts come from their sources only, grants are short.
    Degraded(Revision),
}

impl Position {
    /// The revision that was applied, if any.
    pub fn revision(self) -> Option<Revision> {
        match self {
            Self::Unknown => None,
            Self::Confirmed(revision) | Self::Degraded(revision) => Some(revision),
        }
    }
}

/// What is known of claims that were written down at some time in the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimsStanding {
    /// Nothing that concerns them was revoked since.
    Current,
    /// Something that concerns them was.
    Superseded,
    /// That cannot be told: the log is out of reach, or does not reach back so far.
    Unknown,
}

/// Answers whether facts still count.
#[async_trait]
pub trait Freshness: Send + Sync {
    /// How far the log has been applied.
    fn position(&self) -> Position;

    /// The stamp of a fact whose fetch begins now, from a source that may be `lag` behind the truth. `None` while the
    /// position is not confirmed: such a fact may be used, but not kept.
    fn stamp(&self, lag: Duration) -> Option<Revision>;

    /// Whether a fact of `stamp` is known not to count any more: another epoch, a stamp beyond the end or before what
    /// the log still holds, or an applied entry after it that touches one of `concerns`.
    fn superseded(&self, stamp: &Revision, concerns: &[Concern]) -> bool;

    /// What is known of a token's claims, issued at `issued_at` (less the clock skew to be allowed for, which this adds).
    /// Claims without a time count as older than everything.
    fn claims(&self, issued_at: Option<SystemTime>, concerns: &[Concern]) -> ClaimsStanding;

    /// The policy in force, if instances coordinate it.
    fn policy(&self) -> Option<PolicyGeneration>;

    /// Waits until `revision` is applied, asking the log at once. A revision of another epoch is never applied: then
    /// this returns when the position was confirmed anew.
    ///
    /// # Errors
    /// [`Unavailable`] if that was not so before `deadline`.
    async fn catch_up(&self, revision: Revision, deadline: Deadline) -> Result<(), Unavailable>;
}
