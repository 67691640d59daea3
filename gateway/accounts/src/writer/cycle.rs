//! The rounds of one request. Each looks at the servers, decides on one step, and takes it: store a new JWT,
//! push the one that is stored, or be done. So every push follows a look that showed nothing new, and every
//! look after one reads it back.

use std::sync::Arc;

use natsgate_core::{AccountStoreError, Deadline, Fence, PushAnswer};

use super::decide::Step;
use super::error::WriterError;
use super::lease::Leasehold;
use super::look::Look;
use super::once::Seen;
use super::record::Record;
use super::report::{Report, ServerReport};
use super::sorted::Sorted;
use super::{Request, Shared, Version, store_failed};
use crate::account::ManagedAccount;
use crate::plan::Plan;

/// One request, under way.
pub(super) struct Cycle<'a> {
    pub(super) shared: &'a Shared,
    pub(super) request: &'a Request,
    lease: &'a mut Leasehold,
    deadline: Deadline,
    /// What is stored, and the token it was read under.
    stored: Option<(Fence, Version)>,
    /// Whether what the request wants is stored.
    pub(super) done: bool,
    pub(super) report: Report,
    answers: Vec<PushAnswer>,
}

impl<'a> Cycle<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        request: &'a Request,
        lease: &'a mut Leasehold,
        deadline: Deadline,
    ) -> Self {
        Self {
            shared,
            request,
            lease,
            deadline,
            stored: None,
            done: false,
            report: Report::default(),
            answers: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) -> Result<Report, WriterError> {
        let rounds = self.shared.settings.rounds;
        for _ in 0..rounds {
            let fence = self.lease.hold(self.shared, self.deadline).await?;
            let Version { number, record } = self.stored(fence).await?;
            self.held_against(&record)?;
            let look = Look::take(self.shared, self.deadline).await?;
            let (sorted, step) = match self.judge(&record, &look, fence).await {
                // Another may be the writer by now, and what it did is no error here. The next round tells.
                Err(_) if self.lease.held().is_none() => continue,
                judged => judged?,
            };
            self.report.outdated.extend(sorted.outdated.iter().cloned());
            match step {
                Step::Store(next) => {
                    let stored = self.store(fence, number, &next.record).await?;
                    if stored {
                        // What the account is when it is first met is nobody's edit.
                        let met = record.last.is_some();
                        let foreign = sorted.foreign().filter(|foreign| met || !foreign.merged);
                        self.report.foreign.extend(foreign);
                        self.report.restored.extend(next.restored);
                        self.report.plan = next.plan.or(self.report.plan.take());
                        self.report.signed = next.signed.or(self.report.signed.take());
                        self.done = true;
                    }
                }
                Step::Push(jwt) => {
                    if self.report.pushes >= self.shared.settings.pushes {
                        return Ok(self.finish(&look, &jwt, fence));
                    }
                    self.push(&jwt, look.servers.len()).await?;
                }
                Step::Done(jwt) => return Ok(self.finish(&look, &jwt, fence)),
            }
        }
        Err(WriterError::Unsettled {
            account: self.shared.account().to_owned(),
            rounds,
        })
    }

    /// What the request would change, worked out once and not done.
    pub(super) async fn dry(mut self) -> Result<Plan, WriterError> {
        let fence = self.lease.hold(self.shared, self.deadline).await?;
        let Version { record, .. } = self.stored(fence).await?;
        let look = Look::take(self.shared, self.deadline).await?;
        let sorted = Sorted::sort(&look, record.last.as_ref(), fence, self.shared)?;
        self.would(&record, &look, &sorted, fence)
    }

    /// Whether an earlier request was this one, which is then done.
    fn held_against(&mut self, record: &Record) -> Result<(), WriterError> {
        let Some(once) = self.request.once.as_ref().filter(|_| !self.done) else {
            return Ok(());
        };
        match record.done.seen(once) {
            Seen::Never => {}
            Seen::Before => {
                self.done = true;
                self.report.repeated = true;
            }
            Seen::Otherwise => {
                return Err(WriterError::KeyReused {
                    account: self.shared.account().to_owned(),
                });
            }
        }
        Ok(())
    }

    async fn judge(&self, record: &Record, look: &Look, fence: Fence) -> Result<(Sorted, Step), WriterError> {
        let sorted = Sorted::sort(look, record.last.as_ref(), fence, self.shared)?;
        let step = self.decide(record, look, &sorted, fence).await?;
        Ok((sorted, step))
    }

    /// What is stored, read once under each token.
    async fn stored(&mut self, fence: Fence) -> Result<Version, WriterError> {
        if let Some((_, version)) = self.stored.as_ref().filter(|(under, _)| *under == fence) {
            return Ok(version.clone());
        }
        let version = self.shared.stored(self.deadline).await?;
        self.stored = Some((fence, version.clone()));
        Ok(version)
    }

    /// Stores `record`; `false` if it was not, and the round is to be begun again.
    async fn store(
        &mut self,
        fence: Fence,
        expected: Option<u64>,
        record: &Record,
    ) -> Result<bool, WriterError> {
        // Signing may have taken long. The store would refuse what matters; this only spares it.
        if self.lease.held().is_none() {
            return Ok(false);
        }
        let account = self.shared.account();
        let body = record.write().map_err(|cause| WriterError::Record {
            account: account.to_owned(),
            cause,
        })?;
        let written = self
            .shared
            .store
            .write(account, fence, expected, body, self.deadline);
        match written.await {
            Ok(number) => {
                let version = Version {
                    number: Some(number),
                    record: record.clone(),
                };
                self.stored = Some((fence, version));
                Ok(true)
            }
            // Another request of this writer cannot have been: a write whose answer was lost, perhaps.
            Err(AccountStoreError::Conflict { .. }) => {
                self.stored = None;
                Ok(false)
            }
            Err(cause) => Err(store_failed(self.shared, "writing what is wanted of it", cause)),
        }
    }

    /// Pushes `jwt`, if the lease is held; if not, the next round sees to that.
    async fn push(&mut self, jwt: &str, expected: usize) -> Result<(), WriterError> {
        let Some((_, until)) = self.lease.held() else {
            return Ok(());
        };
        let deadline = self.deadline.or_sooner(self.shared.settings.ask).min(until);
        let pushed = self.shared.servers.push(jwt, expected, deadline).await;
        self.answers = pushed.map_err(|cause| WriterError::Servers {
            account: self.shared.account().to_owned(),
            cause,
        })?;
        self.report.pushes = self.report.pushes.saturating_add(1);
        Ok(())
    }

    fn finish(mut self, look: &Look, jwt: &str, fence: Fence) -> Report {
        let answers = self.answers;
        let answer = |id: &str| {
            let found = answers.iter().find(|answer| answer.server_id == id);
            found.map(|answer| answer.taken.clone())
        };
        let servers = look.standings(jwt).map(|(server, standing)| ServerReport {
            server: server.clone(),
            answer: answer(&server.id),
            standing,
        });
        self.report.servers = servers.collect();
        self.report.settled = look.is_all(jwt);
        let shared = self.shared;
        let read = ManagedAccount::read(jwt, Arc::clone(&shared.keys), &shared.operators, look.at);
        self.report.account = read.ok();
        self.report.fence = fence;
        self.report.revision = self
            .stored
            .and_then(|(_, version)| version.number)
            .unwrap_or_default();
        self.report
    }
}
