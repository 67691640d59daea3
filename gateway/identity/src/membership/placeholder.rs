//! Placeholders of what is asked about whom, in a URL or a query from the configuration.
//!
//! There is a fixed list of them. Where their values go is up to who asks: never into the text itself.

use std::fmt;

use natsgate_core::{Denial, DenialReason, Identity};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::claim_path;

/// The longest value of a claim, in bytes: as long as a subject may be.
const MAX_VALUE_BYTES: usize = 1024;

/// What a placeholder stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Placeholder {
    /// `{principal.subject}`
    Subject,
    /// `{principal.issuer}`
    Issuer,
    /// `{principal.digest}`: 26 letters and digits that stand for issuer and subject.
    Digest,
    /// `{claims.NAME}`: a claim by its name, or by a path into objects.
    Claim(String),
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subject => f.write_str("{principal.subject}"),
            Self::Issuer => f.write_str("{principal.issuer}"),
            Self::Digest => f.write_str("{principal.digest}"),
            Self::Claim(name) => write!(f, "{{claims.{name}}}"),
        }
    }
}

/// A piece of a text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Text as it is.
    Text(String),
    /// A value.
    Value(Placeholder),
}

/// Takes a text apart. `{{` and `}}` are braces of the text itself.
///
/// # Errors
/// What is wrong with it, and the mend.
pub(super) fn parse(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, after) = rest.split_at(at);
        plain.push_str(before);
        if let Some(after) = after.strip_prefix("{{") {
            plain.push('{');
            rest = after;
        } else if let Some(after) = after.strip_prefix("}}") {
            plain.push('}');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let (name, after) = after
                .split_once('}')
                .ok_or("has a `{` that is not closed: write {{ for a brace of the text itself")?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Value(named(name)?));
            rest = after;
        } else {
            return Err("has a `}` without a `{`: write }} for a brace of the text itself".to_owned());
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    Ok(parts)
}

fn named(name: &str) -> Result<Placeholder, String> {
    match name {
        "principal.subject" => Ok(Placeholder::Subject),
        "principal.issuer" => Ok(Placeholder::Issuer),
        "principal.digest" => Ok(Placeholder::Digest),
        _ => match name.strip_prefix("claims.") {
            Some(claim) if !claim.is_empty() && !claim.contains('{') => {
                Ok(Placeholder::Claim(claim.to_owned()))
            }
            _ => Err(format!(
                "has the placeholder `{{{}}}`, which does not exist: there are {{principal.subject}}, {{principal.issuer}}, \
                 {{principal.digest}} and {{claims.NAME}}",
                name.escape_debug()
            )),
        },
    }
}

impl Placeholder {
    /// What it stands for in `identity`. Never empty.
    ///
    /// # Errors
    /// If the claim is not there, or nothing that stands for one value.
    pub(super) fn value(&self, identity: &Identity) -> Result<String, Denial> {
        let name = match self {
            Self::Subject => return Ok(identity.principal.subject.clone()),
            Self::Issuer => return Ok(identity.principal.issuer.clone()),
            Self::Digest => return Ok(identity.principal.digest()),
            Self::Claim(name) => name,
        };
        let bad = |why: &str| {
            let detail = format!("the claim `{name}`, which memberships are asked for by, {why}");
            Err(Denial::new(DenialReason::BadClaim, detail))
        };
        match claim_path::find(&identity.claims, name) {
            Some(Value::String(text)) if text.is_empty() => bad("is empty"),
            Some(Value::String(text)) if text.len() > MAX_VALUE_BYTES => bad("is longer than 1024 bytes"),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(number.to_string()),
            Some(_) => bad("is neither a string nor a whole number"),
            None => Err(Denial::new(
                DenialReason::MissingClaim,
                format!("there is no claim `{name}`, which memberships are asked for by"),
            )),
        }
    }
}

