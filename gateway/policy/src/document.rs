//! The policy document as a user writes it, and its JSON schema.
//!
//! Only shapes live here. What a value means, and whether it can be right, is checked by
//! [`Policy::compile`](crate::Policy::compile), which sees the whole document and reports everything wrong with it at
//! once. No parser for YAML either: whoever has the file hands over something that serde can read.

mod entry;
mod period;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use entry::{OneOrMany, QueueSubject, SubscribeEntry};
pub use period::Period;

/// A policy: who gets what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyDocument {
    /// The version of this format: 1.
    #[schemars(extend("const" = 1))]
    pub version: u32,
    /// Counts up with every change, where several decision services share a revocation log: of two policies the one of the
    /// higher generation is in force, and an instance that has an older one decides nothing. Left out, instances do not
    /// compare their policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The NATS account of sessions whose rules name none: a name, or a template of one token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The rules. Every rule that matches counts: what they allow and what they deny adds up, and deny wins.
    pub rules: Vec<Rule>,
}

/// One rule: whom it concerns, what it gives and what it takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The rule's name in explanations, logs and audit; unique in the document.
    pub name: String,
    /// Evaluate the rule once for each of these. Without it the rule is evaluated once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<ForEach>,
    /// A condition in CEL; the rule matches only if it is true. Without it the rule always matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The NATS account of the session: a name, or a template of one token. Matching rules must not differ in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Where the session may and may not publish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<PublishRule>,
    /// What the session may and may not subscribe to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<SubscribeRule>,
    /// Permission to answer requests on their reply subjects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub responses: Option<ResponsesRule>,
    /// A template of the account: what the session may do stands there, and changes there. Instead of publish, subscribe and
    /// responses, of this rule and of every other that matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateRule>,
    /// The account's default permissions: what the session may do stands there, and changes there, under open connections
    /// where the nats-server can. Instead of publish, subscribe, responses and template.
    #[serde(default, skip_serializing_if = "is_false")]
    pub account_defaults: bool,
    /// Bounds beside subjects. Of several rules' bounds the strictest holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsRule>,
}

/// What a rule is repeated for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForEach {
    /// Each membership of the principal that fits.
    pub membership: MembershipFilter,
}

/// Which memberships fit: those of one of the kinds, in one of the roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MembershipFilter {
    /// The kind of resource, or several: `project`.
    pub kind: OneOrMany,
    /// The role, or several: `[member, owner]`. Without it every role fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<OneOrMany>,
}

/// Publish subjects, as templates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PublishRule {
    /// Allowed subjects; an empty list allows nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Denied subjects, whatever this rule or another allows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

/// Subscribe subjects, as templates, perhaps for a queue group only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SubscribeRule {
    /// Allowed subjects; an empty list allows nothing. One without a queue group allows plain subscriptions and
    /// every queue group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<SubscribeEntry>,
    /// Denied subjects, whatever this rule or another allows. One without a queue group denies every subscription.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<SubscribeEntry>,
}

/// Permission to publish on the reply subject of a request received (nats-server's `allow_responses`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResponsesRule {
    /// Messages allowed to one reply subject, at least 1. nats-server's own default is 1.
    #[schemars(range(min = 1))]
    pub max_messages: u32,
    /// How long after the request they are allowed. nats-server's own default is two minutes.
    pub ttl: Period,
}

impl Default for ResponsesRule {
    fn default() -> Self {
        Self {
            max_messages: 1,
            ttl: Period::from_secs(120),
        }
    }
}

/// A template of the account (`natsgate account`), and what this session puts into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateRule {
    /// Its name. Matching rules must not differ in it.
    pub name: String,
    /// The session's tags, by name: a subject template of one token each. What matching rules give adds up, so that a rule
    /// repeated for memberships gives a value for each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Bounds of a session beside its subjects. What is left out is not bounded by this rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsRule {
    /// Subscriptions at most, from 1 to 2147483647.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub subscriptions: Option<u64>,
    /// Bytes of one message at most, from 1 to 2147483647.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub payload: Option<u64>,
    /// Bytes in all at most. No nats-server known to us enforces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9_223_372_036_854_775_807_u64))]
    pub data: Option<u64>,
    /// Kinds of connection allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(inner(regex(
        pattern = "^(STANDARD|WEBSOCKET|LEAFNODE|LEAFNODE_WS|MQTT|MQTT_WS|IN_PROCESS)$"
    )))]
    pub connection_types: Option<Vec<String>>,
    /// Networks the client may come from: `10.0.0.0/8`, or one address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_networks: Option<Vec<String>>,
    /// Times of day at which the session may be connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<TimesRule>,
    /// The session ends this long after the decision, if its credential does not expire sooner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<Period>,
}

/// Times of day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimesRule {
    /// The windows; any of them will do.
    pub windows: Vec<WindowRule>,
    /// An IANA time zone, `Europe/Berlin`. Without it the nats-server's own local time counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

/// From `start` to `end`; past midnight if `end` is the earlier. Quote the times in YAML.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowRule {
    /// When it begins, `HH:MM:SS`.
    #[schemars(regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$"))]
    pub start: String,
    /// When it ends, `HH:MM:SS`.
    #[schemars(regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$"))]
    pub end: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_misspelt_key_is_refused_by_name() {
        let wrong = json!({"version": 1, "rules": [{"name": "a", "subcribe": {}}]});
        let error = serde_json::from_value::<PolicyDocument>(wrong).unwrap_err();
        assert!(error.to_string().contains("`subcribe`"), "{error}");
    }

    #[test]
    fn a_document_is_written_as_it_was_read() {
        let written = json!({
            "version": 1,
            "account": "APP",
            "rules": [{
                "name": "members",
                "for_each": {"membership": {"kind": "project", "role": ["member", "owner"]}},
                "when": "true",
                "publish": {"allow": ["a"], "deny": ["b"]},
                "subscribe": {"allow": ["a", {"subject": "jobs", "queue": "workers"}]},
                "responses": {"max_messages": 1, "ttl": "5s"},
                "limits": {"subscriptions": 3, "times": {"windows": [{"start": "08:00:00", "end": "18:00:00"}]}},
            }],
        });
        let document: PolicyDocument = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(document).unwrap(), written);
    }

    #[test]
    fn the_schema_knows_every_key_and_refuses_others() {
        let schema = serde_json::to_value(schemars::schema_for!(PolicyDocument)).unwrap();
        assert_eq!(schema["additionalProperties"], json!(false));
        assert_eq!(schema["$defs"]["Rule"]["required"], json!(["name"]));
        assert!(schema["$defs"]["LimitsRule"]["properties"]["expires_in"].is_object());
    }
}
