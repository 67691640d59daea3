//! Whom and what a caller may revoke, and what it may see of the log.

use natsgate_core::{Change, Membership, Names, Principal, Reach, Selector};

/// What puts a revocation by `selector` out of `reach`: a field of the selector, and why.
pub(super) fn beyond(reach: &Reach, selector: &Selector) -> Option<(&'static str, &'static str)> {
    const NOT_ITS: &str = "is not for this caller to speak for";
    const REACHES_ALL: &str =
        "reaches people of every issuer: only a caller with the issuers \"*\" may revoke by it";
    const EVERY_RESOURCE: &str =
        "reaches every resource of the kind: only a caller with the id_prefixes \"*\" may revoke by it";
    let issuer = |issuer: &str, field| (!reach.issuers.contain(issuer)).then_some((field, NOT_ITS));
    let everybody = |field| (reach.issuers != Names::All).then_some((field, REACHES_ALL));
    let kind = |kind: &str, field| (!reach.kinds.contain(kind)).then_some((field, NOT_ITS));
    let id = |id: &str, field| (!reach.id_prefixes.begin(id)).then_some((field, NOT_ITS));
    match selector {
        Selector::Principal { principal } => issuer(&principal.issuer, "principal.issuer"),
        Selector::Membership {
            principal,
            kind: of,
            id: named,
        } => issuer(&principal.issuer, "membership.principal.issuer")
            .or_else(|| kind(of, "membership.kind"))
            .or_else(|| id(named, "membership.id")),
        Selector::Resource { kind: of, id: named } => everybody("resource")
            .or_else(|| kind(of, "resource.kind"))
            .or_else(|| id(named, "resource.id")),
        Selector::Role { kind: of, role } => everybody("role")
            .or_else(|| kind(of, "role.kind"))
            .or_else(|| (!reach.roles.contain(role)).then_some(("role.role", NOT_ITS)))
            .or_else(|| (reach.id_prefixes != Names::All).then_some(("role", EVERY_RESOURCE))),
        Selector::Rule { .. } => everybody("rule"),
        Selector::Session { .. } => everybody("session"),
        Selector::Account { .. } => everybody("account"),
        Selector::Provider { issuer: named } => issuer(named, "provider"),
        Selector::SigningKey { issuer: named, .. } => issuer(named, "signing_key.issuer"),
        Selector::Token { issuer: named, .. } => issuer(named, "token.issuer"),
        Selector::ProviderSession { issuer: named, .. } => issuer(named, "provider_session.issuer"),
        // What this release does not know reaches who knows whom.
        _ => everybody(""),
    }
}

/// What a caller of `reach` may see of `change`; `None` for nothing.
pub(super) fn visible(reach: &Reach, change: Change) -> Option<Change> {
    match change {
        Change::Revoked { ref selector, .. } | Change::BanLifted { ref selector, .. } => {
            beyond(reach, selector).is_none().then_some(change)
        }
        Change::MembershipsChanged {
            principal,
            given,
            taken,
            actor,
        } => {
            let within = |all: Vec<Membership>| -> Vec<Membership> {
                let covered = |one: &Membership| reach.covers(&principal, one);
                all.into_iter().filter(covered).collect()
            };
            let (given, taken) = (within(given), within(taken));
            (!given.is_empty() || !taken.is_empty()).then_some(Change::MembershipsChanged {
                principal,
                given,
                taken,
                actor,
            })
        }
        Change::PolicyChanged { .. } => Some(change),
        _ => None,
    }
}

