//! What the revocation log says: that facts of before do not count any more, for whom, and why.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::ban::BanScope;
use crate::concern::Concern;
use crate::membership::Membership;
use crate::principal::Principal;
use crate::revision::Revision;
use crate::revocation_log::Idempotency;

/// Whom or what a revocation concerns.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Selector {
    /// One principal, in everything.
    Principal {
        /// Who.
        principal: Principal,
    },
    /// One principal's memberships in one resource.
    Membership {
        /// Who.
        principal: Principal,
        /// The kind of resource.
        kind: String,
        /// The resource's id.
        id: String,
    },
    /// A whole resource: everybody's memberships in it.
    Resource {
        /// The kind of resource.
        kind: String,
        /// The resource's id.
        id: String,
    },
    /// A role in every resource of a kind.
    Role {
        /// The kind of resource.
        kind: String,
        /// The role.
        role: String,
    },
    /// What one policy rule gives.
    Rule {
        /// The rule's name.
        name: String,
    },
    /// One session.
    Session {
        /// The nats-server's id.
        server_id: String,
        /// The client's id on that server.
        client_id: u64,
    },
    /// Every session of a NATS account.
    Account {
        /// The account, by the name policies have for it.
        name: String,
    },
    /// Everything one provider vouches for.
    Provider {
        /// Its issuer.
        issuer: String,
    },
    /// Everything one of a provider's keys signed.
    SigningKey {
        /// The provider's issuer.
        issuer: String,
        /// The key's `kid`.
        key_id: String,
    },
    /// One token.
    Token {
        /// The provider's issuer.
        issuer: String,
        /// The token's `jti`.
        token_id: String,
    },
    /// One session at the provider.
    ProviderSession {
        /// The provider's issuer.
        issuer: String,
        /// The session's `sid`.
        session_id: String,
    },
}

/// What one entry of the log says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Change {
    /// Something was revoked.
    Revoked {
        /// Whom or what it concerns.
        selector: Selector,
        /// Why, in the words of whoever revoked.
        reason: String,
        /// Who revoked: a caller's name.
        actor: String,
        /// How fast live sessions are closed.
        #[serde(default, skip_serializing_if = "Pace::is_immediate")]
        pace: Pace,
        /// The ban that came with it: whom decisions refuse from now on, under the entry's own [`EntryId`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ban: Option<BanScope>,
    },
    /// A ban was lifted before its time.
    BanLifted {
        /// Which: the name of the entry that imposed it.
        ban: EntryId,
        /// Whom or what it was about.
        selector: Selector,
        /// Why, in the words of whoever lifted it.
        reason: String,
        /// Who lifted it: a caller's name.
        actor: String,
    },
    /// Memberships of one principal were given or taken at their source.
    MembershipsChanged {
        /// Whose.
        principal: Principal,
        /// Those given.
        given: Vec<Membership>,
        /// Those taken.
        taken: Vec<Membership>,
        /// Who changed them: a caller's name.
        actor: String,
    },
    /// Another policy is in force.
    PolicyChanged {
        /// Which, and how new.
        policy: PolicyGeneration,
    },
}

/// How fast the sessions that a revocation concerns are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// At once: somebody must not be there any more.
    #[default]
    Immediate,
    /// Spread over this time, so that clients which come back do not all come at once: for housekeeping.
    Spread {
        /// The time, in whole milliseconds.
        #[serde(with = "crate::revocation::millis")]
        over: Duration,
    },
}

impl Pace {
    /// Whether nothing is waited for.
    pub fn is_immediate(&self) -> bool {
        *self == Self::Immediate
    }
}

/// Durations as whole milliseconds.
pub(crate) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// A policy, and how new it is. Of two the one of the higher generation is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyGeneration {
    /// Counts up with every change.
    pub generation: u64,
    /// The policy's digest.
    pub digest: String,
}

impl Change {
    /// `selector` is revoked by `actor` for `reason`: at once, and without a ban.
    pub fn revoked(selector: Selector, reason: impl Into<String>, actor: impl Into<String>) -> Self {
        Self::Revoked {
            selector,
            reason: reason.into(),
            actor: actor.into(),
            pace: Pace::Immediate,
            ban: None,
        }
    }

    /// What facts must not be older than this entry to count. Empty where only sessions are concerned.
    ///
    /// One membership of a principal given or taken concerns everything that sources know of the principal's memberships:
    /// an answer that says "none" names no resource. Which facts have which concerns:
    /// - memberships: [`Concern::principal`], [`Concern::memberships_of`], [`Concern::membership`] of each;
    /// - what a provider said when asked: those of [`Identity::concerns`](crate::Identity::concerns),
    ///   [`Concern::claims_of`], [`Concern::CLAIMS`];
    /// - memberships read from a token's claims: [`Concern::membership`] and [`Concern::member`] of each.
    pub fn concerns(&self) -> Vec<Concern> {
        match self {
            Self::MembershipsChanged { principal, .. } => vec![Concern::memberships_of(principal)],
            Self::PolicyChanged { .. } => Vec::new(),
            Self::BanLifted { selector, .. } => selector.ban_concern().into_iter().collect(),
            Self::Revoked { selector, ban, .. } => {
                let mut concerns = selector.fact_concerns();
                if ban.is_some() {
                    concerns.extend(selector.ban_concern());
                }
                concerns
            }
        }
    }
}

