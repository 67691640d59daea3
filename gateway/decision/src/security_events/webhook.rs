//! `POST /webhooks/NAME`: some system says that something happened, signed with a secret that it shares with natsgate
//! ([`signature`]); what that revokes is configured ([`mapping`]).

pub mod mapping;
pub mod settings;
pub mod signature;

use hyper::HeaderMap;
use natsgate_core::{Deadline, Idempotency};

use self::mapping::Rules;
use self::signature::Scheme;
use super::entry::{append, digest, selector_digest};
use super::refusal::{Refusal, Refused};
use super::{Done, Shared, is_of_type};

/// One webhook, fit for use.
pub(super) struct Webhook {
    pub(super) name: String,
    /// The name in the log, the audit and the counts: `webhook:NAME`.
    pub(super) actor: String,
    scheme: Scheme,
    rules: Rules,
}

impl Webhook {
    fn new(name: &str, scheme: Scheme, rules: Rules) -> Self {
        Self {
            name: name.to_owned(),
            actor: format!("webhook:{name}"),
            scheme,
            rules,
        }
    }

    pub(super) async fn carry_out(
        &self,
        shared: &Shared,
        headers: &HeaderMap,
        body: &[u8],
        deadline: Deadline,
    ) -> Result<Done, Refused> {
        let signed = self.scheme.check(headers, body, shared.clock.now())?;
        // Nothing in the body is looked at before that.
        if !is_of_type(headers, "application/json") {
            return Err(Refused::new(
                Refusal::ContentType,
                "the body is not application/json",
            ));
        }
        let event = serde_json::from_slice(body)
            .map_err(|_| Refused::new(Refusal::Malformed, "the body is not JSON"))?;
        let revocations = self.rules.revocations(&event)?;
        if revocations.is_empty() {
            return Ok(Done::Ignored);
        }
        // Each entry by itself is made once. A call that came to an end half-way is thus gone on with by its repetition,
        // and only one of which everything was done before is a replay.
        let mut new = 0;
        for (selector, reason) in &revocations {
            let key = digest(
                "natsgate webhook",
                &[
                    self.name.as_bytes(),
                    &signed.signature,
                    signed.timestamp.as_bytes(),
                    &selector_digest(selector)?,
                ],
            );
            let idempotency = Idempotency { key, body: key };
            let appended = append(shared, selector, reason, &self.actor, idempotency, deadline).await?;
            new += usize::from(!appended.repeated);
        }
        match new {
            0 => Err(Refused::new(
                Refusal::Replayed,
                "this very call was carried out before",
            )),
            _ => Ok(Done::Revoked(revocations.len())),
        }
    }
}
