//! A provider's key set (JWKS, RFC 7517): which of its keys may check which signature.

use std::fmt;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::aws_lc;
use serde::Deserialize;
use serde_json::Value;

use crate::algorithm::Algorithm;

/// How many keys are tried for one token: a rotation leaves two or three of a kind without `kid`, never dozens.
const MAX_TRIED: usize = 4;

/// The kind of a key: what the algorithm must fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Kind {
    fn fits(self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => self == Self::Rsa,
            Algorithm::ES256 => self == Self::P256,
            Algorithm::ES384 => self == Self::P384,
            Algorithm::EdDSA => self == Self::Ed25519,
        }
    }
}

/// A public key that may check signatures.
pub(crate) struct Key {
    kid: Option<String>,
    kind: Kind,
    /// The one algorithm the provider says it is for.
    algorithm: Option<Algorithm>,
    public: DecodingKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Key {
    /// The key's name, if it has one.
    pub(crate) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.kind.fits(algorithm) && self.algorithm.is_none_or(|only| only == algorithm)
    }

    /// Whether `signature` is this key's over `message`.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &str, signature: &[u8]) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        // Named outright: the crate's own choice of provider panics if two are compiled in.
        (aws_lc::DEFAULT_PROVIDER.verifier_factory)(&algorithm.to_jsonwebtoken(), &self.public)
            .is_ok_and(|verifier| verifier.verify(message.as_bytes(), &signature.to_vec()).is_ok())
    }
}

/// What a key set has for a token.
#[derive(Debug)]
pub(crate) enum Found {
    /// These keys may have signed it.
    Keys(Vec<Arc<Key>>),
    /// There is a key of that id, and it is not for that algorithm.
    Unfit,
    /// There is none.
    Nothing,
}

/// The usable keys of one provider.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    keys: Vec<Arc<Key>>,
}

/// A JWK as it stands in the document; only its public members.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads the document of provider `provider`. Keys that cannot check a signature are left out (RFC 7517 section 5),
    /// those that look as if they should with a warning.
    ///
    /// # Errors
    /// If it is not a key set at all, or has no key that can be used: a provider without keys is one that is out of order,
    /// and no token is denied for that.
    pub(crate) fn parse(document: &[u8], provider: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let document: Document = serde_json::from_slice(document)
            .map_err(|_| "the answer is not a key set (a JSON object with a list `keys`)".to_owned())?;
        let listed = document.keys.len();
        let mut keys = Vec::new();
        for (index, value) in document.keys.into_iter().enumerate() {
            match read(value) {
                Ok(Some(key)) => keys.push(Arc::new(key)),
                Ok(None) => {}
                Err(problem) => {
                    tracing::warn!(
                        provider,
                        index,
                        problem,
                        "a key of the provider's key set is ignored"
                    );
                }
            }
        }
        if keys.is_empty() {
            return Err(format!(
                "none of the {listed} keys in its key set can check a signature: look at the provider's signing keys"
            ));
        }
        Ok(Self { keys })
    }

    /// The number of usable keys.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The ids of those keys that have one.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(|key| key.kid.as_deref())
    }

    /// The keys for a token with this `kid` and algorithm. Without a `kid` every key that fits may have signed it.
    pub(crate) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Found {
        let named = |key: &&Arc<Key>| kid.is_none_or(|kid| key.kid.as_deref() == Some(kid));
        let keys: Vec<_> = self
            .keys
            .iter()
            .filter(named)
            .filter(|key| key.fits(algorithm))
            .take(MAX_TRIED)
            .cloned()
            .collect();
        if !keys.is_empty() {
            return Found::Keys(keys);
        }
        if kid.is_some() && self.keys.iter().any(|key| named(&key)) {
            return Found::Unfit;
        }
        Found::Nothing
    }
}