/// All of `identity` that an answer depends on which was asked for by `placeholders`: what a cached answer is kept under.
pub(super) fn cache_key<'a>(
    identity: &Identity,
    placeholders: impl Iterator<Item = &'a Placeholder>,
) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::new());
    let mut add = |value: Option<&str>| match value {
        // The length first, so that no two lists of values read the same.
        Some(value) => {
            key.push(1);
            key.extend((value.len() as u64).to_be_bytes());
            key.extend(value.as_bytes());
        }
        None => key.push(0),
    };
    add(Some(&identity.principal.issuer));
    add(Some(&identity.principal.subject));
    for placeholder in placeholders.filter(|placeholder| matches!(placeholder, Placeholder::Claim(_))) {
        add(placeholder
            .value(identity)
            .ok()
            .map(Zeroizing::new)
            .as_deref()
            .map(String::as_str));
    }
    key
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::identity;

    #[test]
    fn texts_are_taken_apart() {
        let text = |text: &str| Part::Text(text.to_owned());
        assert_eq!(
            parse("a {principal.subject}{claims.a.b} {{b}} {principal.issuer}").unwrap(),
            [
                text("a "),
                Part::Value(Placeholder::Subject),
                Part::Value(Placeholder::Claim("a.b".to_owned())),
                text(" {b} "),
                Part::Value(Placeholder::Issuer),
            ]
        );
        assert_eq!(parse("").unwrap(), []);
        assert_eq!(parse("{{{principal.digest}}}").unwrap().len(), 3);
        for bad in [
            "{",
            "}",
            "a {b",
            "{}",
            "{subject}",
            "{claims.}",
            "{claims.{x}",
            "{ principal.subject}",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_claim_must_stand_for_one_value() {
        let mut identity = identity("https://idp.example", "alice");
        identity.claims = json!({
            "text": "x", "number": 7, "nested": {"deep": "y"},
            "empty": "", "long": "x".repeat(1025), "list": ["hidden"], "bool": true, "float": 1.5, "null": null,
        })
        .as_object()
        .unwrap()
        .clone();
        let value = |name: &str| Placeholder::Claim(name.to_owned()).value(&identity);
        assert_eq!(value("text").unwrap(), "x");
        assert_eq!(value("number").unwrap(), "7");
        assert_eq!(value("nested.deep").unwrap(), "y");
        for (bad, reason) in [
            ("empty", DenialReason::BadClaim),
            ("long", DenialReason::BadClaim),
            ("list", DenialReason::BadClaim),
            ("bool", DenialReason::BadClaim),
            ("float", DenialReason::BadClaim),
            ("null", DenialReason::MissingClaim),
            ("absent", DenialReason::MissingClaim),
        ] {
            let denial = value(bad).unwrap_err();
            assert_eq!(denial.reason, reason, "{bad}");
            assert!(!denial.detail.contains("hidden"));
        }
    }

    #[test]
    fn answers_are_kept_by_principal_and_by_the_claims_they_depend_on() {
        let key = |issuer: &str, subject: &str, claims: Value, placeholders: &[Placeholder]| {
            let mut identity = identity(issuer, subject);
            identity.claims = claims.as_object().unwrap().clone();
            cache_key(&identity, placeholders.iter()).to_vec()
        };
        let tenant = [Placeholder::Subject, Placeholder::Claim("tenant".to_owned())];
        let different = [
            key("https://a", "bc", json!({"tenant": "t"}), &tenant),
            key("https://ab", "c", json!({"tenant": "t"}), &tenant),
            key("https://a", "bc", json!({"tenant": "u"}), &tenant),
            key("https://a", "bc", json!({"tenant": ["t"]}), &tenant),
            key("https://a", "bct", json!({}), &[]),
            key("https://a", "bc", json!({}), &[]),
        ];
        let all: std::collections::HashSet<_> = different.iter().collect();
        assert_eq!(all.len(), different.len());
        // Whatever else a token says changes nothing.
        assert_eq!(
            key("https://a", "bc", json!({"tenant": "t", "iat": 1}), &tenant),
            key("https://a", "bc", json!({"tenant": "t", "iat": 2}), &tenant)
        );
    }
}
