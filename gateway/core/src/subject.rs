//! NATS subjects and what may stand in one of their tokens.
//!
//! A subject is tokens joined by `.`; `*` matches one token, a final `>` matches one or more
//! (NATS protocol, "Subject-Based Messaging"). The server takes what a user JWT says; the checks here are ours.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest value that may become (part of) a subject token, in bytes.
pub const MAX_TOKEN_BYTES: usize = 256;

/// The longest subject a permission may name, in bytes. nats-server's control line is 4096 bytes by default.
pub const MAX_SUBJECT_BYTES: usize = 1024;

/// Why a value must not become part of a subject token. Does not hold the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnsafeToken {
    /// Nothing: the subject would have an empty token.
    #[error("it is empty")]
    Empty,
    /// A `.` would begin another token.
    #[error("it contains '.', which separates subject tokens")]
    Separator,
    /// A `*` or `>` would match more than the value's own token.
    #[error("it contains a wildcard, '*' or '>'")]
    Wildcard,
    /// White space ends a subject in the protocol.
    #[error("it contains white space")]
    Whitespace,
    /// A control character, NUL among them.
    #[error("it contains a control character")]
    Control,
    /// Longer than [`MAX_TOKEN_BYTES`].
    #[error("it is longer than 256 bytes")]
    TooLong,
    /// `$` or `_` at the head of a subject leads into `$SYS`, `$JS`, `_INBOX` and the like.
    #[error("it would begin the subject with '$' or '_', which NATS keeps for itself")]
    Reserved,
}

/// Checks that `value` stays within one subject token.
///
/// # Errors
/// The first reason it would not, as an [`UnsafeToken`].
pub fn check_token(value: &str) -> Result<(), UnsafeToken> {
    if value.is_empty() {
        return Err(UnsafeToken::Empty);
    }
    if value.len() > MAX_TOKEN_BYTES {
        return Err(UnsafeToken::TooLong);
    }
    for c in value.chars() {
        match c {
            '.' => return Err(UnsafeToken::Separator),
            '*' | '>' => return Err(UnsafeToken::Wildcard),
            _ if c.is_control() => return Err(UnsafeToken::Control),
            _ if c.is_whitespace() => return Err(UnsafeToken::Whitespace),
            _ => {}
        }
    }
    Ok(())
}

/// Checks a `value` that begins a subject's first token: it must also not lead into NATS' own subjects.
///
/// # Errors
/// As [`check_token`], and [`UnsafeToken::Reserved`].
pub fn check_first_token(value: &str) -> Result<(), UnsafeToken> {
    check_token(value)?;
    if value.starts_with(['$', '_']) {
        return Err(UnsafeToken::Reserved);
    }
    Ok(())
}

/// Why a text is not a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// No text at all.
    #[error("a subject must not be empty")]
    Empty,
    /// Two dots in a row, or one at an end.
    #[error("a subject must not have an empty token (two dots in a row, or one at an end)")]
    EmptyToken,
    /// `*` or `>` beside other characters of its token.
    #[error("'*' and '>' must stand alone in their token")]
    PartialWildcard,
    /// `>` before the last token.
    #[error("'>' must be the last token")]
    TailNotLast,
    /// White space or control characters.
    #[error("a subject must not contain white space or control characters")]
    BadCharacter,
    /// Longer than [`MAX_SUBJECT_BYTES`].
    #[error("a subject must not be longer than 1024 bytes")]
    TooLong,
}

/// A subject as a permission names it: valid tokens, wildcards allowed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subject(String);

impl Subject {
    /// Reads a subject.
    ///
    /// # Errors
    /// [`SubjectError`] says what is wrong with it.
    pub fn parse(text: impl Into<String>) -> Result<Self, SubjectError> {
        let text = text.into();
        if text.is_empty() {
            return Err(SubjectError::Empty);
        }
        if text.len() > MAX_SUBJECT_BYTES {
            return Err(SubjectError::TooLong);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(SubjectError::BadCharacter);
        }
        let mut tokens = text.split('.').peekable();
        while let Some(token) = tokens.next() {
            match token {
                "" => return Err(SubjectError::EmptyToken),
                ">" if tokens.peek().is_some() => return Err(SubjectError::TailNotLast),
                "*" | ">" => {}
                _ if token.contains(['*', '>']) => return Err(SubjectError::PartialWildcard),
                _ => {}
            }
        }
        Ok(Self(text))
    }

    /// The subject's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Subject {
    type Error = SubjectError;

    fn try_from(text: String) -> Result<Self, SubjectError> {
        Self::parse(text)
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        subject.0
    }
}

/// A queue group's name as a permission names it: the same form as a [`Subject`], wildcards allowed (`prod.*`).
pub type QueueGroup = Subject;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_read_or_refused() {
        for good in [
            "a",
            "a.b",
            "a.*.c",
            "a.>",
            ">",
            "*",
            "$JS.API.>",
            "_INBOX.x.>",
            "é.ü",
        ] {
            assert_eq!(Subject::parse(good).unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", SubjectError::Empty),
            (".", SubjectError::EmptyToken),
            ("a..b", SubjectError::EmptyToken),
            ("a.", SubjectError::EmptyToken),
            (">.a", SubjectError::TailNotLast),
            ("a*.b", SubjectError::PartialWildcard),
            ("a.b>", SubjectError::PartialWildcard),
            ("a b", SubjectError::BadCharacter),
            ("a\0", SubjectError::BadCharacter),
        ] {
            assert_eq!(Subject::parse(bad), Err(why), "{bad:?}");
        }
        assert_eq!(Subject::parse("a".repeat(1025)), Err(SubjectError::TooLong));
    }

    #[test]
    fn values_that_break_out_of_a_token_are_unsafe() {
        for good in ["apollo", "a-b_c", "42", "é", "a@b", "_x", "$x"] {
            assert_eq!(check_token(good), Ok(()), "{good:?}");
        }
        for (bad, why) in [
            ("", UnsafeToken::Empty),
            ("a.b", UnsafeToken::Separator),
            ("*", UnsafeToken::Wildcard),
            (">", UnsafeToken::Wildcard),
            ("a>", UnsafeToken::Wildcard),
            ("a b", UnsafeToken::Whitespace),
            ("a\u{a0}b", UnsafeToken::Whitespace),
            ("a\0b", UnsafeToken::Control),
            ("a\r\nPUB x", UnsafeToken::Control),
        ] {
            assert_eq!(check_token(bad), Err(why), "{bad:?}");
        }
        assert_eq!(check_token(&"x".repeat(257)), Err(UnsafeToken::TooLong));
        assert_eq!(check_first_token("$SYS"), Err(UnsafeToken::Reserved));
        assert_eq!(check_first_token("_INBOX"), Err(UnsafeToken::Reserved));
        assert_eq!(check_first_token("apollo"), Ok(()));
    }
}
