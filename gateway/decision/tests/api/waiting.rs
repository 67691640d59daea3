//! Waiting for the shims.

use std::time::Duration;

use natsgate_core::{Acknowledgement, Board, Clock};
use natsgate_proto::v1;

use crate::desk::{Desk, alice, revoke, soon};
use crate::sessions::{record, tell};

const WAIT: prost_types::Duration = prost_types::Duration {
    seconds: 50,
    nanos: 0,
};

fn waiting(key: &str, wait: prost_types::Duration) -> v1::RevokeRequest {
    v1::RevokeRequest {
        wait: Some(wait),
        ..revoke(key, alice())
    }
}

/// `shim` says what it has done for the desk's last entry, once there is one.
async fn acknowledge(desk: &Desk, shim: &str, cluster: &str, closed: u64, pending: u64) {
    let entry = loop {
        if let Some(entry) = desk.entries().pop() {
            break entry;
        }
        tokio::task::yield_now().await;
    };
    let done = Acknowledgement {
        shim: shim.into(),
        cluster: cluster.into(),
        entry: entry.id,
        revision: entry.revision,
        closed,
        gone: 1,
        spared: 0,
        own_done: true,
        pending,
        took: Duration::from_millis(7),
        unreachable: Vec::new(),
    };
    desk.board.acknowledge(&done, soon()).await.unwrap();
}

#[tokio::test]
async fn it_is_answered_when_every_shim_has_nothing_left_to_do() {
    let desk = Desk::start().await;
    for (shim, cluster) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
        desk.shim_is_there(shim, cluster).await;
    }
    let mut ops = desk.revoking("ops").await;
    let (done, ()) = tokio::join!(ops.revoke(waiting("k", WAIT)), async {
        acknowledge(&desk, "a1", "a", 2, 1).await;
        acknowledge(&desk, "b1", "b", 0, 0).await;
        acknowledge(&desk, "a2", "a", 1, 0).await;
        // Its last word counts.
        acknowledge(&desk, "a1", "a", 3, 0).await;
    });
    let done = done.unwrap().into_inner();
    assert!(done.complete);
    let told: Vec<_> = done
        .clusters
        .iter()
        .map(|one| (one.cluster.as_str(), one.closed, one.complete, one.shims.len()))
        .collect();
    assert_eq!(told, [("a", 4, true, 2), ("b", 0, true, 1)]);
    let first = &done.clusters[0].shims[0];
    assert_eq!((first.shim.as_str(), first.answered, first.gone), ("a1", true, 1));
    assert_eq!(first.took.unwrap().nanos, 7_000_000);

    // The same from then on, without waiting.
    let again = ops.revoke(waiting("k", WAIT)).await.unwrap().into_inner();
    assert_eq!(
        again,
        v1::RevokeResponse {
            repeated: true,
            ..done
        }
    );
}

#[tokio::test]
async fn when_the_time_is_over_it_says_who_has_not_answered() {
    let desk = Desk::start().await;
    desk.shim_is_there("a1", "a").await;
    desk.shim_is_there("b1", "b").await;
    let mut ops = desk.revoking("ops").await;
    ops.revoke(revoke("k", alice())).await.unwrap();
    acknowledge(&desk, "a1", "a", 2, 0).await;
    let briefly = prost_types::Duration {
        seconds: 0,
        nanos: 1_000_000,
    };
    let done = ops.revoke(waiting("k", briefly)).await.unwrap().into_inner();
    assert!(!done.complete);
    let told: Vec<_> = done
        .clusters
        .iter()
        .map(|one| (one.cluster.as_str(), one.complete, one.shims[0].answered))
        .collect();
    assert_eq!(told, [("a", true, true), ("b", false, false)]);
    // A caller who does not wait that long is answered in time.
    let mut request = tonic::Request::new(waiting("k", WAIT));
    request.set_timeout(Duration::from_secs(2));
    let done = ops.revoke(request).await.unwrap().into_inner();
    assert!(!done.complete && done.repeated);
}

