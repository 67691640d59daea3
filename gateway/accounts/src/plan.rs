//! What a change to an account would do, worked out before any server is asked.
//!
//! A plan is made from the account as it is, the operations wanted, and what is known of the cluster: its sessions by the
//! key that signed them, its servers' versions and largest payloads. It holds the account as it would be, its size by
//! really encoding it, what differs, and which sessions reconnect and lose something. Nothing here asks or changes
//! anything. Counts are of the moment they were taken, and at most: where it cannot be told that a session keeps
//! what it has, it counts as losing.

mod error;
mod explain;
mod sessions;

use natsgate_claims::{EncodeError, MAX_TOKEN_BYTES};

pub use error::PlanError;
pub use sessions::{Drain, Fate, Sessions};

use crate::account::{ManagedAccount, TemplateState};
use crate::naming::{Generation, ScopeRole, TemplateName};
use crate::operation::Operation;
use crate::subjects::Difference;
use crate::version::ServerVersion;
use sessions::drains;

/// The largest account JWT, in bytes: what nats-servers read at most.
pub const CAP: usize = MAX_TOKEN_BYTES;

/// What is known of a nats-server that the change will be pushed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Its version as it says it.
    pub version: String,
    /// The largest message it takes, in bytes, if that is known.
    pub max_payload: Option<u64>,
}

impl Server {
    fn applies_defaults_live(&self) -> bool {
        ServerVersion::parse(&self.version).is_some_and(ServerVersion::applies_defaults_live)
    }
}

/// Under which circumstances a plan is made.
#[derive(Debug, Clone)]
pub struct Circumstances<'a> {
    /// The operator's public key that will sign.
    pub operator: &'a str,
    /// The time, in seconds since the Unix epoch.
    pub now: i64,
    /// The largest account JWT wanted, in bytes; more than [`CAP`] counts as that.
    pub cap: usize,
    /// All servers of the cluster.
    pub servers: &'a [Server],
    /// The account's sessions.
    pub sessions: &'a Sessions,
    /// Whether sessions may be made to reconnect where a server does not apply default permissions live.
    pub may_reconnect: bool,
}

/// What becomes of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    New {
        /// Its generation.
        generation: Generation,
    },
    /// It is another one than before.
    Changed {
        /// The generation that was the newest.
        from: Generation,
        /// The one that will be.
        to: Generation,
        /// What differs.
        difference: Difference,
    },
    /// It is the same, under a new root secret's key.
    Rekeyed {
        /// The generation that was the newest.
        from: Generation,
        /// The one that will be.
        to: Generation,
    },
    /// It is retired.
    Retired {
        /// The generation that was the newest.
        from: Generation,
        /// The one that will be, which allows nothing.
        to: Generation,
    },
    /// What was left of a retired one goes.
    Gone,
}

/// What becomes of the default permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultsChange {
    /// What differs.
    pub difference: Difference,
    /// Whether there are none afterwards, so that whoever brings none may do everything.
    pub cleared: bool,
    /// How live sessions get them.
    pub effect: DefaultsEffect,
}

/// How live sessions get changed default permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DefaultsEffect {
    /// Every server applies them, and nobody is disconnected.
    Live,
    /// By reconnecting, since these servers (name and version) do not; none: no server is known.
    Reconnect {
        /// The servers.
        because: Vec<String>,
    },
}

/// What a change would do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The account as it would be, to be signed.
    pub after: ManagedAccount,
    /// How many bytes its JWT has; `None` if it is new.
    pub size_now: Option<usize>,
    /// How many it would have.
    pub size_after: usize,
    /// How many it may have.
    pub cap: usize,
    /// What becomes of templates, by name.
    pub templates: Vec<(TemplateName, Change)>,
    /// Keys that are taken out.
    pub removed: Vec<ScopeRole>,
    /// What becomes of the default permissions.
    pub defaults: Option<DefaultsChange>,
    /// Up to when everyone would be revoked, if that is new.
    pub revoked_up_to: Option<i64>,
    /// Sessions that cannot stay on the key they have.
    pub drains: Vec<Drain>,
    /// How many sessions reconnect, at most.
    pub reconnecting: u64,
    /// How many lose something, at most.
    pub losing: u64,
    /// How many sessions the account has.
    pub connected: u64,
    /// What a person should look at, though the plan can be carried out.
    pub warnings: Vec<String>,
}

impl Plan {
    /// What `operations`, one after the other, would do to `account`.
    ///
    /// # Errors
    /// [`PlanError`]: an operation cannot be done, the account would be too large, or a server is too old for live
    /// default permissions and nobody may be made to reconnect.
    pub fn make(
        account: &ManagedAccount,
        operations: &[Operation],
        circumstances: &Circumstances<'_>,
    ) -> Result<Self, PlanError> {
        let now = circumstances.now;
        let mut after = account.clone();
        for operation in operations {
            after.apply(operation, now)?;
        }
        let cap = circumstances.cap.min(CAP);
        let size_after = size(&after, circumstances, cap)?;
        let defaults = defaults(account, &after, circumstances)?;
        let revoked_up_to = after
            .revoked_up_to()
            .filter(|_| after.revoked_up_to() != account.revoked_up_to());

        let sessions = circumstances.sessions;
        let drains = drains(account, &after, sessions);
        let drained: u64 = drains.iter().map(|drain| drain.sessions).sum();
        let drained_losing: u64 = drains
            .iter()
            .filter(|drain| drain.loses)
            .map(|drain| drain.sessions)
            .sum();
        let connected = sessions.all();
        let on_defaults = sessions.on_defaults(account);
        let (by_defaults, losing_by_defaults) = match &defaults {
            None => (0, 0),
            Some(change) => {
                let losing = if change.difference.narrows() {
                    on_defaults
                } else {
                    0
                };
                match change.effect {
                    DefaultsEffect::Live => (0, losing),
                    DefaultsEffect::Reconnect { .. } => (on_defaults, losing),
                }
            }
        };
        let reconnecting = match revoked_up_to {
            Some(_) => connected,
            None => drained.saturating_add(by_defaults).min(connected),
        };
        Ok(Self {
            size_now: account.size_when_read(),
            size_after,
            cap,
            templates: templates(account, &after),
            removed: removed(account, &after),
            defaults,
            revoked_up_to,
            drains,
            reconnecting,
            losing: drained_losing.saturating_add(losing_by_defaults).min(connected),
            connected,
            warnings: warnings(&after),
            after,
        })
    }

