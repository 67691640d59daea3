//! Where a server listens.

use std::fmt;

/// A host and a TCP port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Address {
    /// A name or an IP address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    pub(super) fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }

    /// Reads `host:port`, or `[::1]:port`. What Redis itself writes, `::1:port`, is taken too: the last colon counts.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host
            .strip_prefix('[')
            .map_or(Some(host), |rest| rest.strip_suffix(']'))?;
        let plausible = !host.is_empty() && !host.contains(['/', '@', '[', ']', ' ']);
        let port = port.parse().ok().filter(|port| *port != 0)?;
        plausible.then(|| Self::new(host, port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_both_kinds_of_ip_address_are_read() {
        for (text, host, port) in [
            ("redis.internal:6379", "redis.internal", 6379),
            ("127.0.0.1:1", "127.0.0.1", 1),
            ("[::1]:6380", "::1", 6380),
            ("2001:db8::7:6380", "2001:db8::7", 6380),
        ] {
            assert_eq!(Address::parse(text), Some(Address::new(host, port)), "{text}");
        }
        assert_eq!(Address::new("::1", 6380).to_string(), "[::1]:6380");
        assert_eq!(Address::new("redis", 6380).to_string(), "redis:6380");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "redis",
            "redis:",
            ":6379",
            "redis:0",
            "redis:65536",
            "redis://redis:6379",
            "user@redis:6379",
            "[::1:6379",
        ] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }
}
