//! What a session may do, or where in NATS that is written: in its own user JWT, in a template of the account, or in the account's
//! default permissions. Which of them decides how a change reaches it (propagation): `reconnect`, `scoped_key`, `live`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::permissions::Permissions;

/// The longest name of a template, in bytes.
pub const MAX_TEMPLATE_NAME: usize = 64;

/// The longest name of a tag, in bytes.
pub const MAX_TAG_NAME: usize = 64;

/// What a session may publish and subscribe to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rights {
    /// Exactly this. It stands in the user JWT, and changes by reconnecting.
    Own(Permissions),
    /// What a template of the account says with these tags. It stands in the account JWT, with the template's scoped signing
    /// key; a changed template is another key.
    Template(TemplateUse),
    /// The account's default permissions, which newer nats-servers apply to live connections when they change.
    AccountDefaults,
}

impl Rights {
    /// What stands in the user JWT itself, if that is where it stands.
    pub fn own(&self) -> Option<&Permissions> {
        match self {
            Self::Own(permissions) => Some(permissions),
            Self::Template(_) | Self::AccountDefaults => None,
        }
    }
}

/// A template and what this user puts into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateUse {
    /// Which.
    pub template: TemplateName,
    /// The user's tags by name.
    pub tags: TagValues,
}

/// A user's tags by name.
pub type TagValues = BTreeMap<TagName, BTreeSet<String>>;

/// The name of a template in an account JWT: 1 to 64 of `A-Z`, `a-z`, `0-9`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplateName(String);

/// A text that is no name of a template. Does not hold the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a template's name has 1 to 64 characters from A-Z, a-z, 0-9, '_' and '-'")]
pub struct NotATemplateName;

impl TemplateName {
    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TemplateName {
    type Err = NotATemplateName;

    fn from_str(text: &str) -> Result<Self, NotATemplateName> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let fits = (1..=MAX_TEMPLATE_NAME).contains(&text.len());
        (fits && text.bytes().all(plain))
            .then(|| Self(text.to_owned()))
            .ok_or(NotATemplateName)
    }
}

impl fmt::Display for TemplateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a user's tag, what stands before the colon: 1 to 64 of `a-z`, `0-9`, `_` and `-`. nats-server reads names in
/// templates in lower case, and those of tags as they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagName(String);

impl TagName {
    /// Reads a name; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
        let fits = (1..=MAX_TAG_NAME).contains(&text.len());
        (fits && text.bytes().all(plain)).then(|| Self(text.to_owned()))
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What `tag` (`NAME:VALUE`) gives this name, if it is one of its tags.
    pub fn value_in<'a>(&self, tag: &'a str) -> Option<&'a str> {
        tag.strip_prefix(&self.0)?.strip_prefix(':')
    }
}

impl fmt::Display for TagName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_or_refused() {
        for good in ["a", "Project_member-2", &"x".repeat(64)] {
            assert_eq!(good.parse::<TemplateName>().unwrap().as_str(), good);
        }
        for bad in ["", "a.b", "a b", "é", "a\n", "a/b", "{{x}}", &"x".repeat(65)] {
            assert_eq!(bad.parse::<TemplateName>(), Err(NotATemplateName), "{bad:?}");
        }
        for bad in ["", "A", "a.b", "a:b", &"x".repeat(65)] {
            assert_eq!(TagName::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_tag_has_the_value_after_its_name() {
        let tag = |name: &str| TagName::parse(name).unwrap();
        assert_eq!(tag("x").value_in("x:a:b"), Some("a:b"));
        assert_eq!(tag("x").value_in("xy:a"), None);
        assert_eq!(tag("x").value_in("X:a"), None);
    }
}
