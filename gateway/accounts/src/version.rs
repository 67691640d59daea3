//! The versions of nats-servers, as far as they matter here.

use std::fmt;

/// The first version that applies changed default permissions to live connections. (The source of 2.12.12 and later has
/// it as well; that was not seen on a running server, and so does not count.)
const LIVE_DEFAULTS: (u32, u32, u32) = (2, 14, 3);

/// A nats-server's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerVersion {
    numbers: (u32, u32, u32),
    prerelease: bool,
}

impl ServerVersion {
    /// Reads `2.14.3`, `v2.14.3` or `2.15.0-RC.1`; `None` if it is of another form.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (release, prerelease) = match text.split_once(['-', '+']) {
            Some((release, _)) => (release, true),
            None => (text, false),
        };
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        let mut parts = release.split('.').map(number);
        let numbers = (parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(Self { numbers, prerelease })
    }

    /// Whether it applies changed default permissions to live connections. No pre-release counts: it may have been made
    /// before that was.
    pub fn applies_defaults_live(self) -> bool {
        self.numbers >= LIVE_DEFAULTS && !self.prerelease
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, patch) = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        f.write_str(if self.prerelease { " (pre-release)" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_releases_from_2_14_3_on_are_live() {
        for (text, live) in [
            ("2.10.25", false),
            ("2.12.8", false),
            ("2.12.12", false),
            ("2.14.2", false),
            ("2.14.3", true),
            ("v2.14.6", true),
            ("2.15.1", true),
            ("3.0.0", true),
            ("2.14.3-RC.1", false),
            ("2.15.0-beta.2", false),
            ("2.15.1+dirty", false),
        ] {
            let version = ServerVersion::parse(text).unwrap();
            assert_eq!(version.applies_defaults_live(), live, "{text}");
        }
    }

    #[test]
    fn what_is_no_version_is_none() {
        for text in [
            "",
            "2",
            "2.14",
            "2.14.",
            "2.14.3.1",
            "2.14.x",
            "2.+14.3",
            "latest",
            "2.14.99999999999",
        ] {
            assert_eq!(ServerVersion::parse(text), None, "{text:?}");
        }
    }
}
