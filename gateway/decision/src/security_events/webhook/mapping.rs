//! From what a webhook says to what it revokes: rules, each with conditions on the JSON document and a selector whose parts are
//! constants or are found in it by JSON pointers (RFC 6901).

use natsgate_core::pushed::write::text_problem;
use natsgate_core::{MembershipWrite, Principal, Selector};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::settings::WebhookSettingsError;
use crate::security_events::refusal::{Refusal, Refused};

/// The longest issuer, in bytes.
const MAX_ISSUER: usize = MembershipWrite::MAX_ISSUER;
/// The longest subject and the longest id that a provider gives, in bytes: as long as a token's may be.
const MAX_ID: usize = 1024;
/// The longest name of a kind, resource, role, rule, account or server, in bytes.
const MAX_NAME: usize = MembershipWrite::MAX_NAME;

/// What one kind of event revokes. Every rule whose conditions hold counts.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeRule {
    /// The conditions, which must all hold. Without any it counts for every call.
    #[serde(default)]
    pub when: Vec<Condition>,
    /// What is revoked.
    pub selector: SelectorTemplate,
    /// Why, for the log and the audit. Left out: that the webhook said so.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Holds if there is something at a place in the document, and it is this.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// The place: a JSON pointer such as `/event` or `/data/0/type`.
    pub pointer: String,
    /// What must be there: a text, a number, `true` or `false`, or null.
    pub equals: Value,
}

/// A text, or where one is found in the document. A whole number that is found counts as its digits.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text, or { pointer: /the/place }")]
pub enum TextFrom {
    /// This text.
    Constant(String),
    /// What is found there.
    Found(Pointer),
}

/// A number, or where one is found in the document: as a number or in digits.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a whole number, or { pointer: /the/place }")]
pub enum NumberFrom {
    /// This number.
    Constant(u64),
    /// What is found there.
    Found(Pointer),
}

/// A place in the document.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pointer {
    /// A JSON pointer (RFC 6901) such as `/user/id`.
    pub pointer: String,
}

/// Whom or what a rule revokes.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SelectorTemplate {
    /// One principal, in everything.
    Principal {
        /// The provider's issuer.
        issuer: TextFrom,
        /// The subject.
        subject: TextFrom,
    },
    /// One principal's memberships in one resource.
    Membership {
        /// The provider's issuer.
        issuer: TextFrom,
        /// The subject.
        subject: TextFrom,
        /// The kind of resource.
        kind: TextFrom,
        /// The resource's id.
        id: TextFrom,
    },
    /// A whole resource: everybody's memberships in it.
    Resource {
        /// The kind of resource.
        kind: TextFrom,
        /// The resource's id.
        id: TextFrom,
    },
    /// A role in every resource of a kind.
    Role {
        /// The kind of resource.
        kind: TextFrom,
        /// The role.
        role: TextFrom,
    },
    /// What one policy rule gives.
    Rule {
        /// The rule's name.
        name: TextFrom,
    },
    /// One session.
    Session {
        /// The nats-server's id.
        server_id: TextFrom,
        /// The client's id on that server.
        client_id: NumberFrom,
    },
    /// Every session of a NATS account.
    Account {
        /// The account, by the name policies have for it.
        name: TextFrom,
    },
    /// Everything one provider vouches for.
    Provider {
        /// Its issuer.
        issuer: TextFrom,
    },
    /// Everything one of a provider's keys signed.
    SigningKey {
        /// The provider's issuer.
        issuer: TextFrom,
        /// The key's `kid`.
        key_id: TextFrom,
    },
    /// One token.
    Token {
        /// The provider's issuer.
        issuer: TextFrom,
        /// The token's `jti`.
        token_id: TextFrom,
    },
    /// One session at the provider.
    ProviderSession {
        /// The provider's issuer.
        issuer: TextFrom,
        /// The session's `sid`.
        session_id: TextFrom,
    },
}

/// The rules of one webhook, fit for use.
pub(crate) struct Rules {
    rules: Vec<RevokeRule>,
    /// The reason where a rule has none.
    reason: String,
}

