//! Mistakes that can be built into the protocol. Each must make the checker find a counterexample: that is how we know that
//! the part of the protocol it takes away is needed, and that the model would notice.

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// The stamp is taken when the source has answered, not before it is asked.
    StampAfterFetch,
    /// What the source lags behind is not taken off the stamp.
    LagNotSubtracted,
    /// Who has just read the log, for the first time or in a new epoch, says that he had applied all of it a lag ago.
    LagForgottenAnew,
    /// No stamp at all while the position is not confirmed, so that what was fetched then cannot be held against
    /// what was applied before.
    NoStampWhileDegraded,
    /// A waiter joins whatever fetch is running, and takes what it brings.
    JoinsAnyFetch,
    /// While the log cannot be heard, a waiter joins a fetch however long ago it began.
    JoinsOldFetchWhileDegraded,
    /// What comes out of the shared cache is kept in process as if it had just been fetched, under the stamp of now.
    SharedTakenAsNew,
    /// An entry of the shared cache is judged by its sequence alone.
    SharedWithoutEpoch,
    /// Facts out of the in-process cache are served although the position is not confirmed.
    ServedUnconfirmed,
    /// The position counts as confirmed from the moment the tick was answered, not from when it began.
    ConfirmedFromEnd,
    /// Once confirmed, a position counts as confirmed for ever.
    ConfirmedForEver,
    /// An announced entry is applied without looking whether it follows the one applied last.
    GapIgnored,
    /// A reader who finds that what follows was trimmed goes on as if he had read it.
    TrimmedGapIgnored,
    /// The epoch is not bound to the primary: a promoted replica goes on in the old epoch.
    EpochNotBound,
    /// The idempotency record is written first, and the entry after it.
    RecordApart,
    /// A repeated append is answered from its record as confirmed, without waiting for the replica.
    RepeatNotWaitedFor,
    /// A primary that lost its replica goes on answering ticks (no `min-replicas-to-write`, or one that refuses later than the
    /// replica is promoted).
    OldPrimaryTicks,
    /// What is read up to the head of a tick is not checked to end in the very entry that the tick's head is.
    HeadNotChecked,
    /// Instances do not append again what a new epoch lost.
    NotAppendedAgain,
    /// What an epoch lost is not held against claims until it is back in the log.
    LostForgotten,
    /// What an epoch lost counts as back for an instance as soon as it has appended it again, before it has read it.
    AppendedCountsAsRead,
    /// An instance vouches that nothing is missing since it saw as much as is left of the old epoch, although what is left
    /// may be less than what was confirmed: a snapshot, or a log that is not replicated.
    WitnessAlone,
    /// The same, but only if what is left has the last tick of the instance that vouches.
    WitnessByTicks,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::StampAfterFetch,
        Self::LagNotSubtracted,
        Self::LagForgottenAnew,
        Self::NoStampWhileDegraded,
        Self::JoinsAnyFetch,
        Self::JoinsOldFetchWhileDegraded,
        Self::SharedTakenAsNew,
        Self::SharedWithoutEpoch,
        Self::ServedUnconfirmed,
        Self::ConfirmedFromEnd,
        Self::ConfirmedForEver,
        Self::GapIgnored,
        Self::TrimmedGapIgnored,
        Self::EpochNotBound,
        Self::RecordApart,
        Self::RepeatNotWaitedFor,
        Self::OldPrimaryTicks,
        Self::HeadNotChecked,
        Self::NotAppendedAgain,
        Self::LostForgotten,
        Self::AppendedCountsAsRead,
        Self::WitnessAlone,
        Self::WitnessByTicks,
    ];
}
