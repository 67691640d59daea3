//! What shims answer, in the vocabulary.

use natsgate_core::{
    AccountAtServer, AccountServersError, ClosedSessions, PushAnswer, ServerIdentity, SessionCounts,
};
use natsgate_proto::v1;

pub(super) fn roster(roster: v1::Roster) -> Vec<ServerIdentity> {
    let servers = roster.servers.into_iter().map(|server| ServerIdentity {
        id: server.id,
        name: server.name,
        version: server.version,
    });
    servers.collect()
}

pub(super) fn in_force(found: v1::AccountInForce) -> AccountAtServer {
    if found.jwt.is_empty() {
        AccountAtServer::NotLoaded
    } else {
        AccountAtServer::InForce(found.jwt)
    }
}

pub(super) fn push(answers: v1::PushAnswers) -> Vec<PushAnswer> {
    let answers = answers.answers.into_iter().map(|answer| PushAnswer {
        server_id: answer.server_id,
        taken: if answer.refusal.is_empty() {
            Ok(())
        } else {
            Err(answer.refusal)
        },
    });
    answers.collect()
}

pub(super) fn sessions(sessions: v1::AccountSessions) -> SessionCounts {
    SessionCounts {
        by_issuer: sessions.by_issuer_key.into_iter().collect(),
        max_payload: Some(sessions.max_payload).filter(|most| *most > 0),
    }
}

pub(super) fn closed(closed: v1::SessionsClosed) -> ClosedSessions {
    ClosedSessions {
        closed: closed.closed,
        left: closed.left,
    }
}

pub(super) fn failure(failure: v1::LinkFailure) -> AccountServersError {
    AccountServersError {
        doing: failure.doing,
        cause: failure.cause,
    }
}
