//! What was written and not announced is announced by whoever looks next.

use std::sync::Arc;
use std::time::Duration;

use natsgate_decision::memberships::{Relay, RelayState};
use natsgate_proto::v1::ListMembershipsRequest;
use tokio_util::sync::CancellationToken;

use crate::log::Mood;
use crate::service::{Service, delete, item, put};

/// Lets a relay run until it is dropped.
struct Running(CancellationToken, Arc<Relay>);

impl Running {
    fn start(relay: &Arc<Relay>) -> Self {
        Self::start_with(relay, Duration::from_secs(90_000))
    }

    fn start_with(relay: &Arc<Relay>, retention: Duration) -> Self {
        let stop = CancellationToken::new();
        let (running, stopped) = (Arc::clone(relay), stop.clone());
        tokio::spawn(async move { running.run(retention, stopped).await });
        Self(stop, Arc::clone(relay))
    }

    async fn is(&self, wanted: RelayState) {
        let mut state = self.1.state();
        let reached = state.wait_for(|state| *state == wanted);
        tokio::time::timeout(Duration::from_secs(30), reached)
            .await
            .unwrap()
            .unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[tokio::test]
async fn what_was_left_behind_is_announced_when_the_log_is_back() {
    let service = Service::start().await;
    let mut crm = service.crm().await;
    service.log.set(Mood::Away);
    let items = (0..250).map(|n| item(&format!("p{n}"), "a")).collect();
    crm.put_memberships(put("k", items)).await.unwrap_err();
    assert_eq!(service.pending().await, 250);

    let relay = Running::start(&service.relay);
    relay.is(RelayState::Behind).await;
    service.log.set(Mood::Well);
    relay.is(RelayState::Done).await;
    assert_eq!((service.pending().await, service.log.entries().len()), (0, 250));
}

#[tokio::test]
async fn two_relays_and_a_writer_append_an_entry_once() {
    let service = Service::start().await;
    let mut crm = service.crm().await;
    service.log.set(Mood::LosesAnswers);
    crm.put_memberships(put("k", vec![item("alice", "a"), item("bob", "b")]))
        .await
        .unwrap_err();
    service.log.set(Mood::Holds);
    let second = Relay::new(service.store.clone(), service.log.clone(), service.clock.clone());
    let (one, other) = (Running::start(&service.relay), Running::start(&second));
    let mut writer = crm.clone();
    let call = tokio::spawn(async move {
        writer
            .put_memberships(put("k", vec![item("alice", "a"), item("bob", "b")]))
            .await
    });
    // One was called for before; now all three are at it.
    service.log.called(4).await;
    service.log.set(Mood::Well);
    one.is(RelayState::Done).await;
    other.is(RelayState::Done).await;
    assert!(call.await.unwrap().unwrap().into_inner().repeated);
    assert_eq!((service.pending().await, service.log.entries().len()), (0, 2));
}

#[tokio::test]
async fn what_is_old_is_purged() {
    let service = Service::start().await;
    let mut crm = service.crm().await;
    crm.put_memberships(put("k1", vec![item("alice", "a"), item("alice", "b")]))
        .await
        .unwrap();
    crm.delete_memberships(delete("k2", vec![item("alice", "a")]))
        .await
        .unwrap();
    service.clock.advance(Duration::from_secs(100));
    let all = || ListMembershipsRequest {
        include_deleted: true,
        ..Default::default()
    };
    assert_eq!(
        crm.list_memberships(all())
            .await
            .unwrap()
            .into_inner()
            .records
            .len(),
        2
    );
    let _relay = Running::start_with(&service.relay, Duration::from_secs(99));
    let purged = async {
        while crm
            .list_memberships(all())
            .await
            .unwrap()
            .into_inner()
            .records
            .len()
            > 1
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), purged)
        .await
        .unwrap();
    // Its key is free, so this is another call; it changes nothing, and there is nothing to remember it by.
    let again = crm
        .put_memberships(put("k1", vec![item("alice", "b")]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (again.repeated, again.results[0].changed, again.revision.as_str()),
        (false, false, "")
    );
}
