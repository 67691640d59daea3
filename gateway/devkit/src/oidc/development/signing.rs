//! Keys of the development provider, and the tokens they sign, honest or not.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use rand::RngCore;
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::State;
use crate::error::DevkitError;
use crate::oidc::algorithm::SigningAlgorithm;
use crate::oidc::key::ProviderKey;
use crate::oidc::spec::{Signature, TokenSpec};

/// What the provider signs with, and what it publishes besides.
pub(super) struct Keys {
    signing: Vec<Arc<ProviderKey>>,
    retired: Vec<Arc<ProviderKey>>,
}

impl Keys {
    pub(super) fn generate(algorithms: &[SigningAlgorithm]) -> Result<Self, DevkitError> {
        if algorithms.is_empty() {
            return Err(DevkitError::Provider(
                "it needs at least one algorithm".to_owned(),
            ));
        }
        let signing = algorithms
            .iter()
            .map(|algorithm| ProviderKey::generate(*algorithm).map(Arc::new))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            signing,
            retired: Vec::new(),
        })
    }

    /// These keys in the place of `before`.
    pub(super) fn after(mut self, before: &Self, keep_old: bool) -> Self {
        if keep_old {
            self.retired = before.published().cloned().collect();
        }
        self
    }

    fn published(&self) -> impl Iterator<Item = &Arc<ProviderKey>> {
        self.signing.iter().chain(&self.retired)
    }

    pub(super) fn for_algorithm(&self, algorithm: Option<SigningAlgorithm>) -> Option<Arc<ProviderKey>> {
        self.signing
            .iter()
            .find(|key| algorithm.is_none_or(|wanted| key.algorithm == wanted))
            .cloned()
    }
}

impl State {
    /// The published key set.
    pub(super) fn key_set(&self) -> Value {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        json!({ "keys": keys.published().map(|key| key.jwk()).collect::<Vec<_>>() })
    }

    pub(super) fn issue(&self, spec: TokenSpec) -> Result<SecretString, DevkitError> {
        let key = self
            .keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .for_algorithm(spec.algorithm);
        let key = key.ok_or_else(|| {
            DevkitError::Provider("it was started without a key for that algorithm".to_owned())
        })?;
        let algorithm = match spec.signature {
            Signature::Honest | Signature::Forged => key.algorithm.as_str(),
            Signature::None => "none",
            Signature::HmacWithPublicKey => "HS256",
        };
        let header = overlaid(
            json!({ "typ": "at+jwt", "alg": algorithm, "kid": key.id }),
            spec.header,
        );

        let claims = self.claims(spec.ttl, spec.claims);

        let part =
            |value: Map<String, Value>| BASE64URL_NOPAD.encode(Value::Object(value).to_string().as_bytes());
        let message = format!("{}.{}", part(header), part(claims.clone()));
        let signature = match spec.signature {
            Signature::Honest => key.sign(message.as_bytes())?,
            Signature::Forged => ProviderKey::generate(key.algorithm)?.sign(message.as_bytes())?,
            Signature::None => Vec::new(),
            Signature::HmacWithPublicKey => {
                let secret = hmac::Key::new(hmac::HMAC_SHA256, key.public_pem()?.as_bytes());
                hmac::sign(&secret, message.as_bytes()).as_ref().to_vec()
            }
        };
        let token = SecretString::from(format!("{message}.{}", BASE64URL_NOPAD.encode(&signature)));
        if spec.signature == Signature::Honest {
            self.issued.add(&token, claims);
        }
        Ok(token)
    }

    pub(super) fn issue_opaque(&self, spec: TokenSpec) -> SecretString {
        let mut random = [0_u8; 32];
        rand::rng().fill_bytes(&mut random);
        let token = SecretString::from(BASE64URL_NOPAD.encode(&random));
        self.issued.add(&token, self.claims(spec.ttl, spec.claims));
        token
    }

    /// The claims of a token issued now.
    fn claims(&self, ttl: Option<Duration>, more: Map<String, Value>) -> Map<String, Value> {
        let now = self.clock.unix_seconds();
        let ttl = i64::try_from(ttl.unwrap_or(self.ttl).as_secs()).unwrap_or(i64::MAX);
        let mut id = [0_u8; 12];
        rand::rng().fill_bytes(&mut id);
        let claims = json!({
            "iss": self.issuer,
            "aud": self.audience,
            "iat": now,
            "exp": now.saturating_add(ttl),
            "jti": HEXLOWER.encode(&id),
        });
        overlaid(claims, more)
    }
}

/// `base` with `over` laid over it; `null` takes away.
fn overlaid(base: Value, over: Map<String, Value>) -> Map<String, Value> {
    let mut merged = match base {
        Value::Object(base) => base,
        _ => Map::new(),
    };
    merged.extend(over);
    merged.retain(|_, value| !value.is_null());
    merged
}
