//! `Revoke` from its check to its answer.

use std::time::Duration;

use natsgate_core::{BanStoreError, Idempotency, LogError, MembershipWrite, Pace, Selector, Violation};
use natsgate_proto::v1;
use natsgate_proto::v1::ban_request::Scope as BanScope;
use tonic::{Code, Extensions, Status};
use tracing::{error, info, warn};

use super::reach::beyond;
use super::revoker::{Banned, Revocation, RevokeError, Revoked};
use super::{LONGEST_WAIT, Revocations, answer_by, selector, waiting};
use crate::audit;
use natsgate_api::caller::Caller;
use natsgate_api::fields::Fields;
use natsgate_api::gate::Admitted;
use natsgate_api::idempotency::{MAX_KEY, key_digest};
use natsgate_api::refusal;

/// The longest time that sessions may be closed over.
const LONGEST_SPREAD: Duration = Duration::from_secs(3600);

/// The furthest that a ban may reach.
const LONGEST_BAN: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// What is asked for.
pub(crate) struct Asked {
    pub(crate) method: &'static str,
    /// The field that the selector is in; empty for the request itself.
    pub(crate) at: &'static str,
    /// A digest of the request, what does not belong to it left out.
    pub(crate) body: [u8; 32],
    pub(crate) key: String,
    pub(crate) selector: Option<v1::Selector>,
    pub(crate) reason: String,
    pub(crate) ban: Option<v1::BanRequest>,
    pub(crate) spread: Option<prost_types::Duration>,
    pub(crate) wait: Option<prost_types::Duration>,
}

/// What is answered.
pub(crate) struct Done {
    pub(crate) revoked: Revoked,
    pub(crate) clusters: Vec<v1::ClusterResult>,
    pub(crate) complete: bool,
}

impl Done {
    pub(crate) fn revision(&self) -> String {
        let revision = self.revoked.revision;
        revision.map(|revision| revision.to_string()).unwrap_or_default()
    }
}

impl Revocations {
    /// Does what is asked, if `admitted`'s caller may. Once begun it goes on even if the caller does not wait for it.
    pub(crate) async fn carry_out(
        &self,
        admitted: Admitted,
        extensions: &Extensions,
        asked: Asked,
    ) -> Result<Done, Status> {
        let (method, at) = (asked.method, asked.at);
        let (revocation, wait) = self.checked(&admitted.caller, asked).inspect_err(|_| {
            self.counters.invalid.add();
        })?;
        self.within_reach(&admitted.caller, extensions, at, &revocation.selector)?;
        let wait = wait.map(|wait| answer_by(admitted.waits_until, wait));
        let this = self.clone();
        let revoking = tokio::spawn(async move {
            let revoked = this.parts.revoker.revoke(&revocation, admitted.deadline).await;
            let revoked = revoked.map_err(|error| this.refused(&error))?;
            this.counters.revoked(&revocation.selector, &revoked);
            record(method, &revocation, &revoked);
            // The place is taken until the work is over, and while it is waited for.
            Ok((revoked, admitted.place))
        });
        let (revoked, _place) = revoking.await.unwrap_or_else(|_| Err(stopped()))?;
        let waited = match wait {
            None => waiting::Waited::default(),
            Some(until) => waiting::wait(&*self.parts.board, revoked.id, until, &self.stop).await,
        };
        Ok(Done {
            revoked,
            clusters: waited.clusters,
            complete: waited.complete,
        })
    }

    /// The revocation that `asked` is, if it is one, and how long to wait for the shims.
    fn checked(&self, caller: &Caller, asked: Asked) -> Result<(Revocation, Option<Duration>), Status> {
        let mut fields = Fields::default();
        fields.text("idempotency_key", &asked.key, MAX_KEY);
        let selector = selector::read(asked.selector, asked.at, &mut fields);
        fields.optional_text("reason", &asked.reason, MembershipWrite::MAX_REASON);
        let spread = fields.duration("spread", asked.spread, LONGEST_SPREAD);
        let wait = fields.duration("wait", asked.wait, LONGEST_WAIT);
        let ban = asked.ban.and_then(|ban| self.ban(ban, &mut fields));
        if let (Some(_), Some(selector)) = (&ban, &selector)
            && selector.ban_concern().is_none()
        {
            let problem = format!(
                "a {} cannot be banned: only a principal, provider, signing key, token, provider session or account can",
                selector.kind()
            );
            fields.say("ban", problem);
        }
        fields.check()?;
        let Some(selector) = selector else {
            return Err(refusal::invalid(&[]));
        };
        // One that bans is written elsewhere than one that does not, so the two must not share a name.
        let method = match ban {
            None => asked.method.to_owned(),
            Some(_) => format!("{} with a ban", asked.method),
        };
        let revocation = Revocation {
            selector,
            reason: asked.reason,
            actor: caller.name().to_owned(),
            pace: match spread {
                Some(over) if !over.is_zero() => Pace::Spread { over },
                _ => Pace::Immediate,
            },
            ban,
            idempotency: Idempotency {
                key: key_digest(caller.name(), &method, &asked.key),
                body: asked.body,
            },
        };
        Ok((revocation, wait))
    }

