//! An account's signing keys: plain, and scoped with a template.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use crate::body::or_default;
use crate::body::permissions::{NO_LIMIT, UserPermissionLimits};
use crate::body::unknown::Unknown;

/// The `kind` of a scoped signing key.
const USER_SCOPE: &str = "user_scope";

/// An entry of `signing_keys`.
#[derive(Debug, Clone, PartialEq)]
pub enum SigningKey {
    /// A public account key whose users bring their own permissions.
    Plain(String),
    /// One whose users get the template's, whatever they are.
    Scoped(Box<UserScope>),
    /// A kind that is not known here, kept as it is.
    Unknown(Value),
}

/// A scoped signing key (Go's `UserScope`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserScope {
    /// The public account key.
    pub key: String,
    /// A name for it.
    #[serde(default, deserialize_with = "or_default")]
    pub role: String,
    /// What its users may do. A limit that is absent means no limit here, and zero in a user JWT.
    #[serde(default = "UserPermissionLimits::unlimited", deserialize_with = "template")]
    pub template: UserPermissionLimits,
    /// For people.
    #[serde(default, deserialize_with = "or_default")]
    pub description: String,
    /// What else is there.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl SigningKey {
    /// A scoped signing key whose users get `template`.
    pub fn scoped(key: impl Into<String>, role: impl Into<String>, template: UserPermissionLimits) -> Self {
        Self::Scoped(Box::new(UserScope {
            key: key.into(),
            role: role.into(),
            template,
            description: String::new(),
            unknown: Unknown::default(),
        }))
    }

    /// The public key, where the kind is known.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Plain(key) => Some(key),
            Self::Scoped(scope) => Some(&scope.key),
            Self::Unknown(_) => None,
        }
    }
}

impl Serialize for SigningKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Kinded<'a> {
            kind: &'static str,
            #[serde(flatten)]
            scope: &'a UserScope,
        }
        match self {
            Self::Plain(key) => key.serialize(serializer),
            Self::Scoped(scope) => Kinded {
                kind: USER_SCOPE,
                scope,
            }
            .serialize(serializer),
            Self::Unknown(value) => value.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for SigningKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(key) => Ok(Self::Plain(key)),
            Value::Object(mut scope) if scope.get("kind").is_some_and(|kind| kind == USER_SCOPE) => {
                scope.remove("kind");
                let scope = UserScope::deserialize(Value::Object(scope)).map_err(de::Error::custom)?;
                Ok(Self::Scoped(Box::new(scope)))
            }
            other => Ok(Self::Unknown(other)),
        }
    }
}

/// Reads a template, in which a limit that is absent means no limit (Go's `NewUserScope`).
fn template<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UserPermissionLimits, D::Error> {
    let mut fields: Map<String, Value> = or_default(deserializer)?;
    for limit in ["subs", "data", "payload"] {
        let absent = fields.get(limit).is_none_or(Value::is_null);
        if absent {
            fields.insert(limit.to_owned(), NO_LIMIT.into());
        }
    }
    UserPermissionLimits::deserialize(Value::Object(fields)).map_err(de::Error::custom)
}
