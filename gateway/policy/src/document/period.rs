//! A length of time as a document writes it: `90m`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};

/// A length of time, written with its unit: `5s`, `90m`, `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

impl Period {
    /// A period of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The period as a duration.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(PeriodVisitor)
    }
}

struct PeriodVisitor;

impl Visitor<'_> for PeriodVisitor {
    type Value = Period;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a length of time with its unit, such as 5s, 90m or 1h")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Period, E> {
        humantime::parse_duration(text).map(Period).map_err(|cause| {
            E::custom(format!(
                "{text:?} is not a length of time ({cause}); write a number and its unit, such as 5s, 90m or 1h"
            ))
        })
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A length of time with its unit: 5s, 90m, 1h 30m.",
            "pattern": "^([0-9]+ *[a-zA-Z]+ *)+$",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_period_needs_its_unit() {
        let read = |value| serde_json::from_value::<Period>(value);
        assert_eq!(read(json!("90m")).unwrap(), Period::from_secs(5400));
        assert_eq!(read(json!("1h 30m")).unwrap(), Period::from_secs(5400));
        for bad in [json!(5), json!("5"), json!("-5s"), json!(""), json!("5 parsecs")] {
            let error = read(bad.clone()).unwrap_err().to_string();
            assert!(error.contains("90m"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_period_is_written_so_that_it_reads_the_same() {
        let period: Period = serde_json::from_value(json!("5400s")).unwrap();
        assert_eq!(serde_json::to_value(period).unwrap(), json!("1h 30m"));
    }
}
