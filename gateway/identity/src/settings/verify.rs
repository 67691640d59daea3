//! In which ways a provider's tokens are accepted, and in which order these are tried.

use schemars::JsonSchema;
use serde::Deserialize;

use super::SettingsError;
use super::oidc::OidcSettings;

/// A way of verifying a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerifyBy {
    /// As a JWT, by the provider's keys.
    Jwt,
    /// By asking the provider's introspection endpoint (RFC 7662).
    Introspection,
    /// By asking the provider's userinfo endpoint (OpenID Connect Core 1.0 section 5.3).
    Userinfo,
}

impl VerifyBy {
    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::Introspection => "introspection",
            Self::Userinfo => "userinfo",
        }
    }
}

/// What becomes of a token that one way refuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AfterRefusal {
    /// It is refused: a bad signature or claim is not made good by another way that looks at less.
    #[default]
    Stop,
    /// The next way is tried.
    Next,
}

/// Checks `verify` and what it needs.
///
/// # Errors
/// The first setting that cannot be used.
pub(super) fn validate(settings: &OidcSettings) -> Result<(), SettingsError> {
    let wrong = |field: &str, problem: &str| Err(SettingsError::new(settings.key(field), problem));
    if settings.verify.is_empty() {
        return wrong("verify", "must name at least one way, or be left out for `[jwt]`");
    }
    for (position, way) in settings.verify.iter().enumerate() {
        if settings
            .verify
            .iter()
            .skip(position + 1)
            .any(|other| other == way)
        {
            return wrong("verify", "names a way twice: remove one");
        }
    }
    let by = |way| settings.verify.contains(&way);
    if by(VerifyBy::Introspection) && settings.introspection.is_none() {
        return wrong(
            "introspection",
            "must be set, since `verify` names it: at least `client_id` and `authentication`",
        );
    }
    if by(VerifyBy::Userinfo) {
        match &settings.userinfo {
            None => {
                return wrong(
                    "userinfo",
                    "must be set, since `verify` names it: at least `accept_any_audience: true`",
                );
            }
            Some(userinfo) if !userinfo.accept_any_audience => {
                return wrong(
                    "userinfo.accept_any_audience",
                    "must be true, since `verify` names userinfo, which does not say whom a token is for: a token made \
                     for any other service would open NATS. Better: use introspection",
                );
            }
            Some(_) => {}
        }
        if settings.max_opaque_life.is_none() {
            return wrong(
                "max_opaque_life",
                "must be set, since `verify` names userinfo, which does not say until when a token is in force",
            );
        }
    }
    let endpoints = [
        (
            "introspection",
            settings.introspection.as_ref().map(|s| &s.endpoint),
        ),
        ("userinfo", settings.userinfo.as_ref().map(|s| &s.endpoint)),
    ];
    for (section, endpoint) in endpoints {
        if settings.jwks_url.is_some() && endpoint.is_some_and(Option::is_none) {
            return wrong(
                &format!("{section}.endpoint"),
                "must be set when `jwks_url` is: no discovery document is asked for then",
            );
        }
    }
    if let Some(prefix) = &settings.opaque_prefix {
        if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            return wrong(
                "opaque_prefix",
                "must be what the provider's opaque tokens begin with: printable ASCII without spaces",
            );
        }
        if !by(VerifyBy::Introspection) && !by(VerifyBy::Userinfo) {
            return wrong(
                "opaque_prefix",
                "is of no use unless `verify` names introspection or userinfo: remove it",
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "name: corp\nissuer: https://idp.example\naudiences: [nats]\n";
    const INTROSPECTION: &str =
        "introspection: {client_id: me, authentication: {client_secret_basic: {secret: hidden}}}\n";

    fn read(more: &str) -> OidcSettings {
        serde_saphyr::from_str(&format!("{BASE}{more}")).unwrap_or_else(|error| panic!("{more}: {error}"))
    }

    #[test]
    fn the_sections_read_and_have_the_documented_defaults() {
        let settings = read(&format!(
            "verify: [jwt, introspection, userinfo]\nmax_opaque_life: 10m\n{INTROSPECTION}userinfo: {{enrich: required, \
             claims_from: token, accept_any_audience: true, cache: {{fresh: 5s}}}}\n"
        ));
        assert_eq!(settings.validate(), Ok(()));
        assert_eq!(settings.after_refusal, AfterRefusal::Stop);
        let introspection = settings.introspection.as_ref().unwrap();
        assert!(introspection.require_audience);
        let seconds = |times: natsgate_core::CacheTimes| {
            [times.fresh, times.stale_if_error, times.negative].map(|time| time.as_secs())
        };
        assert_eq!(seconds(introspection.cache_times()), [30, 0, 10]);
        assert_eq!(
            seconds(settings.userinfo.as_ref().unwrap().cache_times()),
            [5, 0, 10]
        );
        assert!(!format!("{settings:?}").contains("hidden"));
        assert_eq!(read("").max_token_life.as_secs(), 86_400);
    }

    #[test]
    fn settings_that_would_let_too_many_in_or_cannot_work_are_refused_by_name() {
        let jwks = "jwks_url: https://idp.example/keys\n";
        let userinfo = "userinfo: {accept_any_audience: true}\n";
        for (more, field) in [
            ("verify: []\n".to_owned(), "verify"),
            ("verify: [jwt, jwt]\n".to_owned(), "verify"),
            ("verify: [introspection]\n".to_owned(), "introspection"),
            ("verify: [userinfo]\nmax_opaque_life: 1m\n".to_owned(), "userinfo"),
            (
                "verify: [userinfo]\nmax_opaque_life: 1m\nuserinfo: {}\n".to_owned(),
                "userinfo.accept_any_audience",
            ),
            (format!("verify: [userinfo]\n{userinfo}"), "max_opaque_life"),
            (
                format!("verify: [userinfo]\nmax_opaque_life: 25h\n{userinfo}"),
                "max_opaque_life",
            ),
            ("max_token_life: 0s\n".to_owned(), "max_token_life"),
            (format!("{jwks}{INTROSPECTION}"), "introspection.endpoint"),
            (format!("{jwks}userinfo: {{}}\n"), "userinfo.endpoint"),
            ("opaque_prefix: ghp_\n".to_owned(), "opaque_prefix"),
            (
                format!("verify: [introspection]\nopaque_prefix: ''\n{INTROSPECTION}"),
                "opaque_prefix",
            ),
            (
                INTROSPECTION.replace("secret: hidden", "secret: ''"),
                "introspection.authentication.secret",
            ),
            (
                INTROSPECTION.replace("secret: hidden", "secret: a, secret_file: /b"),
                "introspection.authentication.secret_file",
            ),
            (
                INTROSPECTION.replace("id: me", "id: ''"),
                "introspection.client_id",
            ),
            (
                "introspection: {client_id: me, authentication: tls_client_auth}\n".to_owned(),
                "introspection.client_certificate",
            ),
            (
                "userinfo: {cache: {fresh: 25h}}\n".to_owned(),
                "userinfo.cache.fresh",
            ),
        ] {
            let error = read(&more).validate().unwrap_err();
            assert_eq!(error.key, format!("providers[corp].{field}"), "{more}: {error}");
            assert!(!error.to_string().contains("hidden"), "{error}");
        }
    }
}
