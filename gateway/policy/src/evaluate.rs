//! From facts to a grant or a denial, and to what became of each rule.
//!
//! The first denial, in the order of the rules, is the answer; the remaining rules are evaluated all the same, so that
//! an explanation shows all of them.

mod sum;

use std::cell::OnceCell;
use std::collections::BTreeSet;

use cel::Context;
use natsgate_core::{Denial, DenialReason, Grant, Membership};

use crate::condition;
use crate::facts::{Facts, Values};
use crate::policy::{CompiledRule, Policy};
use crate::template::RenderError;
use crate::trace::{RuleOutcome, RuleTrace};
use sum::Sum;

/// The steps one evaluation may take: rules looked at, templates rendered, elements of lists run through. A step of a
/// condition takes about a microsecond, so this is a quarter of a second; a client is kept waiting for two.
const MAX_STEPS: u64 = 250_000;

/// A decision and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// The grant, or the denial.
    pub outcome: Result<Grant, Denial>,
    /// What became of each rule, in the order of the document, for each membership in order of kind, id and role.
    pub trace: Vec<RuleTrace>,
}

impl Evaluation {
    /// The names of the rules that matched, each once, in the order of the document.
    pub fn matched(&self) -> impl Iterator<Item = &str> {
        let matched = |one: &&RuleTrace| matches!(one.outcome, RuleOutcome::Matched { .. });
        let mut last = None;
        // What a rule did for each membership stands together.
        let names = self.trace.iter().filter(matched).map(|one| &*one.rule);
        names.filter(move |name| last.replace(*name) != Some(*name))
    }
}

/// Evaluates `policy` over `facts`.
pub(crate) fn evaluate(policy: &Policy, facts: &Facts<'_>) -> Evaluation {
    let memberships: BTreeSet<&Membership> = facts.memberships.iter().collect();
    let mut evaluator = Evaluator {
        policy,
        facts: *facts,
        memberships: memberships.into_iter().collect(),
        digest: OnceCell::new(),
        context: OnceCell::new(),
        widest: OnceCell::new(),
        steps: 0,
        denial: None,
        doubtful: Vec::new(),
        sum: Sum::default(),
        trace: Vec::new(),
    };
    evaluator.rules();
    evaluator.finish()
}

struct Evaluator<'a> {
    policy: &'a Policy,
    facts: Facts<'a>,
    /// Sorted, none twice.
    memberships: Vec<&'a Membership>,
    digest: OnceCell<String>,
    context: OnceCell<Context<'static, 'static>>,
    widest: OnceCell<u64>,
    steps: u64,
    /// The first denial.
    denial: Option<Denial>,
    /// Rules that name an account and could not be evaluated, as places in the policy's rules and memberships.
    doubtful: Vec<(&'a CompiledRule, Option<&'a Membership>)>,
    sum: Sum,
    trace: Vec<RuleTrace>,
}

/// The evaluation takes more steps than it may.
struct TooLong;

impl<'a> Evaluator<'a> {
    fn rules(&mut self) {
        let policy = self.policy;
        for rule in &policy.rules {
            if let Err(TooLong) = self.rule(rule) {
                let detail = format!(
                    "rule {:?}: evaluating the policy takes more than {MAX_STEPS} steps: too many memberships, or \
                     conditions that run through lists too long",
                    rule.name
                );
                let denial = Denial::new(DenialReason::PolicyError, detail);
                self.record(rule, None, RuleOutcome::Denied(denial));
                return;
            }
        }
    }

    fn rule(&mut self, rule: &'a CompiledRule) -> Result<(), TooLong> {
        let Some(filter) = &rule.for_each else {
            return self.once(rule, None);
        };
        let mut fits = false;
        for index in 0..self.memberships.len() {
            self.spend(1)?;
            if let Some(membership) = self.memberships.get(index).copied().filter(|m| filter.fits(m)) {
                fits = true;
                self.once(rule, Some(membership))?;
            }
        }
        if !fits {
            let why = "there is no membership of its kind and role";
            self.record(rule, None, RuleOutcome::NotMatched(why.into()));
        }
        Ok(())
    }

    /// Evaluates `rule` once, for `membership` if it is repeated for memberships.
    fn once(&mut self, rule: &'a CompiledRule, membership: Option<&'a Membership>) -> Result<(), TooLong> {
        self.spend(1)?;
        if let Some(condition) = &rule.when {
            self.spend_on(condition)?;
            match self.holds(condition, membership) {
                Ok(true) => {}
                Ok(false) => {
                    let why = "its condition is false";
                    self.record(rule, membership, RuleOutcome::NotMatched(why.into()));
                    return Ok(());
                }
                Err(error) if rule.restricts() => {
                    let detail = format!(
                        "rule {:?}: its condition could not be evaluated: {error}. As the rule denies or limits \
                         something, nothing is granted without it",
                        rule.name
                    );
                    let denial = Denial::new(DenialReason::PolicyError, detail);
                    self.record(rule, membership, RuleOutcome::Denied(denial));
                    return Ok(());
                }
                Err(error) => {
                    if rule.account.is_some() {
                        self.doubtful.push((rule, membership));
                    }
                    let why = format!("its condition could not be evaluated: {error}");
                    self.record(rule, membership, RuleOutcome::NotMatched(why.into()));
                    return Ok(());
                }
            }
        }
        self.spend(rule.templates())?;
        let values = Values::new(self.facts, membership, &self.digest);
        let outcome = match self.sum.add(rule, &values) {
            Ok(()) => RuleOutcome::Matched {
                gives: rule.gives.clone(),
                takes: rule.takes.clone(),
            },
            Err(denial) => RuleOutcome::Denied(denial),
        };
        self.record(rule, membership, outcome);
        Ok(())
    }

