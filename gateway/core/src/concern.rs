//! What a fact is about and what a log entry touches: where the two share a [`Concern`], the entry voids older facts.

use sha2::{Digest, Sha256};

use crate::membership::Membership;
use crate::principal::Principal;

/// Something facts are about: a principal, a resource, a provider, one token. A digest, so that it may be kept by the
/// million and tells nobody anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Concern([u8; 16]);

impl Concern {
    /// Everything there is: every fact has this concern, whether it says so or not.
    pub const EVERYTHING: Self = Self([0; 16]);

    /// Any claim that may name a resource or a role. Every cached fact that holds a provider's claims has this concern:
    /// which of its claims are memberships shows only later, so a revoked resource or role voids them all.
    pub const CLAIMS: Self = Self([1; 16]);

    fn new(kind: &str, parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in std::iter::once(&kind).chain(parts) {
            // The length first, so that no two lists of parts read the same.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Self::shortened(&hash.finalize())
    }

    fn shortened(digest: &[u8]) -> Self {
        let mut short = [0; 16];
        for (to, from) in short.iter_mut().zip(digest) {
            *to = *from;
        }
        Self(short)
    }

    /// All that is known of one principal.
    pub fn principal(principal: &Principal) -> Self {
        Self::new("principal", &[&principal.issuer, &principal.subject])
    }

    /// All that membership sources know of one principal. Its identity stays: a membership given or taken does not make
    /// a token older.
    pub fn memberships_of(principal: &Principal) -> Self {
        Self::new("memberships_of", &[&principal.issuer, &principal.subject])
    }

    /// All claims about one principal that a provider was asked for.
    pub fn claims_of(principal: &Principal) -> Self {
        Self::new("claims_of", &[&principal.issuer, &principal.subject])
    }

    /// One principal's memberships in one resource, as a claim may have them.
    pub fn member(principal: &Principal, kind: &str, id: &str) -> Self {
        Self::new("member", &[&principal.issuer, &principal.subject, kind, id])
    }

    /// All memberships in one resource.
    pub fn resource(kind: &str, id: &str) -> Self {
        Self::new("resource", &[kind, id])
    }

    /// All memberships of one role.
    pub fn role(kind: &str, role: &str) -> Self {
        Self::new("role", &[kind, role])
    }

    /// All that one issuer vouches for.
    pub fn provider(issuer: &str) -> Self {
        Self::new("provider", &[issuer])
    }

    /// All that one signing key vouches for.
    pub fn signing_key(issuer: &str, key_id: &str) -> Self {
        Self::new("signing_key", &[issuer, key_id])
    }

    /// One token, by its `jti`.
    pub fn token(issuer: &str, token_id: &str) -> Self {
        Self::new("token", &[issuer, token_id])
    }

    /// One session at the provider, by its `sid`.
    pub fn provider_session(issuer: &str, session_id: &str) -> Self {
        Self::new("provider_session", &[issuer, session_id])
    }

    /// All that one policy rule gives.
    pub fn rule(name: &str) -> Self {
        Self::new("rule", &[name])
    }

    /// All sessions in one NATS account, by the name policies have for it.
    pub fn account(name: &str) -> Self {
        Self::new("account", &[name])
    }

    /// Which bans there are on what has the concern `banned`.
    pub fn ban_on(banned: &Self) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"ban on");
        hash.update(banned.0);
        Self::shortened(&hash.finalize())
    }

    /// Its bytes, as they stand in a grant.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The concern of these bytes, which came out of a grant.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// What a membership is about: its resource, and its role.
    pub fn membership(membership: &Membership) -> [Self; 2] {
        [
            Self::resource(&membership.kind, &membership.id),
            Self::role(&membership.kind, &membership.role),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concerns_differ_by_kind_and_by_every_part() {
        let all = [
            Concern::EVERYTHING,
            Concern::CLAIMS,
            Concern::principal(&Principal::new("a", "bc")),
            Concern::principal(&Principal::new("ab", "c")),
            Concern::memberships_of(&Principal::new("a", "bc")),
            Concern::claims_of(&Principal::new("a", "bc")),
            Concern::member(&Principal::new("a", "b"), "c", ""),
            Concern::resource("a", "bc"),
            Concern::role("a", "bc"),
            Concern::token("a", "bc"),
            Concern::provider_session("a", "bc"),
            Concern::signing_key("a", "bc"),
            Concern::provider("abc"),
            Concern::rule("abc"),
            Concern::account("abc"),
            Concern::ban_on(&Concern::account("abc")),
        ];
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }
}