    /// Whether there is nothing to push.
    pub fn is_empty(&self) -> bool {
        self.size_now.is_some()
            && self.templates.is_empty()
            && self.removed.is_empty()
            && self.defaults.is_none()
            && self.revoked_up_to.is_none()
    }
}

/// The size of `account`, held against the cap and what servers take in one message.
fn size(account: &ManagedAccount, circumstances: &Circumstances<'_>, cap: usize) -> Result<usize, PlanError> {
    let size = match account.prepare(circumstances.operator, circumstances.now) {
        Ok(unsigned) => unsigned.size(),
        Err(EncodeError::TooLarge { size, .. }) => size,
        Err(other) => return Err(other.into()),
    };
    let templates = account.templates().count();
    if size > cap {
        return Err(PlanError::OverCap { size, cap, templates });
    }
    let bytes = u64::try_from(size).unwrap_or(u64::MAX);
    for server in circumstances.servers {
        match server.max_payload {
            Some(max_payload) if bytes > max_payload => {
                return Err(PlanError::OverMaxPayload {
                    size,
                    server: server.name.clone(),
                    max_payload,
                });
            }
            _ => {}
        }
    }
    Ok(size)
}

fn templates(before: &ManagedAccount, after: &ManagedAccount) -> Vec<(TemplateName, Change)> {
    let kept = after.templates().filter_map(|state| {
        let change = change(before.template(state.name()), state)?;
        Some((state.name().clone(), change))
    });
    let gone = before
        .templates()
        .filter(|state| after.template(state.name()).is_none())
        .map(|state| (state.name().clone(), Change::Gone));
    let mut changes: Vec<_> = kept.chain(gone).collect();
    changes.sort_by(|(one, _), (other, _)| one.cmp(other));
    changes
}

fn change(before: Option<&TemplateState>, after: &TemplateState) -> Option<Change> {
    let (old, new) = (before.map(TemplateState::newest), after.newest());
    let to = new.generation();
    let Some(old) = old else {
        return Some(Change::New { generation: to });
    };
    let from = old.generation();
    if old == new {
        return None;
    }
    let difference = old.content().difference(new.content());
    Some(
        match (before.is_some_and(TemplateState::is_retired), after.is_retired()) {
            (false, true) => Change::Retired { from, to },
            _ if difference.is_empty() => Change::Rekeyed { from, to },
            _ => Change::Changed { from, to, difference },
        },
    )
}

fn removed(before: &ManagedAccount, after: &ManagedAccount) -> Vec<ScopeRole> {
    let mut removed = Vec::new();
    for state in before.templates() {
        for generation in state.generations() {
            let still = after
                .template(state.name())
                .is_some_and(|after| after.generation(generation.generation()).is_some());
            if !still {
                removed.push(ScopeRole {
                    template: state.name().clone(),
                    generation: generation.generation(),
                });
            }
        }
    }
    removed
}

fn defaults(
    before: &ManagedAccount,
    after: &ManagedAccount,
    circumstances: &Circumstances<'_>,
) -> Result<Option<DefaultsChange>, PlanError> {
    let wire = |account: &ManagedAccount| account.claims().body.default_permissions.clone();
    if wire(before) == wire(after) {
        return Ok(None);
    }
    let difference = match (before.defaults(), after.defaults()) {
        (_, Ok(None)) => Difference::to_everything(),
        (Ok(Some(before)), Ok(Some(after))) => before.difference(&after),
        // Before it was everything, or something that cannot be read.
        _ => Difference::unknown(),
    };
    let too_old: Vec<String> = circumstances
        .servers
        .iter()
        .filter(|server| !server.applies_defaults_live())
        .map(|server| format!("{} ({})", server.name, server.version))
        .collect();
    let effect = match (
        too_old.is_empty() && !circumstances.servers.is_empty(),
        circumstances.may_reconnect,
    ) {
        (true, _) => DefaultsEffect::Live,
        (false, true) => DefaultsEffect::Reconnect { because: too_old },
        (false, false) => return Err(PlanError::NotLive { servers: too_old }),
    };
    Ok(Some(DefaultsChange {
        difference,
        cleared: after.defaults() == Ok(None),
        effect,
    }))
}

fn warnings(after: &ManagedAccount) -> Vec<String> {
    let lookalikes = after.lookalikes().into_iter().map(|role| {
        format!(
            "the signing key with the role {role} is none that natsgate's root secrets make; it is left alone: configure \
             the secret that made it, or take it out by hand"
        )
    });
    let unfit = after
        .templates()
        .filter_map(TemplateState::current)
        .filter_map(|template| {
            let error = template.check_account(after.facts()).err()?;
            Some(error.to_string())
        });
    let edited = after
        .templates()
        .filter(|state| state.current().is_none() && !state.is_retired())
        .map(|state| {
            format!(
                "template {} was edited by hand and is not minted with: put it again, or retire it",
                state.name()
            )
        });
    lookalikes.chain(unfit).chain(edited).collect()
}

#[cfg(test)]
mod tests;
