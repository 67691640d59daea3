//! The discovery document (OpenID Connect Discovery 1.0): where it is, and where it says the keys and endpoints are.

use serde_json::{Map, Value};
use url::Url;

use crate::settings::SettingsError;
use crate::settings::oidc::OidcSettings;
use crate::settings::url::{is_loopback, parse};

/// Where a provider's keys are to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// At a configured URL.
    Keys(Url),
    /// Where the discovery document at this URL says.
    Discovery(Url),
}

impl Endpoint {
    /// The endpoint of the provider of `settings`.
    ///
    /// # Errors
    /// If a URL cannot be used.
    pub(crate) fn of(settings: &OidcSettings) -> Result<Self, SettingsError> {
        let read = |field: &str, text: &str| {
            parse(text, settings.allow_http)
                .map_err(|problem| SettingsError::new(settings.key(field), problem))
        };
        let issuer = read("issuer", &settings.issuer)?;
        if issuer.query().is_some() {
            return Err(SettingsError::new(
                settings.key("issuer"),
                "an issuer has no query (OpenID Connect Core 1.0 section 2): remove it",
            ));
        }
        if let Some(text) = &settings.jwks_url {
            return Ok(Self::Keys(read("jwks_url", text)?));
        }
        discovery_url(settings).map(Self::Discovery)
    }

    /// The URL that is asked first.
    pub(crate) fn url(&self) -> &Url {
        match self {
            Self::Keys(url) | Self::Discovery(url) => url,
        }
    }
}

/// Where the discovery document of the provider of `settings` is.
///
/// # Errors
/// If the URL cannot be used.
pub(crate) fn discovery_url(settings: &OidcSettings) -> Result<Url, SettingsError> {
    let read = |field: &str, text: &str| {
        parse(text, settings.allow_http).map_err(|problem| SettingsError::new(settings.key(field), problem))
    };
    match &settings.discovery_url {
        Some(text) => read("discovery_url", text),
        None => {
            // One trailing slash of the issuer is left out (section 4).
            let base = settings.issuer.strip_suffix('/').unwrap_or(&settings.issuer);
            read("issuer", &format!("{base}/.well-known/openid-configuration"))
        }
    }
}

/// Reads a discovery document fetched from `from`: the URL that `issuer` gives as `member` (`jwks_uri`, say).
///
/// # Errors
/// If it is not a discovery document, is another issuer's, or names no URL there or one that must not be used.
pub(crate) fn endpoint_url(
    document: &[u8],
    member: &str,
    issuer: &str,
    from: &Url,
    allow_http: bool,
) -> Result<Url, String> {
    let no_document =
        || format!("the answer is not a discovery document (a JSON object with `issuer` and `{member}`)");
    let document: Map<String, Value> = serde_json::from_slice(document).map_err(|_| no_document())?;
    let text = |member: &str| {
        document
            .get(member)
            .and_then(Value::as_str)
            .ok_or_else(no_document)
    };
    let stated = text("issuer")?;
    if stated != issuer {
        return Err(format!(
            "the discovery document is of issuer {stated:?}, not of {issuer:?} as configured: set `issuer` to the exact \
             same text, slashes included"
        ));
    }
    // Plain http on loopback is only for a provider that is itself on loopback: another must not send us to our own.
    let url = parse(text(member)?, allow_http).map_err(|problem| format!("its `{member}`: {problem}"))?;
    if url.scheme() == "http" && !allow_http && !is_loopback(from) {
        return Err(format!(
            "its `{member}` is plain http on this machine: configure the URL itself if that is meant"
        ));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(issuer: &str) -> OidcSettings {
        OidcSettings::new("corp", issuer, vec!["nats".to_owned()])
    }

    #[test]
    fn the_default_discovery_url_is_below_the_issuer() {
        for (issuer, url) in [
            (
                "https://a.example",
                "https://a.example/.well-known/openid-configuration",
            ),
            (
                "https://a.example/",
                "https://a.example/.well-known/openid-configuration",
            ),
            (
                "https://a.example/realms/x",
                "https://a.example/realms/x/.well-known/openid-configuration",
            ),
            (
                "https://a.example/realms/x/",
                "https://a.example/realms/x/.well-known/openid-configuration",
            ),
        ] {
            assert_eq!(Endpoint::of(&settings(issuer)).unwrap().url().as_str(), url);
        }
        let mut settings = settings("https://a.example");
        settings.jwks_url = Some("https://b.example/keys".to_owned());
        assert!(
            matches!(Endpoint::of(&settings).unwrap(), Endpoint::Keys(url) if url.as_str() == "https://b.example/keys")
        );
    }

    #[test]
    fn urls_that_cannot_be_trusted_are_refused_by_name() {
        for (issuer, discovery, jwks, field) in [
            ("http://a.example", None, None, "issuer"),
            ("https://a.example?x=1", None, None, "issuer"),
            ("a.example", None, None, "issuer"),
            (
                "https://a.example",
                Some("http://a.example/d"),
                None,
                "discovery_url",
            ),
            ("https://a.example", None, Some("http://a.example/k"), "jwks_url"),
        ] {
            let mut settings = settings(issuer);
            settings.discovery_url = discovery.map(str::to_owned);
            settings.jwks_url = jwks.map(str::to_owned);
            let error = Endpoint::of(&settings).unwrap_err();
            assert_eq!(error.key, format!("providers[corp].{field}"));
        }
    }

    #[test]
    fn a_discovery_document_must_be_of_the_configured_issuer_and_name_a_safe_url() {
        let from = Url::parse("https://a.example/d").unwrap();
        let read = |issuer: &str, jwks: &str, from: &Url| {
            let document = json!({"issuer": issuer, "jwks_uri": jwks, "more": 1}).to_string();
            endpoint_url(document.as_bytes(), "jwks_uri", "https://a.example", from, false)
        };
        assert!(read("https://a.example", "https://keys.example/k", &from).is_ok());
        assert!(
            read("https://a.example/", "https://keys.example/k", &from)
                .unwrap_err()
                .contains("issuer")
        );
        assert!(read("https://b.example", "https://keys.example/k", &from).is_err());
        assert!(read("https://a.example", "http://keys.example/k", &from).is_err());
        assert!(read("https://a.example", "file:///etc/passwd", &from).is_err());
        assert!(read("https://a.example", "http://127.0.0.1/k", &from).is_err());
        let loopback = Url::parse("http://127.0.0.1:1/d").unwrap();
        assert!(read("https://a.example", "http://127.0.0.1/k", &loopback).is_ok());
        assert!(endpoint_url(b"<html>", "jwks_uri", "https://a.example", &from, false).is_err());
        assert!(
            endpoint_url(
                b"{\"issuer\":\"https://a.example\"}",
                "jwks_uri",
                "https://a.example",
                &from,
                false
            )
            .is_err()
        );
    }
}