#[tokio::test]
async fn a_shim_that_vanishes_has_not_answered_and_nobody_at_all_is_nobody() {
    let desk = Desk::start().await;
    let mut ops = desk.revoking("ops").await;
    let briefly = prost_types::Duration {
        seconds: 0,
        nanos: 300_000_000,
    };
    let done = ops.revoke(waiting("k1", briefly)).await.unwrap().into_inner();
    assert!(
        !done.complete && done.clusters.is_empty(),
        "there was no shim to do it"
    );

    desk.shim_is_there("a1", "a").await;
    desk.shim_is_there("a2", "a").await;
    let (done, ()) = tokio::join!(
        ops.revoke(waiting("k2", prost_types::Duration { seconds: 2, nanos: 0 })),
        async {
            while desk.entries().len() < 2 {
                tokio::task::yield_now().await;
            }
            acknowledge(&desk, "a1", "a", 1, 0).await;
            // It is looked at who is there when the bell rings, before this.
            desk.board.leave("a2", soon()).await.unwrap();
        }
    );
    let done = done.unwrap().into_inner();
    // Either it was seen before it left, and is missing, or it never was.
    let shims = &done.clusters[0].shims;
    assert_eq!(done.complete, shims.iter().all(|shim| shim.answered), "{done:?}");
}

#[tokio::test]
async fn a_cluster_that_has_sessions_and_no_shim_is_named_and_not_complete() {
    let desk = Desk::start().await;
    desk.shim_is_there("a1", "a").await;
    let sessions = [record("b", 7, None), record("b", 8, None)];
    tell(&desk, "b", sessions.into()).await;
    let mut ops = desk.revoking("ops").await;
    ops.revoke(revoke("k", alice())).await.unwrap();
    acknowledge(&desk, "a1", "a", 1, 0).await;
    let briefly = prost_types::Duration {
        seconds: 0,
        nanos: 300_000_000,
    };
    let done = ops.revoke(waiting("k", briefly)).await.unwrap().into_inner();
    let told = |done: &v1::RevokeResponse| -> Vec<_> {
        let clusters = done.clusters.iter();
        clusters
            .map(|one| (one.cluster.clone(), one.complete, one.shims.len()))
            .collect()
    };
    assert!(!done.complete, "nobody can close them, nor say so");
    assert_eq!(
        told(&done),
        [("a".to_owned(), true, 1), ("b".to_owned(), false, 0)]
    );

    // Not even one that has done it and left.
    acknowledge(&desk, "b1", "b", 1, 0).await;
    let done = ops.revoke(waiting("k", briefly)).await.unwrap().into_inner();
    assert!(!done.complete && !done.clusters[1].complete);

    // Somebody else is there.
    desk.shim_is_there("b2", "b").await;
    acknowledge(&desk, "b2", "b", 1, 0).await;
    let done = ops.revoke(waiting("k", WAIT)).await.unwrap().into_inner();
    assert!(done.complete, "{done:?}");
}

#[tokio::test]
async fn what_a_shim_could_not_reach_is_not_complete() {
    let desk = Desk::start().await;
    desk.shim_is_there("a1", "a").await;
    let mut ops = desk.revoking("ops").await;
    ops.revoke(revoke("k", alice())).await.unwrap();
    let entry = desk.entries().pop().unwrap();
    let done = Acknowledgement {
        shim: "a1".into(),
        cluster: "a".into(),
        entry: entry.id,
        revision: entry.revision,
        closed: 0,
        gone: 0,
        spared: 0,
        own_done: true,
        pending: 0,
        took: Duration::ZERO,
        unreachable: vec!["N2".into()],
    };
    desk.board.acknowledge(&done, soon()).await.unwrap();
    let briefly = prost_types::Duration {
        seconds: 0,
        nanos: 1_000_000,
    };
    let done = ops.revoke(waiting("k", briefly)).await.unwrap().into_inner();
    assert!(!done.complete && !done.clusters[0].complete);
    assert_eq!(done.clusters[0].shims[0].unreachable_servers, ["N2"]);
    assert!(desk.clock.unix_seconds() > 0);
}
