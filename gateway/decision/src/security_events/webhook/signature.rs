//! Who calls a webhook, and when: HMAC-SHA-256 over the time of signing, a full stop, and the body.
//!
//! The time is signed as it is written in its header, so that no call can be given another. A call counts for as long as its
//! time lies within the tolerance; that it does not count twice within that is the revocation log's work.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use hyper::HeaderMap;
use hyper::header::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::security_events::refusal::{Refusal, Refused};

/// The longest time of signing that is read, in digits.
const MAX_DIGITS: usize = 16;

/// How a signature is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignatureEncoding {
    /// Hexadecimal, in capitals or not.
    #[default]
    Hex,
    /// Base64 with padding (RFC 4648 section 4).
    Base64,
}

/// How a time of signing is written: in digits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimestampFormat {
    /// Seconds since 1970.
    #[default]
    UnixSeconds,
    /// Milliseconds since 1970.
    UnixMilliseconds,
}

/// How the calls of one webhook are signed.
pub(crate) struct Scheme {
    pub(super) keys: Vec<hmac::Key>,
    pub(super) signature_header: HeaderName,
    pub(super) prefix: String,
    pub(super) encoding: SignatureEncoding,
    pub(super) timestamp_header: HeaderName,
    pub(super) format: TimestampFormat,
    pub(super) tolerance: Duration,
}

/// What a call was signed with.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(super) signature: Vec<u8>,
    /// As it was written.
    pub(super) timestamp: String,
}

impl Scheme {
    /// Checks that the call of `headers` and `body` is signed by one of the keys, and was so within the tolerance of `now`.
    pub(super) fn check(&self, headers: &HeaderMap, body: &[u8], now: SystemTime) -> Result<Signed, Refused> {
        let signature = one(headers, &self.signature_header)?;
        let signature = signature
            .strip_prefix(self.prefix.as_str())
            .and_then(|text| self.decode(text))
            .ok_or_else(|| unsigned(&self.signature_header, "is not written as configured"))?;
        let timestamp = one(headers, &self.timestamp_header)?;
        let at = self
            .time(timestamp)
            .ok_or_else(|| unsigned(&self.timestamp_header, "is not written as configured"))?;
        let apart = now.duration_since(at).unwrap_or_else(|ahead| ahead.duration());
        if apart > self.tolerance {
            return Err(Refused::new(
                Refusal::Time,
                "the time of signing lies further from now than `tolerance`: look at the clocks",
            ));
        }
        let message = [timestamp.as_bytes(), b".", body].concat();
        // Every key is tried, whichever fits, and each comparison takes the same time.
        let fits = |key: &hmac::Key| hmac::verify(key, &message, &signature).is_ok();
        if !self.keys.iter().fold(false, |found, key| found | fits(key)) {
            return Err(Refused::new(
                Refusal::Signature,
                "the signature was made with none of the `secrets`, or over something else",
            ));
        }
        Ok(Signed {
            signature,
            timestamp: timestamp.to_owned(),
        })
    }

    fn decode(&self, text: &str) -> Option<Vec<u8>> {
        match self.encoding {
            SignatureEncoding::Hex => HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok(),
            SignatureEncoding::Base64 => BASE64.decode(text.as_bytes()).ok(),
        }
    }

    fn time(&self, text: &str) -> Option<SystemTime> {
        if text.len() > MAX_DIGITS || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let number = text.parse().ok()?;
        UNIX_EPOCH.checked_add(match self.format {
            TimestampFormat::UnixSeconds => Duration::from_secs(number),
            TimestampFormat::UnixMilliseconds => Duration::from_millis(number),
        })
    }
}

/// The value of a header that must be there once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, Refused> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map_err(|_| unsigned(name, "is not text")),
        (None, _) => Err(unsigned(name, "is missing")),
        (Some(_), Some(_)) => Err(unsigned(name, "is there more than once")),
    }
}

fn unsigned(header: &HeaderName, problem: &str) -> Refused {
    Refused::new(Refusal::Unsigned, format!("the header `{header}` {problem}"))
}