/// Reads one key: `None` for a key that is none of our business, an error for one that should have been usable.
fn read(value: Value) -> Result<Option<Key>, &'static str> {
    let jwk: Jwk = serde_json::from_value(value).map_err(|_| "it is not a JWK (RFC 7517 section 4)")?;
    if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return Ok(None);
    }
    if jwk
        .key_ops
        .as_ref()
        .is_some_and(|operations| !operations.iter().any(|o| o == "verify"))
    {
        return Ok(None);
    }
    let algorithm = match jwk.alg.as_deref().map(Algorithm::from_name) {
        None => None,
        Some(Ok(algorithm)) => Some(algorithm),
        // For encryption, symmetric, or of a kind that is not supported.
        Some(Err(_)) => return Ok(None),
    };
    let (kind, public) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => (Kind::Rsa, rsa(&jwk)?),
        ("EC", Some("P-256")) => (Kind::P256, elliptic(&jwk, 32)?),
        ("EC", Some("P-384")) => (Kind::P384, elliptic(&jwk, 48)?),
        ("OKP", Some("Ed25519")) => (
            Kind::Ed25519,
            DecodingKey::from_ed_der(&coordinate(jwk.x.as_ref(), 32)?),
        ),
        _ => return Ok(None),
    };
    if algorithm.is_some_and(|algorithm| !kind.fits(algorithm)) {
        return Err("its `alg` does not fit its `kty` and `crv`");
    }
    Ok(Some(Key {
        kid: jwk.kid,
        kind,
        algorithm,
        public,
    }))
}

fn decode(member: Option<&String>) -> Result<Vec<u8>, &'static str> {
    member
        .and_then(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok())
        .ok_or("a member of the key is missing or not base64url without padding")
}

fn rsa(jwk: &Jwk) -> Result<DecodingKey, &'static str> {
    let significant = |bytes: Vec<u8>| {
        bytes
            .into_iter()
            .skip_while(|byte| *byte == 0)
            .collect::<Vec<u8>>()
    };
    let modulus = significant(decode(jwk.n.as_ref())?);
    let exponent = significant(decode(jwk.e.as_ref())?);
    let spare = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = modulus.len().saturating_mul(8).saturating_sub(spare);
    match bits {
        2048..=8192 => Ok(DecodingKey::from_rsa_raw_components(&modulus, &exponent)),
        0..2048 => Err(
            "it is an RSA key of less than 2048 bits (RFC 7518 section 3.3): have the provider use a larger one",
        ),
        _ => Err("it is an RSA key of more than 8192 bits"),
    }
}

fn elliptic(jwk: &Jwk, bytes: usize) -> Result<DecodingKey, &'static str> {
    // The uncompressed point (SEC 1 section 2.3.3).
    let mut point = vec![0x04];
    point.extend(coordinate(jwk.x.as_ref(), bytes)?);
    point.extend(coordinate(jwk.y.as_ref(), bytes)?);
    Ok(DecodingKey::from_ec_der(&point))
}

