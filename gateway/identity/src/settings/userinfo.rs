//! The userinfo endpoint (OpenID Connect Core 1.0 section 5.3): where it is and what it is asked for.

use std::time::Duration;

use natsgate_core::CacheTimes;
use schemars::JsonSchema;
use serde::Deserialize;

use super::SettingsError;
use super::cache_times::CacheTimesSettings;

/// Asking the provider, with the token itself, who its owner is (OpenID Connect Core 1.0 section 5.3).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserinfoSettings {
    /// Where to ask. Default: the discovery document's `userinfo_endpoint`.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Whether a token that was verified in another way is completed with what userinfo says.
    #[serde(default)]
    pub enrich: Enrich,
    /// Whose word counts where token and userinfo make the same claim. `iss`, `sub`, `aud`, `exp`, `iat`, `nbf`, `jti`
    /// and `sid` are the token's in any case.
    #[serde(default)]
    pub claims_from: ClaimsFrom,
    /// Userinfo does not say whom a token is for, so as a way of verification (`verify`) it takes a token that the
    /// provider issued for any other service. Set this to accept that; it is required for `verify: [userinfo]`.
    #[serde(default)]
    pub accept_any_audience: bool,
    /// How long answers are kept: `fresh` 60s, `stale_if_error` 0s and `negative` 10s unless set.
    #[serde(default)]
    pub cache: CacheTimesSettings,
}

/// Whether verified tokens are completed by userinfo.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Enrich {
    /// They are not.
    #[default]
    None,
    /// They are; while userinfo cannot be asked they are used as they are. A refusal is still a refusal.
    Optional,
    /// They are; while userinfo cannot be asked there is no answer.
    Required,
}

/// Whose word counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClaimsFrom {
    /// Userinfo's: the newer.
    #[default]
    Userinfo,
    /// The token's.
    Token,
}

impl UserinfoSettings {
    /// How long answers are kept.
    pub fn cache_times(&self) -> CacheTimes {
        self.cache.or(CacheTimes {
            fresh: Duration::from_secs(60),
            stale_if_error: Duration::ZERO,
            negative: Duration::from_secs(10),
        })
    }

    /// Checks what types alone do not. `key` names the section: `providers[corp].userinfo`.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn validate(&self, key: &str) -> Result<(), SettingsError> {
        self.cache.validate(&format!("{key}.cache"))
    }
}
