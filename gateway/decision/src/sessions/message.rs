//! Between the messages of `session.proto` and the vocabulary.

use natsgate_core::{SessionKey, SessionRecord, ShimPresence};
use natsgate_proto::v1;
use natsgate_proto::v1::watch_sessions_response::Event;

use crate::convert;

/// A session.
pub(super) fn session(session: SessionRecord) -> v1::Session {
    v1::Session {
        cluster: session.cluster,
        server_id: session.key.server_id,
        server_name: session.server_name,
        client_id: session.key.client_id,
        account: session.account,
        principal: session.principal.map(convert::principal),
        name: session.name,
        principal_digest: session.principal_digest,
        shim: session.shim,
        as_of: session
            .as_of
            .map(|revision| revision.to_string())
            .unwrap_or_default(),
        policy_generation: session.policy_generation,
        connected_at: session.connected_at.map(convert::exact),
        expires_at: session.expires_at.map(convert::exact),
        client_host: session.client_host,
        client_name: session.client_name,
        client_kind: session.client_kind,
        client_type: session.client_type,
    }
}

/// A shim.
pub(super) fn shim(presence: ShimPresence) -> v1::ShimState {
    v1::ShimState {
        shim: presence.shim,
        cluster: presence.cluster,
        seen_at: Some(convert::exact(presence.seen_at)),
        applied: presence
            .applied
            .map(|revision| revision.to_string())
            .unwrap_or_default(),
        confirmed: presence.confirmed,
        sessions: presence.sessions,
        pending: presence.pending,
        unreachable_servers: presence.unreachable,
    }
}

/// An event.
pub(super) fn event(event: Event) -> v1::WatchSessionsResponse {
    v1::WatchSessionsResponse { event: Some(event) }
}

/// A session is gone.
pub(super) fn gone(cluster: String, key: SessionKey, reason: String) -> v1::WatchSessionsResponse {
    event(Event::Gone(v1::SessionGone {
        cluster,
        server_id: key.server_id,
        client_id: key.client_id,
        reason,
    }))
}
