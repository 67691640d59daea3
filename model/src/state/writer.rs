//! Whoever changes the truth and then revokes: a backend, and `Revoke` on its behalf.

use super::Version;

/// How far the writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Phase {
    /// Nothing to do.
    #[default]
    Idle,
    /// The truth is changed, the revocation is still to be appended: for the first time or, since no answer came, again with the
    /// same idempotency key.
    Changed,
    /// Only with [`crate::Flaw::RecordApart`]: the idempotency record is written, the entry is not.
    Recorded,
    /// The primary has it, or says that it has; whether the replicas do is waited for.
    Appended,
}

/// The writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Writer {
    /// How far.
    pub phase: Phase,
    /// For the promises only: the newest version whose revocation returned, confirmed.
    pub returned: Version,
}
