//! What every revocation log must do, run on each of them.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use natsgate_core::{
    Change, LogEntry, LogError, Membership, NewEntry, PolicyGeneration, RevocationLog, Selector, SystemClock,
};
use natsgate_devkit::{RedisCluster, RedisServer};
use natsgate_store::{InProcessLog, LogSettings};
use serde_json::{Value, json};

use crate::support::{log_on, once, principal, redis, revocation, soon};

/// Makes instances of one new, empty log each time it is asked.
type Make<'a> = dyn Fn(&LogSettings, usize) -> Vec<Arc<dyn RevocationLog>> + 'a;

#[tokio::test]
async fn the_in_process_log_conforms() {
    conforms(&|settings, instances| {
        let log: Arc<dyn RevocationLog> = Arc::new(InProcessLog::new(settings, None, Arc::new(SystemClock)));
        vec![log; instances]
    })
    .await;
}

#[tokio::test]
async fn the_log_in_a_single_redis_conforms() {
    let server = RedisServer::start().await.unwrap();
    conforms(&in_redis(&json!({ "url": server.url() }))).await;
}

#[tokio::test]
async fn the_log_in_a_redis_cluster_conforms() {
    let cluster = RedisCluster::start().await.unwrap();
    conforms(&in_redis(&json!({ "cluster": { "nodes": cluster.addresses() } }))).await;
}

fn in_redis(how: &Value) -> impl Fn(&LogSettings, usize) -> Vec<Arc<dyn RevocationLog>> {
    move |settings, instances| {
        let redis = redis(how.clone(), &format!("test-{:08x}", rand::random::<u32>()));
        (0..instances)
            .map(|_instance| log_on(&redis, settings) as Arc<dyn RevocationLog>)
            .collect()
    }
}

async fn conforms(make: &Make<'_>) {
    entries_are_read_as_they_were_appended(make).await;
    every_kind_of_change_comes_back_as_it_was(make).await;
    the_same_request_is_appended_once_and_another_refused(make).await;
    appenders_at_once_leave_no_gap_and_no_duplicate(make).await;
    what_is_beyond_the_bound_is_trimmed_and_the_head_says_so(make).await;
    what_is_older_than_the_retention_is_trimmed(make).await;
    the_newest_policy_stands_in_the_head(make).await;
    the_doorbell_rings(make).await;
}

/// One log that has been ticked, as a follower would have.
async fn one(make: &Make<'_>, settings: &LogSettings) -> Arc<dyn RevocationLog> {
    let log = make(settings, 1).remove(0);
    let head = ticked(&*log).await;
    assert_eq!((head.revision.sequence, head.oldest), (0, 1));
    log
}

