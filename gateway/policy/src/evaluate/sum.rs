//! What the matching rules add up to.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use natsgate_core::{
    Denial, DenialReason, Grant, Limits, Permissions, PublishPermissions, ResponsePermission, Rights,
    Subject, SubscribePermissions, SubscribeSubject, TagValues, TemplateName, TemplateUse,
};

use super::denied;
use crate::facts::{Facts, Values};
use crate::limits;
use crate::policy::{CompiledRule, CompiledTemplate, SubscribeTemplate};
use crate::subjects;
use crate::template::Template;

/// The most subjects of a grant: as a user JWT they take some 50 KB, which nats-server parses on every connect.
pub(super) const MAX_SUBJECTS: usize = 1000;

/// Where what a session may do is written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// In the rules.
    Rules,
    /// In a template of the account.
    Template(TemplateName),
    /// In the account's default permissions.
    AccountDefaults,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rules => f.write_str("subjects of its own"),
            Self::Template(name) => write!(f, "the template {name}"),
            Self::AccountDefaults => f.write_str("the account's default permissions"),
        }
    }
}

/// What the rules looked at so far add up to.
#[derive(Debug, Default)]
pub(super) struct Sum {
    /// Whether a rule matched.
    pub(super) matched: bool,
    /// Whether a rule that allows something matched.
    pub(super) allows: bool,
    /// The account named, and the rule that named it first.
    pub(super) account: Option<(String, Arc<str>)>,
    /// Where what the session may do is written, and the rule that said so first.
    place: Option<(Place, Arc<str>)>,
    /// The session's tags, if that is a template.
    tags: TagValues,
    publish_allow: BTreeSet<Subject>,
    publish_deny: BTreeSet<Subject>,
    subscribe_allow: BTreeSet<SubscribeSubject>,
    subscribe_deny: BTreeSet<SubscribeSubject>,
    responses: Option<ResponsePermission>,
    limits: Limits,
    expires_in: Option<Duration>,
}

impl Sum {
    /// Adds what `rule`, which matched, gives and takes.
    pub(super) fn add(&mut self, rule: &CompiledRule, values: &Values<'_>) -> Result<(), Denial> {
        self.matched = true;
        self.allows |= rule.allows();
        if let Some(template) = &rule.account {
            self.join_account(rule, template, values)?;
        }
        for place in places(rule) {
            self.write_in(rule, place)?;
        }
        if let Some(template) = &rule.template {
            self.tag(rule, template, values)?;
        }
        for template in &rule.publish_allow {
            self.publish_allow
                .insert(render(rule, "publish.allow", template, values)?);
            self.check_size(rule)?;
        }
        for template in &rule.publish_deny {
            self.publish_deny
                .insert(render(rule, "publish.deny", template, values)?);
            self.check_size(rule)?;
        }
        for template in &rule.subscribe_allow {
            self.subscribe_allow
                .insert(entry(rule, "subscribe.allow", template, values)?);
            self.check_size(rule)?;
        }
        for template in &rule.subscribe_deny {
            self.subscribe_deny
                .insert(entry(rule, "subscribe.deny", template, values)?);
            self.check_size(rule)?;
        }
        self.responses = wider(self.responses, rule.responses);
        if let Some(more) = &rule.limits {
            self.limits = limits::both(std::mem::take(&mut self.limits), more).map_err(|conflict| {
                Denial::new(
                    DenialReason::LimitsConflict,
                    format!("rule {:?}: limits: {conflict}", rule.name),
                )
            })?;
        }
        self.expires_in = match (self.expires_in, rule.expires_in) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        };
        Ok(())
    }

    /// Has the session's rights stand in `place`. In two places they cannot: a nats-server reads one of them.
    fn write_in(&mut self, rule: &CompiledRule, place: Place) -> Result<(), Denial> {
        match &self.place {
            Some((known, first)) if *known != place => Err(Denial::new(
                DenialReason::RightsConflict,
                format!(
                    "rules {first:?} and {:?} both match, and a session cannot have both {known} and {place}; let only one of \
                     them match",
                    rule.name
                ),
            )),
            Some(_) => Ok(()),
            None => {
                self.place = Some((place, rule.name.clone()));
                Ok(())
            }
        }
    }

    fn tag(
        &mut self,
        rule: &CompiledRule,
        template: &CompiledTemplate,
        values: &Values<'_>,
    ) -> Result<(), Denial> {
        for (tag, value) in &template.tags {
            let value = render(rule, &format!("template.tags.{tag}"), value, values)?;
            self.tags
                .entry(tag.clone())
                .or_default()
                .insert(value.to_string());
        }
        let count: usize = self.tags.values().map(BTreeSet::len).sum();
        if count > MAX_SUBJECTS {
            let detail = format!(
                "rule {:?}: the grant would have more than {MAX_SUBJECTS} tags, and its user JWT be too large",
                rule.name
            );
            return Err(Denial::new(DenialReason::PolicyError, detail));
        }
        Ok(())
    }

    /// What the session may do, or where that is written.
    fn rights(&mut self) -> Result<Rights, Denial> {
        let template = match self.place.take() {
            None | Some((Place::Rules, _)) => return Ok(Rights::Own(self.permissions())),
            Some((Place::AccountDefaults, _)) => return Ok(Rights::AccountDefaults),
            Some((Place::Template(template), _)) => template,
        };
        if let Some(what) = self.limits.only_in_template() {
            let detail = format!(
                "a rule that matches limits {what}, which nats-server takes from the template {template} alone; write it there"
            );
            return Err(Denial::new(DenialReason::RightsConflict, detail));
        }
        Ok(Rights::Template(TemplateUse {
            template,
            tags: std::mem::take(&mut self.tags),
        }))
    }

    fn permissions(&mut self) -> Permissions {
        Permissions {
            publish: PublishPermissions {
                allow: std::mem::take(&mut self.publish_allow).into_iter().collect(),
                deny: std::mem::take(&mut self.publish_deny).into_iter().collect(),
            },
            subscribe: SubscribePermissions {
                allow: subjects::allowed(std::mem::take(&mut self.subscribe_allow)),
                deny: std::mem::take(&mut self.subscribe_deny).into_iter().collect(),
            },
            responses: self.responses,
        }
    }

    fn join_account(
        &mut self,
        rule: &CompiledRule,
        template: &Template,
        values: &Values<'_>,
    ) -> Result<(), Denial> {
        let named = String::from(render(rule, "account", template, values)?);
        match &self.account {
            Some((account, first)) if *account != named => Err(Denial::new(
                DenialReason::AccountConflict,
                format!(
                    "rules {first:?} and {:?} both match and name different accounts; let only one of them match",
                    rule.name
                ),
            )),
            Some(_) => Ok(()),
            None => {
                self.account = Some((named, rule.name.clone()));
                Ok(())
            }
        }
    }

    fn check_size(&self, rule: &CompiledRule) -> Result<(), Denial> {
        let size = self.publish_allow.len()
            + self.publish_deny.len()
            + self.subscribe_allow.len()
            + self.subscribe_deny.len();
        check_size(size)
            .map_err(|denial| Denial::new(denial.reason, format!("rule {:?}: {}", rule.name, denial.detail)))
    }

    /// The grant.
    pub(super) fn grant(mut self, account: String, facts: &Facts<'_>, digest: &str) -> Result<Grant, Denial> {
        let identity = facts.identity;
        if identity.expires_at <= facts.now {
            return Err(Denial::new(DenialReason::Expired, "the credential has expired"));
        }
        let rights = self.rights()?;
        if let Rights::Own(permissions) = &rights {
            // Once more: a union with queue groups may have grown while it was written out.
            check_size(
                permissions.publish.allow.len()
                    + permissions.publish.deny.len()
                    + permissions.subscribe.allow.len()
                    + permissions.subscribe.deny.len(),
            )?;
        }
        // A time too far away for the clock bounds nothing: the credential's own does.
        let bound = self.expires_in.and_then(|period| facts.now.checked_add(period));
        let expires_at = bound.map_or(identity.expires_at, |bound| bound.min(identity.expires_at));
        Ok(Grant {
            account,
            principal: identity.principal.clone(),
            rights,
            limits: self.limits,
            expires_at,
            policy_digest: digest.to_owned(),
        })
    }
}

