//! A token's payload: the standard claims, and the body as text until the signature is verified.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::DecodeError;
use crate::claims::{Claims, ClaimsBody};

/// The payload of a NATS JWT. A claim that is there twice is an error, as it is for every struct here.
#[derive(Deserialize)]
pub(super) struct Payload<'a> {
    #[serde(borrow, default)]
    aud: Option<Cow<'a, str>>,
    #[serde(default)]
    exp: Option<i64>,
    #[serde(borrow, default)]
    jti: Option<Cow<'a, str>>,
    #[serde(default)]
    iat: Option<i64>,
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(default)]
    nbf: Option<i64>,
    #[serde(borrow)]
    sub: Cow<'a, str>,
    /// Version 1 had the type here.
    #[serde(rename = "type", borrow, default)]
    type_of_v1: Option<&'a RawValue>,
    #[serde(borrow)]
    nats: &'a RawValue,
}

impl<'a> Payload<'a> {
    pub(super) fn read(json: &'a [u8]) -> Result<Self, DecodeError> {
        let wrong =
            "its payload is not a JSON object with iss, sub and nats, and the standard claims of their types";
        serde_json::from_slice(json).map_err(|_| DecodeError::Malformed(wrong))
    }

    pub(super) fn issuer(&self) -> &str {
        &self.iss
    }

    /// Type and version.
    pub(super) fn kind(&self) -> Result<(Cow<'a, str>, i64), DecodeError> {
        #[derive(Deserialize)]
        struct Kind<'a> {
            #[serde(rename = "type", borrow, default)]
            kind: Option<Cow<'a, str>>,
            #[serde(default)]
            version: Option<i64>,
        }
        if self.type_of_v1.is_some() {
            return Err(DecodeError::Version { found: 1 });
        }
        let kind: Kind<'a> = serde_json::from_str(self.nats.get())
            .map_err(|_| DecodeError::Malformed("its nats claim is not an object with type and version"))?;
        Ok((kind.kind.unwrap_or_default(), kind.version.unwrap_or_default()))
    }

    pub(super) fn into_claims<B: ClaimsBody>(self) -> Result<Claims<B>, DecodeError> {
        let mut json = serde_json::Deserializer::from_str(self.nats.get());
        let body = serde_path_to_error::deserialize(&mut json).map_err(|error| DecodeError::Claim {
            path: format!("nats.{}", error.path()),
        })?;
        Ok(Claims {
            issuer: self.iss.into_owned(),
            subject: self.sub.into_owned(),
            audience: text(self.aud),
            // Go's library does not tell zero from absent, for these and for empty texts.
            expires_at: self.exp.filter(|seconds| *seconds != 0),
            issued_at: self.iat.unwrap_or_default(),
            not_before: self.nbf.filter(|seconds| *seconds != 0),
            id: self.jti.unwrap_or_default().into_owned(),
            name: text(self.name),
            body,
        })
    }
}

fn text(claim: Option<Cow<'_, str>>) -> Option<String> {
    claim.filter(|text| !text.is_empty()).map(Cow::into_owned)
}
