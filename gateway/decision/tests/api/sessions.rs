//! Sessions listed, watched and kicked.

use std::collections::BTreeSet;
use std::time::Duration;

use natsgate_core::{Board, Change, Principal, Selector, SessionEvent, SessionKey, SessionRecord};
use natsgate_proto::v1;
use natsgate_proto::v1::watch_sessions_response::Event;
use tonic::{Code, Streaming};

use crate::desk::{Desk, ISSUER, soon};
use crate::service::{fields, reason};

pub(crate) fn record(cluster: &str, client_id: u64, principal: Option<Principal>) -> SessionRecord {
    SessionRecord {
        key: SessionKey {
            server_id: "N1".into(),
            client_id,
        },
        cluster: cluster.into(),
        server_name: "n1".into(),
        account: if client_id.is_multiple_of(2) {
            "EVEN"
        } else {
            "ODD"
        }
        .into(),
        principal_digest: principal.as_ref().map(Principal::digest).unwrap_or_default(),
        principal,
        name: "a name".into(),
        shim: "s1".into(),
        as_of: None,
        policy_generation: 3,
        connected_at: None,
        expires_at: None,
        client_host: "10.0.0.1".into(),
        client_name: "app".into(),
        client_kind: "Client".into(),
        client_type: "nats".into(),
        details: String::new(),
    }
}

fn person(issuer: &str, client_id: u64) -> Option<Principal> {
    Some(Principal::new(issuer, format!("p{client_id}")))
}

pub(crate) async fn tell(desk: &Desk, cluster: &str, records: Vec<SessionRecord>) {
    let events: Vec<_> = records
        .into_iter()
        .map(|one| SessionEvent::Connected(Box::new(one)))
        .collect();
    desk.board.tell(cluster, &events, soon()).await.unwrap();
}

/// Two clusters: of the caller `bot`'s people, of others', and of nobody who is known.
async fn full() -> Desk {
    let desk = Desk::start().await;
    for (cluster, from) in [("a", 0), ("b", 1000)] {
        let sessions = (from..from + 300).map(|id| {
            let principal = match id % 3 {
                0 => person(ISSUER, id),
                1 => person("https://other", id),
                _ => None,
            };
            record(cluster, id, principal)
        });
        tell(&desk, cluster, sessions.collect()).await;
    }
    desk.shim_is_there("s1", "a").await;
    desk
}

