//! How long answers are kept. The same for everything that is asked over a network.

use std::time::Duration;

use natsgate_core::CacheTimes;
use schemars::JsonSchema;
use serde::Deserialize;

use super::SettingsError;

/// The longest any of these times may be.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How long answers are kept. What is left out has the default of what is kept. A revocation ends all of these times at
/// once for whom it concerns, and no answer outlives the token it is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CacheTimesSettings {
    /// As long as this an answer is used without asking again.
    #[serde(default, with = "humantime_serde::option")]
    #[schemars(with = "Option<String>")]
    pub fresh: Option<Duration>,
    /// As long as this beyond, an answer is used while the other side cannot be asked. `0s`: not at all.
    #[serde(default, with = "humantime_serde::option")]
    #[schemars(with = "Option<String>")]
    pub stale_if_error: Option<Duration>,
    /// As long as this "no" is used without asking again.
    #[serde(default, with = "humantime_serde::option")]
    #[schemars(with = "Option<String>")]
    pub negative: Option<Duration>,
}

impl CacheTimesSettings {
    /// These times, and those of `default` for what is left out.
    pub fn or(self, default: CacheTimes) -> CacheTimes {
        CacheTimes {
            fresh: self.fresh.unwrap_or(default.fresh),
            stale_if_error: self.stale_if_error.unwrap_or(default.stale_if_error),
            negative: self.negative.unwrap_or(default.negative),
        }
    }

    /// Checks what types alone do not. `key` names the section in errors: `providers[corp].introspection.cache`.
    ///
    /// # Errors
    /// The time that is too long.
    pub fn validate(&self, key: &str) -> Result<(), SettingsError> {
        for (field, time) in [
            ("fresh", self.fresh),
            ("stale_if_error", self.stale_if_error),
            ("negative", self.negative),
        ] {
            if time.is_some_and(|time| time > LONGEST) {
                return Err(SettingsError::new(
                    format!("{key}.{field}"),
                    "must be 24h at most: what is kept for longer is not asked for at all",
                ));
            }
        }
        Ok(())
    }
}
