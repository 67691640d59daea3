//! What a decision is made from.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::time::SystemTime;

use natsgate_core::{Connection, Identity, Membership};
use serde_json::Value;

use crate::template::Variable;

/// Everything a policy may look at. Nothing else (no clock, no network, no file) has a say in a decision.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Who it is: a verified identity.
    pub identity: &'a Identity,
    /// What they belong to, of all sources together. Order and repetitions do not matter.
    pub memberships: &'a [Membership],
    /// The connection they ask to open.
    pub connection: &'a Connection,
    /// The time of the decision.
    pub now: SystemTime,
}

/// Why a value cannot stand in a subject, whatever it contains. Does not hold the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Missing {
    /// No such claim.
    #[error("is not there")]
    Absent,
    /// A claim of another type.
    #[error("is {0}, and only strings and integers can stand in a subject")]
    WrongType(&'static str),
}

/// The facts as a template sees them: with the membership at hand, if any.
pub(crate) struct Values<'a> {
    facts: Facts<'a>,
    membership: Option<&'a Membership>,
    digest: &'a OnceCell<String>,
}

impl<'a> Values<'a> {
    /// The values for one evaluation of a rule. `digest` keeps the principal's digest from one to the next.
    pub(crate) fn new(
        facts: Facts<'a>,
        membership: Option<&'a Membership>,
        digest: &'a OnceCell<String>,
    ) -> Self {
        Self {
            facts,
            membership,
            digest,
        }
    }

    /// The value of `variable` as text, unchecked.
    pub(crate) fn get(&self, variable: &Variable) -> Result<Cow<'a, str>, Missing> {
        let principal = &self.facts.identity.principal;
        let connection = self.facts.connection;
        let membership = |pick: fn(&Membership) -> &String| {
            self.membership
                .map(|m| Cow::Borrowed(pick(m).as_str()))
                .ok_or(Missing::Absent)
        };
        match variable {
            Variable::PrincipalIssuer => Ok(Cow::Borrowed(&principal.issuer)),
            Variable::PrincipalSubject => Ok(Cow::Borrowed(&principal.subject)),
            Variable::PrincipalDigest => Ok(Cow::Borrowed(self.digest.get_or_init(|| principal.digest()))),
            Variable::Provider => Ok(Cow::Borrowed(&self.facts.identity.provider)),
            Variable::MembershipKind => membership(|m| &m.kind),
            Variable::MembershipId => membership(|m| &m.id),
            Variable::MembershipRole => membership(|m| &m.role),
            Variable::ConnectionCluster => Ok(Cow::Borrowed(&connection.cluster)),
            Variable::ConnectionServerName => Ok(Cow::Borrowed(&connection.server_name)),
            Variable::ConnectionUserNkey => Ok(Cow::Borrowed(&connection.user_nkey)),
            Variable::ConnectionClientId => Ok(Cow::Owned(connection.client_id.to_string())),
            Variable::Claim(path) => claim(&self.facts.identity.claims, path),
        }
    }
}

/// The claim at `path` as text.
fn claim<'a>(claims: &'a serde_json::Map<String, Value>, path: &[String]) -> Result<Cow<'a, str>, Missing> {
    let (first, rest) = path.split_first().ok_or(Missing::Absent)?;
    let mut value = claims.get(first).ok_or(Missing::Absent)?;
    for name in rest {
        value = value
            .as_object()
            .and_then(|map| map.get(name))
            .ok_or(Missing::Absent)?;
    }
    match value {
        Value::String(text) => Ok(Cow::Borrowed(text)),
        Value::Number(number) if number.is_i64() || number.is_u64() => Ok(Cow::Owned(number.to_string())),
        Value::Number(_) => Err(Missing::WrongType("a number with a fraction")),
        Value::Null => Err(Missing::WrongType("null")),
        Value::Bool(_) => Err(Missing::WrongType("a boolean")),
        Value::Array(_) => Err(Missing::WrongType("a list")),
        Value::Object(_) => Err(Missing::WrongType("an object")),
    }
}
