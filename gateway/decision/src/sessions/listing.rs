//! `ListSessions`: cluster after cluster, page after page.

use data_encoding::BASE64URL_NOPAD;
use natsgate_core::{BoardError, Deadline};
use natsgate_proto::v1;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tonic::{Code, Status};
use tracing::warn;

use super::filter::Filter;
use super::{Sessions, message};
use natsgate_api::fields::Fields;
use natsgate_api::gate::Admitted;
use natsgate_api::refusal;

/// How many sessions a page has unless the request says so.
const PAGE: u32 = 100;

/// How many a page may be asked to have.
const MAX_PAGE: u32 = 1000;

/// How many pages of the board are read for one of the answer's: few sessions may be the caller's, and it can go on.
const READS: usize = 20;

/// Where to go on, and in which list.
#[derive(Serialize, Deserialize)]
struct Place {
    list: [u8; 16],
    cluster: String,
    /// Within the cluster; from its beginning without.
    from: Option<String>,
}

impl Sessions {
    pub(super) async fn list(
        &self,
        admitted: &Admitted,
        request: v1::ListSessionsRequest,
    ) -> Result<v1::ListSessionsResponse, Status> {
        let mut fields = Fields::default();
        let size = fields.page_size(request.page_size, PAGE, MAX_PAGE);
        let filter = Filter::new(admitted.caller.reach(), request.filter, &mut fields);
        let list = digest(&filter);
        let mut place = match read(&request.page_token, list) {
            Ok(place) => place,
            Err(problem) => {
                fields.say("page_token", problem);
                None
            }
        };
        fields.check()?;
        let deadline = admitted.deadline;
        let board = &self.revocations.parts().board;
        let mut sessions = Vec::new();
        if place.is_none() {
            place = self.cluster_after(&filter, None, list, deadline).await?;
        }
        for _ in 0..READS {
            let Some(now) = place.take() else { break };
            let wanted = size.saturating_sub(sessions.len()).max(1);
            let page = board
                .sessions(&now.cluster, now.from.as_deref(), wanted, deadline)
                .await;
            let page = page.map_err(|error| unavailable(&error))?;
            let admitted = page.sessions.into_iter().filter(|one| filter.admits(one));
            sessions.extend(admitted.map(message::session));
            place = match page.next {
                Some(next) => Some(Place {
                    from: Some(next),
                    ..now
                }),
                None => {
                    self.cluster_after(&filter, Some(&now.cluster), list, deadline)
                        .await?
                }
            };
            if sessions.len() >= size {
                break;
            }
        }
        let shims = board.shims(deadline).await.map_err(|error| unavailable(&error))?;
        Ok(v1::ListSessionsResponse {
            sessions,
            next_page_token: place.map(|place| write(&place)).unwrap_or_default(),
            shims: shims.into_iter().map(message::shim).collect(),
        })
    }

    /// The beginning of the cluster that comes after `before`, of those that `filter` asks for.
    async fn cluster_after(
        &self,
        filter: &Filter,
        before: Option<&str>,
        list: [u8; 16],
        deadline: Deadline,
    ) -> Result<Option<Place>, Status> {
        let cluster = match (filter.cluster(), before) {
            (Some(_), Some(_)) => None,
            (Some(only), None) => Some(only.to_owned()),
            (None, before) => {
                let clusters = self.revocations.parts().board.clusters(deadline).await;
                let clusters = clusters.map_err(|error| unavailable(&error))?;
                let after = |one: &String| before.is_none_or(|before| one.as_str() > before);
                clusters.into_iter().filter(after).min()
            }
        };
        Ok(cluster.map(|cluster| Place {
            list,
            cluster,
            from: None,
        }))
    }
}

/// What shims tell cannot be read. The cause is for the log: it speaks of our own servers.
fn unavailable(error: &BoardError) -> Status {
    warn!(%error, "what shims tell of themselves cannot be read");
    refusal::refusal(
        Code::Unavailable,
        "BOARD_UNAVAILABLE",
        "what shims tell of themselves cannot be read: call again, from the first page if it does not get better",
    )
}

fn write(place: &Place) -> String {
    // Texts and bytes always can be written.
    serde_json::to_vec(place).map_or_else(|_| String::new(), |bytes| BASE64URL_NOPAD.encode(&bytes))
}

fn read(token: &str, list: [u8; 16]) -> Result<Option<Place>, &'static str> {
    if token.is_empty() {
        return Ok(None);
    }
    let place: Option<Place> = BASE64URL_NOPAD
        .decode(token.as_bytes())
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let place = place.ok_or("is not a `next_page_token` of an answer")?;
    if place.list != list {
        return Err("is of another list: go on with the filter as for the page before, as the same caller");
    }
    Ok(Some(place))
}

fn digest(filter: &Filter) -> [u8; 16] {
    let mut short = [0; 16];
    for (to, from) in short.iter_mut().zip(Sha256::digest(filter.text())) {
        *to = from;
    }
    short
}