/// All pages.
async fn list(desk: &Desk, name: &'static str, filter: v1::SessionFilter) -> BTreeSet<(String, u64)> {
    let mut client = desk.sessions(name).await;
    let mut found = BTreeSet::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListSessionsRequest {
            filter: Some(filter.clone()),
            page_size: 50,
            page_token,
        };
        let page = client.list_sessions(request).await.unwrap().into_inner();
        assert_eq!(page.shims.len(), 1);
        found.extend(page.sessions.into_iter().map(|one| (one.cluster, one.client_id)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

#[tokio::test]
async fn every_session_that_may_be_seen_is_listed() {
    let desk = full().await;
    assert_eq!(list(&desk, "ops", v1::SessionFilter::default()).await.len(), 600);
    let own = list(&desk, "bot", v1::SessionFilter::default()).await;
    assert_eq!(own.len(), 200);
    assert!(own.iter().all(|(_, id)| id % 3 == 0));
    for (filter, count) in [
        (
            v1::SessionFilter {
                cluster: "a".into(),
                ..Default::default()
            },
            300,
        ),
        (
            v1::SessionFilter {
                cluster: "nowhere".into(),
                ..Default::default()
            },
            0,
        ),
        (
            v1::SessionFilter {
                account: "EVEN".into(),
                ..Default::default()
            },
            300,
        ),
        (
            v1::SessionFilter {
                issuer: ISSUER.into(),
                ..Default::default()
            },
            200,
        ),
        (
            v1::SessionFilter {
                subject: "p3".into(),
                ..Default::default()
            },
            1,
        ),
        (
            v1::SessionFilter {
                principal_digest: Principal::new(ISSUER, "p3").digest(),
                ..Default::default()
            },
            1,
        ),
        (
            v1::SessionFilter {
                server_id: "N2".into(),
                ..Default::default()
            },
            0,
        ),
    ] {
        assert_eq!(
            list(&desk, "viewer", filter.clone()).await.len(),
            count,
            "{filter:?}"
        );
    }
    let one = v1::SessionFilter {
        subject: "p3".into(),
        ..Default::default()
    };
    let request = v1::ListSessionsRequest {
        filter: Some(one),
        page_size: 1000,
        ..Default::default()
    };
    let mut client = desk.sessions("ops").await;
    let page = client.list_sessions(request).await.unwrap().into_inner();
    let session = &page.sessions[0];
    let shown = (
        session.server_id.as_str(),
        session.account.as_str(),
        session.policy_generation,
    );
    assert_eq!(shown, ("N1", "ODD", 3));
    assert_eq!(session.principal.as_ref().unwrap().subject, "p3");
}

#[tokio::test]
async fn a_page_goes_on_only_where_it_began_and_for_whom() {
    let desk = full().await;
    let mut ops = desk.sessions("ops").await;
    let request = |page_token: &str, account: &str, page_size| v1::ListSessionsRequest {
        filter: Some(v1::SessionFilter {
            account: account.into(),
            ..Default::default()
        }),
        page_size,
        page_token: page_token.into(),
    };
    let token = ops
        .list_sessions(request("", "", 10))
        .await
        .unwrap()
        .into_inner()
        .next_page_token;
    ops.list_sessions(request(&token, "", 10)).await.unwrap();
    let mut bot = desk.sessions("bot").await;
    for status in [
        ops.list_sessions(request(&token, "EVEN", 10)).await.unwrap_err(),
        bot.list_sessions(request(&token, "", 10)).await.unwrap_err(),
        ops.list_sessions(request("x", "", 10)).await.unwrap_err(),
    ] {
        assert_eq!(fields(&status), ["page_token"]);
    }
    let status = ops.list_sessions(request("", "", 1001)).await.unwrap_err();
    assert_eq!(fields(&status), ["page_size"]);
    let status = ops.list_sessions(request("", "a\nb", 1)).await.unwrap_err();
    assert_eq!(fields(&status), ["filter.account"]);
}

async fn next(stream: &mut Streaming<v1::WatchSessionsResponse>) -> Result<Event, tonic::Status> {
    let next = tokio::time::timeout(Duration::from_secs(20), stream.message());
    Ok(next.await.unwrap()?.unwrap().event.unwrap())
}

#[tokio::test]
async fn what_happens_to_sessions_is_told_to_who_may_see_them() {
    let desk = Desk::start().await;
    let request = v1::WatchSessionsRequest {
        filter: Some(v1::SessionFilter {
            cluster: "a".into(),
            ..Default::default()
        }),
    };
    let watching = desk.sessions("bot").await.watch_sessions(request).await;
    let mut stream = watching.unwrap().into_inner();
    assert!(matches!(next(&mut stream).await.unwrap(), Event::Begun(_)));
    tell(&desk, "b", vec![record("b", 1, person(ISSUER, 1))]).await;
    let (others, own) = (
        record("a", 2, person("https://other", 2)),
        record("a", 3, person(ISSUER, 3)),
    );
    tell(&desk, "a", vec![others, record("a", 5, None), own]).await;
    match next(&mut stream).await.unwrap() {
        Event::Connected(session) => assert_eq!((session.cluster.as_str(), session.client_id), ("a", 3)),
        other => panic!("{other:?}"),
    }
    let gone = SessionEvent::Disconnected {
        cluster: "a".into(),
        key: record("a", 3, None).key,
        reason: "Kicked".into(),
    };
    desk.board.tell("a", &[gone], soon()).await.unwrap();
    match next(&mut stream).await.unwrap() {
        Event::Gone(gone) => assert_eq!((gone.client_id, gone.reason.as_str()), (3, "Kicked")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_reads_too_slowly_is_told_that_events_are_missing() {
    let desk = Desk::start().await;
    let request = v1::WatchSessionsRequest::default();
    let mut stream = desk
        .sessions("ops")
        .await
        .watch_sessions(request)
        .await
        .unwrap()
        .into_inner();
    assert!(matches!(next(&mut stream).await.unwrap(), Event::Begun(_)));
    // Told in one go, more than is kept for anybody: nothing else runs meanwhile.
    let many = (1..20_000).map(|id| record("a", id, person(ISSUER, id)));
    tell(&desk, "a", many.collect()).await;
    let lost = loop {
        match next(&mut stream).await {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_eq!(
        (lost.code(), reason(&lost)),
        (Code::DataLoss, "EVENTS_LOST".into())
    );
}

#[tokio::test]
async fn a_watch_of_sessions_ends_with_the_server() {
    let desk = Desk::start().await;
    let request = v1::WatchSessionsRequest::default();
    let mut stream = desk
        .sessions("ops")
        .await
        .watch_sessions(request)
        .await
        .unwrap()
        .into_inner();
    assert!(matches!(next(&mut stream).await.unwrap(), Event::Begun(_)));
    desk.stop.cancel();
    assert_eq!(reason(&next(&mut stream).await.unwrap_err()), "STOPPING");
}

#[tokio::test]
async fn one_session_is_kicked_by_who_may_kick_any() {
    let desk = Desk::start().await;
    let kick = |key: &str, client_id| v1::KickSessionRequest {
        idempotency_key: key.into(),
        session: Some(v1::SessionSelector {
            server_id: "N1".into(),
            client_id,
        }),
        reason: "a test".into(),
        wait: None,
    };
    let mut ops = desk.sessions("ops").await;
    let done = ops.kick_session(kick("k", 7)).await.unwrap().into_inner();
    let again = ops.kick_session(kick("k", 7)).await.unwrap().into_inner();
    assert_eq!(
        again,
        v1::KickSessionResponse {
            repeated: true,
            ..done
        }
    );
    let entries = desk.entries();
    assert_eq!(entries.len(), 1);
    match &entries[0].change {
        Change::Revoked { selector, .. } => assert_eq!(
            *selector,
            Selector::Session {
                server_id: "N1".into(),
                client_id: 7
            }
        ),
        other => panic!("{other:?}"),
    }
    let status = ops.kick_session(kick("k", 8)).await.unwrap_err();
    assert_eq!(reason(&status), "IDEMPOTENCY_KEY_REUSED");
    let nothing = v1::KickSessionRequest {
        session: None,
        ..kick("k2", 0)
    };
    assert_eq!(fields(&ops.kick_session(nothing).await.unwrap_err()), ["session"]);
    assert_eq!(
        fields(&ops.kick_session(kick("k2", 0)).await.unwrap_err()),
        ["session.client_id"]
    );

    let status = desk
        .sessions("bot")
        .await
        .kick_session(kick("k", 7))
        .await
        .unwrap_err();
    assert_eq!(
        (reason(&status), fields(&status)),
        ("OUT_OF_REACH".into(), vec!["session".to_owned()])
    );
    let status = desk
        .sessions("viewer")
        .await
        .kick_session(kick("k", 7))
        .await
        .unwrap_err();
    assert_eq!(reason(&status), "SCOPE_MISSING");
    let status = desk
        .sessions("shim")
        .await
        .list_sessions(v1::ListSessionsRequest::default())
        .await;
    assert_eq!(reason(&status.unwrap_err()), "SCOPE_MISSING");
}
