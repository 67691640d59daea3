//! Reading and verifying tokens.

mod error;
mod payload;

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use std::borrow::Cow;

pub use error::DecodeError;

use crate::claims::{ALGORITHM, Claims, ClaimsBody, Envelope, MAX_TOKEN_BYTES, VERSION};
use crate::encode::check_audience;
use crate::nkey;
use payload::Payload;

/// The version-1 algorithm. Its signature leaves the header out.
const ALGORITHM_V1: &str = "ed25519";

/// Reads `token` as a JWT of `B`'s kind and verifies all that can be verified without knowing whom to trust: size,
/// form, algorithm, type, version, the roles of issuer and subject, signature, that the claims fit one another, and
/// (against `now_unix`, in seconds since the Unix epoch) `exp` and `nbf`.
///
/// Whoever holds some key of the right role can sign: the caller must know [`Claims::issuer`].
///
/// A token is good through the second of its `exp` and no longer, without leeway: nats-server's own rule. (Those
/// whole seconds are rounded down; with a server's auth timeout below a second a request would otherwise have expired
/// when it was made.) Version 1, which Go's library still migrates, is refused.
///
/// # Errors
/// [`DecodeError`]; none holds a value from the token.
pub fn decode<B: ClaimsBody>(token: &str, now_unix: i64) -> Result<Claims<B>, DecodeError> {
    let claims = decode_at_any_time(token)?;
    if let Some(expired_at) = claims.expires_at.filter(|exp| now_unix > *exp) {
        return Err(DecodeError::Expired {
            expired_at,
            now: now_unix,
        });
    }
    if let Some(not_before) = claims.not_before.filter(|nbf| now_unix < *nbf) {
        return Err(DecodeError::NotYetValid {
            not_before,
            now: now_unix,
        });
    }
    Ok(claims)
}

/// [`decode`] without looking at `exp` and `nbf`, for what is only being loaded.
pub(crate) fn decode_at_any_time<B: ClaimsBody>(token: &str) -> Result<Claims<B>, DecodeError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(DecodeError::TooLarge { size: token.len() });
    }
    let (signed, signature) = token
        .rsplit_once('.')
        .ok_or(DecodeError::Malformed("it has no dots"))?;
    let (header, payload) = signed
        .split_once('.')
        .ok_or(DecodeError::Malformed("it has one dot, not two"))?;
    check_header(&part(header)?)?;
    let payload = part(payload)?;
    let payload = Payload::read(&payload)?;
    check_kind::<B>(&payload)?;
    // Until here nothing was trusted and nothing of it went into an error; from here on the issuer vouches for it.
    check_signature::<B>(&payload, signed, &part(signature)?)?;
    let claims = payload.into_claims::<B>()?;
    check_claims(&claims)?;
    Ok(claims)
}

fn part(text: &str) -> Result<Vec<u8>, DecodeError> {
    BASE64URL_NOPAD
        .decode(text.as_bytes())
        .map_err(|_| DecodeError::Malformed("a part of it is not base64url without padding"))
}

/// Accepts `typ` in any case and `alg` exactly, and nothing that the header calls critical (RFC 7515, 4.1.11).
fn check_header(header: &[u8]) -> Result<(), DecodeError> {
    #[derive(Deserialize)]
    struct Header<'a> {
        #[serde(borrow)]
        typ: Cow<'a, str>,
        #[serde(borrow)]
        alg: Cow<'a, str>,
        #[serde(borrow)]
        crit: Option<&'a serde_json::value::RawValue>,
    }
    let header: Header<'_> = serde_json::from_slice(header)
        .map_err(|_| DecodeError::Malformed("its header is not a JSON object with typ and alg"))?;
    if !header.typ.eq_ignore_ascii_case("JWT") {
        return Err(DecodeError::Malformed("its header's typ is not JWT"));
    }
    if header.crit.is_some() {
        return Err(DecodeError::Malformed(
            "its header has a crit, which is not understood",
        ));
    }
    match header.alg.as_ref() {
        ALGORITHM => Ok(()),
        ALGORITHM_V1 => Err(DecodeError::Version { found: 1 }),
        _ => Err(DecodeError::Algorithm),
    }
}

fn check_kind<B: ClaimsBody>(payload: &Payload<'_>) -> Result<(), DecodeError> {
    let (kind, version) = payload.kind()?;
    if kind != B::TYPE {
        return Err(DecodeError::WrongType {
            expected: B::TYPE,
            found: error::known_type(&kind),
        });
    }
    if version != VERSION {
        return Err(DecodeError::Version { found: version });
    }
    Ok(())
}

fn check_signature<B: ClaimsBody>(
    payload: &Payload<'_>,
    signed: &str,
    signature: &[u8],
) -> Result<(), DecodeError> {
    let issuer = payload.issuer();
    let role = nkey::role_of(issuer).filter(|role| B::ISSUERS.contains(role));
    let wrong_role = DecodeError::IssuerRole {
        kind: B::TYPE,
        allowed: B::ISSUERS,
    };
    match nkey::verify(
        issuer,
        role.ok_or(wrong_role.clone())?,
        signed.as_bytes(),
        signature,
    ) {
        Ok(true) => Ok(()),
        Ok(false) => Err(DecodeError::BadSignature),
        Err(_) => Err(wrong_role),
    }
}

fn check_claims<B: ClaimsBody>(claims: &Claims<B>) -> Result<(), DecodeError> {
    nkey::check_public_key(&claims.subject, B::SUBJECT).map_err(|cause| DecodeError::Subject { cause })?;
    let audience = claims.audience.as_deref();
    check_audience::<B>(audience).map_err(|_| DecodeError::WrongAudience)?;
    if B::EXPIRES && claims.expires_at.is_none() {
        return Err(DecodeError::NoExpiry);
    }
    let envelope = Envelope {
        issuer: &claims.issuer,
        audience,
    };
    claims.body.check(envelope).map_err(DecodeError::Inconsistent)
}

#[cfg(test)]
mod tests;
