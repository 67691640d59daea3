//! What can happen: one step of one part, and every fault.
//!
//! Nothing here serves a fact: in every state every instance is asked, and all that it could answer is held against the
//! [promises](crate::promises).

use crate::flaw::Flaw;
use crate::protocol::Protocol;
use crate::state::Who;

/// Which Redis a call reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    /// The primary.
    Primary,
    /// The one that was the primary before the last failover, and does not know better.
    Old,
}

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The backend changes the truth.
    ChangeTruth,
    /// The primary appends the revocation: entry, record and announcement at once. Or finds its record.
    Append,
    /// With [`Flaw::RecordApart`]: the primary writes the idempotency record.
    Record,
    /// The answer does not arrive, or whoever waited for it crashed: `Revoke` is called again, with the same key.
    LoseAnswer,
    /// `Revoke` returns: confirmed.
    Return,
    /// `Revoke` says that it is not confirmed, and is not called again.
    ReturnUnconfirmed,
    /// Somebody appends an entry about other facts.
    AppendOther,

    /// The replica gets what the primary has.
    Replicate,
    /// The replica is promoted; the primary goes on, cut off.
    FailOver,
    /// The primary writes a snapshot.
    SaveSnapshot,
    /// The primary restarts from its snapshot.
    Restore,
    /// The primary restarts with nothing.
    Empty,
    /// The primary drops its oldest entry.
    Trim,

    /// `max_lag` passes: everything until now is longer ago than that.
    MaxLagPasses,
    /// What the source lags behind at most passes.
    SourceLagPasses,

    /// An instance ticks; its answer is on the way. One that was under way is lost.
    Tick(Who, At),
    /// An instance gets its tick's answer, reads what it lacks, and has a confirmed position if nothing is in the way.
    FinishTick(Who, At),
    /// An instance reads the next entry, because it heard of it or for any other reason.
    Read(Who, At),
    /// With [`Flaw::GapIgnored`]: an instance hears of the last entry and applies it.
    Hear(Who),
    /// An instance appends one entry again that the epoch lost.
    AppendAgain(Who),
    /// An instance's position is not confirmed any more: its last tick began too long ago.
    Degrade(Who),
    /// An instance crashes and starts with nothing.
    Crash(Who),

    /// An instance begins a fetch, and the source answers.
    BeginFetch(Who),
    /// Somebody who asks for the same joins it.
    JoinFetch(Who),
    /// The fetch ends: its fact is kept in process.
    CompleteFetch(Who),
    /// What is kept in process is put into the shared cache.
    PutShared(Who),
    /// What the shared cache has is kept in process.
    TakeShared(Who),
}

/// All that could happen in some state; [`crate::step`] knows what can happen in this one.
pub fn conceivable(protocol: &Protocol, actions: &mut Vec<Action>) {
    let bounds = &protocol.bounds;
    actions.extend([
        Action::ChangeTruth,
        Action::Append,
        Action::LoseAnswer,
        Action::Return,
    ]);
    let mut when = |condition: bool, more: &[Action]| {
        if condition {
            actions.extend_from_slice(more);
        }
    };
    when(protocol.has(Flaw::RecordApart), &[Action::Record]);
    when(bounds.others > 0, &[Action::AppendOther]);
    when(
        bounds.failovers > 0,
        &[Action::ReturnUnconfirmed, Action::Replicate, Action::FailOver],
    );
    when(
        bounds.restores > 0,
        &[Action::SaveSnapshot, Action::Restore, Action::Empty],
    );
    when(bounds.trims > 0, &[Action::Trim]);
    when(bounds.silences, &[Action::MaxLagPasses]);
    when(bounds.lag, &[Action::SourceLagPasses]);
    for who in Who::BOTH {
        when(
            true,
            &[
                Action::Tick(who, At::Primary),
                Action::FinishTick(who, At::Primary),
                Action::Read(who, At::Primary),
                Action::BeginFetch(who),
                Action::JoinFetch(who),
                Action::CompleteFetch(who),
                Action::PutShared(who),
                Action::TakeShared(who),
            ],
        );
        when(
            bounds.failovers > 0,
            &[
                Action::Tick(who, At::Old),
                Action::FinishTick(who, At::Old),
                Action::Read(who, At::Old),
            ],
        );
        when(
            bounds.failovers + bounds.restores > 0,
            &[Action::AppendAgain(who)],
        );
        when(bounds.silences, &[Action::Degrade(who)]);
        when(bounds.crashes, &[Action::Crash(who)]);
        when(protocol.has(Flaw::GapIgnored), &[Action::Hear(who)]);
    }
}