fn coordinate(member: Option<&String>, bytes: usize) -> Result<Vec<u8>, &'static str> {
    Some(decode(member)?)
        .filter(|coordinate| coordinate.len() == bytes)
        .ok_or("a coordinate of the key has the wrong length")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::SigningKey;

    fn set(keys: Vec<Value>) -> KeySet {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes(), "corp").unwrap_or_default()
    }

    #[test]
    fn every_algorithm_verifies_with_its_own_key_and_no_other() {
        let keys: Vec<_> = Algorithm::ALL
            .into_iter()
            .map(|algorithm| SigningKey::shared(algorithm, algorithm.name()))
            .collect();
        let set = set(keys.iter().map(SigningKey::jwk).collect());
        for signer in &keys {
            let signature = signer.sign_bytes("message");
            for key in &set.keys {
                for algorithm in Algorithm::ALL {
                    let right = algorithm == signer.algorithm && key.kid.as_deref() == Some(algorithm.name());
                    // The RSA algorithms share one key here; its `alg` is what tells them apart.
                    assert_eq!(
                        key.verify(algorithm, "message", &signature),
                        right,
                        "{algorithm} by {key:?} of {}",
                        signer.algorithm
                    );
                }
                assert!(!key.verify(signer.algorithm, "massage", &signature));
            }
        }
    }

    #[test]
    fn a_key_is_found_by_id_and_must_fit_the_algorithm() {
        let set = set(vec![
            SigningKey::shared(Algorithm::RS256, "r").jwk(),
            SigningKey::shared(Algorithm::ES256, "e").jwk(),
        ]);
        assert!(matches!(set.find(Some("r"), Algorithm::RS256), Found::Keys(keys) if keys.len() == 1));
        assert!(matches!(set.find(Some("r"), Algorithm::PS256), Found::Unfit));
        assert!(matches!(set.find(Some("e"), Algorithm::RS256), Found::Unfit));
        assert!(matches!(set.find(Some("x"), Algorithm::RS256), Found::Nothing));
        assert!(matches!(set.find(None, Algorithm::ES256), Found::Keys(keys) if keys.len() == 1));
        assert!(matches!(set.find(None, Algorithm::ES384), Found::Nothing));
    }

    #[test]
    fn only_so_many_keys_are_tried_for_a_token_without_an_id() {
        let key = SigningKey::shared(Algorithm::ES256, "e").jwk();
        let set = set(vec![key; 50]);
        assert!(matches!(set.find(None, Algorithm::ES256), Found::Keys(keys) if keys.len() == MAX_TRIED));
    }

    #[test]
    fn keys_that_must_not_verify_are_left_out() {
        let good = SigningKey::shared(Algorithm::ES256, "e").jwk();
        let with = |name: &str, value: Value| {
            let mut key = good.clone();
            key[name] = value;
            key
        };
        let weak = BASE64URL_NOPAD.encode(&[0xff; 128]);
        let hidden_weak = BASE64URL_NOPAD.encode(&[vec![0; 200], vec![0xff; 128]].concat());
        for key in [
            with("use", json!("enc")),
            with("key_ops", json!(["sign"])),
            with("key_ops", json!([])),
            with("alg", json!("RS256")),
            with("alg", json!("ES384")),
            with("alg", json!("HS256")),
            with("alg", json!("ECDH-ES")),
            with("crv", json!("P-384")),
            with("crv", json!("secp256k1")),
            with("kty", json!("RSA")),
            with("kty", json!(7)),
            with("x", json!("AA")),
            with("y", json!(null)),
            with("x", json!("!!")),
            json!({"kty": "oct", "kid": "e", "k": "c2VjcmV0"}),
            json!({"kty": "oct", "kid": "e", "alg": "ES256", "k": "c2VjcmV0"}),
            json!({"kty": "RSA", "kid": "e", "n": weak, "e": "AQAB"}),
            json!({"kty": "RSA", "kid": "e", "n": hidden_weak, "e": "AQAB"}),
            json!({"kty": "RSA", "kid": "e", "n": BASE64URL_NOPAD.encode(&[0xff; 1025]), "e": "AQAB"}),
            json!("text"),
            json!(null),
        ] {
            let set = set(vec![key.clone(), with("kid", json!("good"))]);
            assert_eq!(set.len(), 1, "{key}");
        }
        assert_eq!(
            set(vec![
                with("use", json!("sig")),
                with("key_ops", json!(["verify"]))
            ])
            .len(),
            2
        );
    }

    #[test]
    fn what_is_not_a_key_set_is_an_error_and_so_is_an_empty_one() {
        for bad in ["", "[]", "{}", "{\"keys\": {}}", "<html>", "null"] {
            assert!(KeySet::parse(bad.as_bytes(), "corp").is_err(), "{bad}");
        }
        for empty in ["{\"keys\":[]}", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}"] {
            let why = KeySet::parse(empty.as_bytes(), "corp").unwrap_err();
            assert!(why.contains("none of"), "{why}");
        }
    }
}
