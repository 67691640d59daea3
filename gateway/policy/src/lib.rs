//! Rules and subject templates to permissions: pure, no I/O.
//!
//! A [`PolicyDocument`] says who gets what; [`Policy::compile`] checks it; [`Policy::evaluate`] makes a grant or a
//! denial of [`Facts`], and says what became of each rule. Nothing here reads a file, a clock or YAML, asks anybody,
//! or knows what a user JWT looks like.
//!
//! ```yaml
//! version: 1
//! account: APP                       # where a session goes if no rule that matches says otherwise
//! rules:
//!   - name: project members
//!     for_each: { membership: { kind: project, role: [member, owner] } }
//!     when: has(claims.email_verified) && claims.email_verified
//!     publish:
//!       allow: ["projects.{membership.id}.in.>"]
//!     subscribe:
//!       allow: ["projects.{membership.id}.>", { subject: "jobs.{membership.id}.>", queue: workers }]
//!     responses: { max_messages: 1, ttl: 5s }
//!   - name: everybody
//!     subscribe: { allow: ["_INBOX.{principal.digest}.>"], deny: ["projects.*.audit"] }
//!     limits:
//!       subscriptions: 100
//!       connection_types: [STANDARD, WEBSOCKET]
//!       source_networks: [10.0.0.0/8]
//!       times: { windows: [{ start: "08:00:00", end: "18:00:00" }], location: Europe/Berlin }
//!       expires_in: 1h
//! ```
//!
//! # How rules add up
//!
//! Every rule whose condition is true counts; their order does not matter.
//!
//! - **Subjects**: what any rule allows, less what any rule denies. An empty `allow` allows nothing. Nobody gets in
//!   without a rule that matches and allows at least one subject: rules that only deny, limit, answer or name an
//!   account let nobody in (`no_rule_matched`).
//! - **Templates and default permissions**: instead of subjects a rule may say where they stand: `template: { name: member,
//!   tags: { project: "{membership.id}" } }`, a template of the account JWT, or `account_defaults: true`, the account's default
//!   permissions. A session has one of them, or subjects from rules: rules that match and differ in that deny everything
//!   (`rights_conflict`). Tags add up. With a template, rules may limit connection_types, source_networks and expires_in; what
//!   else there is to limit, nats-server takes from the template alone.
//! - **Account**: the one that rules name; the document's own if none does. Two different ones: `account_conflict`.
//! - **Limits**: the smallest number; the kinds of connection, networks and times of day that all rules have in common
//!   (`limits_conflict` if there are none; times must be of one location).
//! - **Responses**: something that is given, so the larger `max_messages` and the longer `ttl`.
//! - **Expiry**: the credential's own, or the shortest `expires_in` from the time of the decision if that is sooner.
//! - A grant has at most 1,000 subjects; one that would have more is denied (`policy_error`), never cut.
//!
//! # What cannot be evaluated
//!
//! It counts as false for what a rule gives, and as true for what it takes.
//!
//! - A condition that meets an error (a claim that is not there, a value of another type, a result that is neither true
//!   nor false) and whose rule only gives: the rule does not match, and the trace says why. If the rule denies or
//!   limits anything: everything is denied (`policy_error`). If it names another account than the session would get:
//!   denied too, for it might have sent the session there. Ask `has(claims.x)` first where a claim may be missing.
//! - A template whose value is not there or neither a string nor an integer: everything is denied (`missing_value`). One
//!   whose value would break out of its subject token: everything is denied (`unsafe_value`). Never is only the one
//!   subject left out: a session that is silently narrower, or wider by a missing `deny`, is worse than none.
//!
//! A comparison of different types is no error in CEL but false: `claims.blocked == true` does not hold for the text
//! `"true"`. Where a rule takes something, write `claims.blocked`, or `!has(claims.blocked) || claims.blocked`.
//!
//! # Templates
//!
//! `{principal.subject}`, `{principal.issuer}`, `{principal.digest}`, `{provider}`, `{claims.NAME}`,
//! `{claims.NAME.NESTED}`, `{claims["https://example.com/tenant"]}`, `{membership.kind}`, `{membership.id}`,
//! `{membership.role}` (in rules with `for_each`), `{connection.cluster}`, `{connection.server_name}`,
//! `{connection.user_nkey}`, `{connection.client_id}`. A value fills (part of) one token. It must not be empty, nor
//! contain `.`, `*`, `>`, white space or control characters, nor be longer than 256 bytes; where it begins a subject it
//! must not begin with `$` or `_`. What does not fit, such as an e-mail address, can be encoded:
//! `{claims.email | base64url}` (RFC 4648 section 5, no padding). Braces have no escape: a subject has none of its own,
//! and nats-server's `{{name()}}` is refused. Wildcards come from the template's text alone. Queue groups are templates
//! of the same kind; accounts are templates of one token.
//!
//! # Conditions
//!
//! CEL with its standard library. Variables: `claims`; `principal` {issuer, subject, digest}; `provider`; `memberships`,
//! a list of {kind, id, role} sorted by them; `membership` (in rules with `for_each`); `connection` {cluster,
//! server_name, server_version, server_tags, client_host, client_name, client_kind, client_type, mqtt_id, user_nkey};
//! `now`, to the second. A client's name and MQTT id are what it says of itself. Unknown variables, fields and
//! functions, and patterns of `matches` that are not written out, are found when the policy is compiled. A condition has
//! at most 2,048 bytes, nests at most 20 deep, and runs through lists within lists at most 2 deep; an evaluation that
//! would take more than 250,000 steps is denied (`policy_error`).

mod compile;
mod condition;
pub mod document;
mod error;
mod evaluate;
mod facts;
mod limits;
mod policy;
mod subjects;
mod template;
mod trace;

pub use document::PolicyDocument;
pub use error::PolicyError;
pub use evaluate::Evaluation;
pub use facts::Facts;
pub use policy::Policy;
pub use trace::{RuleOutcome, RuleTrace};
