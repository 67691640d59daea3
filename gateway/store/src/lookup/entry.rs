//! One answer of a source, with what tells whether it still counts.

use std::time::SystemTime;

use natsgate_core::{Concern, Denial, Fact, Failure, Revision};

/// What a source said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said<F> {
    /// A fact, which may be that there is nothing.
    Fact(F),
    /// No.
    Denied(Denial),
}

/// An answer and its stamp.
#[derive(Debug)]
pub(super) struct Entry<F> {
    pub(super) said: Said<F>,
    /// The revision that was applied before the fetch began, less what the source may lag behind.
    pub(super) stamp: Revision,
    /// When the fetch began.
    pub(super) fetched_at: SystemTime,
    /// What the question and the answer are about.
    pub(super) concerns: Box<[Concern]>,
}

impl<F: Fact> Entry<F> {
    /// What was `said` about `asked`.
    pub(super) fn new(said: Said<F>, stamp: Revision, fetched_at: SystemTime, asked: Vec<Concern>) -> Self {
        let mut concerns = asked;
        if let Said::Fact(fact) = &said {
            concerns.extend(fact.concerns());
        }
        concerns.sort_unstable();
        concerns.dedup();
        Self {
            said,
            stamp,
            fetched_at,
            concerns: concerns.into_boxed_slice(),
        }
    }

    /// The answer as the caller gets it.
    pub(super) fn answer(&self) -> Result<F, Failure> {
        match &self.said {
            Said::Fact(fact) => Ok(fact.clone()),
            Said::Denied(denial) => Err(Failure::Denied(denial.clone())),
        }
    }

    /// Whether it says no, or nothing.
    pub(super) fn is_negative(&self) -> bool {
        match &self.said {
            Said::Fact(fact) => fact.is_negative(),
            Said::Denied(_) => true,
        }
    }

    /// When it ends by itself.
    pub(super) fn expires_at(&self) -> Option<SystemTime> {
        match &self.said {
            Said::Fact(fact) => fact.expires_at(),
            Said::Denied(_) => None,
        }
    }
}
