//! Fields that a newer tool or server wrote and this version does not know.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// Fields that are not known here, kept so that a token signed again says what it said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unknown(Map<String, Value>);

impl Unknown {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Without type and version, which are known, but not to the body.
    pub(crate) fn without_type(mut self) -> Self {
        self.0.remove("type");
        self.0.remove("version");
        self
    }
}

/// For the body itself, whose neighbours `type` and `version` are.
pub(crate) fn beside_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Unknown, D::Error> {
    Ok(Unknown::deserialize(deserializer)?.without_type())
}
