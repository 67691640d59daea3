//! A position in the revocation log.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One life of the revocation log, named at random. A log that may have lost its end, or was moved to another primary,
/// goes on in a new epoch; positions of two epochs cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch([u8; 16]);

impl Epoch {
    /// The epoch named by `bytes`, which somebody drew at random.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its name.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE32_NOPAD.encode(&self.0).to_ascii_lowercase())
    }
}

/// A text is not an epoch or a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a revision is written EPOCH.NUMBER, as natsgate gave it")]
pub struct NotARevision;

impl FromStr for Epoch {
    type Err = NotARevision;

    fn from_str(text: &str) -> Result<Self, NotARevision> {
        let bytes = BASE32_NOPAD
            .decode(text.to_ascii_uppercase().as_bytes())
            .map_err(|_| NotARevision)?;
        bytes.try_into().map(Self).map_err(|_| NotARevision)
    }
}

/// A position in the revocation log: everything up to and including entry `sequence` of `epoch`.
///
/// Written `EPOCH.NUMBER`. The sequence goes on across epochs, so it never names two entries of what a log still holds;
/// but a position of another epoch says nothing about this one, so the two are not ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revision {
    /// The life of the log it is in.
    pub epoch: Epoch,
    /// The entry's number; 0 is before the first.
    pub sequence: u64,
}

impl Revision {
    /// Entry `sequence` of `epoch`.
    pub fn new(epoch: Epoch, sequence: u64) -> Self {
        Self { epoch, sequence }
    }

    /// Whether everything up to `other` is included. Never for another epoch.
    pub fn includes(&self, other: &Self) -> bool {
        self.epoch == other.epoch && self.sequence >= other.sequence
    }
}

impl PartialOrd for Revision {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.epoch == other.epoch).then(|| self.sequence.cmp(&other.sequence))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.sequence)
    }
}

impl FromStr for Revision {
    type Err = NotARevision;

    fn from_str(text: &str) -> Result<Self, NotARevision> {
        let (epoch, sequence) = text.split_once('.').ok_or(NotARevision)?;
        let canonical = sequence.bytes().all(|b| b.is_ascii_digit()) && !sequence.is_empty();
        let sequence = sequence.parse().map_err(|_| NotARevision)?;
        if !canonical {
            return Err(NotARevision);
        }
        Ok(Self::new(epoch.parse()?, sequence))
    }
}

impl Serialize for Revision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Revision {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_written_and_read() {
        let revision = Revision::new(Epoch::from_bytes([7; 16]), 42);
        let text = revision.to_string();
        assert!(text.ends_with(".42"), "{text}");
        assert_eq!(text.parse(), Ok(revision));
        for bad in [
            "",
            "42",
            ".42",
            "abc.42",
            &text.replace(".42", ".+42"),
            &text.replace(".42", "."),
        ] {
            assert_eq!(bad.parse::<Revision>(), Err(NotARevision), "{bad:?}");
        }
    }

    #[test]
    fn positions_of_two_epochs_say_nothing_of_each_other() {
        let one = Revision::new(Epoch::from_bytes([1; 16]), 5);
        let other = Revision::new(Epoch::from_bytes([2; 16]), 4);
        assert_eq!(one.partial_cmp(&other), None);
        assert!(!one.includes(&other) && !other.includes(&one));
        assert!(one.includes(&Revision::new(one.epoch, 5)) && !one.includes(&Revision::new(one.epoch, 6)));
    }
}
