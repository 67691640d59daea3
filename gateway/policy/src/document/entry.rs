//! The two places where a document may write a thing in a short and in a long form.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Deserialize as DeriveDeserialize, Serialize};

/// One name, or a list of names any of which will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One name.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    /// The names.
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}

// By hand, because a derived untagged enum answers every mistake with "did not match any variant".
impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NamesVisitor)
    }
}

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = OneOrMany;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name or a list of names")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<OneOrMany, E> {
        Ok(OneOrMany::One(name.to_owned()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, seq: A) -> Result<OneOrMany, A::Error> {
        Deserialize::deserialize(de::value::SeqAccessDeserializer::new(seq)).map(OneOrMany::Many)
    }
}

/// A subject template to subscribe to, perhaps for a queue group only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum SubscribeEntry {
    /// The subject, for plain subscriptions and for every queue group.
    Subject(String),
    /// The subject, for members of one queue group.
    Queue(QueueSubject),
}

/// A subject template and the queue group it is for.
#[derive(Debug, Clone, PartialEq, Eq, DeriveDeserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueSubject {
    /// The subject.
    pub subject: String,
    /// The queue group: a template too, wildcards allowed. Without it as if the subject stood alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
}

impl SubscribeEntry {
    /// The subject's template.
    pub fn subject(&self) -> &str {
        match self {
            Self::Subject(subject) | Self::Queue(QueueSubject { subject, .. }) => subject,
        }
    }

    /// The queue group's template.
    pub fn queue(&self) -> Option<&str> {
        match self {
            Self::Subject(_) => None,
            Self::Queue(entry) => entry.queue.as_deref(),
        }
    }
}

impl<'de> Deserialize<'de> for SubscribeEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = SubscribeEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a subject, or {subject: …, queue: …}")
    }

    fn visit_str<E: de::Error>(self, subject: &str) -> Result<SubscribeEntry, E> {
        Ok(SubscribeEntry::Subject(subject.to_owned()))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<SubscribeEntry, A::Error> {
        let entry = QueueSubject::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(match entry.queue {
            None => SubscribeEntry::Subject(entry.subject),
            Some(_) => SubscribeEntry::Queue(entry),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_forms_are_read() {
        let one: OneOrMany = serde_json::from_value(json!("member")).unwrap();
        let many: OneOrMany = serde_json::from_value(json!(["member", "owner"])).unwrap();
        assert_eq!(one.names(), ["member"]);
        assert_eq!(many.names(), ["member", "owner"]);
        let short: SubscribeEntry = serde_json::from_value(json!("jobs")).unwrap();
        let plain: SubscribeEntry = serde_json::from_value(json!({"subject": "jobs"})).unwrap();
        let long: SubscribeEntry = serde_json::from_value(json!({"subject": "jobs", "queue": "w"})).unwrap();
        assert_eq!((short.subject(), short.queue()), ("jobs", None));
        assert_eq!(plain, short);
        assert_eq!((long.subject(), long.queue()), ("jobs", Some("w")));
    }

    #[test]
    fn mistakes_are_named() {
        for (bad, says) in [
            (json!(3), "a subject, or"),
            (json!({"queue": "w"}), "missing field `subject`"),
            (json!({"subject": "jobs", "queu": "w"}), "unknown field `queu`"),
            (json!({"subject": "jobs", "queue": 3}), "expected a string"),
        ] {
            let error = serde_json::from_value::<SubscribeEntry>(bad)
                .unwrap_err()
                .to_string();
            assert!(error.contains(says), "{error}");
        }
        let error = serde_json::from_value::<OneOrMany>(json!({}))
            .unwrap_err()
            .to_string();
        assert!(error.contains("a name or a list of names"), "{error}");
    }
}
