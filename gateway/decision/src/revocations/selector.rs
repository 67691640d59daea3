//! Selectors between the messages and the vocabulary, and what is wrong with one.

use natsgate_core::{MembershipWrite, Principal, Selector};
use natsgate_proto::v1;
use natsgate_proto::v1::selector::Selector as Kind;

use crate::convert;
use natsgate_api::fields::Fields;

const MAX_NAME: usize = MembershipWrite::MAX_NAME;
const MAX_ISSUER: usize = MembershipWrite::MAX_ISSUER;
/// Of what a provider names: subjects, tokens, keys, sessions.
const MAX_SUBJECT: usize = MembershipWrite::MAX_SUBJECT;

/// The selector in the field `at`, or in the request itself if that is empty; `None` if it is not one, which `fields` then
/// says.
pub(crate) fn read(message: Option<v1::Selector>, at: &str, fields: &mut Fields) -> Option<Selector> {
    let Some(kind) = message.and_then(|message| message.selector) else {
        let field = if at.is_empty() { "session" } else { at };
        fields.say(field, "must be set, and one of its fields");
        return None;
    };
    let mut text = |field: &str, text: &str, longest: usize| {
        fields.text(&path(at, field), text, longest);
    };
    Some(match kind {
        Kind::Principal(who) => {
            text("principal.issuer", &who.issuer, MAX_ISSUER);
            text("principal.subject", &who.subject, MAX_SUBJECT);
            Selector::Principal {
                principal: Principal::new(who.issuer, who.subject),
            }
        }
        Kind::Membership(membership) => {
            let Some(who) = membership.principal else {
                fields.say(path(at, "membership.principal"), "must be set");
                return None;
            };
            text("membership.principal.issuer", &who.issuer, MAX_ISSUER);
            text("membership.principal.subject", &who.subject, MAX_SUBJECT);
            text("membership.kind", &membership.kind, MAX_NAME);
            text("membership.id", &membership.id, MAX_NAME);
            Selector::Membership {
                principal: Principal::new(who.issuer, who.subject),
                kind: membership.kind,
                id: membership.id,
            }
        }
        Kind::Resource(v1::ResourceSelector { kind, id }) => {
            text("resource.kind", &kind, MAX_NAME);
            text("resource.id", &id, MAX_NAME);
            Selector::Resource { kind, id }
        }
        Kind::Role(v1::RoleSelector { kind, role }) => {
            text("role.kind", &kind, MAX_NAME);
            text("role.role", &role, MAX_NAME);
            Selector::Role { kind, role }
        }
        Kind::Rule(name) => {
            text("rule", &name, MAX_NAME);
            Selector::Rule { name }
        }
        Kind::Session(v1::SessionSelector { server_id, client_id }) => {
            text("session.server_id", &server_id, MAX_NAME);
            if client_id == 0 {
                let problem = "must be set: no client has the id 0";
                fields.say(path(at, "session.client_id"), problem);
            }
            Selector::Session { server_id, client_id }
        }
        Kind::Account(name) => {
            text("account", &name, MAX_NAME);
            Selector::Account { name }
        }
        Kind::Provider(issuer) => {
            text("provider", &issuer, MAX_ISSUER);
            Selector::Provider { issuer }
        }
        Kind::SigningKey(v1::SigningKeySelector { issuer, key_id }) => {
            text("signing_key.issuer", &issuer, MAX_ISSUER);
            text("signing_key.key_id", &key_id, MAX_SUBJECT);
            Selector::SigningKey { issuer, key_id }
        }
        Kind::Token(v1::TokenSelector { issuer, token_id }) => {
            text("token.issuer", &issuer, MAX_ISSUER);
            text("token.token_id", &token_id, MAX_SUBJECT);
            Selector::Token { issuer, token_id }
        }
        Kind::ProviderSession(v1::ProviderSessionSelector { issuer, session_id }) => {
            text("provider_session.issuer", &issuer, MAX_ISSUER);
            text("provider_session.session_id", &session_id, MAX_SUBJECT);
            Selector::ProviderSession { issuer, session_id }
        }
    })
}

/// The path of `field` of the selector in the field `at`.
pub(super) fn path(at: &str, field: &str) -> String {
    match (at, field) {
        ("", field) => field.to_owned(),
        (at, "") => at.to_owned(),
        (at, field) => format!("{at}.{field}"),
    }
}

/// The selector as a message. One of a kind that this release's messages do not have is left out.
pub(super) fn write(selector: Selector) -> v1::Selector {
    let kind = match selector {
        Selector::Principal { principal } => Kind::Principal(convert::principal(principal)),
        Selector::Membership { principal, kind, id } => Kind::Membership(v1::MembershipSelector {
            principal: Some(convert::principal(principal)),
            kind,
            id,
        }),
        Selector::Resource { kind, id } => Kind::Resource(v1::ResourceSelector { kind, id }),
        Selector::Role { kind, role } => Kind::Role(v1::RoleSelector { kind, role }),
        Selector::Rule { name } => Kind::Rule(name),
        Selector::Session { server_id, client_id } => {
            Kind::Session(v1::SessionSelector { server_id, client_id })
        }
        Selector::Account { name } => Kind::Account(name),
        Selector::Provider { issuer } => Kind::Provider(issuer),
        Selector::SigningKey { issuer, key_id } => {
            Kind::SigningKey(v1::SigningKeySelector { issuer, key_id })
        }
        Selector::Token { issuer, token_id } => Kind::Token(v1::TokenSelector { issuer, token_id }),
        Selector::ProviderSession { issuer, session_id } => {
            Kind::ProviderSession(v1::ProviderSessionSelector { issuer, session_id })
        }
        _ => return v1::Selector { selector: None },
    };
    v1::Selector { selector: Some(kind) }
}
