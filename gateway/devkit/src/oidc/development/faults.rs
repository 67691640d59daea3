//! How the development provider misbehaves, and what it counts.

use std::time::Duration;

/// What endpoints do instead of answering properly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing of the kind: it answers properly.
    #[default]
    None,
    /// It answers this status with an empty body.
    Status(u16),
    /// It answers properly, so much later.
    Slow(Duration),
    /// It takes the request and answers only when the fault is changed, as the new one says.
    Hold,
    /// It answers 200 with this body, as JSON.
    Body(String),
    /// Introspection and userinfo answer properly, but for a `sub` that is this one. Others answer properly.
    WrongSubject(String),
    /// It answers properly, but for the media type, which is this one.
    MediaType(String),
}

/// How often each document has been asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fetches {
    /// The discovery document.
    pub discovery: usize,
    /// The key set.
    pub keys: usize,
    /// Tokens.
    pub tokens: usize,
    /// Introspection of a token.
    pub introspections: usize,
    /// Userinfo.
    pub userinfos: usize,
}
