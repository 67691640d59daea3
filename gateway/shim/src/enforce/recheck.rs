//! Who loses something? Sessions that a membership, a role or a policy concerns are looked at before they are closed.

use std::time::Duration;

use natsgate_core::{Deadline, Pace, Revision, SessionKey};
use natsgate_proto::v1;
use natsgate_proto::v1::recheck_result::Result as Now;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::job::Job;
use super::{Counters, Enforcer};
use crate::ceilings;
use crate::entitlement::Compared;
use crate::sessions::{Facts, Session};

/// How many sessions are asked about at once. So few that an answer comes in time where decision services have much to do:
/// what comes too late was all in vain, and closes them.
const BATCH: usize = 64;

/// How many such questions are under way at once.
const QUESTIONS: usize = 4;

/// How long one question may take, whoever is asked.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);

/// Pause before it is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What becomes of a session that was looked at.
enum Verdict {
    /// It loses nothing.
    Spare,
    /// It would get more.
    Widened,
    /// It would get less, nothing, or that cannot be told.
    Close,
}

impl Enforcer {
    /// Looks at `sessions`, and closes those at `pace` that lose something. They are in `job` already.
    pub(super) async fn look_first(&self, sessions: Vec<SessionKey>, pace: Pace, job: &Job) {
        use futures::StreamExt;
        let batches: Vec<Vec<SessionKey>> = sessions.chunks(BATCH).map(<[_]>::to_vec).collect();
        let looked: Vec<(Vec<SessionKey>, Vec<SessionKey>)> = futures::stream::iter(batches)
            .map(|batch| async move {
                let (closing, widened, spared) = self.look_at(batch).await;
                for _ in 0..spared {
                    job.spared();
                }
                Counters::add(&self.counters.spared, spared);
                (closing, widened)
            })
            .buffer_unordered(QUESTIONS)
            .collect()
            .await;
        let (closing, widened): (Vec<_>, Vec<_>) = looked.into_iter().unzip();
        let slowly = Pace::Spread {
            over: self.settings.spread.max(pace.over()),
        };
        let closing = closing.into_iter().flatten().collect();
        let widened = widened.into_iter().flatten().collect();
        tokio::join!(self.close(closing, pace, job), self.close(widened, slowly, job));
    }

    /// Looks at a batch: those to close, those to close since they would get more, and how many are spared.
    async fn look_at(&self, batch: Vec<SessionKey>) -> (Vec<SessionKey>, Vec<SessionKey>, usize) {
        let mut closing = Vec::new();
        let mut widened = Vec::new();
        let mut spared = 0_usize;
        let mut asked: Vec<(SessionKey, Session)> = Vec::with_capacity(batch.len());
        for key in batch {
            match self.registry.get(&key) {
                Some(session)
                    if session
                        .facts
                        .as_ref()
                        .is_some_and(|facts| !facts.basis.is_empty()) =>
                {
                    asked.push((key, session));
                }
                // Nothing is known that could be compared; or it is gone, which closing it finds out.
                _ => closing.push(key),
            }
        }
        let answers = if asked.is_empty() {
            Some(Vec::new())
        } else {
            self.ask(&asked).await
        };
        let Some(answers) = answers else {
            Counters::add(&self.counters.incomparable, asked.len());
            closing.extend(asked.into_iter().map(|(key, _)| key));
            return (closing, widened, spared);
        };
        Counters::add(&self.counters.incomparable, closing.len());
        for ((key, session), answer) in asked.into_iter().zip(answers) {
            match self.judge(&key, &session, answer) {
                Verdict::Close => closing.push(key),
                Verdict::Widened if self.settings.reconnect_widened => widened.push(key),
                Verdict::Widened | Verdict::Spare => spared = spared.saturating_add(1),
            }
        }
        (closing, widened, spared)
    }

    /// Asks what they would get now; `None` if there was no answer in time.
    async fn ask(&self, sessions: &[(SessionKey, Session)]) -> Option<Vec<v1::RecheckResult>> {
        let bases: Vec<Vec<u8>> = sessions
            .iter()
            .map(|(_, session)| {
                session
                    .facts
                    .as_ref()
                    .map(|facts| facts.basis.clone())
                    .unwrap_or_default()
            })
            .collect();
        let end = Instant::now() + self.settings.recheck_within;
        loop {
            // What is applied by now, be it more than when this began.
            let min_revision = self.registry.applied().map(|applied| applied.to_string());
            let request = v1::RecheckRequest {
                min_revision: min_revision.unwrap_or_default(),
                bases: bases.clone(),
            };
            let deadline = Deadline::at(end).or_sooner(ANSWERED_WITHIN);
            match self.decisions.recheck(request, deadline).await {
                Ok(response) if response.results.len() == sessions.len() => return Some(response.results),
                Ok(_) => {
                    warn!("a decision service rechecked other sessions than it was asked about");
                    return None;
                }
                Err(unanswered) if unanswered.is_final => {
                    debug!(%unanswered, "sessions cannot be rechecked");
                    return None;
                }
                Err(unanswered) => {
                    if Instant::now() + RETRY_PAUSE >= end {
                        warn!(%unanswered, sessions = sessions.len(), "sessions could not be rechecked: they are closed");
                        return None;
                    }
                }
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    fn judge(&self, key: &SessionKey, session: &Session, answer: v1::RecheckResult) -> Verdict {
        let grant = match answer.result {
            Some(Now::Grant(grant)) => grant,
            Some(Now::Denial(_)) => return Verdict::Close,
            Some(Now::InDoubt(why)) => {
                debug!(
                    server = key.server_id,
                    client = key.client_id,
                    why,
                    "a session cannot be compared"
                );
                Counters::add(&self.counters.incomparable, 1);
                return Verdict::Close;
            }
            None => return Verdict::Close,
        };
        let (Some(before), Ok(expiry)) = (
            &session.facts,
            ceilings::expiry(&grant, self.max_session, self.clock.now()),
        ) else {
            return Verdict::Close;
        };
        let mut facts = Facts::of(&grant, expiry);
        let compared = before.entitlement.compare(&facts.entitlement);
        if compared == Compared::Narrower {
            return Verdict::Close;
        }
        // It goes on with what it has, and ends when it was to end.
        facts.entitlement = before.entitlement.clone();
        let as_of: Option<Revision> = grant.as_of.parse().ok();
        self.registry
            .renew(key, as_of.or(session.as_of()), grant.policy_generation, facts);
        match compared {
            Compared::Wider => Verdict::Widened,
            _ => Verdict::Spare,
        }
    }
}
