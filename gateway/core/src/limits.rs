//! What bounds a session beside its subjects. `None` means no bound of that kind.

mod admission;

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use admission::NotAdmitted;

/// The limits of one session, as a user JWT carries them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Subscriptions at most (`subs`).
    pub subscriptions: Option<u64>,
    /// Bytes of one message at most (`payload`).
    pub payload: Option<u64>,
    /// Bytes in all at most (`data`). Carried in the JWT; no nats-server known to us enforces it.
    pub data: Option<u64>,
    /// Kinds of connection allowed (`allowed_connection_types`); never empty.
    pub connection_types: Option<Vec<ConnectionType>>,
    /// Networks the client may come from (`src`); never empty.
    pub source_networks: Option<Vec<IpNet>>,
    /// Times of day at which it may be connected (`times`).
    pub times: Option<TimeWindows>,
}

impl Limits {
    /// The name of a limit that is set and that a nats-server takes from a session's template and from nowhere else, if one is.
    pub fn only_in_template(&self) -> Option<&'static str> {
        [
            (self.subscriptions.is_some(), "subscriptions"),
            (self.payload.is_some(), "payload"),
            (self.data.is_some(), "data"),
            (self.times.is_some(), "times"),
        ]
        .into_iter()
        .find_map(|(is_set, name)| is_set.then_some(name))
    }
}

/// A kind of client connection, by the names a user JWT uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConnectionType {
    /// A client over TCP.
    Standard,
    /// A client over WebSocket.
    Websocket,
    /// A leaf node.
    Leafnode,
    /// A leaf node over WebSocket.
    LeafnodeWs,
    /// An MQTT client.
    Mqtt,
    /// An MQTT client over WebSocket.
    MqttWs,
    /// A client inside the server's own process.
    InProcess,
}

impl ConnectionType {
    /// The name a user JWT has for it: `LEAFNODE_WS`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::Websocket => "WEBSOCKET",
            Self::Leafnode => "LEAFNODE",
            Self::LeafnodeWs => "LEAFNODE_WS",
            Self::Mqtt => "MQTT",
            Self::MqttWs => "MQTT_WS",
            Self::InProcess => "IN_PROCESS",
        }
    }

    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Standard,
        Self::Websocket,
        Self::Leafnode,
        Self::LeafnodeWs,
        Self::Mqtt,
        Self::MqttWs,
        Self::InProcess,
    ];
}

impl FromStr for ConnectionType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| {
                format!(
                    "no such connection type; one of {}",
                    Self::ALL.map(Self::as_str).join(", ")
                )
            })
    }
}

/// Times of day, all in one time zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeWindows {
    /// The windows; never empty.
    pub windows: Vec<TimeWindow>,
    /// An IANA zone name (`Europe/Berlin`); `None` for the nats-server's local time.
    pub location: Option<String>,
}

/// From `start` to `end`, past midnight if `end` is the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeWindow {
    /// When it begins.
    pub start: TimeOfDay,
    /// When it ends.
    pub end: TimeOfDay,
}

/// A time of day to the second, written `HH:MM:SS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay(u32);

impl TimeOfDay {
    /// Seconds of a day.
    pub const DAY: u32 = 86_400;

    /// `seconds` after midnight; `None` from 24:00:00 on.
    pub fn from_seconds(seconds: u32) -> Option<Self> {
        (seconds < Self::DAY).then_some(Self(seconds))
    }

    /// Seconds after midnight.
    pub fn seconds(self) -> u32 {
        self.0
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:02}:{:02}:{:02}",
            self.0 / 3600,
            self.0 / 60 % 60,
            self.0 % 60
        )
    }
}

impl FromStr for TimeOfDay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "a time of day is written HH:MM:SS".to_owned();
        let mut parts = text.split(':');
        let mut part = |below: u32| {
            let digits = parts
                .next()
                .filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_digit()));
            digits
                .and_then(|p| p.parse::<u32>().ok())
                .filter(|n| *n < below)
                .ok_or_else(wrong)
        };
        let seconds = part(24)? * 3600 + part(60)? * 60 + part(60)?;
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Self(seconds))
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        time.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_read_and_written() {
        assert_eq!("08:30:05".parse::<TimeOfDay>().unwrap().to_string(), "08:30:05");
        for bad in [
            "24:00:00",
            "8:30:00",
            "08:30",
            "08:60:00",
            "08:30:00:00",
            "+8:30:00",
            "",
        ] {
            assert!(bad.parse::<TimeOfDay>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn connection_types_have_the_server_s_names() {
        for kind in ConnectionType::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert!("standard".parse::<ConnectionType>().is_err());
    }
}
