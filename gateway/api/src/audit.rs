//! What every audit event has: its target, and texts of others kept short.

/// The target of audit events, so that a collector can keep them apart from the log.
pub const TARGET: &str = "natsgate::audit";

/// The longest text of others in an event, in characters.
const LONGEST: usize = 256;

/// The head of `text`.
pub fn short(text: &str) -> &str {
    text.char_indices()
        .nth(LONGEST)
        .and_then(|(end, _)| text.get(..end))
        .unwrap_or(text)
}
