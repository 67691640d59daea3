//! What one look leads to.

use std::sync::Arc;

use natsgate_core::Fence;

use super::cycle::Cycle;
use super::error::WriterError;
use super::look::Look;
use super::record::{LastPushed, Record};
use super::report::Signed;
use super::seconds;
use super::sorted::{Sorted, unreadable};
use crate::account::ManagedAccount;
use crate::naming::ScopeRole;
use crate::operation::Operation;
use crate::plan::{Circumstances, Plan, Server};

/// What to do next.
pub(super) enum Step {
    /// Store this.
    Store(Box<Next>),
    /// Push this JWT, which is stored.
    Push(String),
    /// Nothing: this JWT is everywhere.
    Done(String),
}

/// What to store.
pub(super) struct Next {
    pub(super) record: Record,
    pub(super) restored: Vec<ScopeRole>,
    pub(super) plan: Option<Plan>,
    pub(super) signed: Option<Signed>,
}

/// What a change is made on top of.
struct Base {
    account: ManagedAccount,
    /// Keys that somebody dropped or edited, and that are back.
    restored: Vec<ScopeRole>,
    /// The JWT, and its `iat`.
    jwt: String,
    issued_at: i64,
    /// Whether somebody else pushed it since the last push.
    edited: bool,
}

/// `jwt` is stored and nothing else is to be done: is it everywhere?
fn spread(look: &Look, jwt: &str) -> Step {
    if look.is_all(jwt) {
        Step::Done(jwt.to_owned())
    } else {
        Step::Push(jwt.to_owned())
    }
}