impl Selector {
    /// What facts a revocation of it voids; see [`Change::concerns`].
    fn fact_concerns(&self) -> Vec<Concern> {
        match self {
            Selector::Principal { principal } => vec![Concern::principal(principal)],
            Selector::Membership { principal, kind, id } => vec![
                Concern::memberships_of(principal),
                Concern::claims_of(principal),
                Concern::member(principal, kind, id),
            ],
            Selector::Resource { kind, id } => vec![Concern::resource(kind, id), Concern::CLAIMS],
            Selector::Role { kind, role } => vec![Concern::role(kind, role), Concern::CLAIMS],
            Selector::Provider { issuer } => vec![Concern::provider(issuer)],
            Selector::SigningKey { issuer, key_id } => vec![Concern::signing_key(issuer, key_id)],
            Selector::Token { issuer, token_id } => vec![Concern::token(issuer, token_id)],
            Selector::ProviderSession { issuer, session_id } => {
                vec![Concern::provider_session(issuer, session_id)]
            }
            Selector::Rule { .. } | Selector::Session { .. } | Selector::Account { .. } => Vec::new(),
        }
    }

    /// Its kind, as it is written: `principal`, `signing_key`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Principal { .. } => "principal",
            Self::Membership { .. } => "membership",
            Self::Resource { .. } => "resource",
            Self::Role { .. } => "role",
            Self::Rule { .. } => "rule",
            Self::Session { .. } => "session",
            Self::Account { .. } => "account",
            Self::Provider { .. } => "provider",
            Self::SigningKey { .. } => "signing_key",
            Self::Token { .. } => "token",
            Self::ProviderSession { .. } => "provider_session",
        }
    }

    /// What a session must be about for a revocation of this to concern it. `None` for one session, which is named by
    /// its server and client id.
    pub fn session_concern(&self) -> Option<Concern> {
        Some(match self {
            Self::Principal { principal } => Concern::principal(principal),
            Self::Membership { principal, kind, id } => Concern::member(principal, kind, id),
            Self::Resource { kind, id } => Concern::resource(kind, id),
            Self::Role { kind, role } => Concern::role(kind, role),
            Self::Rule { name } => Concern::rule(name),
            Self::Session { .. } => return None,
            Self::Account { name } => Concern::account(name),
            Self::Provider { issuer } => Concern::provider(issuer),
            Self::SigningKey { issuer, key_id } => Concern::signing_key(issuer, key_id),
            Self::Token { issuer, token_id } => Concern::token(issuer, token_id),
            Self::ProviderSession { issuer, session_id } => Concern::provider_session(issuer, session_id),
        })
    }

    /// What bans on it are looked up by; `None` for what cannot be banned: memberships, resources, roles and rules are
    /// changed where they are known, and a session never comes back.
    pub fn ban_concern(&self) -> Option<Concern> {
        match self {
            Self::Principal { .. }
            | Self::Account { .. }
            | Self::Provider { .. }
            | Self::SigningKey { .. }
            | Self::Token { .. }
            | Self::ProviderSession { .. } => self.session_concern().map(|concern| Concern::ban_on(&concern)),
            Self::Membership { .. }
            | Self::Resource { .. }
            | Self::Role { .. }
            | Self::Rule { .. }
            | Self::Session { .. } => None,
        }
    }

    /// The one principal it is about, if it is about one.
    pub fn principal(&self) -> Option<&Principal> {
        match self {
            Self::Principal { principal } | Self::Membership { principal, .. } => Some(principal),
            _ => None,
        }
    }
}

/// Names one entry, wherever in whatever epoch it stands: 16 random bytes, so that one which is appended again is known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EntryId(pub [u8; 16]);

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryId({self})")
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::BASE32_NOPAD.encode(&self.0).to_ascii_lowercase())
    }
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its name.
    pub id: EntryId,
    /// Where it stands.
    pub revision: Revision,
    /// The sequence of the entry before it; 0 for the first. A reader who has not applied that one has a gap.
    pub predecessor: u64,
    /// When it was made, by its maker's clock.
    pub at: SystemTime,
    /// What it says.
    pub change: Change,
    /// What made its append happen once: whoever appends it again after a loss of the log gives it along, so that
    /// the caller's own repetition is still known.
    pub idempotency: Option<Idempotency>,
}
