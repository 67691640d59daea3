//! One signing key of the development provider: made at random, never written anywhere.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding,
    RsaKeyPair,
};
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use rand::RngCore;
use serde_json::{Value, json};

use crate::error::DevkitError;
use crate::oidc::algorithm::SigningAlgorithm;

/// A key pair for one algorithm.
pub(crate) struct ProviderKey {
    pub(crate) algorithm: SigningAlgorithm,
    pub(crate) id: String,
    pair: Pair,
}

enum Pair {
    Rsa(Box<RsaKeyPair>, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl ProviderKey {
    /// A new key: 2048 bits where it is RSA.
    pub(crate) fn generate(algorithm: SigningAlgorithm) -> Result<Self, DevkitError> {
        let rsa =
            |encoding| RsaKeyPair::generate(KeySize::Rsa2048).map(|pair| Pair::Rsa(Box::new(pair), encoding));
        let pair = match algorithm {
            SigningAlgorithm::Rs256 => rsa(&RSA_PKCS1_SHA256),
            SigningAlgorithm::Rs384 => rsa(&RSA_PKCS1_SHA384),
            SigningAlgorithm::Rs512 => rsa(&RSA_PKCS1_SHA512),
            SigningAlgorithm::Ps256 => rsa(&RSA_PSS_SHA256),
            SigningAlgorithm::Es256 => {
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map(Pair::Ecdsa)
            }
            SigningAlgorithm::Es384 => {
                EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).map(Pair::Ecdsa)
            }
            SigningAlgorithm::EdDsa => Ed25519KeyPair::generate().map(Pair::Ed25519),
        }
        .map_err(failed("make a signing key"))?;
        let mut random = [0_u8; 6];
        rand::rng().fill_bytes(&mut random);
        Ok(Self {
            algorithm,
            id: format!("{algorithm}-{}", HEXLOWER.encode(&random)),
            pair,
        })
    }

    /// The signature of `message`, as a JWS carries it.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, DevkitError> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature)
                    .map(|()| signature)
            }
            Pair::Ecdsa(pair) => pair
                .sign(&random, message)
                .map(|signature| signature.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
        .map_err(failed("sign a token"))
    }

    /// The public key as a JWK (RFC 7517).
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair, _) => json!({
                "kty": "RSA",
                "n": BASE64URL_NOPAD.encode(pair.public_key().modulus().big_endian_without_leading_zero()),
                "e": BASE64URL_NOPAD.encode(pair.public_key().exponent().big_endian_without_leading_zero()),
            }),
            Pair::Ecdsa(pair) => {
                // An uncompressed point: 4, then both coordinates.
                let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if self.algorithm == SigningAlgorithm::Es384 {
                    "P-384"
                } else {
                    "P-256"
                };
                json!({
                    "kty": "EC",
                    "crv": curve,
                    "x": BASE64URL_NOPAD.encode(x),
                    "y": BASE64URL_NOPAD.encode(y),
                })
            }
            Pair::Ed25519(pair) => json!({
                "kty": "OKP",
                "crv": "Ed25519",
                "x": BASE64URL_NOPAD.encode(pair.public_key().as_ref()),
            }),
        };
        if let Some(jwk) = jwk.as_object_mut() {
            jwk.insert("use".to_owned(), json!("sig"));
            jwk.insert("alg".to_owned(), json!(self.algorithm.as_str()));
            jwk.insert("kid".to_owned(), json!(self.id));
        }
        jwk
    }

    /// The public key as PEM: what an attacker would take as an HMAC secret.
    pub(crate) fn public_pem(&self) -> Result<String, DevkitError> {
        let der: Result<PublicKeyX509Der<'_>, _> = match &self.pair {
            Pair::Rsa(pair, _) => pair.public_key().as_der(),
            Pair::Ecdsa(pair) => pair.public_key().as_der(),
            Pair::Ed25519(pair) => pair.public_key().as_der(),
        };
        let text = BASE64.encode(der.map_err(failed("write a public key"))?.as_ref());
        let lines: Vec<String> = text
            .as_bytes()
            .chunks(64)
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        Ok(format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            lines.join("\n")
        ))
    }
}

fn failed(doing: &str) -> impl FnOnce(aws_lc_rs::error::Unspecified) -> DevkitError {
    let doing = doing.to_owned();
    move |source| DevkitError::Key {
        doing,
        source: Box::new(source),
    }
}
