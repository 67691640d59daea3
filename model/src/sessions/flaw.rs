//! Mistakes that can be built into the protocol. Each must make the checker find a counterexample.

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// A connection is registered when the server says that it is connected, not before it is asked about.
    RegisteredOnceConnected,
    /// Questions carry no `min_revision`.
    NoMinRevision,
    /// An answer is passed on as it comes, whatever was applied since its `as_of`.
    NotAskedAgain,
    /// The same for what a recheck answers.
    RecheckNotAskedAgain,
    /// The sessions an entry touches are looked up first, and the entry counts as applied after that, not under one lock.
    LookedUpBeforeApplied,
    /// Only the shim that answered a session closes it.
    OwnerOnly,
    /// The other shim closes what is still there without a look at what the owner said it did.
    TakeoverBlind,
    /// The other shim looks at the entries that the owner acknowledged, not at its presence: after a gap or in another epoch it closes
    /// what the owner has rechecked.
    GapNotVouchedFor,
    /// A kick that no answer came to is given up.
    GivenUp,
    /// "No such client" ends it for a leaf node too.
    LeafLikeClient,
    /// What CONNZ does not list is gone, even if it may have been inside its callout when CONNZ was asked.
    AbsenceBelievedEarly,
    /// A server that does not answer CONNZ has no sessions.
    SilenceIsGone,
    /// A CONNZ that the server does not answer counts as having looked.
    SilenceIsReconciled,
    /// An announced entry is applied, and the position taken from it, without looking whether it follows the one applied last.
    GapIgnored,
    /// A reader who finds that what follows was trimmed goes on as if he had read it.
    TrimmedGapIgnored,
    /// Another epoch is followed as if it were the same.
    EpochIgnored,
    /// A shim that starts takes the log's end for its position and reads nothing of what is before.
    LogReadFromEnd,
    /// After a gap or in another epoch the sessions are closed, and nobody asks what they would get now.
    ClosedUnasked,
    /// A session whose `as_of` is of an epoch the shim has not come to yet is closed as not comparable.
    UnknownEpochClosed,
    /// A session that a recheck spared counts as valid as of what the decision service had read, be it past what the shim has taken in.
    SparedPastKick,
    /// After a gap or in another epoch the sessions are rechecked, and that is all: what the log still holds of what was missed is not
    /// carried out.
    MissedOnlyRechecked,
    /// In another epoch all that the log holds is carried out, what this shim had taken in before too.
    TakenInTwice,
    /// The user JWT's name does not say `as_of`: a session that is found counts as new.
    AsOfNotInName,
    /// A session that is found is held against entries applied from then on, not against those applied before.
    FoundNotJudged,
    /// An entry that names no principal is not held against a session of which only the name is known.
    FoundConcernsUnknown,
    /// A shim believes its own answer even where the server has another's.
    OwnAnswerBelieved,
    /// Sessions are known from events alone; nobody asks CONNZ.
    EventsOnly,
    /// A DISCONNECT is matched by the client's id alone, without the server's.
    ClientIdAlone,
    /// An entry is acknowledged when it is applied, before the kicks have succeeded.
    AcknowledgedEarly,
    /// An entry is acknowledged when the shim's own sessions are closed, whatever is left of others'.
    OthersNotPending,
    /// A shim that has just started acknowledges before it has looked what sessions there are.
    AcknowledgedUnreconciled,
    /// An acknowledgement stands, although a session that it should have covered is found later.
    NotWithdrawn,
    /// A crashed shim stops being waited for before the others have looked for what it left.
    PresenceTooShort,
    /// A shim that vanished without having acknowledged is not waited for any more, although nobody runs who has looked for what it left.
    VanishedForgiven,
    /// The same, and a cluster with no shim present has nothing left to acknowledge.
    NobodyIsEverybody,
    /// "No such client" counts as a session closed.
    GoneCountsAsClosed,
    /// The decision service stamps a grant with what it has applied when it answers, not with what its facts were validated at.
    StampedLate,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Self; 37] = [
        Self::RegisteredOnceConnected,
        Self::NoMinRevision,
        Self::NotAskedAgain,
        Self::RecheckNotAskedAgain,
        Self::LookedUpBeforeApplied,
        Self::OwnerOnly,
        Self::TakeoverBlind,
        Self::GapNotVouchedFor,
        Self::GivenUp,
        Self::LeafLikeClient,
        Self::AbsenceBelievedEarly,
        Self::SilenceIsGone,
        Self::SilenceIsReconciled,
        Self::GapIgnored,
        Self::TrimmedGapIgnored,
        Self::EpochIgnored,
        Self::LogReadFromEnd,
        Self::ClosedUnasked,
        Self::UnknownEpochClosed,
        Self::SparedPastKick,
        Self::MissedOnlyRechecked,
        Self::TakenInTwice,
        Self::AsOfNotInName,
        Self::FoundNotJudged,
        Self::FoundConcernsUnknown,
        Self::OwnAnswerBelieved,
        Self::EventsOnly,
        Self::ClientIdAlone,
        Self::AcknowledgedEarly,
        Self::OthersNotPending,
        Self::AcknowledgedUnreconciled,
        Self::NotWithdrawn,
        Self::PresenceTooShort,
        Self::VanishedForgiven,
        Self::NobodyIsEverybody,
        Self::GoneCountsAsClosed,
        Self::StampedLate,
    ];
}
