//! The access token a caller sends (RFC 6750 section 2.1), and whom its claims bind it to.

use std::collections::BTreeSet;

use natsgate_core::Identity;
use secrecy::SecretString;
use serde_json::{Map, Value};
use tonic::metadata::MetadataMap;

use super::scope::Scope;
use super::settings::TokenBinding;

/// The token in `metadata`, if there is one.
///
/// # Errors
/// What is there instead of one token.
pub(super) fn bearer(metadata: &MetadataMap) -> Result<Option<SecretString>, &'static str> {
    let mut values = metadata.get_all("authorization").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err("there is more than one `authorization`");
    }
    let text = value.to_str().map_err(|_| "`authorization` is not text")?;
    let (scheme, token) = text
        .split_once(' ')
        .ok_or("`authorization` is not `Bearer` and a token")?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err("`authorization` is not of the scheme `Bearer`");
    }
    let token = token.trim();
    if token.is_empty() {
        return Err("`authorization` has an empty token");
    }
    Ok(Some(SecretString::from(token)))
}

/// Whether `identity` is the one that `binding` means.
pub(super) fn is_bound(identity: &Identity, binding: &TokenBinding) -> bool {
    let is = |wanted: &Option<String>, value: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| Some(wanted) == value)
    };
    (binding.subject.is_some() || binding.client_id.is_some())
        && is(&binding.subject, Some(&identity.principal.subject))
        && is(&binding.client_id, client_id(&identity.claims))
        && is(&binding.provider, Some(&identity.provider))
}

/// The client a token was issued to.
fn client_id(claims: &Map<String, Value>) -> Option<&str> {
    let name = if claims.contains_key("client_id") {
        "client_id"
    } else {
        "azp"
    };
    claims.get(name)?.as_str()
}

/// The scopes that `claims` name: `scope`, or where there is none `scp`; words in one text, or a list of them.
pub(super) fn scopes(claims: &Map<String, Value>) -> BTreeSet<Scope> {
    match claims.get("scope").or_else(|| claims.get("scp")) {
        Some(Value::String(words)) => words.split(' ').filter_map(Scope::named).collect(),
        Some(Value::Array(words)) => words
            .iter()
            .filter_map(|word| Scope::named(word.as_str()?))
            .collect(),
        _ => BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde_json::json;

    use super::*;

    fn token(values: &[&str]) -> Result<Option<String>, &'static str> {
        let mut metadata = MetadataMap::new();
        for value in values {
            metadata.append("authorization", value.parse().unwrap());
        }
        Ok(bearer(&metadata)?.map(|token| token.expose_secret().to_owned()))
    }

    #[test]
    fn one_bearer_token_is_taken_and_nothing_else() {
        assert_eq!(token(&[]), Ok(None));
        assert_eq!(token(&["Bearer abc"]), Ok(Some("abc".into())));
        assert_eq!(token(&["bearer  abc"]), Ok(Some("abc".into())));
        for bad in [
            &["abc"][..],
            &["Basic abc"],
            &["Bearer "],
            &["Bearer"],
            &["Bearer a", "Bearer a"],
        ] {
            assert!(token(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn scopes_are_words_of_the_claim() {
        let of = |claims: Value| scopes(claims.as_object().unwrap());
        let write = BTreeSet::from([Scope::MembershipsWrite]);
        assert_eq!(of(json!({"scope": "openid natsgate.memberships.write"})), write);
        assert_eq!(of(json!({"scp": ["natsgate.memberships.write", 7]})), write);
        assert_eq!(of(json!({"scp": "natsgate.memberships.write"})), write);
        // What the first says counts, even if it is nothing.
        assert_eq!(
            of(json!({"scope": "", "scp": "natsgate.revoke"})),
            BTreeSet::new()
        );
        for none in [
            json!({}),
            json!({"scope": null}),
            json!({"scope": {"natsgate.revoke": true}}),
            json!({"scope": "natsgate.revoked natsgate.revoke\tnatsgate.authorize,natsgate.revoke"}),
            json!({"scopes": "natsgate.revoke"}),
        ] {
            assert_eq!(of(none.clone()), BTreeSet::new(), "{none}");
        }
    }
}
