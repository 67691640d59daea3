//! `LiftBan` and `ListBans`.

use data_encoding::BASE64URL_NOPAD;
use natsgate_core::{EntryId, Idempotency, MembershipWrite};
use natsgate_proto::v1;
use tonic::{Extensions, Status};
use tracing::info;

use super::reach::beyond;
use super::{Revocations, message, revoking};
use crate::audit;
use natsgate_api::fields::Fields;
use natsgate_api::gate::Admitted;
use natsgate_api::idempotency::{MAX_KEY, body_digest, key_digest};

/// How many bans a page has unless the request says so.
const PAGE: u32 = 100;

/// How many a page may have.
const MAX_PAGE: u32 = 1000;

/// How many bans are read at once to find those that the caller may see.
const READ_AT_ONCE: usize = 500;

impl Revocations {
    /// Lifts a ban, if `admitted`'s caller may. Once begun it goes on even if the caller does not wait for it.
    pub(super) async fn lift(
        &self,
        admitted: Admitted,
        extensions: &Extensions,
        request: v1::LiftBanRequest,
    ) -> Result<v1::LiftBanResponse, Status> {
        let mut fields = Fields::default();
        fields.text("idempotency_key", &request.idempotency_key, MAX_KEY);
        fields.optional_text("reason", &request.reason, MembershipWrite::MAX_REASON);
        let id = message::entry_id(&request.ban);
        if id.is_none() {
            fields.say(
                "ban",
                "must be the `id` that a Revoke with a ban was answered with",
            );
        }
        fields.check().inspect_err(|_| self.counters.invalid.add())?;
        let id = id.unwrap_or(EntryId([0; 16]));
        let (caller, deadline) = (&admitted.caller, admitted.deadline);
        let revoker = &self.parts.revoker;
        let found = revoker.find_ban(id, deadline).await;
        let found = found.map_err(|error| self.refused(&error))?;
        // Named as if it stood in the request: the selector is the ban's.
        self.within_reach(caller, extensions, "ban.selector", &found.selector)?;

        let idempotency = Idempotency {
            key: key_digest(caller.name(), "LiftBan", &request.idempotency_key),
            body: body_digest(&v1::LiftBanRequest {
                idempotency_key: String::new(),
                ..request.clone()
            }),
        };
        let (this, actor, reason) = (self.clone(), caller.name().to_owned(), request.reason);
        let lifting = tokio::spawn(async move {
            let _place = admitted.place;
            let revoker = &this.parts.revoker;
            let lifted = revoker
                .lift_ban(id, &actor, &reason, &idempotency, deadline)
                .await;
            let lifted = lifted.map_err(|error| this.refused(&error))?;
            if !lifted.repeated {
                this.counters.lifted.add();
            }
            info!(
                target: audit::TARGET,
                outcome = "ban_lifted",
                method = "LiftBan",
                caller = actor,
                reason = audit::short(&reason),
                id = id.to_string(),
                revision = lifted.revision.map(|revision| revision.to_string()),
                repeated = lifted.repeated,
                "a ban was lifted",
            );
            Ok(lifted)
        });
        let lifted = lifting.await.unwrap_or_else(|_| Err(revoking::stopped()))?;
        Ok(v1::LiftBanResponse {
            revision: lifted.revision.map(|one| one.to_string()).unwrap_or_default(),
            repeated: lifted.repeated,
            confirmed: lifted.confirmed,
            ban: lifted.ban.map(message::ban),
        })
    }

    /// A page of the bans that `admitted`'s caller may see.
    pub(super) async fn list(
        &self,
        admitted: &Admitted,
        request: &v1::ListBansRequest,
    ) -> Result<v1::ListBansResponse, Status> {
        let mut fields = Fields::default();
        let size = fields.page_size(request.page_size, PAGE, MAX_PAGE);
        let mut after = match read_token(&request.page_token, request.all) {
            Ok(after) => after,
            Err(problem) => {
                fields.say("page_token", problem);
                None
            }
        };
        fields.check()?;
        let reach = admitted.caller.reach();
        let mut bans = Vec::new();
        let mut next_page_token = String::new();
        'pages: loop {
            let read = self
                .parts
                .revoker
                .list_bans(request.all, after, READ_AT_ONCE, admitted.deadline);
            let read = read.await.map_err(|error| self.refused(&error))?;
            let whole = read.len() >= READ_AT_ONCE;
            for ban in read {
                if bans.len() >= size {
                    next_page_token = after.map_or_else(String::new, |after| token(after, request.all));
                    break 'pages;
                }
                after = Some(ban.id);
                if beyond(&reach, &ban.selector).is_none() {
                    bans.push(message::ban(ban));
                }
            }
            if !whole {
                break;
            }
        }
        Ok(v1::ListBansResponse {
            bans,
            next_page_token,
        })
    }
}

/// The token to go on after `after` in the list of all bans, or of those in force.
fn token(after: EntryId, all: bool) -> String {
    let mut bytes = vec![u8::from(all)];
    bytes.extend_from_slice(&after.0);
    BASE64URL_NOPAD.encode(&bytes)
}

/// Where `token` says to go on; nowhere if it is empty.
fn read_token(token: &str, all: bool) -> Result<Option<EntryId>, &'static str> {
    if token.is_empty() {
        return Ok(None);
    }
    let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).unwrap_or_default();
    let (list, after) = bytes
        .split_first()
        .and_then(|(list, after)| Some((*list, <[u8; 16]>::try_from(after).ok()?)))
        .ok_or("is not a `next_page_token` of an answer")?;
    if list != u8::from(all) {
        return Err("is of another list: go on with `all` as for the page before");
    }
    Ok(Some(EntryId(after)))
}
