//! What every board must do, run on each of them. Two boards are two processes' view of one.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use natsgate_core::{Board, EntryId, SessionKey, SessionPage};
use natsgate_devkit::{RedisCluster, RedisServer};
use natsgate_store::{InProcessBoard, RedisBoard, RedisConnection, RedisSettings, Secrets};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::support::*;

/// Two views of one new, empty board.
type Boards = [Arc<dyn Board>; 2];

#[tokio::test]
async fn the_board_in_process_conforms() {
    conforms(async || {
        let board: Arc<dyn Board> = Arc::new(InProcessBoard::new());
        [board.clone(), board]
    })
    .await;
}

#[tokio::test]
async fn the_board_in_a_single_redis_conforms() {
    let server = RedisServer::start().await.unwrap();
    conforms(async || in_redis(&json!({ "url": server.url() })).await).await;
}

#[tokio::test]
async fn the_board_in_a_redis_cluster_conforms() {
    let cluster = RedisCluster::start().await.unwrap();
    conforms(async || in_redis(&json!({ "cluster": { "nodes": cluster.addresses() } })).await).await;
}

async fn in_redis(how: &Value) -> Boards {
    let mut settings = how.clone();
    settings["namespace"] = json!(format!("test-{:08x}", rand::random::<u32>()));
    settings["command_timeout"] = json!("10s");
    let settings: RedisSettings = serde_json::from_value(settings).unwrap();
    let secrets = Secrets::new(SecretString::from("x".repeat(32)), Vec::new()).unwrap();
    [(); 2].map(|()| {
        let connection = RedisConnection::new(&settings).unwrap();
        Arc::new(RedisBoard::new(&connection, &secrets).unwrap()) as Arc<dyn Board>
    })
}

async fn conforms<F: Future<Output = Boards>>(make: impl Fn() -> F) {
    shims_are_there_until_they_leave(make().await).await;
    each_shims_last_word_about_an_entry_counts(make().await).await;
    an_acknowledgement_is_announced(make().await).await;
    sessions_are_listed_while_they_are_there(make().await).await;
    a_session_that_is_gone_does_not_come_back(make().await).await;
    who_knows_whom_a_session_is_for_is_not_replaced_by_who_does_not(make().await).await;
    clusters_are_kept_apart(make().await).await;
    pages_hold_everything_that_is_there_all_the_while(make().await).await;
    what_is_news_is_told_to_whoever_listens(make().await).await;
}

async fn shims_are_there_until_they_leave([one, other]: Boards) {
    assert_eq!(other.shims(soon()).await.unwrap(), []);
    let (first, second) = (presence("shim-1", "east"), presence("shim-2", "west"));
    one.present(&first, soon()).await.unwrap();
    other.present(&second, soon()).await.unwrap();
    let mut there = one.shims(soon()).await.unwrap();
    there.sort_by(|a, b| a.shim.cmp(&b.shim));
    assert_eq!(there, [first.clone(), second.clone()]);
    let mut later = first.clone();
    (later.applied, later.sessions) = (None, 99);
    one.present(&later, soon()).await.unwrap();
    other.leave("shim-2", soon()).await.unwrap();
    other.leave("who never was there", soon()).await.unwrap();
    assert_eq!(other.shims(soon()).await.unwrap(), [later]);
    assert_eq!(other.clusters(soon()).await.unwrap(), ["east", "west"]);
}

async fn each_shims_last_word_about_an_entry_counts([one, other]: Boards) {
    let entry = |entry: u8| EntryId([entry; 16]);
    assert_eq!(one.acknowledgements(entry(1), soon()).await.unwrap(), []);
    one.acknowledge(&done("shim-1", 1, 4), soon()).await.unwrap();
    one.acknowledge(&done("shim-1", 1, 0), soon()).await.unwrap();
    other.acknowledge(&done("shim-2", 1, 3), soon()).await.unwrap();
    one.acknowledge(&done("shim-1", 2, 9), soon()).await.unwrap();
    let mut first = other.acknowledgements(entry(1), soon()).await.unwrap();
    first.sort_by(|a, b| a.shim.cmp(&b.shim));
    assert_eq!(first, [done("shim-1", 1, 0), done("shim-2", 1, 3)]);
    assert!(first[0].is_complete() && !first[1].is_complete());
    let second = other.acknowledgements(entry(2), soon()).await.unwrap();
    assert_eq!(second, [done("shim-1", 2, 9)]);
}

async fn an_acknowledgement_is_announced([one, other]: Boards) {
    let mut bell = other.acknowledged();
    // It may ring once for the subscription; nobody knows what came before that.
    for entry in 1..=20 {
        one.acknowledge(&done("shim-1", entry, 0), soon()).await.unwrap();
        let seen = async {
            while other
                .acknowledgements(EntryId([entry; 16]), soon())
                .await
                .unwrap()
                .is_empty()
            {
                bell.changed().await.unwrap();
            }
            bell.changed().await.unwrap();
        };
        tokio::time::timeout(PATIENCE, seen).await.expect("nobody rang");
    }
}