    fn ban(&self, ban: v1::BanRequest, fields: &mut Fields) -> Option<Banned> {
        match ban.scope {
            Some(BanScope::TokensIssuedUntilNow(true)) => Some(Banned::IssuedUntilNow),
            Some(BanScope::TokensIssuedUntilNow(false)) => {
                fields.say("ban.tokens_issued_until_now", "must be true, or not set");
                None
            }
            Some(BanScope::EveryoneUntil(until)) => {
                let at = "ban.everyone_until";
                let now = self.parts.clock.now();
                match std::time::SystemTime::try_from(until) {
                    Ok(until) if until <= now => fields.say(at, "must lie ahead"),
                    Ok(until) if until.duration_since(now).is_ok_and(|ahead| ahead <= LONGEST_BAN) => {
                        return Some(Banned::EveryoneUntil(until));
                    }
                    _ => fields.say(at, "must be ten years ahead at most"),
                }
                None
            }
            None => {
                fields.say("ban", "must be set to one of its fields");
                None
            }
        }
    }

    /// An error unless `caller` may revoke `by` this, which stands in the field `at`.
    pub(super) fn within_reach(
        &self,
        caller: &Caller,
        extensions: &Extensions,
        at: &str,
        by: &Selector,
    ) -> Result<(), Status> {
        let Some((field, problem)) = beyond(&caller.reach(), by) else {
            return Ok(());
        };
        self.counters.out_of_reach.add();
        let field = selector::path(at, field);
        let callers = &self.parts.callers;
        callers.note_denied(extensions, caller, &format!("{field} is out of reach"));
        let problem = problem.to_owned();
        Err(refusal::of_fields(
            Code::PermissionDenied,
            "OUT_OF_REACH",
            &[Violation { field, problem }],
        ))
    }

    /// What could not be done, as the caller is told. The cause is for the log: it speaks of our own servers.
    pub(super) fn refused(&self, error: &RevokeError) -> Status {
        let again = |reason, message: &str| {
            self.counters.unavailable.add();
            warn!(%error, "nothing was revoked, or that is not known");
            refusal::refusal(Code::Unavailable, reason, message)
        };
        let damaged = |reason, message: &str| {
            error!(%error, "nothing can be revoked: somebody has to look");
            refusal::refusal(Code::Internal, reason, message)
        };
        match error {
            RevokeError::NoBanStore => {
                refusal::refusal(Code::FailedPrecondition, "NO_BAN_STORE", error.to_string())
            }
            RevokeError::Log(LogError::Unavailable { .. }) => again(
                "LOG_UNAVAILABLE",
                "the revocation log did not answer, so whether this was revoked is not known: call again with the same \
                 idempotency key",
            ),
            RevokeError::Log(LogError::Damaged(_)) => damaged(
                "LOG_DAMAGED",
                "the revocation log was tampered with or is damaged: natsgate's log says more",
            ),
            RevokeError::Store(BanStoreError::Unavailable { .. }) => again(
                "STORE_UNAVAILABLE",
                "the store of bans did not answer, so whether this was done is not known: call again with the same \
                 idempotency key",
            ),
            RevokeError::Store(BanStoreError::Damaged(_)) => damaged(
                "STORE_DAMAGED",
                "the store of bans is damaged: natsgate's log says more",
            ),
            RevokeError::Store(BanStoreError::NotFound) => {
                refusal::refusal(Code::NotFound, "NO_SUCH_BAN", BanStoreError::NotFound.to_string())
            }
            RevokeError::NotAnnounced(_) => again(
                "NOT_ANNOUNCED",
                "it is written, and will be announced as soon as the revocation log can be reached: call again with the same \
                 idempotency key to learn the revision",
            ),
            RevokeError::Log(LogError::KeyReused) | RevokeError::Store(BanStoreError::KeyReused) => {
                refusal::of_fields(
                    Code::InvalidArgument,
                    "IDEMPOTENCY_KEY_REUSED",
                    &[Violation {
                        field: "idempotency_key".to_owned(),
                        problem: "was used before for another request: use a new key for every request"
                            .to_owned(),
                    }],
                )
            }
        }
    }
}

/// The work was stopped with the process.
pub(super) fn stopped() -> Status {
    refusal::refusal(
        Code::Internal,
        "STOPPED",
        "the call was stopped half-way: call again with the same idempotency key",
    )
}

/// Writes to the audit what was revoked.
fn record(method: &'static str, revocation: &Revocation, revoked: &Revoked) {
    let selector = serde_json::to_string(&revocation.selector).unwrap_or_default();
    info!(
        target: audit::TARGET,
        outcome = "revoked",
        method,
        caller = revocation.actor,
        selector = audit::short(&selector),
        reason = audit::short(&revocation.reason),
        banned = revocation.ban.is_some(),
        id = revoked.id.to_string(),
        revision = revoked.revision.map(|revision| revision.to_string()),
        repeated = revoked.repeated,
        confirmed = revoked.confirmed,
        "revoked",
    );
}
