//! How large a world is explored: how often things may happen that could happen for ever.

/// How often things may happen, and which. What is not here may happen as often as it likes: questions and answers, lost and late kicks,
/// CONNZ, events heard, late or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// How many shims the cluster has, 1 or 2.
    pub shims: u8,
    /// How many connections are made, 2 at most.
    pub connections: u8,
    /// Whether they are leaf nodes, which KICK and CONNZ do not find inside their callout.
    pub leaves: bool,
    /// How often the truth changes; each change takes something away and is followed by a revocation.
    pub versions: u8,
    /// How many other entries are appended. With `rechecks` they touch the sessions and take nothing away; without, they touch others', which
    /// only somebody who knows all of a session can tell.
    pub others: u8,
    /// Whether it is asked first who loses anything by an entry (`Measure::Recheck`), or the sessions it touches are closed at once
    /// (`Measure::Kick`).
    pub rechecks: bool,
    /// With `rechecks`: revocations close the sessions they touch unasked all the same (`Measure::Kick`), and a recheck sees nothing of what
    /// they take away. Others' entries are looked at first, as before.
    pub kicks: bool,
    /// How often the log loses its end, any part of it or all, and begins a new epoch; 1 at most.
    pub failovers: u8,
    /// How many entries the log trims.
    pub trims: u8,
    /// How many shims crash and come back, each once.
    pub crashes: u8,
    /// Whether a request reaches both shims, as it does while one of them drains.
    pub twice: bool,
}
