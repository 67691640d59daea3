//! Signing claims.

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use serde::Serialize;
use sha2::{Digest, Sha512_256};

use crate::claims::{
    ALGORITHM, ClaimsBody, ClaimsToSign, Envelope, Inconsistency, MAX_TOKEN_BYTES, Standard, VERSION,
};
use crate::nkey::{self, KeyError, KeyPair};
use crate::role::Role;

/// Why claims were not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The signer's key is not one that may sign this kind of JWT.
    #[error("signing a JWT of type {kind}: {found} key cannot sign it; sign with the key of: {}", any_of(.allowed))]
    SignerRole {
        /// The type of JWT.
        kind: &'static str,
        /// The role of the signer, with its article.
        found: &'static str,
        /// The roles that may sign.
        allowed: &'static [Role],
    },
    /// `sub` is not a public key of the role this kind of JWT is about.
    #[error("signing a JWT of type {kind}: its subject: {cause}")]
    Subject {
        /// The type of JWT.
        kind: &'static str,
        /// What the subject is instead.
        cause: KeyError,
    },
    /// It must expire, or be for a certain audience, or something in the body does not fit.
    #[error("signing a JWT of type {kind}: {cause}")]
    Inconsistent {
        /// The type of JWT.
        kind: &'static str,
        /// What does not fit.
        cause: Inconsistency,
    },
    /// Larger than a nats-server reads.
    #[error(
        "signing a JWT of type {kind}: it has {size} bytes, and nats-server reads 1048576 at most; take something out"
    )]
    TooLarge {
        /// The type of JWT.
        kind: &'static str,
        /// The token's size in bytes.
        size: usize,
    },
    /// The claims could not be written as JSON.
    #[error("signing a JWT of type {kind}: the claims cannot be written as JSON")]
    Json {
        /// The type of JWT.
        kind: &'static str,
    },
    /// The signer failed.
    #[error("signing a JWT of type {kind}: {cause}")]
    Signing {
        /// The type of JWT.
        kind: &'static str,
        /// Why.
        cause: KeyError,
    },
    /// Whoever is to sign is not named by a public key.
    #[error("signing a JWT of type {kind}: the issuer named is no public key; name the key of: {}", any_of(.allowed))]
    NoIssuer {
        /// The type of JWT.
        kind: &'static str,
        /// The roles that may sign.
        allowed: &'static [Role],
    },
    /// A signature made elsewhere is not that of the issuer over this token.
    #[error(
        "signing a JWT of type {kind}: the signature is not the issuer's over this token; \
         check that the key that signs is the one named, and that it signs exactly the bytes it is given"
    )]
    NotTheirs {
        /// The type of JWT.
        kind: &'static str,
    },
}

/// Characters of an Ed25519 signature's 64 bytes in base64url without padding.
const SIGNATURE_CHARACTERS: usize = 86;

/// Signs `claims` with `signer`, as issued at `issued_at` (seconds since the Unix epoch). Sets `iss`, `iat`, `jti`,
/// type and version.
///
/// # Errors
/// [`EncodeError`]: a signer or subject of the wrong role, a body that does not fit, a token too large.
pub fn encode<B: ClaimsBody>(
    claims: ClaimsToSign<B>,
    signer: &KeyPair,
    issued_at: i64,
) -> Result<String, EncodeError> {
    let kind = B::TYPE;
    let unsigned = write(&claims, signer.public_key(), signer.role(), issued_at)?;
    let signature = signer
        .sign(unsigned.signing_input())
        .map_err(|cause| EncodeError::Signing { kind, cause })?;
    Ok(unsigned.finish(&signature))
}

/// Writes `claims` as [`encode`] would, to be signed elsewhere by the key whose public half is `issuer`: an HSM, a
/// vault. Everything but the signature is there, its size included.
///
/// # Errors
/// [`EncodeError`]: as [`encode`], and if `issuer` is no public key.
pub fn prepare<B: ClaimsBody>(
    claims: &ClaimsToSign<B>,
    issuer: &str,
    issued_at: i64,
) -> Result<Unsigned, EncodeError> {
    let kind = B::TYPE;
    let allowed = B::ISSUERS;
    let role = nkey::role_of(issuer).ok_or(EncodeError::NoIssuer { kind, allowed })?;
    nkey::check_public_key(issuer, role).map_err(|_| EncodeError::NoIssuer { kind, allowed })?;
    write(claims, issuer, role, issued_at)
}

/// A token that lacks only its signature.
#[derive(Debug, Clone)]
pub struct Unsigned {
    kind: &'static str,
    issuer: String,
    role: Role,
    token: String,
}

impl Unsigned {
    /// The exact bytes to sign: header and payload as they stand in the token, with the dot between them.
    pub fn signing_input(&self) -> &[u8] {
        self.token.as_bytes()
    }

    /// The public key of whoever has to sign.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// How many bytes the token will have with its signature.
    pub fn size(&self) -> usize {
        self.token.len() + 1 + SIGNATURE_CHARACTERS
    }