    fn holds(
        &self,
        condition: &condition::Condition,
        membership: Option<&Membership>,
    ) -> Result<bool, condition::ConditionError> {
        let root = self.context.get_or_init(|| {
            let mut context = condition::context(&self.policy.environment);
            condition::bind(&mut context, &self.facts, &self.memberships, self.policy.used);
            context
        });
        match membership {
            Some(membership) if condition.used.membership => {
                let mut context = root.new_inner_scope();
                condition::bind_membership(&mut context, membership);
                condition.holds(&context, &self.facts)
            }
            _ => condition.holds(root, &self.facts),
        }
    }

    fn spend(&mut self, steps: u64) -> Result<(), TooLong> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > MAX_STEPS {
            Err(TooLong)
        } else {
            Ok(())
        }
    }

    fn spend_on(&mut self, condition: &condition::Condition) -> Result<(), TooLong> {
        let widest = if condition.loops() {
            *self
                .widest
                .get_or_init(|| condition::widest(&self.facts, self.memberships.len()))
        } else {
            0
        };
        self.spend(condition.cost(widest))
    }

    fn record(&mut self, rule: &CompiledRule, membership: Option<&Membership>, outcome: RuleOutcome) {
        if let RuleOutcome::Denied(denial) = &outcome {
            self.denial.get_or_insert_with(|| denial.clone());
        }
        self.trace.push(RuleTrace {
            rule: rule.name.clone(),
            membership: membership.cloned(),
            outcome,
        });
    }

    fn finish(mut self) -> Evaluation {
        let trace = std::mem::take(&mut self.trace);
        Evaluation {
            outcome: self.outcome(),
            trace,
        }
    }

    fn outcome(mut self) -> Result<Grant, Denial> {
        if let Some(denial) = self.denial.take() {
            return Err(denial);
        }
        if !self.sum.allows {
            let detail = if self.sum.matched {
                "the rules that match allow nothing: they only deny, limit or name an account"
            } else {
                "no rule matches"
            };
            return Err(Denial::new(DenialReason::NoRuleMatched, detail));
        }
        let account = self.account()?;
        self.sum.grant(account, &self.facts, &self.policy.digest)
    }

    /// The account of the session.
    fn account(&mut self) -> Result<String, Denial> {
        let account = match self.sum.account.take() {
            Some((account, _)) => account,
            None => {
                let template = self.policy.account.as_ref().ok_or_else(|| {
                    Denial::new(
                        DenialReason::PolicyError,
                        "none of the rules that match names an account, and the policy has no account for such cases; \
                         add `account` to the policy or to a rule",
                    )
                })?;
                let values = Values::new(self.facts, None, &self.digest);
                template
                    .render(&values)
                    .map(String::from)
                    .map_err(|error| denied("the policy", "account", template.source(), &error))?
            }
        };
        // To name an account is to take every other: what could not be evaluated might have done so.
        for (rule, membership) in &self.doubtful {
            let values = Values::new(self.facts, *membership, &self.digest);
            let same = rule
                .account
                .as_ref()
                .and_then(|template| template.render(&values).ok())
                .is_some_and(|named| named.as_str() == account);
            if !same {
                let detail = format!(
                    "rule {:?}: its condition could not be evaluated, and it might have named another account",
                    rule.name
                );
                return Err(Denial::new(DenialReason::PolicyError, detail));
            }
        }
        Ok(account)
    }
}

/// The denial for a template that could not be rendered.
fn denied(whose: &str, key: &str, source: &str, error: &RenderError) -> Denial {
    let reason = match error {
        RenderError::Missing { .. } => DenialReason::MissingValue,
        RenderError::Unsafe { .. } | RenderError::NotASubject(_) | RenderError::OtherShape => {
            DenialReason::UnsafeValue
        }
    };
    Denial::new(reason, format!("{whose}: {key} {source:?}: {error}"))
}

impl CompiledRule {
    /// How many templates it renders.
    fn templates(&self) -> u64 {
        let count = self.publish_allow.len()
            + self.publish_deny.len()
            + self.subscribe_allow.len()
            + self.subscribe_deny.len()
            + self.template.as_ref().map_or(0, |template| template.tags.len());
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
