//! From a document to a policy: everything that can be known to be wrong without facts is found here.

mod limits;

use std::collections::BTreeSet;
use std::sync::Arc;

use natsgate_core::{Limits, ResponsePermission, TagName};
use sha2::{Digest, Sha256};

use crate::condition::{self, Condition, Used, Written};
use crate::document::{
    MembershipFilter, OneOrMany, PolicyDocument, ResponsesRule, Rule, SubscribeEntry, TemplateRule,
};
use crate::error::PolicyError;
use crate::policy::{CompiledRule, CompiledTemplate, Filter, Policy, SubscribeTemplate};
use crate::template::{Scope, Template, TemplateError};

/// The most rules of a policy.
const MAX_RULES: usize = 1000;

/// The longest name of a rule, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// Compiles `document`, or says everything that is wrong with it.
pub(crate) fn compile(document: &PolicyDocument) -> Result<Policy, Vec<PolicyError>> {
    let mut errors = Errors::default();
    document_itself(document, &mut errors);
    let account = document.account.as_ref().and_then(|source| {
        let scope = Scope { membership: false };
        errors.take("account", Template::parse_name(source, scope))
    });
    let conditions = conditions(document, &mut errors);
    let rules: Vec<CompiledRule> = document
        .rules
        .iter()
        .zip(conditions)
        .enumerate()
        .map(|(index, (rule, when))| compile_rule(rule, when, &format!("rules[{index}]"), &mut errors))
        .collect();
    if !errors.0.is_empty() {
        return Err(errors.0);
    }
    let used = rules
        .iter()
        .filter_map(|rule| rule.when.as_ref())
        .fold(Used::default(), |used, condition| used.or(condition.used));
    Ok(Policy {
        digest: digest(document)?,
        generation: document.generation,
        account,
        rules,
        environment: Arc::new(condition::environment()),
        used,
    })
}

/// What is wrong so far.
#[derive(Default)]
struct Errors(Vec<PolicyError>);

impl Errors {
    fn add(&mut self, key: impl Into<String>, problem: impl std::fmt::Display) {
        self.0.push(PolicyError::new(key, problem));
    }

    /// The result, or `None` with its error taken down.
    fn take<T, E: std::fmt::Display>(&mut self, key: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|problem| self.add(key, problem)).ok()
    }
}

fn document_itself(document: &PolicyDocument, errors: &mut Errors) {
    if document.version != 1 {
        errors.add("version", "this natsgate reads version 1; write `version: 1`");
    }
    if document.rules.is_empty() {
        errors.add("rules", "without a rule nobody is let in; write at least one");
    }
    if document.rules.len() > MAX_RULES {
        errors.add(
            "rules",
            format!(
                "there are more than {MAX_RULES}; use for_each and templates instead of a rule for each value"
            ),
        );
    }
    if document.account.is_none() && document.rules.iter().all(|rule| rule.account.is_none()) {
        errors.add(
            "account",
            "neither the document nor a rule names an account, so no session could have one; name the usual one here",
        );
    }
    let mut names = BTreeSet::new();
    for (index, rule) in document.rules.iter().enumerate() {
        let key = format!("rules[{index}].name");
        if rule.name.trim().is_empty()
            || rule.name.len() > MAX_NAME_BYTES
            || rule.name.contains(char::is_control)
        {
            errors.add(
                key,
                format!("a rule's name is 1 to {MAX_NAME_BYTES} bytes long and has no control characters"),
            );
        } else if !names.insert(&rule.name) {
            errors.add(
                key,
                format!("there is another rule named {:?}; rename one", rule.name),
            );
        }
    }
}

/// The compiled conditions, one place for each rule.
fn conditions(document: &PolicyDocument, errors: &mut Errors) -> Vec<Option<Condition>> {
    let written = document.rules.iter().filter_map(|rule| {
        rule.when.as_ref().map(|text| Written {
            text: text.clone(),
            membership: rule.for_each.is_some(),
        })
    });
    let mut compiled = condition::compile(written.collect()).into_iter();
    let mut next = |index: usize, rule: &Rule| {
        rule.when.as_ref()?;
        errors.take(&format!("rules[{index}].when"), compiled.next()?)
    };
    document
        .rules
        .iter()
        .enumerate()
        .map(|(index, rule)| next(index, rule))
        .collect()
}