    /// The token, with `signature`: the 64 bytes of an Ed25519 signature (RFC 8032), which must be the issuer's.
    ///
    /// # Errors
    /// [`EncodeError::NotTheirs`] if it is not.
    pub fn attach(self, signature: &[u8]) -> Result<String, EncodeError> {
        match nkey::verify(&self.issuer, self.role, self.signing_input(), signature) {
            Ok(true) => Ok(self.finish(signature)),
            _ => Err(EncodeError::NotTheirs { kind: self.kind }),
        }
    }

    fn finish(self, signature: &[u8]) -> String {
        let mut token = self.token;
        token.push('.');
        BASE64URL_NOPAD.encode_append(signature, &mut token);
        token
    }
}

fn write<B: ClaimsBody>(
    claims: &ClaimsToSign<B>,
    issuer: &str,
    role: Role,
    issued_at: i64,
) -> Result<Unsigned, EncodeError> {
    let kind = B::TYPE;
    check(claims, issuer, role)?;
    let mut standard = Standard {
        aud: claims.audience.as_deref().unwrap_or_default(),
        exp: claims.expires_at.unwrap_or_default(),
        jti: "",
        iat: issued_at,
        iss: issuer,
        name: claims.name.as_deref().unwrap_or_default(),
        nbf: claims.not_before.unwrap_or_default(),
        sub: &claims.subject,
    };
    let jti = digest(&standard).ok_or(EncodeError::Json { kind })?;
    standard.jti = &jti;
    let payload = Payload {
        standard,
        nats: Typed {
            body: &claims.body,
            kind,
            version: VERSION,
        },
    };
    let payload = serde_json::to_vec(&payload).map_err(|_| EncodeError::Json { kind })?;
    let mut token = BASE64URL_NOPAD.encode(format!(r#"{{"typ":"JWT","alg":"{ALGORITHM}"}}"#).as_bytes());
    token.push('.');
    BASE64URL_NOPAD.encode_append(&payload, &mut token);
    let unsigned = Unsigned {
        kind,
        issuer: issuer.to_owned(),
        role,
        token,
    };
    let size = unsigned.size();
    if size > MAX_TOKEN_BYTES {
        return Err(EncodeError::TooLarge { kind, size });
    }
    Ok(unsigned)
}

fn check<B: ClaimsBody>(claims: &ClaimsToSign<B>, issuer: &str, role: Role) -> Result<(), EncodeError> {
    let kind = B::TYPE;
    if !B::ISSUERS.contains(&role) {
        return Err(EncodeError::SignerRole {
            kind,
            found: role.with_article(),
            allowed: B::ISSUERS,
        });
    }
    nkey::check_public_key(&claims.subject, B::SUBJECT)
        .map_err(|cause| EncodeError::Subject { kind, cause })?;
    let envelope = Envelope {
        issuer,
        audience: claims.audience.as_deref(),
    };
    check_times(claims)
        .and_then(|()| check_audience::<B>(envelope.audience))
        .and_then(|()| claims.body.check(envelope))
        .and_then(|()| claims.body.check_to_sign())
        .map_err(|cause| EncodeError::Inconsistent { kind, cause })
}

/// Zero and what lies before it mean "never" to nats-server: no expiry would come of them.
fn check_times<B: ClaimsBody>(claims: &ClaimsToSign<B>) -> Result<(), Inconsistency> {
    match claims.expires_at {
        None if B::EXPIRES => Err(Inconsistency("it must have an expiry (exp)")),
        Some(seconds) if seconds <= 0 => Err(Inconsistency("its expiry (exp) must lie after the year 1970")),
        _ => Ok(()),
    }
}

pub(crate) fn check_audience<B: ClaimsBody>(audience: Option<&str>) -> Result<(), Inconsistency> {
    if B::AUDIENCE.is_some() && audience != B::AUDIENCE {
        return Err(Inconsistency(
            "its audience (aud) must be nats-authorization-request",
        ));
    }
    Ok(())
}

/// The `jti`: base32 of SHA-512/256 over the standard claims without it (Go's `ClaimsData.hash`).
fn digest(standard: &Standard<'_>) -> Option<String> {
    let json = serde_json::to_string(standard).ok()?;
    // Go's encoder writes these five escaped. They stand only within strings.
    let json = json
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029");
    Some(BASE32_NOPAD.encode(&Sha512_256::digest(json)))
}

fn any_of(roles: &[Role]) -> String {
    let names: Vec<_> = roles.iter().map(|role| role.with_article()).collect();
    names.join(" or ")
}

#[derive(Serialize)]
struct Payload<'a, B> {
    #[serde(flatten)]
    standard: Standard<'a>,
    nats: Typed<'a, B>,
}

#[derive(Serialize)]
struct Typed<'a, B> {
    #[serde(flatten)]
    body: &'a B,
    #[serde(rename = "type")]
    kind: &'static str,
    version: i64,
}

#[cfg(test)]
mod tests;
