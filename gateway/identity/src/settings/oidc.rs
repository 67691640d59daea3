//! One OpenID provider: who it is, which of its tokens open NATS, how they are verified, and how its keys are kept.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::SettingsError;
use super::introspection::IntrospectionSettings;
use super::userinfo::UserinfoSettings;
use super::verify::{self, AfterRefusal, VerifyBy};
use crate::algorithm::Algorithm;

/// The largest token bound that can be configured, in bytes.
const MAX_MAX_TOKEN_BYTES: usize = 1024 * 1024;

/// An OpenID provider whose access tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OidcSettings {
    /// A short name of your choice, for logs, errors and policy.
    pub name: String,
    /// The provider's issuer identifier. A token's `iss` and the discovery document's `issuer` must equal it byte for
    /// byte, a trailing slash included.
    pub issuer: String,
    /// Where the discovery document is. Default: the issuer followed by `/.well-known/openid-configuration` (OpenID
    /// Connect Discovery 1.0, section 4).
    #[serde(default)]
    pub discovery_url: Option<String>,
    /// Where the key set (JWKS) is. If set, no discovery document is asked for.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// In which ways tokens are accepted, in the order they are tried. A JWT of this issuer goes to `jwt` first if that is
    /// named; an opaque token goes to the others. While a way cannot be used (an outage), the next is tried.
    #[serde(default = "default_verify")]
    pub verify: Vec<VerifyBy>,
    /// What becomes of a token that one way refuses. Leave it at `stop` unless you know why the next way is no weaker.
    #[serde(default)]
    pub after_refusal: AfterRefusal,
    /// Token introspection. If set, it is also asked about a JWT that something was revoked of since it was issued.
    #[serde(default)]
    pub introspection: Option<IntrospectionSettings>,
    /// The userinfo endpoint. If set, and introspection is not, it is also asked about a JWT that something was revoked of
    /// since it was issued.
    #[serde(default)]
    pub userinfo: Option<UserinfoSettings>,
    /// What this provider's opaque tokens begin with (`ghp_`). Tokens that begin so are shown to no other provider, and this
    /// one is shown no others. Without it an opaque token is shown to one provider after the other, in the order they are
    /// configured: whoever runs one of them could then use it at another.
    #[serde(default)]
    pub opaque_prefix: Option<String>,
    /// The longest life of a token, from `iat` (without one: from now) to `exp`. A token that lives longer is refused.
    #[serde(default = "default_max_token_life", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub max_token_life: Duration,
    /// How long an opaque token counts after each time it was found in force, where the provider does not say until when it
    /// is. Without this setting such a token is refused.
    #[serde(default, with = "humantime_serde::option")]
    #[schemars(with = "Option<String>")]
    pub max_opaque_life: Option<Duration>,
    /// Accepted audiences: a token's `aud` must hold one of them. At least one is required, so that a token meant for
    /// another service does not open NATS.
    pub audiences: Vec<String>,
    /// Accepted signature algorithms. Default: all of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA.
    #[serde(default = "all_algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// Accepted `typ` headers, compared without regard to case and to a leading `application/`. Leave only `at+jwt` for
    /// a provider that follows RFC 9068: then an id token is refused. A token without `typ` counts as `JWT`.
    #[serde(default = "default_token_types")]
    pub token_types: Vec<String>,
    /// Whether a token without a `typ` header is refused even where `JWT` is accepted.
    #[serde(default)]
    pub require_typ: bool,
    /// Claims that the token (or introspection of it) must make, beside `iss`, `aud`, `exp` and the subject: names, or paths like `realm_access.roles`.
    #[serde(default)]
    pub required_claims: Vec<String>,
    /// The claim that names the person or service.
    #[serde(default = "default_subject_claim")]
    pub subject_claim: String,
    /// How far the provider's clock may be ahead: bears on `nbf` and `iat`. An expired token is refused at its `exp`,
    /// without leeway.
    #[serde(default = "default_leeway", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub leeway: Duration,
    /// Tokens larger than this, in bytes, are refused before anything in them is read.
    #[serde(default = "default_max_token_bytes")]
    pub max_token_bytes: usize,
    /// How old the provider's keys may get before they are fetched again, in the background, on use.
    #[serde(default = "default_refresh_after", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub refresh_after: Duration,
    /// How old the provider's keys may get while the provider cannot be reached. After that nobody can be told apart from
    /// anybody, so there is no answer until it is back.
    #[serde(default = "default_keep_for", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub keep_for: Duration,
    /// A token signed with an unknown key makes the keys be fetched again, at most this often.
    #[serde(default = "default_cool_down", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub cool_down: Duration,
    /// The longest a fetch of discovery document and keys together may take, and an answer of introspection or userinfo.
    #[serde(default = "default_fetch_timeout", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub fetch_timeout: Duration,
    /// Whether plain http is spoken to other hosts than this one. Whoever can change what travels there can make tokens.
    #[serde(default)]
    pub allow_http: bool,
    /// A PEM file of certificate authorities to trust for this provider, beside the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