fn compile_rule(rule: &Rule, when: Option<Condition>, key: &str, errors: &mut Errors) -> CompiledRule {
    let scope = Scope {
        membership: rule.for_each.is_some(),
    };
    let for_each = rule
        .for_each
        .as_ref()
        .map(|each| filter(&each.membership, key, errors));
    let account = rule
        .account
        .as_ref()
        .and_then(|source| errors.take(&format!("{key}.account"), Template::parse_name(source, scope)));
    let publish = rule.publish.clone().unwrap_or_default();
    let subscribe = rule.subscribe.clone().unwrap_or_default();
    let publish_allow = subjects(&publish.allow, &format!("{key}.publish.allow"), scope, errors);
    let publish_deny = subjects(&publish.deny, &format!("{key}.publish.deny"), scope, errors);
    let subscribe_allow = entries(&subscribe.allow, &format!("{key}.subscribe.allow"), scope, errors);
    let subscribe_deny = entries(&subscribe.deny, &format!("{key}.subscribe.deny"), scope, errors);
    let responses = rule
        .responses
        .as_ref()
        .and_then(|responses| permission(responses, &format!("{key}.responses"), errors));
    let template = rule
        .template
        .as_ref()
        .and_then(|template| account_template(template, &format!("{key}.template"), scope, errors));
    let (limits, expires_in) = rule
        .limits
        .as_ref()
        .map(|limits| limits::compile(limits, &format!("{key}.limits"), errors))
        .unwrap_or_default();
    let (gives, takes) = said(rule);
    if gives.is_empty() && takes.is_empty() {
        errors.add(
            key,
            "the rule does nothing: give it publish, subscribe, responses, template, account_defaults, limits or account, or \
             leave it out",
        );
    }
    let compiled = CompiledRule {
        name: rule.name.as_str().into(),
        for_each,
        when,
        account,
        publish_allow,
        publish_deny,
        subscribe_allow,
        subscribe_deny,
        responses,
        template,
        account_defaults: rule.account_defaults,
        limits,
        expires_in,
        gives: gives.into(),
        takes: takes.into(),
    };
    one_place(&compiled, key, errors);
    compiled
}

/// What a session may do stands in one place: in the rules, in a template of the account, or in the account's defaults.
fn one_place(rule: &CompiledRule, key: &str, errors: &mut Errors) {
    let places = [
        rule.has_subjects(),
        rule.template.is_some(),
        rule.account_defaults,
    ];
    if places.into_iter().filter(|place| *place).count() > 1 {
        errors.add(
            key,
            "only one of these says what a session may do: publish, subscribe and responses; template; account_defaults",
        );
    }
    if let Some(what) = rule
        .limits
        .as_ref()
        .filter(|_| rule.template.is_some())
        .and_then(Limits::only_in_template)
    {
        errors.add(
            format!("{key}.limits.{what}"),
            "nats-server takes it from the template alone; write it there",
        );
    }
}

fn account_template(
    written: &TemplateRule,
    key: &str,
    scope: Scope,
    errors: &mut Errors,
) -> Option<CompiledTemplate> {
    let name = errors.take(&format!("{key}.name"), written.name.parse());
    let mut tags = Vec::new();
    for (tag, source) in &written.tags {
        let key = format!("{key}.tags.{tag}");
        let Some(tag) = TagName::parse(tag) else {
            errors.add(
                key,
                "a tag's name has 1 to 64 characters from a-z, 0-9, '_' and '-'",
            );
            continue;
        };
        if let Some(value) = errors.take(&key, Template::parse_name(source, scope)) {
            tags.push((tag, value));
        }
    }
    Some(CompiledTemplate { name: name?, tags })
}

fn filter(written: &MembershipFilter, key: &str, errors: &mut Errors) -> Filter {
    let mut names = |names: &OneOrMany, part: &str| {
        let names = names.names();
        if names.is_empty() || names.iter().any(String::is_empty) {
            errors.add(
                format!("{key}.for_each.membership.{part}"),
                "names at least one, and none of them is empty",
            );
        }
        names.to_vec()
    };
    Filter {
        kinds: names(&written.kind, "kind"),
        roles: written.role.as_ref().map(|role| names(role, "role")),
    }
}