impl Cycle<'_> {
    /// What `look` leads to.
    pub(super) async fn decide(
        &self,
        record: &Record,
        look: &Look,
        sorted: &Sorted,
        fence: Fence,
    ) -> Result<Step, WriterError> {
        let shared = self.shared;
        let requested: &[Operation] = if self.done { &[] } else { &self.request.operations };
        let last = record.last.as_ref();
        let once = self.request.once.as_ref().filter(|_| !self.done);
        // In what was stored, everything wanted holds: there is nothing to work out.
        if let Some(last) = last
            && requested.is_empty()
            && once.is_none()
            && sorted.edits.is_empty()
        {
            return Ok(spread(look, &last.jwt));
        }
        let (base, plan) = self.work_out(record, look, sorted, fence)?;
        let wanted = record.wanted.after(requested);
        let done = record.done.after(once, look.at);
        // A clock that is behind another writer's must not make old what was new.
        let looked_at = last.map_or(look.at, |last| last.looked_at.max(look.at));
        let differ = last.is_none() && sorted.edits.len() > 1;
        if base.edited || differ || !plan.is_empty() {
            let (jwt, issued_at) = self.sign(&plan.after, sorted.newest).await?;
            let before = last.map_or(0, |last| last.foreign_up_to);
            let signed = Signed {
                issued_at,
                size: jwt.len(),
            };
            let pushed = LastPushed {
                jwt,
                issued_at,
                looked_at,
                foreign_up_to: sorted
                    .edits
                    .first()
                    .map_or(before, |edit| before.max(edit.issued_at)),
                known: sorted.known(last, looked_at, shared),
            };
            return Ok(Step::Store(Box::new(Next {
                record: Record {
                    wanted,
                    last: Some(pushed),
                    done,
                },
                restored: base.restored,
                plan: (!plan.is_empty()).then_some(plan),
                signed: Some(signed),
            })));
        }
        if last.is_some() && wanted == record.wanted && once.is_none() {
            return Ok(spread(look, &base.jwt));
        }
        // What is there is as it is wanted. It counts as the last one pushed: generations go on from it.
        let adopted = || LastPushed {
            jwt: base.jwt,
            issued_at: base.issued_at,
            looked_at,
            foreign_up_to: base.issued_at,
            known: Vec::new(),
        };
        Ok(Step::Store(Box::new(Next {
            record: Record {
                wanted,
                last: Some(last.cloned().unwrap_or_else(adopted)),
                done,
            },
            restored: Vec::new(),
            plan: None,
            signed: None,
        })))
    }

    /// What the request would change.
    pub(super) fn would(
        &self,
        record: &Record,
        look: &Look,
        sorted: &Sorted,
        fence: Fence,
    ) -> Result<Plan, WriterError> {
        self.work_out(record, look, sorted, fence).map(|(_, plan)| plan)
    }

    /// What a change is made on top of, and what it would be.
    fn work_out(
        &self,
        record: &Record,
        look: &Look,
        sorted: &Sorted,
        fence: Fence,
    ) -> Result<(Base, Plan), WriterError> {
        let requested: &[Operation] = if self.done { &[] } else { &self.request.operations };
        let mut base = self.base(record.last.as_ref(), look, sorted)?;
        base.account.set_fence(fence);
        let operations = record.wanted.operations(&base.account, requested);
        let plan = self.plan(&base.account, &operations, look)?;
        Ok((base, plan))
    }

    fn plan(
        &self,
        account: &ManagedAccount,
        operations: &[Operation],
        look: &Look,
    ) -> Result<Plan, WriterError> {
        let shared = self.shared;
        let servers = look.servers.iter().map(|server| Server {
            name: server.name.clone(),
            version: server.version.clone(),
            max_payload: self.request.max_payload,
        });
        let servers: Vec<Server> = servers.collect();
        let circumstances = Circumstances {
            operator: shared.signer.public_key(),
            now: look.at,
            cap: shared.settings.cap,
            servers: &servers,
            sessions: &self.request.sessions,
            may_reconnect: self.request.may_reconnect,
        };
        Plan::make(account, operations, &circumstances).map_err(|cause| WriterError::Plan {
            account: shared.account().to_owned(),
            cause,
        })
    }

    /// What to change: what somebody else pushed since, with natsgate's part as it was; else what was pushed
    /// last.
    fn base(&self, last: Option<&LastPushed>, look: &Look, sorted: &Sorted) -> Result<Base, WriterError> {
        let shared = self.shared;
        let read = |jwt: &str, at: i64| {
            let account = ManagedAccount::read(jwt, Arc::clone(&shared.keys), &shared.operators, at);
            account.map_err(|cause| unreadable(shared, cause))
        };
        match (sorted.edits.first(), last) {
            (None, None) => Err(WriterError::UnknownAccount {
                account: shared.account().to_owned(),
            }),
            (None, Some(last)) => Ok(Base {
                account: read(&last.jwt, look.at)?,
                restored: Vec::new(),
                jwt: last.jwt.clone(),
                issued_at: last.issued_at,
                edited: false,
            }),
            (Some(edit), last) => {
                let mut account = read(&edit.jwt, look.at)?;
                let restored = match last {
                    None => Vec::new(),
                    // It may have expired, and still say what is natsgate's.
                    Some(last) => {
                        let ahead = |role| WriterError::GenerationAhead {
                            account: shared.account().to_owned(),
                            role,
                        };
                        account
                            .put_back(&read(&last.jwt, last.issued_at)?)
                            .map_err(ahead)?
                    }
                };
                Ok(Base {
                    account,
                    restored,
                    jwt: edit.jwt.clone(),
                    issued_at: edit.issued_at,
                    edited: last.is_some(),
                })
            }
        }
    }

    /// Signs `account`, as issued after `newest`. Returns the JWT and its `iat`.
    async fn sign(&self, account: &ManagedAccount, newest: i64) -> Result<(String, i64), WriterError> {
        let shared = self.shared;
        let now = shared.clock.unix_seconds();
        let issued_at = now.max(newest.saturating_add(1));
        let bound = shared.settings.ahead;
        if issued_at > now.saturating_add(seconds(bound)) {
            return Err(WriterError::IssuedAhead {
                account: shared.account().to_owned(),
                issued_at,
                now,
                bound,
            });
        }
        let signed = shared.signer.sign(account.claims(), issued_at).await;
        let jwt = signed.map_err(|cause| WriterError::Signer {
            account: shared.account().to_owned(),
            cause,
        })?;
        Ok((jwt, issued_at))
    }
}
