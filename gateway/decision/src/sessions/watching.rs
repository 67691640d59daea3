//! `WatchSessions`: what happens to sessions from now on.

use std::pin::Pin;

use natsgate_core::SessionEvent;
use natsgate_proto::v1;
use natsgate_proto::v1::watch_sessions_response::Event;
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tonic::{Code, Status};

use super::filter::Filter;
use super::{Sessions, message};
use natsgate_api::fields::Fields;
use natsgate_api::gate::Admitted;
use natsgate_api::long::Ending;
use natsgate_api::refusal;

/// What is streamed.
pub(super) type Stream =
    Pin<Box<dyn futures::Stream<Item = Result<v1::WatchSessionsResponse, Status>> + Send>>;

struct Watch {
    events: broadcast::Receiver<SessionEvent>,
    filter: Filter,
    begun: bool,
    ending: Ending,
    _place: OwnedSemaphorePermit,
}

impl Sessions {
    /// Begins to watch.
    pub(super) fn watch(
        &self,
        admitted: Admitted,
        request: v1::WatchSessionsRequest,
    ) -> Result<Stream, Status> {
        let mut fields = Fields::default();
        let filter = Filter::new(admitted.caller.reach(), request.filter, &mut fields);
        fields.check()?;
        let parts = self.revocations.parts();
        let watch = Watch {
            events: parts.board.session_events(),
            filter,
            begun: false,
            ending: Ending::of(&admitted.caller, &*parts.clock, self.stop.clone()),
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
    async fn next(&mut self) -> Result<v1::WatchSessionsResponse, Status> {
        if !self.begun {
            self.begun = true;
            return Ok(message::event(Event::Begun(v1::WatchBegun {})));
        }
        loop {
            self.ending.check()?;
            let event = tokio::select! {
                event = self.events.recv() => event,
                ended = self.ending.reached() => return Err(ended),
            };
            // That it ended is as good as that some were missed: what was away may have brought some.
            match event.map_err(|_missed| lost())? {
                SessionEvent::Connected(session) => {
                    if self.filter.admits(&session) {
                        return Ok(message::event(Event::Connected(message::session(*session))));
                    }
                }
                SessionEvent::Disconnected { cluster, key, reason } => {
                    if self.filter.admits_place(&cluster, &key) {
                        return Ok(message::gone(cluster, key, reason));
                    }
                }
            }
        }
    }
}

fn lost() -> Status {
    refusal::refusal(
        Code::DataLoss,
        "EVENTS_LOST",
        "events may be missing, because they were read too slowly or what carries them was away: watch again, then list",
    )
}