fn subjects(sources: &[String], key: &str, scope: Scope, errors: &mut Errors) -> Vec<Template> {
    let parse = |(index, source): (usize, &String)| {
        errors.take(&format!("{key}[{index}]"), Template::parse(source, scope))
    };
    sources.iter().enumerate().filter_map(parse).collect()
}

fn entries(
    sources: &[SubscribeEntry],
    key: &str,
    scope: Scope,
    errors: &mut Errors,
) -> Vec<SubscribeTemplate> {
    let parse = |(index, entry): (usize, &SubscribeEntry)| {
        let subject = errors.take(
            &format!("{key}[{index}]"),
            Template::parse(entry.subject(), scope),
        );
        let queue: Option<Result<Template, TemplateError>> = entry.queue().map(|q| Template::parse(q, scope));
        let queue = match queue {
            None => None,
            Some(parsed) => Some(errors.take(&format!("{key}[{index}].queue"), parsed)?),
        };
        Some(SubscribeTemplate {
            subject: subject?,
            queue,
        })
    };
    sources.iter().enumerate().filter_map(parse).collect()
}

fn permission(written: &ResponsesRule, key: &str, errors: &mut Errors) -> Option<ResponsePermission> {
    let ttl = written.ttl.duration();
    if written.max_messages == 0 {
        errors.add(
            format!("{key}.max_messages"),
            "must be at least 1; leave responses out to allow none",
        );
        return None;
    }
    // A user JWT holds it in nanoseconds, where 0 would mean nats-server's own two minutes.
    if ttl.is_zero() || i64::try_from(ttl.as_nanos()).is_err() {
        errors.add(
            format!("{key}.ttl"),
            "must be more than nothing and less than 292 years",
        );
        return None;
    }
    Some(ResponsePermission {
        max_messages: written.max_messages,
        ttl: Some(ttl),
    })
}

/// What a rule gives and what it takes, in words, for explanations.
fn said(rule: &Rule) -> (Vec<String>, Vec<String>) {
    let (mut gives, mut takes) = (Vec::new(), Vec::new());
    if let Some(account) = &rule.account {
        gives.push(format!("account {account}"));
    }
    if let Some(publish) = &rule.publish {
        gives.extend(publish.allow.iter().map(|subject| format!("publish {subject}")));
        takes.extend(
            publish
                .deny
                .iter()
                .map(|subject| format!("deny publish {subject}")),
        );
    }
    if let Some(subscribe) = &rule.subscribe {
        gives.extend(
            subscribe
                .allow
                .iter()
                .map(|entry| format!("subscribe {}", entry_said(entry))),
        );
        takes.extend(
            subscribe
                .deny
                .iter()
                .map(|entry| format!("deny subscribe {}", entry_said(entry))),
        );
    }
    if let Some(responses) = &rule.responses {
        gives.push(format!(
            "responses {} within {}",
            responses.max_messages, responses.ttl
        ));
    }
    if let Some(template) = &rule.template {
        let tags = template
            .tags
            .iter()
            .map(|(name, value)| format!(" {name}:{value}"));
        gives.push(format!("template {}{}", template.name, tags.collect::<String>()));
    }
    if rule.account_defaults {
        gives.push("the account's default permissions".to_owned());
    }
    if let Some(limits) = &rule.limits {
        takes.extend(limits::said(limits));
    }
    (gives, takes)
}

fn entry_said(entry: &SubscribeEntry) -> String {
    match entry.queue() {
        None => entry.subject().to_owned(),
        Some(queue) => format!("{} queue {queue}", entry.subject()),
    }
}

fn digest(document: &PolicyDocument) -> Result<String, Vec<PolicyError>> {
    let json = serde_json::to_vec(document).map_err(|cause| {
        vec![PolicyError::new(
            "rules",
            format!("cannot be written as JSON: {cause}"),
        )]
    })?;
    Ok(data_encoding::HEXLOWER.encode(&Sha256::digest(json)))
}

#[cfg(test)]
mod tests;
