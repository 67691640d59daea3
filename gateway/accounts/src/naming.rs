//! How natsgate names what is its own in an account JWT.
//!
//! A scoped signing key of natsgate's has the `role` `natsgate.TEMPLATE.GENERATION`: three parts between two dots, the
//! template's name without dots, the generation in decimal without leading zeros and never 0. There is one way to write
//! a role and one way to read it. The role alone makes a key nobody's: see [`crate::account`].

use std::fmt;
use std::num::NonZeroU32;

pub use natsgate_core::TemplateName;

/// What the roles of natsgate's keys begin with.
const PREFIX: &str = "natsgate";

/// Which version of a template a key stands for: 1, 2, 3, …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(NonZeroU32);

impl Generation {
    /// That of a template that is new.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// Generation `number`; there is no 0.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// The one after; `None` after the last there can be.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }

    /// The number.
    pub fn number(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the role of one of natsgate's keys says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeRole {
    /// The template.
    pub template: TemplateName,
    /// The generation of it.
    pub generation: Generation,
}

impl ScopeRole {
    /// What `role` says, if it has the form of natsgate's.
    pub fn parse(role: &str) -> Option<Self> {
        let mut parts = role.split('.');
        let (prefix, template, generation) = (parts.next()?, parts.next()?, parts.next()?);
        let read = Self {
            template: template.parse().ok()?,
            generation: Generation::new(generation.parse().ok()?)?,
        };
        // `+1` and `01` are numbers too, and written otherwise.
        (prefix == PREFIX && parts.next().is_none() && read.to_string() == role).then_some(read)
    }
}

impl fmt::Display for ScopeRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}.{}.{}", self.template, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_one_text_is_a_role() {
        let role = ScopeRole::parse("natsgate.member.7").unwrap();
        assert_eq!((role.template.as_str(), role.generation.number()), ("member", 7));
        for other in [
            "",
            "natsgate",
            "natsgate.member",
            "natsgate.member.0",
            "natsgate.member.07",
            "natsgate.member.+7",
            "natsgate.member.-7",
            "natsgate.member.7 ",
            "natsgate.member.7.",
            "natsgate.member.7.1",
            "natsgate..7",
            "natsgate.mem ber.7",
            "Natsgate.member.7",
            "natsgate.member.4294967296",
            "member.7",
        ] {
            assert_eq!(ScopeRole::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn generations_end() {
        assert_eq!(Generation::new(0), None);
        assert_eq!(Generation::FIRST.next(), Generation::new(2));
        assert_eq!(Generation::new(u32::MAX).unwrap().next(), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(name in "[A-Za-z0-9_-]{1,64}", number in 1u32..) {
            let role = ScopeRole {
                template: name.parse().unwrap(),
                generation: Generation::new(number).unwrap(),
            };
            prop_assert_eq!(ScopeRole::parse(&role.to_string()), Some(role));
        }

        #[test]
        fn what_is_read_is_written_again(text in "(natsgate|.{0,3})\\.?[a-z.]{0,4}\\.?[0-9+]{0,4}") {
            if let Some(role) = ScopeRole::parse(&text) {
                prop_assert_eq!(role.to_string(), text);
            }
        }
    }
}
