//! The question about a token, and the answer as it may be kept.

use std::fmt;
use std::time::SystemTime;

use natsgate_core::clock::{from_unix_seconds, unix_seconds};
use natsgate_core::{Concern, Evidence, Fact, Identity, Principal};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::claim_path;

/// A token that a provider is asked about, and what is known of it already. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct TokenQuery {
    token: SecretString,
    known: Known,
}

/// What a verified token says of itself.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    subject: Option<String>,
    token_id: Option<String>,
    session_id: Option<String>,
    key_id: Option<String>,
    expires_at: Option<i64>,
}

impl fmt::Debug for TokenQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenQuery")
    }
}

impl TokenQuery {
    /// A token of which nothing is known.
    pub(crate) fn opaque(token: SecretString) -> Self {
        Self {
            token,
            known: Known::default(),
        }
    }

    /// The token that `identity` was found by.
    pub(crate) fn of(token: SecretString, identity: &Identity) -> Self {
        let text = |claim: &str| {
            identity
                .claims
                .get(claim)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let key_id = match &identity.evidence {
            Evidence::SignedToken { key_id } => key_id.clone(),
            Evidence::Online | Evidence::Certificate => None,
        };
        Self {
            token,
            known: Known {
                subject: Some(identity.principal.subject.clone()),
                token_id: text("jti"),
                session_id: text("sid"),
                key_id,
                expires_at: Some(unix_seconds(identity.expires_at)),
            },
        }
    }

    pub(super) fn token(&self) -> &SecretString {
        &self.token
    }

    pub(super) fn concerns(&self, issuer: &str) -> Vec<Concern> {
        self.known.concerns(issuer)
    }

    /// What is known of the token, for a cache key: what an answer is held against depends on it.
    pub(super) fn known(&self) -> [String; 4] {
        let known = &self.known;
        [&known.subject, &known.token_id, &known.session_id, &known.key_id].map(|text| match text {
            Some(text) => format!("+{text}"),
            None => String::new(),
        })
    }
}

impl Known {
    fn concerns(&self, issuer: &str) -> Vec<Concern> {
        // Any of the claims may be a membership, of whatever resource and role.
        let mut concerns = vec![Concern::provider(issuer), Concern::CLAIMS];
        if let Some(subject) = &self.subject {
            let principal = Principal::new(issuer, subject);
            concerns.extend([Concern::principal(&principal), Concern::claims_of(&principal)]);
        }
        concerns.extend(self.token_id.as_ref().map(|id| Concern::token(issuer, id)));
        concerns.extend(
            self.session_id
                .as_ref()
                .map(|id| Concern::provider_session(issuer, id)),
        );
        concerns.extend(self.key_id.as_ref().map(|id| Concern::signing_key(issuer, id)));
        concerns
    }
}

/// What a provider says of a token. `Debug` shows the names of the claims, not their values.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenAnswer {
    issuer: String,
    /// What the token says of itself.
    known: Known,
    /// What the answer says the token is.
    stated: Known,
    /// `None` if the token is not in force.
    claims: Option<Map<String, Value>>,
}

impl TokenAnswer {
    /// The answer of `issuer` to `query`: its claims, or `None` for a token that is not in force.
    pub(super) fn new(
        issuer: &str,
        subject_claim: &str,
        query: &TokenQuery,
        claims: Option<Map<String, Value>>,
    ) -> Self {
        let claims = claims.map(|mut claims| {
            // No value is the same as no claim.
            claims.retain(|_, value| !value.is_null());
            claims
        });
        let text = |claim: &str| {
            let claims = claims.as_ref()?;
            claim_path::find(claims, claim)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let expires_at = claims.as_ref().and_then(|claims| claims.get("exp"));
        let stated = Known {
            subject: text(subject_claim),
            token_id: text("jti"),
            session_id: text("sid"),
            key_id: None,
            expires_at: expires_at.and_then(Value::as_i64),
        };
        Self {
            issuer: issuer.to_owned(),
            known: query.known.clone(),
            stated,
            claims,
        }
    }

    /// What the provider says of the token and its owner; `None` if the token is not in force.
    pub fn claims(&self) -> Option<&Map<String, Value>> {
        self.claims.as_ref()
    }

    pub(crate) fn into_claims(self) -> Option<Map<String, Value>> {
        self.claims
    }
}

impl fmt::Debug for TokenAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self
            .claims
            .as_ref()
            .map(|claims| claims.keys().collect::<Vec<_>>());
        f.debug_struct("TokenAnswer")
            .field("issuer", &self.issuer)
            .field("claims", &names)
            .finish_non_exhaustive()
    }
}

impl Fact for TokenAnswer {
    const KIND: &'static str = "token_answer.1";

    fn concerns(&self) -> Vec<Concern> {
        let mut concerns = self.known.concerns(&self.issuer);
        concerns.extend(self.stated.concerns(&self.issuer));
        concerns.sort_unstable();
        concerns.dedup();
        concerns
    }

    fn is_negative(&self) -> bool {
        self.claims.is_none()
    }

    fn expires_at(&self) -> Option<SystemTime> {
        let times = [self.known.expires_at, self.stated.expires_at];
        times.into_iter().flatten().filter_map(from_unix_seconds).min()
    }
}
