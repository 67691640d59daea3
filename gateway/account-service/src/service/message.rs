//! What came of a call, as messages.

use natsgate_accounts::account::TemplateState;
use natsgate_accounts::plan::{CAP, Change, DefaultsChange, DefaultsEffect, Fate};
use natsgate_accounts::writer::{ServerReport, Standing, View};
use natsgate_accounts::{Plan, Template, TemplateName};
use natsgate_proto::rights::{write_limits, write_permissions};
use natsgate_proto::v1;
use natsgate_proto::v1::template_change::Kind;

use crate::keeper::{ClusterOutcome, Outcome};

pub(super) fn outcome(outcome: Outcome) -> v1::AccountOutcome {
    let complete = outcome.is_complete();
    let Outcome { report, clusters } = outcome;
    let foreign = report.foreign.into_iter().map(|foreign| v1::ForeignAccount {
        issued_at: Some(at(foreign.issued_at)),
        issuer: foreign.issuer,
        merged: foreign.merged,
    });
    v1::AccountOutcome {
        complete,
        plan: report.plan.as_ref().map(plan),
        signed_at: report.signed.map(|signed| at(signed.issued_at)),
        clusters: clusters.into_iter().map(cluster).collect(),
        foreign: foreign.collect(),
        restored_keys: report.restored.iter().map(ToString::to_string).collect(),
    }
}

pub(super) fn cluster(cluster: ClusterOutcome) -> v1::AccountCluster {
    v1::AccountCluster {
        cluster: cluster.name,
        problem: cluster.problem.unwrap_or_default(),
        servers: cluster.servers.into_iter().map(server).collect(),
        sessions_closed: cluster.closed,
        sessions_problem: cluster.sessions_problem.unwrap_or_default(),
    }
}

fn server(report: ServerReport) -> v1::AccountServer {
    let (standing, silent) = match report.standing {
        Standing::InForce => (v1::AccountStanding::InForce, None),
        Standing::NotLoaded => (v1::AccountStanding::NotLoaded, None),
        Standing::Missed => (v1::AccountStanding::Missed, None),
        Standing::Silent(why) => (v1::AccountStanding::Silent, Some(why)),
    };
    let refused = report.answer.and_then(Result::err);
    v1::AccountServer {
        id: report.server.id,
        name: report.server.name,
        version: report.server.version,
        standing: standing.into(),
        problem: silent.or(refused).unwrap_or_default(),
    }
}

pub(super) fn plan(plan: &Plan) -> v1::AccountPlan {
    let moved = plan.drains.iter().filter(|drain| drain.sessions > 0);
    let moved = moved.map(|drain| v1::MovedSessions {
        key: drain.role.to_string(),
        sessions: drain.sessions,
        losing: drain.loses,
        key_removed: drain.fate == Fate::Closed,
    });
    let templates = plan
        .templates
        .iter()
        .map(|(name, change)| template_change(name, change));
    v1::AccountPlan {
        empty: plan.is_empty(),
        size_now: plan.size_now.map(number),
        size_after: number(plan.size_after),
        cap: number(plan.cap),
        templates: templates.collect(),
        removed_keys: plan.removed.iter().map(ToString::to_string).collect(),
        default_permissions: plan.defaults.as_ref().map(defaults_change),
        sessions: plan.connected,
        sessions_reconnecting: plan.reconnecting,
        sessions_losing: plan.losing,
        moved: moved.collect(),
        warnings: plan.warnings.clone(),
        text: plan.to_string(),
    }
}

fn template_change(name: &TemplateName, change: &Change) -> v1::TemplateChange {
    let (kind, from, to, difference) = match change {
        Change::New { generation } => (Kind::New, None, Some(generation), None),
        Change::Changed { from, to, difference } if difference.narrows() => {
            (Kind::Narrowed, Some(from), Some(to), Some(difference))
        }
        Change::Changed { from, to, difference } => (Kind::Widened, Some(from), Some(to), Some(difference)),
        Change::Rekeyed { from, to } => (Kind::Rekeyed, Some(from), Some(to), None),
        Change::Retired { from, to } => (Kind::Retired, Some(from), Some(to), None),
        Change::Gone => (Kind::Gone, None, None, None),
    };
    v1::TemplateChange {
        name: name.to_string(),
        kind: kind.into(),
        from_generation: from.map_or(0, |generation| generation.number()),
        to_generation: to.map_or(0, |generation| generation.number()),
        difference: difference.map(ToString::to_string).unwrap_or_default(),
    }
}

fn defaults_change(change: &DefaultsChange) -> v1::DefaultPermissionsChange {
    let not_live = match &change.effect {
        DefaultsEffect::Live => None,
        DefaultsEffect::Reconnect { because } => Some(because.clone()),
    };
    v1::DefaultPermissionsChange {
        narrowed: change.difference.narrows(),
        cleared: change.cleared,
        live: not_live.is_none(),
        not_live_servers: not_live.unwrap_or_default(),
        difference: change.difference.to_string(),
    }
}

pub(super) fn account(name: &str, view: &View, clusters: Vec<ClusterOutcome>) -> v1::GetAccountResponse {
    let account = &view.account;
    let complete = view.is_complete() && clusters.iter().all(|cluster| cluster.problem.is_none());
    let defaults = account.defaults().ok().flatten();
    v1::GetAccountResponse {
        account: name.to_owned(),
        public_key: account.account().to_owned(),
        revision: view.revision,
        templates: account.templates().map(template_state).collect(),
        default_permissions: defaults.map(|defaults| write_permissions(defaults.permissions().clone())),
        size: number(account.size_when_read().unwrap_or_default()),
        cap: number(CAP),
        issued_at: account.issued_at().map(at),
        clusters: clusters.into_iter().map(cluster).collect(),
        complete,
    }
}

fn template_state(state: &TemplateState) -> v1::TemplateState {
    let generations = state.generations().map(|generation| v1::TemplateGeneration {
        generation: generation.generation().number(),
        public_key: generation.public_key().to_owned(),
    });
    v1::TemplateState {
        name: state.name().to_string(),
        template: state.current().map(template),
        retired: state.is_retired(),
        generations: generations.collect(),
    }
}

fn template(template: &Template) -> v1::Template {
    v1::Template {
        name: template.name().to_string(),
        permissions: Some(write_permissions(template.permissions().clone())),
        limits: Some(write_limits(template.limits().clone())),
    }
}

fn at(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

fn number(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}
