//! What the matching rules add up to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use natsgate_core::{
    Denial, DenialReason, Grant, Limits, Permissions, PublishPermissions, ResponsePermission, Subject,
    SubscribePermissions, SubscribeSubject,
};

use super::denied;
use crate::facts::{Facts, Values};
use crate::limits;
use crate::policy::{CompiledRule, SubscribeTemplate};
use crate::subjects;
use crate::template::Template;

/// The most subjects of a grant: as a user JWT they take some 50 KB, which nats-server parses on every connect.
pub(super) const MAX_SUBJECTS: usize = 1000;

/// What the rules looked at so far add up to.
#[derive(Debug, Default)]
pub(super) struct Sum {
    /// Whether a rule matched.
    pub(super) matched: bool,
    /// Whether a rule that allows something matched.
    pub(super) allows: bool,
    /// The account named, and the rule that named it first.
    pub(super) account: Option<(String, Arc<str>)>,
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
            self.place(rule, template, values)?;
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

    fn place(&mut self, rule: &CompiledRule, template: &Template, values: &Values<'_>) -> Result<(), Denial> {
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
    pub(super) fn grant(self, account: String, facts: &Facts<'_>, digest: &str) -> Result<Grant, Denial> {
        let identity = facts.identity;
        if identity.expires_at <= facts.now {
            return Err(Denial::new(DenialReason::Expired, "the credential has expired"));
        }
        let permissions = Permissions {
            publish: PublishPermissions {
                allow: self.publish_allow.into_iter().collect(),
                deny: self.publish_deny.into_iter().collect(),
            },
            subscribe: SubscribePermissions {
                allow: subjects::allowed(self.subscribe_allow),
                deny: self.subscribe_deny.into_iter().collect(),
            },
            responses: self.responses,
        };
        // Once more: a union with queue groups may have grown while it was written out.
        check_size(
            permissions.publish.allow.len()
                + permissions.publish.deny.len()
                + permissions.subscribe.allow.len()
                + permissions.subscribe.deny.len(),
        )?;
        // A time too far away for the clock bounds nothing: the credential's own does.
        let bound = self.expires_in.and_then(|period| facts.now.checked_add(period));
        let expires_at = bound.map_or(identity.expires_at, |bound| bound.min(identity.expires_at));
        Ok(Grant {
            account,
            principal: identity.principal.clone(),
            permissions,
            limits: self.limits,
            expires_at,
            policy_digest: digest.to_owned(),
        })
    }
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
