//! What somebody may speak for: which issuers' people, which kinds of resources, which ids, which roles.

use std::collections::BTreeSet;

use crate::membership::Membership;
use crate::principal::Principal;

/// Some names, or all there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// Whatever the name.
    All,
    /// These and no others; an empty set is none.
    Only(BTreeSet<String>),
}

impl Names {
    /// None at all.
    pub fn none() -> Self {
        Self::Only(BTreeSet::new())
    }

    /// Whether `name` is one of them.
    pub fn contain(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
        }
    }

    /// Whether `text` begins with one of them.
    pub fn begin(&self, text: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(prefixes) => prefixes.iter().any(|prefix| text.starts_with(prefix.as_str())),
        }
    }
}

/// The memberships somebody may speak for. All four must cover one: what is not listed anywhere is out of reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Of whose people: the principals' issuers.
    pub issuers: Names,
    /// In which kinds of resources.
    pub kinds: Names,
    /// In resources whose ids begin with one of these.
    pub id_prefixes: Names,
    /// In which roles.
    pub roles: Names,
}

impl Reach {
    /// Everything there is.
    pub fn everything() -> Self {
        Self {
            issuers: Names::All,
            kinds: Names::All,
            id_prefixes: Names::All,
            roles: Names::All,
        }
    }

    /// Nothing at all.
    pub fn nothing() -> Self {
        Self {
            issuers: Names::none(),
            kinds: Names::none(),
            id_prefixes: Names::none(),
            roles: Names::none(),
        }
    }

    /// Whether `membership` of `principal` is within reach.
    pub fn covers(&self, principal: &Principal, membership: &Membership) -> bool {
        self.beyond(principal, membership).is_none()
    }

    /// What puts `membership` of `principal` out of reach: the first of `issuer`, `kind`, `id`, `role`.
    pub fn beyond(&self, principal: &Principal, membership: &Membership) -> Option<&'static str> {
        if !self.issuers.contain(&principal.issuer) {
            Some("issuer")
        } else if !self.kinds.contain(&membership.kind) {
            Some("kind")
        } else if !self.id_prefixes.begin(&membership.id) {
            Some("id")
        } else if !self.roles.contain(&membership.role) {
            Some("role")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(names: &[&str]) -> Names {
        Names::Only(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn a_membership_is_within_reach_only_if_all_four_cover_it() {
        let reach = Reach {
            issuers: only(&["https://a"]),
            kinds: only(&["project"]),
            id_prefixes: only(&["eu-", "x"]),
            roles: only(&["member", "guest"]),
        };
        let beyond = |issuer: &str, kind: &str, id: &str, role: &str| {
            let membership = Membership {
                kind: kind.into(),
                id: id.into(),
                role: role.into(),
            };
            reach.beyond(&Principal::new(issuer, "alice"), &membership)
        };
        assert_eq!(beyond("https://a", "project", "eu-1", "guest"), None);
        assert_eq!(beyond("https://a", "project", "x", "member"), None);
        // An issuer, a kind and a role are compared as wholes; only ids by their beginning.
        assert_eq!(
            beyond("https://a.evil", "project", "eu-1", "guest"),
            Some("issuer")
        );
        assert_eq!(beyond("https://a", "projects", "eu-1", "guest"), Some("kind"));
        assert_eq!(beyond("https://a", "project", "us-eu-1", "guest"), Some("id"));
        assert_eq!(beyond("https://a", "project", "eu-1", "owner"), Some("role"));
    }

    #[test]
    fn nothing_is_nothing_and_everything_is_everything() {
        let membership = Membership {
            kind: "project".into(),
            id: "apollo".into(),
            role: "member".into(),
        };
        let alice = Principal::new("https://a", "alice");
        assert!(Reach::everything().covers(&alice, &membership));
        assert!(!Reach::nothing().covers(&alice, &membership));
        for part in 0..4 {
            let mut reach = Reach::everything();
            match part {
                0 => reach.issuers = Names::none(),
                1 => reach.kinds = Names::none(),
                2 => reach.id_prefixes = Names::none(),
                _ => reach.roles = Names::none(),
            }
            assert!(!reach.covers(&alice, &membership), "{part}");
        }
    }
}