fn default_verify() -> Vec<VerifyBy> {
    vec![VerifyBy::Jwt]
}

fn default_max_token_life() -> Duration {
    Duration::from_secs(24 * 60 * 60)
}

fn all_algorithms() -> Vec<Algorithm> {
    Algorithm::ALL.to_vec()
}

fn default_token_types() -> Vec<String> {
    vec!["at+jwt".to_owned(), "JWT".to_owned()]
}

fn default_subject_claim() -> String {
    "sub".to_owned()
}

fn default_leeway() -> Duration {
    Duration::from_secs(30)
}

fn default_max_token_bytes() -> usize {
    16 * 1024
}

fn default_refresh_after() -> Duration {
    Duration::from_secs(5 * 60)
}

fn default_keep_for() -> Duration {
    Duration::from_secs(60 * 60)
}

fn default_cool_down() -> Duration {
    Duration::from_secs(30)
}

fn default_fetch_timeout() -> Duration {
    Duration::from_secs(3)
}

impl OidcSettings {
    /// Settings with nothing but defaults beside what has none.
    pub fn new(name: impl Into<String>, issuer: impl Into<String>, audiences: Vec<String>) -> Self {
        Self {
            name: name.into(),
            issuer: issuer.into(),
            discovery_url: None,
            jwks_url: None,
            verify: default_verify(),
            after_refusal: AfterRefusal::default(),
            introspection: None,
            userinfo: None,
            opaque_prefix: None,
            max_token_life: default_max_token_life(),
            max_opaque_life: None,
            audiences,
            algorithms: all_algorithms(),
            token_types: default_token_types(),
            require_typ: false,
            required_claims: Vec::new(),
            subject_claim: default_subject_claim(),
            leeway: default_leeway(),
            max_token_bytes: default_max_token_bytes(),
            refresh_after: default_refresh_after(),
            keep_for: default_keep_for(),
            cool_down: default_cool_down(),
            fetch_timeout: default_fetch_timeout(),
            allow_http: false,
            ca_file: None,
        }
    }

    /// The name of one of these settings as errors give it: `providers[corp].issuer`.
    pub(crate) fn key(&self, field: &str) -> String {
        format!("providers[{}].{field}", self.name.escape_debug())
    }

    /// Whether a token that is no JWT may be one of this provider's.
    pub(crate) fn takes_opaque_tokens(&self) -> bool {
        self.verify.iter().any(|way| *way != VerifyBy::Jwt)
    }