/// The first tick may come before there is a connection.
async fn ticked(log: &dyn RevocationLog) -> natsgate_core::Head {
    for _try in 0..500 {
        if let Ok(head) = log.tick(None, soon()).await {
            return head;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    log.tick(None, soon()).await.unwrap()
}

async fn append(log: &dyn RevocationLog, entry: &NewEntry) -> natsgate_core::Appended {
    log.append(entry, soon()).await.unwrap()
}

async fn entries_are_read_as_they_were_appended(make: &Make<'_>) {
    let log = one(make, &LogSettings::default()).await;
    let epoch = ticked(&*log).await.revision.epoch;
    let mut appended = Vec::new();
    for number in 0..5 {
        let entry = revocation(&format!("user {number}"));
        let done = append(&*log, &entry).await;
        assert!(!done.repeated && done.confirmed);
        assert_eq!(done.revision.epoch, epoch);
        appended.push(LogEntry {
            id: entry.id,
            revision: done.revision,
            predecessor: appended
                .last()
                .map_or(0, |before: &LogEntry| before.revision.sequence),
            at: entry.at,
            change: entry.change,
            idempotency: None,
        });
    }
    assert_eq!(log.read(0, 100, soon()).await.unwrap().entries, appended);
    assert_eq!(log.read(0, 2, soon()).await.unwrap().entries, appended[..2]);
    let second = appended[1].revision.sequence;
    assert_eq!(log.read(second, 2, soon()).await.unwrap().entries, appended[2..4]);
    let last = appended[4].revision;
    assert_eq!(log.read(last.sequence, 2, soon()).await.unwrap().entries, []);
    let head = ticked(&*log).await;
    assert_eq!(
        (head.revision, head.oldest),
        (last, appended[0].revision.sequence)
    );
}

async fn every_kind_of_change_comes_back_as_it_was(make: &Make<'_>) {
    let log = one(make, &LogSettings::default()).await;
    let selectors = [
        Selector::Principal {
            principal: principal("alice"),
        },
        Selector::Resource {
            kind: "project".to_owned(),
            id: "007".to_owned(),
        },
        Selector::Session {
            server_id: "NABC".to_owned(),
            client_id: u64::MAX,
        },
    ];
    let membership = Membership {
        kind: "project".to_owned(),
        id: "apollo".to_owned(),
        role: "ünïcode \u{0}".to_owned(),
    };
    let changed = Change::MembershipsChanged {
        principal: principal("alice"),
        given: vec![membership.clone()],
        taken: vec![membership.clone(), membership],
        actor: "backend".to_owned(),
    };
    let revoked = selectors.map(|selector| Change::revoked(selector, "", "backend"));
    for (number, change) in revoked.into_iter().chain([changed]).enumerate() {
        let entry = NewEntry {
            change,
            at: UNIX_EPOCH + Duration::from_nanos(1_766_000_000_123_456_789),
            idempotency: once(u8::try_from(number).unwrap(), 1),
            ..revocation("nobody")
        };
        let at = append(&*log, &entry).await.revision;
        let read = log
            .read(at.sequence - 1, 1, soon())
            .await
            .unwrap()
            .entries
            .remove(0);
        assert_eq!(
            (read.id, read.at, read.change),
            (entry.id, entry.at, entry.change)
        );
        assert_eq!(read.idempotency, entry.idempotency);
    }
}

async fn the_same_request_is_appended_once_and_another_refused(make: &Make<'_>) {
    let mut logs = make(&LogSettings::default(), 2);
    let (other, log) = (logs.remove(0), logs.remove(0));
    ticked(&*other).await;
    ticked(&*log).await;
    let entry = |key, body| NewEntry {
        idempotency: once(key, body),
        ..revocation("alice")
    };
    let first = append(&*log, &entry(1, 1)).await;
    // Asked by another instance: the one that was asked first may have died before it could answer.
    for log in [&other, &log] {
        let again = append(&**log, &entry(1, 1)).await;
        assert!(again.repeated);
        assert_eq!(again.revision, first.revision);
        let error = log.append(&entry(1, 2), soon()).await.unwrap_err();
        assert_eq!(error, LogError::KeyReused);
    }
    assert!(!append(&*log, &entry(2, 1)).await.repeated);
    let unnamed = revocation("bob");
    for _twice in 0..2 {
        assert!(!append(&*log, &unnamed).await.repeated);
    }
    assert_eq!(log.read(0, 100, soon()).await.unwrap().entries.len(), 4);
}

async fn appenders_at_once_leave_no_gap_and_no_duplicate(make: &Make<'_>) {
    const EACH: usize = 25;
    let logs = make(&LogSettings::default(), 8);
    for log in &logs {
        ticked(&**log).await;
    }
    let mut appenders = tokio::task::JoinSet::new();
    for log in logs.clone() {
        appenders.spawn(async move {
            let mut mine = Vec::new();
            for _entry in 0..EACH {
                let entry = revocation("alice");
                mine.push((append(&*log, &entry).await.revision, entry.id));
            }
            mine
        });
    }
    let mut appended = appenders.join_all().await.concat();
    appended.sort_by_key(|(revision, _id)| revision.sequence);
    let read = logs[0].read(0, 1000, soon()).await.unwrap().entries;
    let held: Vec<_> = read.iter().map(|entry| (entry.revision, entry.id)).collect();
    assert_eq!(held, appended);
    for (place, entry) in read.iter().enumerate() {
        assert_eq!(entry.revision.sequence, u64::try_from(place + 1).unwrap());
        assert_eq!(entry.predecessor, u64::try_from(place).unwrap());
    }
    assert_eq!(read.len(), 8 * EACH);
}

async fn what_is_beyond_the_bound_is_trimmed_and_the_head_says_so(make: &Make<'_>) {
    let settings = LogSettings {
        max_entries: 3,
        ..LogSettings::default()
    };
    let log = one(make, &settings).await;
    let before = ticked(&*log).await.complete_since;
    let entries: Vec<NewEntry> = (0..5).map(|_entry| revocation("alice")).collect();
    for (place, entry) in entries.iter().enumerate() {
        append(&*log, entry).await;
        let head = ticked(&*log).await;
        assert_eq!(
            head.oldest,
            u64::try_from((place + 1).saturating_sub(2)).unwrap().max(1)
        );
        let trimmed = (place >= 3).then(|| entries[place - 3].at);
        assert_eq!(head.complete_since, before.max(trimmed));
    }
    let read = log.read(0, 100, soon()).await.unwrap().entries;
    assert_eq!(read.len(), 3);
    assert_eq!((read[0].id, read[0].predecessor), (entries[2].id, 2));
}

async fn what_is_older_than_the_retention_is_trimmed(make: &Make<'_>) {
    let settings = LogSettings {
        retention: Duration::from_millis(300),
        ..LogSettings::default()
    };
    let log = one(make, &settings).await;
    let entry = revocation("alice");
    append(&*log, &entry).await;
    for _try in 0..500 {
        let head = ticked(&*log).await;
        if head.oldest > 1 {
            assert_eq!((head.revision.sequence, head.oldest), (1, 2));
            assert!(head.complete_since >= Some(entry.at));
            assert_eq!(log.read(0, 100, soon()).await.unwrap().entries, []);
            let bob = revocation("bob");
            assert_eq!(append(&*log, &bob).await.revision.sequence, 2);
            assert_eq!(log.read(0, 100, soon()).await.unwrap().entries[0].predecessor, 1);
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing was trimmed");
}

async fn the_newest_policy_stands_in_the_head(make: &Make<'_>) {
    let log = one(make, &LogSettings::default()).await;
    assert_eq!(ticked(&*log).await.policy, None);
    let policy = |generation| PolicyGeneration {
        generation,
        digest: format!("digest {generation}"),
    };
    for (generation, in_force) in [(3, 3), (5, 5), (4, 5)] {
        let entry = NewEntry {
            change: Change::PolicyChanged {
                policy: policy(generation),
            },
            ..revocation("nobody")
        };
        append(&*log, &entry).await;
        assert_eq!(ticked(&*log).await.policy, Some(policy(in_force)));
    }
}

async fn the_doorbell_rings(make: &Make<'_>) {
    let log = one(make, &LogSettings::default()).await;
    let mut bell = log.doorbell();
    // The first ring may be that of the subscription itself: it rings again then for the entry, as often as it takes.
    for _ring in 0..2 {
        bell.mark_unchanged();
        append(&*log, &revocation("alice")).await;
        let rung = tokio::time::timeout(Duration::from_secs(10), bell.changed()).await;
        rung.expect("the bell did not ring").unwrap();
    }
}
