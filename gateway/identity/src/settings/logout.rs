//! Back-channel logout: which provider's logout tokens are accepted, and what they revoke.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::SettingsError;

/// The longest `max_age`. What was used before is known for as long as the revocation log keeps it, so tokens must not be good
/// for longer than that.
const LONGEST_AGE: Duration = Duration::from_secs(60 * 60);

/// A provider whose logout tokens are accepted (OpenID Connect Back-Channel Logout 1.0), at `/backchannel-logout`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogoutSettings {
    /// The provider, by its name in `providers`. Its keys, `algorithms`, `leeway`, `max_token_life` and `subject_claim` count
    /// for logout tokens too.
    pub provider: String,
    /// The client ids that logout tokens are for (`aud`): those of the clients at the provider that have natsgate's URL as their
    /// `backchannel_logout_uri`. At least one.
    pub audiences: Vec<String>,
    /// How old a logout token may be, by its `iat`; 1h at most.
    #[serde(default = "LogoutSettings::default_max_age", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub max_age: Duration,
    /// Whether a token's header must have the `typ` `logout+jwt`. Left out, `JWT` and none are accepted too, as some providers
    /// send them; what makes it a logout token is its `events` claim in any case.
    #[serde(default)]
    pub require_type: bool,
    /// What is revoked where a token names both a session at the provider (`sid`) and a person (`sub`).
    #[serde(default)]
    pub revokes: LogoutTarget,
}

/// What a logout ends, where the token names both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogoutTarget {
    /// The one session at the provider. Only NATS sessions whose access token has the same `sid` are closed: choose
    /// `principal` if the provider puts none into access tokens.
    #[default]
    Session,
    /// Everything of the person: all of their NATS sessions.
    Principal,
}

impl LogoutSettings {
    fn default_max_age() -> Duration {
        Duration::from_secs(5 * 60)
    }

    /// Settings with nothing but defaults beside what has none.
    pub fn new(provider: impl Into<String>, audiences: Vec<String>) -> Self {
        Self {
            provider: provider.into(),
            audiences,
            max_age: Self::default_max_age(),
            require_type: false,
            revokes: LogoutTarget::default(),
        }
    }

    /// The name of one of these settings as errors give it: `backchannel_logout[corp].max_age`.
    pub(crate) fn key(&self, field: &str) -> String {
        format!("backchannel_logout[{}].{field}", self.provider.escape_debug())
    }

    /// Checks what types alone do not.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let wrong = |field: &str, problem: &str| Err(SettingsError::new(self.key(field), problem));
        if self.audiences.is_empty() {
            return wrong(
                "audiences",
                "must name at least one client id: a logout token for anybody else's client is none of ours",
            );
        }
        if self.audiences.iter().any(|entry| entry.trim().is_empty()) {
            return wrong("audiences", "has an empty entry: remove it");
        }
        if self.max_age.is_zero() {
            return wrong("max_age", "must be longer than 0s");
        }
        if self.max_age > LONGEST_AGE {
            return wrong("max_age", "must be 1h at most: logout tokens are sent at once");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_settings_have_the_documented_defaults_and_bad_ones_are_refused() {
        let least: LogoutSettings = serde_saphyr::from_str("provider: corp\naudiences: [app]\n").unwrap();
        assert_eq!(least, LogoutSettings::new("corp", vec!["app".to_owned()]));
        assert_eq!(least.validate(), Ok(()));
        type Change = fn(&mut LogoutSettings);
        let cases: [(&str, Change); 4] = [
            ("audiences", |s| s.audiences.clear()),
            ("audiences", |s| s.audiences.push(" ".to_owned())),
            ("max_age", |s| s.max_age = Duration::ZERO),
            ("max_age", |s| s.max_age = Duration::from_secs(3601)),
        ];
        for (field, change) in cases {
            let mut settings = least.clone();
            change(&mut settings);
            let error = settings.validate().unwrap_err();
            assert_eq!(error.key, format!("backchannel_logout[corp].{field}"));
        }
        let schema = serde_json::to_value(schemars::schema_for!(LogoutSettings)).unwrap();
        for (name, property) in schema["properties"].as_object().unwrap() {
            assert!(property["description"].is_string(), "{name} has no description");
        }
    }
}