    /// Checks what types alone do not. URLs and files are checked where they are read.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let wrong = |field: &str, problem: &str| Err(SettingsError::new(self.key(field), problem));
        if self.name.trim().is_empty() {
            return wrong(
                "name",
                "must not be empty: it names the provider in logs and errors",
            );
        }
        if self.audiences.is_empty() {
            return wrong(
                "audiences",
                "must name at least one audience, or a token made for any other service would open NATS",
            );
        }
        for (field, list) in [
            ("audiences", &self.audiences),
            ("token_types", &self.token_types),
            ("required_claims", &self.required_claims),
        ] {
            if list.iter().any(|entry| entry.trim().is_empty()) {
                return wrong(field, "has an empty entry: remove it");
            }
        }
        if self.algorithms.is_empty() {
            return wrong(
                "algorithms",
                "must name at least one algorithm, or be left out for all of them",
            );
        }
        if self.token_types.is_empty() {
            return wrong(
                "token_types",
                "must name at least one type, or be left out for at+jwt and JWT",
            );
        }
        if self.subject_claim.trim().is_empty() {
            return wrong("subject_claim", "must not be empty: leave it out for `sub`");
        }
        if !(1..=MAX_MAX_TOKEN_BYTES).contains(&self.max_token_bytes) {
            return wrong("max_token_bytes", "must be between 1 and 1048576");
        }
        if self.leeway > Duration::from_secs(10 * 60) {
            return wrong("leeway", "must be 10m at most: set the clocks instead");
        }
        for (field, time) in [
            ("refresh_after", self.refresh_after),
            ("keep_for", self.keep_for),
            ("cool_down", self.cool_down),
            ("fetch_timeout", self.fetch_timeout),
            ("max_token_life", self.max_token_life),
            ("max_opaque_life", self.max_opaque_life.unwrap_or(Duration::MAX)),
        ] {
            if time.is_zero() {
                return wrong(field, "must be longer than 0s");
            }
        }
        if self.keep_for < self.refresh_after {
            return wrong("keep_for", "must not be shorter than `refresh_after`");
        }
        if self.fetch_timeout > Duration::from_secs(60) {
            return wrong(
                "fetch_timeout",
                "must be 60s at most: clients have long given up by then",
            );
        }
        if self.jwks_url.is_some() && self.discovery_url.is_some() {
            return wrong(
                "discovery_url",
                "is not used when `jwks_url` is set: remove one of the two",
            );
        }
        if self
            .max_opaque_life
            .is_some_and(|life| life > self.max_token_life)
        {
            return wrong("max_opaque_life", "must not be longer than `max_token_life`");
        }
        verify::validate(self)?;
        if let Some(introspection) = &self.introspection {
            introspection.validate(&self.key("introspection"))?;
        }
        if let Some(userinfo) = &self.userinfo {
            userinfo.validate(&self.key("userinfo"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<OidcSettings, String> {
        serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
    }

    const LEAST: &str = "name: corp\nissuer: https://login.example.com\naudiences: [nats]\n";

    #[test]
    fn the_least_settings_have_the_documented_defaults() {
        let settings = read(LEAST).unwrap();
        assert_eq!(
            settings,
            OidcSettings::new("corp", "https://login.example.com", vec!["nats".to_owned()])
        );
        assert_eq!(settings.validate(), Ok(()));
        assert_eq!(settings.algorithms.len(), 9);
        assert_eq!(settings.max_token_bytes, 16_384);
    }

    #[test]
    fn unknown_keys_and_refused_algorithms_do_not_read() {
        for (more, hint) in [
            ("issuers: x\n", "issuers"),
            ("algorithms: [HS256]\n", "HMAC"),
            ("algorithms: [none]\n", "never accepted"),
            ("algorithms: [ES512]\n", "not supported"),
            ("leeway: fast\n", "leeway"),
        ] {
            let error = read(&format!("{LEAST}{more}")).unwrap_err();
            assert!(error.contains(hint), "{more}: {error}");
        }
    }

    #[test]
    fn settings_that_would_weaken_a_check_are_refused() {
        type Change = fn(&mut OidcSettings);
        let cases: [(&str, Change); 13] = [
            ("name", |s| s.name = " ".to_owned()),
            ("audiences", |s| s.audiences.clear()),
            ("audiences", |s| s.audiences = vec![String::new()]),
            ("algorithms", |s| s.algorithms.clear()),
            ("token_types", |s| s.token_types.clear()),
            ("subject_claim", |s| s.subject_claim.clear()),
            ("max_token_bytes", |s| s.max_token_bytes = 0),
            ("max_token_bytes", |s| s.max_token_bytes = usize::MAX),
            ("leeway", |s| s.leeway = Duration::from_secs(3600)),
            ("cool_down", |s| s.cool_down = Duration::ZERO),
            ("keep_for", |s| s.keep_for = Duration::from_secs(1)),
            ("fetch_timeout", |s| s.fetch_timeout = Duration::from_secs(61)),
            ("discovery_url", |s| {
                s.discovery_url = Some("https://a".to_owned());
                s.jwks_url = Some("https://a".to_owned());
            }),
        ];
        for (field, change) in cases {
            let mut settings =
                OidcSettings::new("corp", "https://login.example.com", vec!["nats".to_owned()]);
            change(&mut settings);
            let error = settings.validate().unwrap_err();
            assert!(error.key.ends_with(&format!(".{field}")), "{field}: {error}");
        }
    }

    #[test]
    fn every_setting_is_described_in_the_schema() {
        let schema = serde_json::to_value(schemars::schema_for!(OidcSettings)).unwrap();
        for (name, property) in schema["properties"].as_object().unwrap() {
            assert!(property["description"].is_string(), "{name} has no description");
        }
        assert_eq!(schema["additionalProperties"], false);
    }
}