impl Rules {
    /// The rules of webhook `name`, which stand at `at` in the configuration.
    pub(super) fn new(name: &str, at: &str, rules: &[RevokeRule]) -> Result<Self, WebhookSettingsError> {
        if rules.is_empty() {
            return Err(WebhookSettingsError::new(
                at,
                "must have at least one rule: without, nothing that is said would revoke anything",
            ));
        }
        for (index, rule) in rules.iter().enumerate() {
            rule.validate(&format!("{at}[{index}]"))?;
        }
        Ok(Self {
            rules: rules.to_vec(),
            reason: format!("webhook {name}"),
        })
    }

    /// What `event` revokes, and why; no two of them the same.
    pub(super) fn revocations(&self, event: &Value) -> Result<Vec<(Selector, &str)>, Refused> {
        let mut found: Vec<(Selector, &str)> = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            if !rule.when.iter().all(|condition| condition.holds(event)) {
                continue;
            }
            let selector = rule.selector.fill(event).map_err(|wrong| {
                let what = format!("revokes[{index}].selector.{}: {}", wrong.part, wrong.problem);
                Refused {
                    refusal: Refusal::Unmappable,
                    detail: what.clone(),
                    shown: Some(what),
                }
            })?;
            if found.iter().all(|(other, _)| *other != selector) {
                found.push((selector, rule.reason.as_deref().unwrap_or(&self.reason)));
            }
        }
        Ok(found)
    }
}

/// A part of a selector that cannot be filled in.
struct Wrong {
    part: &'static str,
    problem: String,
}

impl Condition {
    fn holds(&self, event: &Value) -> bool {
        event.pointer(&self.pointer) == Some(&self.equals)
    }
}

impl RevokeRule {
    fn validate(&self, at: &str) -> Result<(), WebhookSettingsError> {
        for (index, condition) in self.when.iter().enumerate() {
            let at = format!("{at}.when[{index}]");
            check_pointer(&format!("{at}.pointer"), &condition.pointer)?;
            if condition.equals.is_object() || condition.equals.is_array() {
                return Err(WebhookSettingsError::new(
                    format!("{at}.equals"),
                    "must be a text, a number, `true`, `false` or null: point further into the document",
                ));
            }
        }
        if let Some(problem) = self
            .reason
            .as_ref()
            .and_then(|reason| text_problem(reason, MembershipWrite::MAX_REASON))
        {
            return Err(WebhookSettingsError::new(format!("{at}.reason"), problem));
        }
        for (part, text, longest) in self.selector.texts() {
            let at = format!("{at}.selector.{part}");
            match text {
                TextFrom::Found(found) => check_pointer(&format!("{at}.pointer"), &found.pointer)?,
                TextFrom::Constant(text) => {
                    if let Some(problem) = text_problem(text, longest) {
                        return Err(WebhookSettingsError::new(at, problem));
                    }
                }
            }
        }
        if let SelectorTemplate::Session {
            client_id: NumberFrom::Found(found),
            ..
        } = &self.selector
        {
            check_pointer(&format!("{at}.selector.client_id.pointer"), &found.pointer)?;
        }
        Ok(())
    }
}

impl SelectorTemplate {
    /// The issuer, if it has one.
    pub fn issuer(&self) -> Option<&TextFrom> {
        self.texts()
            .into_iter()
            .find_map(|(part, text, _)| (part == "issuer").then_some(text))
    }

    /// Its texts: what each is, where it comes from, and how many bytes it has at most.
    fn texts(&self) -> Vec<(&'static str, &TextFrom, usize)> {
        match self {
            Self::Principal { issuer, subject } => {
                vec![("issuer", issuer, MAX_ISSUER), ("subject", subject, MAX_ID)]
            }
            Self::Membership {
                issuer,
                subject,
                kind,
                id,
            } => vec![
                ("issuer", issuer, MAX_ISSUER),
                ("subject", subject, MAX_ID),
                ("kind", kind, MAX_NAME),
                ("id", id, MAX_NAME),
            ],
            Self::Resource { kind, id } => vec![("kind", kind, MAX_NAME), ("id", id, MAX_NAME)],
            Self::Role { kind, role } => vec![("kind", kind, MAX_NAME), ("role", role, MAX_NAME)],
            Self::Rule { name } | Self::Account { name } => vec![("name", name, MAX_NAME)],
            Self::Session { server_id, .. } => vec![("server_id", server_id, MAX_NAME)],
            Self::Provider { issuer } => vec![("issuer", issuer, MAX_ISSUER)],
            Self::SigningKey { issuer, key_id } => {
                vec![("issuer", issuer, MAX_ISSUER), ("key_id", key_id, MAX_ID)]
            }
            Self::Token { issuer, token_id } => {
                vec![("issuer", issuer, MAX_ISSUER), ("token_id", token_id, MAX_ID)]
            }
            Self::ProviderSession { issuer, session_id } => {
                vec![("issuer", issuer, MAX_ISSUER), ("session_id", session_id, MAX_ID)]
            }
        }
    }

