//! A compiled policy.

use std::sync::Arc;
use std::time::Duration;

use cel::Env;
use natsgate_core::{Limits, Membership, ResponsePermission, TagName, TemplateName};

use crate::compile;
use crate::condition::{Condition, Used};
use crate::document::PolicyDocument;
use crate::error::PolicyError;
use crate::evaluate::{self, Evaluation};
use crate::facts::Facts;
use crate::template::Template;

/// A policy that was checked and is ready to decide. Immutable: a changed document is a new policy.
pub struct Policy {
    pub(crate) digest: String,
    pub(crate) generation: Option<u64>,
    pub(crate) account: Option<Template>,
    pub(crate) rules: Vec<CompiledRule>,
    /// What conditions can call.
    pub(crate) environment: Arc<Env>,
    /// What any of the conditions looks at.
    pub(crate) used: Used,
}

/// A rule, ready to be evaluated.
#[derive(Debug)]
pub(crate) struct CompiledRule {
    pub(crate) name: Arc<str>,
    pub(crate) for_each: Option<Filter>,
    pub(crate) when: Option<Condition>,
    pub(crate) account: Option<Template>,
    pub(crate) publish_allow: Vec<Template>,
    pub(crate) publish_deny: Vec<Template>,
    pub(crate) subscribe_allow: Vec<SubscribeTemplate>,
    pub(crate) subscribe_deny: Vec<SubscribeTemplate>,
    pub(crate) responses: Option<ResponsePermission>,
    pub(crate) template: Option<CompiledTemplate>,
    pub(crate) account_defaults: bool,
    pub(crate) limits: Option<Limits>,
    pub(crate) expires_in: Option<Duration>,
    /// What it gives, for explanations.
    pub(crate) gives: Arc<[String]>,
    /// What it takes, for explanations.
    pub(crate) takes: Arc<[String]>,
}

/// Which memberships a rule is repeated for.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) kinds: Vec<String>,
    /// `None` for every role.
    pub(crate) roles: Option<Vec<String>>,
}

/// A subject to subscribe to, perhaps for a queue group only.
#[derive(Debug)]
pub(crate) struct SubscribeTemplate {
    pub(crate) subject: Template,
    pub(crate) queue: Option<Template>,
}

/// A template of the account, and what a session puts into it.
#[derive(Debug)]
pub(crate) struct CompiledTemplate {
    pub(crate) name: TemplateName,
    pub(crate) tags: Vec<(TagName, Template)>,
}

impl Policy {
    /// Checks and compiles `document`.
    ///
    /// # Errors
    /// Everything that is wrong with the document, each with its key and the mend.
    pub fn compile(document: &PolicyDocument) -> Result<Self, Vec<PolicyError>> {
        compile::compile(document)
    }

    /// SHA-256, in hex, of the document as JSON without white space, keys in the order of [`PolicyDocument`], and
    /// keys that say nothing (none, empty lists) left out: two documents that differ in form only have one digest.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// How new it is among the policies of one deployment, if the document says so.
    pub fn generation(&self) -> Option<u64> {
        self.generation
    }

    /// Decides. The same facts always give the same evaluation.
    pub fn evaluate(&self, facts: &Facts<'_>) -> Evaluation {
        evaluate::evaluate(self, facts)
    }
}

// `Env` has no Debug; the digest says which policy it is.
impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy")
            .field("digest", &self.digest)
            .field("rules", &self.rules.len())
            .finish_non_exhaustive()
    }
}

impl Filter {
    /// Whether the rule is evaluated for `membership`.
    pub(crate) fn fits(&self, membership: &Membership) -> bool {
        self.kinds.contains(&membership.kind)
            && self
                .roles
                .as_ref()
                .is_none_or(|roles| roles.contains(&membership.role))
    }
}

impl CompiledRule {
    /// Whether it lets anybody in: whether it allows a subject, or says where that is written.
    pub(crate) fn allows(&self) -> bool {
        !self.publish_allow.is_empty()
            || !self.subscribe_allow.is_empty()
            || self.template.is_some()
            || self.account_defaults
    }

    /// Whether it says itself what a session may publish and subscribe to.
    pub(crate) fn has_subjects(&self) -> bool {
        !self.publish_allow.is_empty()
            || !self.publish_deny.is_empty()
            || !self.subscribe_allow.is_empty()
            || !self.subscribe_deny.is_empty()
            || self.responses.is_some()
    }

    /// Whether leaving it out could leave somebody with more: whether it denies or limits anything.
    pub(crate) fn restricts(&self) -> bool {
        !self.takes.is_empty()
    }
}