/// Whether a caller of `reach` may see a session of `principal`; `None` if it is not known whose it is.
pub(crate) fn sees(reach: &Reach, principal: Option<&Principal>) -> bool {
    match principal {
        Some(principal) => reach.issuers.contain(&principal.issuer),
        None => reach.issuers == Names::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(names: &[&str]) -> Names {
        Names::Only(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn reach() -> Reach {
        Reach {
            issuers: only(&["https://a"]),
            kinds: only(&["project"]),
            id_prefixes: only(&["eu-"]),
            roles: only(&["member"]),
        }
    }

    /// One of each kind; `issuer`, `kind`, `id` and `role` wherever they may stand.
    fn selectors(issuer: &str, kind: &str, id: &str, role: &str) -> Vec<Selector> {
        let text = |text: &str| text.to_owned();
        vec![
            Selector::Principal {
                principal: Principal::new(issuer, "alice"),
            },
            Selector::Membership {
                principal: Principal::new(issuer, "alice"),
                kind: text(kind),
                id: text(id),
            },
            Selector::Provider { issuer: text(issuer) },
            Selector::SigningKey {
                issuer: text(issuer),
                key_id: text("k"),
            },
            Selector::Token {
                issuer: text(issuer),
                token_id: text("t"),
            },
            Selector::ProviderSession {
                issuer: text(issuer),
                session_id: text("s"),
            },
            Selector::Resource {
                kind: text(kind),
                id: text(id),
            },
            Selector::Role {
                kind: text(kind),
                role: text(role),
            },
            Selector::Rule { name: text("r") },
            Selector::Session {
                server_id: text("N"),
                client_id: 7,
            },
            Selector::Account { name: text("A") },
        ]
    }

    fn within(reach: &Reach, selectors: &[Selector]) -> Vec<&'static str> {
        let within = selectors.iter().filter(|one| beyond(reach, one).is_none());
        within.map(Selector::kind).collect()
    }

    #[test]
    fn of_its_own_issuers_it_may_revoke_and_what_reaches_everybody_it_may_not() {
        let own = selectors("https://a", "project", "eu-1", "member");
        let of_an_issuer = [
            "principal",
            "membership",
            "provider",
            "signing_key",
            "token",
            "provider_session",
        ];
        assert_eq!(within(&reach(), &own), of_an_issuer);
        let others = selectors("https://a.evil", "project", "eu-1", "member");
        assert!(within(&reach(), &others).is_empty());
        assert_eq!(within(&Reach::everything(), &own).len(), own.len());
        assert!(within(&Reach::nothing(), &own).is_empty());
    }

    #[test]
    fn what_reaches_everybody_takes_all_issuers_and_the_kind_id_and_role() {
        let mut all = reach();
        all.issuers = Names::All;
        let own = selectors("https://b", "project", "eu-1", "member");
        assert!(within(&all, &own).contains(&"resource"));
        assert!(!within(&all, &own).contains(&"role"), "it reaches every id");
        all.id_prefixes = Names::All;
        assert_eq!(within(&all, &own).len(), own.len());
        for (kind, id, role, missing) in [
            (
                "device",
                "eu-1",
                "member",
                &["membership", "resource", "role"][..],
            ),
            ("project", "eu-1", "owner", &["role"]),
        ] {
            let others = selectors("https://b", kind, id, role);
            let within = within(&all, &others);
            assert!(missing.iter().all(|one| !within.contains(one)), "{kind} {role}");
            assert_eq!(within.len() + missing.len(), others.len());
        }
        let elsewhere = selectors("https://b", "project", "us-1", "member");
        assert!(!within(&reach(), &elsewhere).contains(&"membership"));
    }

    #[test]
    fn of_changed_memberships_it_sees_those_it_may_speak_for() {
        let member = |id: &str| Membership {
            kind: "project".into(),
            id: id.into(),
            role: "member".into(),
        };
        let changed = |issuer: &str, given, taken| Change::MembershipsChanged {
            principal: Principal::new(issuer, "alice"),
            given,
            taken,
            actor: "crm".into(),
        };
        let seen = visible(
            &reach(),
            changed(
                "https://a",
                vec![member("eu-1"), member("us-1")],
                vec![member("us-2")],
            ),
        );
        assert_eq!(seen, Some(changed("https://a", vec![member("eu-1")], vec![])));
        for hidden in [
            changed("https://b", vec![member("eu-1")], vec![]),
            changed("https://a", vec![member("us-1")], vec![]),
        ] {
            assert_eq!(visible(&reach(), hidden), None);
        }
    }

    #[test]
    fn sessions_of_whom_nothing_is_known_are_for_those_who_see_all() {
        assert!(sees(&reach(), Some(&Principal::new("https://a", "x"))));
        assert!(!sees(&reach(), Some(&Principal::new("https://b", "x"))));
        assert!(!sees(&reach(), None));
        assert!(sees(&Reach::everything(), None));
    }
}
