//! How large a world is explored: how often things may happen that could happen for ever.

/// How often things may happen. What is not here may happen as often as it likes, since the states it leads to are finite:
/// ticks, fetches, lost answers, retries, crashes of instances, the passing of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// How often the truth changes; each change is followed by a revocation.
    pub versions: u8,
    /// How many entries are appended that concern other facts.
    pub others: u8,
    /// How often the primary is lost and its replica promoted. With any, a revocation returns only after the replica has it.
    pub failovers: u8,
    /// How often the primary is set back to an older snapshot, or emptied.
    pub restores: u8,
    /// How many entries the log trims.
    pub trims: u8,
    /// Whether `max_lag` passes without a tick, so that positions are not confirmed any more.
    pub silences: bool,
    /// Whether the source lags behind the truth, as it declared that it may.
    pub lag: bool,
    /// Whether claims of a token are believed that was issued before anything was revoked.
    pub tokens: bool,
    /// Whether instances crash and come back.
    pub crashes: bool,
}
