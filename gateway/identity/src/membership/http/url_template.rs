//! A URL with placeholders, whose values cannot change it beyond their own place.
//!
//! A value stands in a segment of the path or in a value of the query. It is percent-encoded there, but for letters,
//! digits, `-`, `_`, `.` and `~` (RFC 3986 section 2.3). In the path that is not enough: `.` and `..` stay dot segments
//! however they are written, and `%2F` is a slash to many a server and proxy. So such values are refused.

use natsgate_core::{Denial, DenialReason, Identity};
use url::Url;

use crate::membership::placeholder::{self, Part, Placeholder};
use crate::settings::url::parse as parse_url;

/// Stand for a value while the URL is looked at.
const STAND_INS: [&str; 2] = ["x", "yz"];

/// A URL with placeholders.
#[derive(Debug)]
pub(super) struct UrlTemplate {
    pieces: Vec<Piece>,
    /// The URL with something harmless for every value.
    base: Url,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    InPath(Placeholder),
    InQuery(Placeholder),
}

impl UrlTemplate {
    /// Reads a URL out of a setting.
    ///
    /// # Errors
    /// What is wrong with it, in words that do not repeat it.
    pub(super) fn parse(text: &str, allow_http: bool) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let [mut text_with_one, mut text_with_other] = [String::new(), String::new()];
        let [one, other] = STAND_INS;
        for part in placeholder::parse(text)? {
            match part {
                Part::Text(plain) => {
                    text_with_one.push_str(&plain);
                    text_with_other.push_str(&plain);
                    pieces.push(Piece::Text(plain));
                }
                Part::Value(placeholder) => {
                    pieces.push(place(&text_with_one, placeholder)?);
                    text_with_one.push_str(one);
                    text_with_other.push_str(other);
                }
            }
        }
        let template = Self {
            base: parse_url(&text_with_one, allow_http)?,
            pieces,
        };
        if !template.like(&parse_url(&text_with_other, allow_http)?) {
            return Err("has a placeholder elsewhere than in the path and the query".to_owned());
        }
        if template.placeholders().next().is_none() {
            return Err(
                "has no placeholder, so everybody would have the same memberships: use {principal.subject}"
                    .to_owned(),
            );
        }
        Ok(template)
    }

    /// The URL with something harmless for every value: its scheme, host and port are the real ones.
    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// As it may stand in a log: with the placeholders, without the query.
    pub(super) fn shown(&self) -> String {
        let mut shown = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => match text.split_once('?') {
                    Some((path, _)) => return shown + path,
                    None => shown.push_str(text),
                },
                Piece::InPath(placeholder) | Piece::InQuery(placeholder) => {
                    shown.push_str(&placeholder.to_string())
                }
            }
        }
        shown
    }

    /// Its placeholders, in their order.
    pub(super) fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::InPath(placeholder) | Piece::InQuery(placeholder) => Some(placeholder),
        })
    }

    /// The URL to ask about `identity`.
    ///
    /// # Errors
    /// If a claim is not there, or a value cannot stand in its place.
    pub(super) fn fill(&self, identity: &Identity) -> Result<Url, Denial> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::InQuery(placeholder) => encode(&placeholder.value(identity)?, &mut text),
                Piece::InPath(placeholder) => {
                    let value = placeholder.value(identity)?;
                    if value.contains(['/', '\\']) {
                        return Err(unsafe_value(&format!("{placeholder} holds a `/` or `\\`")));
                    }
                    encode(&value, &mut text);
                }
            }
        }
        let filled = Url::parse(&text).ok().filter(|url| self.like(url));
        // Left are values that make `.` or `..` of their segment.
        filled.ok_or_else(|| unsafe_value("a value makes `.` or `..` of its segment"))
    }

    /// Whether `url` differs from the template's in values alone: as many segments, none of them empty that should not
    /// be, as many parameters of the same names.
    fn like(&self, url: &Url) -> bool {
        let segments = |url: &Url| {
            let segments = url.path_segments();
            segments.map(|segments| segments.map(str::is_empty).collect::<Vec<_>>())
        };
        let names = |url: &Url| {
            url.query_pairs()
                .map(|(name, _)| name.into_owned())
                .collect::<Vec<_>>()
        };
        url.origin() == self.base.origin()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
            && segments(url) == segments(&self.base)
            && names(url) == names(&self.base)
    }
}

/// Where a placeholder stands that comes after `before`.
fn place(before: &str, placeholder: Placeholder) -> Result<Piece, String> {
    let wrong = |place: &str| {
        Err(format!(
            "has {placeholder} in {place}: it may stand in a segment of the path, or in a value of the query"
        ))
    };
    if before.contains('#') {
        return wrong("the fragment");
    }
    if let Some((_, query)) = before.split_once('?') {
        let pair = query.rsplit('&').next().unwrap_or_default();
        return if pair.contains('=') {
            Ok(Piece::InQuery(placeholder))
        } else {
            wrong("the name of a parameter")
        };
    }
    match before.split_once("://") {
        Some((_, after)) if after.contains('/') => Ok(Piece::InPath(placeholder)),
        _ => wrong("the scheme, host or port"),
    }
}

/// Percent-encodes all but unreserved characters.
fn encode(value: &str, into: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            into.push(char::from(byte));
        } else {
            into.push_str(&format!("%{byte:02X}"));
        }
    }
}

fn unsafe_value(why: &str) -> Denial {
    Denial::new(
        DenialReason::UnsafeValue,
        format!(
            "{why}, which would change the path of the URL that memberships are asked at: ask by the query or by {{principal.digest}}"
        ),
    )
}

#[cfg(test)]
mod tests;
