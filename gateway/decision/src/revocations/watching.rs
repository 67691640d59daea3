//! `WatchRevocations`: what is revoked or changed, oldest first, and none of it left out.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use natsgate_core::{LogEntry, Missed, Position, Reach, Revision, RevocationFeed};
use natsgate_proto::v1;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tonic::{Code, Status};

use super::{Revocations, message, reach};
use crate::convert;
use natsgate_api::fields::Fields;
use natsgate_api::gate::Admitted;
use natsgate_api::long::{Ending, ends};
use natsgate_api::refusal;

/// How many entries are read at once.
const BATCH: usize = 256;

/// What is streamed.
pub(super) type Stream =
    Pin<Box<dyn futures::Stream<Item = Result<v1::WatchRevocationsResponse, Status>> + Send>>;

struct Watch {
    feed: Arc<dyn RevocationFeed>,
    positions: watch::Receiver<Position>,
    reach: Reach,
    /// Up to where it was told.
    at: Revision,
    begun: bool,
    read: VecDeque<LogEntry>,
    ending: Ending,
    _place: OwnedSemaphorePermit,
}

impl Revocations {
    /// Begins to watch.
    pub(super) async fn watch(
        &self,
        admitted: Admitted,
        request: &v1::WatchRevocationsRequest,
    ) -> Result<Stream, Status> {
        let mut fields = Fields::default();
        let after = convert::revision(&request.after);
        if let Err(error) = &after {
            fields.say("after", error.to_string());
        }
        fields.check()?;
        let feed = Arc::clone(&self.parts.feed);
        let mut positions = feed.positions();
        let known = positions.wait_for(|position| position.revision().is_some());
        let end = match admitted.deadline.bound(known).await {
            Ok(Ok(position)) => position.revision(),
            _ => None,
        };
        let end = end.ok_or_else(|| {
            refusal::refusal(
                Code::Unavailable,
                "LOG_UNAVAILABLE",
                "this instance has not read the revocation log yet: call again after a while",
            )
        })?;
        let at = after.ok().flatten().unwrap_or(end);
        // Whether it can be resumed there is told at once.
        feed.after(&at, 1).map_err(|Missed| lost())?;
        let watch = Watch {
            feed,
            positions,
            reach: admitted.caller.reach(),
            at,
            begun: false,
            read: VecDeque::new(),
            ending: Ending::of(&admitted.caller, &*self.parts.clock, self.stop.clone()),
            _place: admitted.place,
        };
        let stream = futures::stream::unfold(Some(watch), |watch| async {
            let mut watch = watch?;
            match watch.next().await {
                Ok(told) => Some((Ok(told), Some(watch))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Box::pin(stream))
    }
}

impl Watch {
    async fn next(&mut self) -> Result<v1::WatchRevocationsResponse, Status> {
        if !self.begun {
            self.begun = true;
            return Ok(message::begun(self.at));
        }
        loop {
            // First, so that who reads slowly is not kept on for what was read before.
            self.ending.check()?;
            if let Some(entry) = self.read.pop_front() {
                self.at = entry.revision;
                let seen = reach::visible(&self.reach, entry.change.clone());
                return Ok(message::entry(&entry, seen));
            }
            self.positions.mark_unchanged();
            let read = self.feed.after(&self.at, BATCH).map_err(|Missed| lost())?;
            if !read.is_empty() {
                self.read.extend(read);
                continue;
            }
            tokio::select! {
                changed = self.positions.changed() => if changed.is_err() {
                    return Err(ends());
                },
                ended = self.ending.reached() => return Err(ended),
            }
        }
    }
}

fn lost() -> Status {
    refusal::refusal(
        Code::OutOfRange,
        "REVISION_LOST",
        "the revocation log does not go back to that revision any more, or began anew: entries are missing, so look at \
         everything anew and watch from now on",
    )
}