    /// The selector that it is for `event`.
    fn fill(&self, event: &Value) -> Result<Selector, Wrong> {
        let mut texts = Vec::new();
        for (part, from, longest) in self.texts() {
            texts.push(from.fill(part, longest, event)?);
        }
        // In the order of `texts`.
        let mut texts = texts.into_iter();
        let mut next = || texts.next().unwrap_or_default();
        Ok(match self {
            Self::Principal { .. } => Selector::Principal {
                principal: Principal::new(next(), next()),
            },
            Self::Membership { .. } => Selector::Membership {
                principal: Principal::new(next(), next()),
                kind: next(),
                id: next(),
            },
            Self::Resource { .. } => Selector::Resource {
                kind: next(),
                id: next(),
            },
            Self::Role { .. } => Selector::Role {
                kind: next(),
                role: next(),
            },
            Self::Rule { .. } => Selector::Rule { name: next() },
            Self::Session { client_id, .. } => Selector::Session {
                server_id: next(),
                client_id: client_id.fill(event)?,
            },
            Self::Account { .. } => Selector::Account { name: next() },
            Self::Provider { .. } => Selector::Provider { issuer: next() },
            Self::SigningKey { .. } => Selector::SigningKey {
                issuer: next(),
                key_id: next(),
            },
            Self::Token { .. } => Selector::Token {
                issuer: next(),
                token_id: next(),
            },
            Self::ProviderSession { .. } => Selector::ProviderSession {
                issuer: next(),
                session_id: next(),
            },
        })
    }
}

impl TextFrom {
    fn fill(&self, part: &'static str, longest: usize, event: &Value) -> Result<String, Wrong> {
        let wrong = |problem: String| Wrong { part, problem };
        let text = match self {
            Self::Constant(text) => text.clone(),
            Self::Found(Pointer { pointer }) => match event.pointer(pointer) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Number(number)) if number.is_u64() || number.is_i64() => number.to_string(),
                Some(_) => {
                    return Err(wrong(format!(
                        "what is at {pointer} is neither a text nor a whole number"
                    )));
                }
                None => return Err(wrong(format!("there is nothing at {pointer}"))),
            },
        };
        match text_problem(&text, longest) {
            None => Ok(text),
            Some(problem) => Err(wrong(problem)),
        }
    }
}

impl NumberFrom {
    fn fill(&self, event: &Value) -> Result<u64, Wrong> {
        let wrong = |problem: String| Wrong {
            part: "client_id",
            problem,
        };
        match self {
            Self::Constant(number) => Ok(*number),
            Self::Found(Pointer { pointer }) => {
                let found = event.pointer(pointer);
                let found = found.ok_or_else(|| wrong(format!("there is nothing at {pointer}")))?;
                let in_digits = || {
                    let text = found.as_str()?;
                    text.bytes()
                        .all(|byte| byte.is_ascii_digit())
                        .then(|| text.parse().ok())?
                };
                found
                    .as_u64()
                    .or_else(in_digits)
                    .ok_or_else(|| wrong(format!("what is at {pointer} is no whole number")))
            }
        }
    }
}

/// Checks that `pointer` is one, and to a part of the document.
fn check_pointer(at: &str, pointer: &str) -> Result<(), WebhookSettingsError> {
    let wrong = |problem: &str| Err(WebhookSettingsError::new(at, problem));
    if !pointer.starts_with('/') {
        return wrong("must be a JSON pointer (RFC 6901), which begins with `/`: `/user/id`");
    }
    let mut escapes = pointer.split('~').skip(1);
    if escapes.any(|rest| !rest.starts_with(['0', '1'])) {
        return wrong(
            "has a `~` that is neither `~0` (for `~`) nor `~1` (for `/`), as JSON pointers are written",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
