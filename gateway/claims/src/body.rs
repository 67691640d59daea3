//! What each kind of NATS JWT holds under `nats`.
//!
//! Field by field as `github.com/nats-io/jwt/v2` writes them: absent, `null`, zero and empty are one and the same
//! there, and are so here. Fields that are not known are passed over; in account and operator JWTs, which are edited
//! and signed again, they are kept.

pub(crate) mod account;
pub(crate) mod authorization;
mod from_grant;
pub(crate) mod operator;
pub(crate) mod permissions;
pub(crate) mod unknown;
pub(crate) mod user;

use serde::{Deserialize, Deserializer};

/// Reads `null` as nothing, as Go does.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads an empty text as none, as Go does.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

pub(crate) fn is_empty_text(text: &Option<String>) -> bool {
    text.as_deref().is_none_or(str::is_empty)
}