/// Where `rule` has what a session may do written; a compiled rule says one place at most.
fn places(rule: &CompiledRule) -> impl Iterator<Item = Place> {
    let template = rule.template.as_ref();
    let template = template.map(|template| Place::Template(template.name.clone()));
    let defaults = rule.account_defaults.then_some(Place::AccountDefaults);
    let rules = rule.has_subjects().then_some(Place::Rules);
    [template, defaults, rules].into_iter().flatten()
}

fn check_size(subjects: usize) -> Result<(), Denial> {
    if subjects > MAX_SUBJECTS {
        return Err(Denial::new(
            DenialReason::PolicyError,
            format!(
                "the grant would have more than {MAX_SUBJECTS} subjects, and its user JWT be too large; use wildcards, \
                 or fewer subjects for each membership"
            ),
        ));
    }
    Ok(())
}

fn render(
    rule: &CompiledRule,
    key: &str,
    template: &Template,
    values: &Values<'_>,
) -> Result<Subject, Denial> {
    template
        .render(values)
        .map_err(|error| denied(&format!("rule {:?}", rule.name), key, template.source(), &error))
}

fn entry(
    rule: &CompiledRule,
    key: &str,
    template: &SubscribeTemplate,
    values: &Values<'_>,
) -> Result<SubscribeSubject, Denial> {
    Ok(SubscribeSubject {
        subject: render(rule, key, &template.subject, values)?,
        queue: match &template.queue {
            None => None,
            Some(queue) => Some(render(rule, key, queue, values)?),
        },
    })
}

/// Of two response permissions what both give together.
fn wider(a: Option<ResponsePermission>, b: Option<ResponsePermission>) -> Option<ResponsePermission> {
    match (a, b) {
        (Some(a), Some(b)) => Some(ResponsePermission {
            max_messages: a.max_messages.max(b.max_messages),
            // None is no bound in time.
            ttl: a.ttl.zip(b.ttl).map(|(a, b)| a.max(b)),
        }),
        (one, other) => one.or(other),
    }
}