async fn sessions_are_listed_while_they_are_there([one, other]: Boards) {
    let nothing = other.sessions("east", None, 10, soon()).await.unwrap();
    assert_eq!(nothing, SessionPage::default());
    one.tell("east", &[], soon()).await.unwrap();
    one.tell("east", &[there(1, Some("alice")), there(2, None)], soon())
        .await
        .unwrap();
    other
        .tell("east", &[there(3, Some("carol"))], soon())
        .await
        .unwrap();
    let listed = all(&*other, "east", 10).await;
    assert_eq!(listed.len(), 3);
    assert_eq!(listed[&key(1)], record(1, Some("alice")));
    assert_eq!(listed[&key(2)], record(2, None));
    let mut more = record(2, Some("bob"));
    more.policy_generation = 5;
    let told = natsgate_core::SessionEvent::Connected(Box::new(more.clone()));
    one.tell("east", &[over(1), told], soon()).await.unwrap();
    let listed = all(&*other, "east", 10).await;
    assert_eq!(
        listed.into_values().collect::<Vec<_>>(),
        [more, record(3, Some("carol"))]
    );
}

async fn a_session_that_is_gone_does_not_come_back([one, other]: Boards) {
    one.tell(
        "east",
        &[there(1, Some("alice")), over(1), there(1, Some("alice"))],
        soon(),
    )
    .await
    .unwrap();
    // Heard of its end before anybody said that it is there.
    other.tell("east", &[over(2)], soon()).await.unwrap();
    one.tell("east", &[there(2, Some("bob")), there(3, Some("carol"))], soon())
        .await
        .unwrap();
    let listed = all(&*other, "east", 10).await;
    assert_eq!(listed.into_keys().collect::<Vec<_>>(), [key(3)]);
}

async fn who_knows_whom_a_session_is_for_is_not_replaced_by_who_does_not([one, other]: Boards) {
    one.tell("east", &[there(1, None)], soon()).await.unwrap();
    one.tell("east", &[there(1, Some("alice"))], soon())
        .await
        .unwrap();
    other.tell("east", &[there(1, None)], soon()).await.unwrap();
    let listed = all(&*other, "east", 10).await;
    assert_eq!(listed[&key(1)], record(1, Some("alice")));
    let mut later = record(1, Some("alice"));
    later.policy_generation = 9;
    let told = natsgate_core::SessionEvent::Connected(Box::new(later.clone()));
    other.tell("east", &[told], soon()).await.unwrap();
    assert_eq!(all(&*other, "east", 10).await[&key(1)], later);
}

async fn clusters_are_kept_apart([one, other]: Boards) {
    assert_eq!(other.clusters(soon()).await.unwrap(), Vec::<String>::new());
    one.tell("west", &[there(1, Some("alice"))], soon())
        .await
        .unwrap();
    one.tell("east", &[there(1, Some("bob")), there(2, None)], soon())
        .await
        .unwrap();
    one.tell("west", &[over(2), over(1)], soon()).await.unwrap();
    assert_eq!(other.clusters(soon()).await.unwrap(), ["east", "west"]);
    assert_eq!(all(&*other, "west", 10).await.len(), 0);
    assert_eq!(all(&*other, "east", 10).await.len(), 2);
    assert_eq!(all(&*other, "north", 10).await.len(), 0);
}

async fn pages_hold_everything_that_is_there_all_the_while([one, other]: Boards) {
    let sessions: Vec<_> = (0..1000).map(|id| there(id, Some("alice"))).collect();
    one.tell("east", &sessions, soon()).await.unwrap();
    let mut found: BTreeSet<SessionKey> = BTreeSet::new();
    let mut from: Option<String> = None;
    let (mut pages, mut largest) = (0, 0);
    loop {
        let page = other.sessions("east", from.as_deref(), 50, soon()).await.unwrap();
        largest = largest.max(page.sessions.len());
        found.extend(page.sessions.into_iter().map(|one| one.key));
        pages += 1;
        // Meanwhile others come, and some go.
        let others = [there(5000 + pages, None), over(2 * pages)];
        one.tell("east", &others, soon()).await.unwrap();
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    for id in (0..1000).filter(|id| *id > 2 * pages || id % 2 == 1) {
        assert!(found.contains(&key(id)), "{id} was there and is not listed");
    }
    assert!(pages > 5 && largest < 200, "{pages} pages, {largest} in one");
    for nowhere in ["", "nowhere", "-1", "east"] {
        let refused = other.sessions("east", Some(nowhere), 50, soon()).await;
        assert!(refused.is_err(), "{nowhere:?}");
    }
}

async fn what_is_news_is_told_to_whoever_listens([one, other]: Boards) {
    let mut listener = Listener::begin(&*other).await;
    let told = [
        there(1, None),
        there(1, Some("alice")),
        there(2, Some("bob")),
        over(1),
        over(3),
    ];
    one.tell("east", &told, soon()).await.unwrap();
    for event in told {
        assert_eq!(listener.hears().await, event);
    }
    // Nothing of this is.
    let stale = [over(1), there(1, Some("alice")), there(2, None), there(3, None)];
    other.tell("east", &stale, soon()).await.unwrap();
    let last = over(4);
    one.tell("east", std::slice::from_ref(&last), soon())
        .await
        .unwrap();
    assert_eq!(listener.hears().await, last);
}
