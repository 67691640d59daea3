use natsgate_core::{Change, EntryId, Epoch, Held, Principal, Selector};
use natsgate_proto::v1;

use super::*;

fn epoch(number: u8) -> Epoch {
    Epoch::from_bytes([number; 16])
}

fn at(sequence: u64) -> Revision {
    Revision::new(epoch(1), sequence)
}

fn alice() -> Principal {
    Principal::new("https://a", "alice")
}

fn entry(sequence: u64, selector: Selector) -> Arc<LogEntry> {
    Arc::new(LogEntry {
        id: EntryId([u8::try_from(sequence).unwrap(); 16]),
        revision: at(sequence),
        predecessor: sequence - 1,
        at: std::time::SystemTime::UNIX_EPOCH,
        change: Change::revoked(selector, "", ""),
        idempotency: None,
    })
}

fn person(name: &str) -> Selector {
    Selector::Principal {
        principal: Principal::new("https://a", name),
    }
}

fn project(id: &str) -> Selector {
    Selector::Resource {
        kind: "project".into(),
        id: id.into(),
    }
}

fn record(client_id: u64, principal: &Principal, as_of: Option<Revision>) -> SessionRecord {
    SessionRecord {
        key: SessionKey {
            server_id: "NA".into(),
            client_id,
        },
        cluster: "eu-1".into(),
        server_name: String::new(),
        account: "APP".into(),
        principal: Some(principal.clone()),
        name: principal.subject.clone(),
        principal_digest: principal.digest(),
        shim: String::new(),
        as_of,
        policy_generation: 0,
        connected_at: None,
        expires_at: None,
        client_host: String::new(),
        client_name: String::new(),
        client_kind: "Client".into(),
        client_type: "nats".into(),
        details: String::new(),
    }
}

fn facts(concerns: &[Concern]) -> Facts {
    let grant = v1::Grant {
        concerns: concerns.iter().map(|one| one.as_bytes().to_vec()).collect(),
        ..Default::default()
    };
    Facts::of(&grant, 0)
}

fn about(name: &str, projects: &[&str]) -> Vec<Concern> {
    let mut concerns = vec![Concern::principal(&Principal::new("https://a", name))];
    concerns.extend(projects.iter().map(|id| Concern::resource("project", id)));
    concerns
}

fn key(client_id: u64) -> SessionKey {
    record(client_id, &alice(), None).key
}

/// A log that ends at `position` and holds `entries`.
fn held(position: Revision, entries: &[Arc<LogEntry>]) -> Held {
    let first = entries.first().map(|entry| entry.revision.sequence - 1);
    Held {
        position,
        before: first.unwrap_or(position.sequence),
        entries: entries.iter().map(|entry| LogEntry::clone(entry)).collect(),
    }
}

/// A registry that has taken in the log up to 1.
fn begun() -> Registry {
    let (registry, _told) = Registry::new("me");
    registry.jump(held(at(1), &[]));
    registry
}

/// Lets a client in, valid as of `as_of`.
fn let_in(registry: &Registry, client_id: u64, as_of: Revision, concerns: &[Concern]) -> Answer {
    let asked = registry.ask(record(client_id, &alice(), None), false);
    registry.answer(record(client_id, &alice(), Some(as_of)), facts(concerns), asked)
}

#[test]
fn an_entry_finds_those_it_is_about_and_no_others() {
    let registry = begun();
    for (client, projects) in [(1, &["apollo"][..]), (2, &["gemini"]), (3, &["apollo", "gemini"])] {
        assert_eq!(
            let_in(&registry, client, at(1), &about("alice", projects)),
            Answer::Give { as_of: Some(at(1)) }
        );
    }
    let mut struck = registry.take(&entry(2, project("apollo"))).mine;
    struck.sort();
    assert_eq!(struck, [key(1), key(3)]);
    assert!(registry.take(&entry(3, person("bob"))).mine.is_empty());
    assert_eq!(registry.take(&entry(4, person("alice"))).mine.len(), 3);
    registry.gone(&key(3), "");
    assert_eq!(registry.take(&entry(5, project("apollo"))).mine, [key(1)]);
}

#[test]
fn a_grant_older_than_what_concerns_it_is_asked_for_again() {
    let registry = begun();
    let asked = registry.ask(record(1, &alice(), None), false);
    assert_eq!(asked.applied, Some(at(1)));
    // In flight: nothing is struck, since the grant will be held against it.
    assert!(registry.take(&entry(2, person("alice"))).mine.is_empty());
    let answer = |as_of, asked| {
        registry.answer(
            record(1, &alice(), as_of),
            facts(&about("alice", &["apollo"])),
            asked,
        )
    };
    let again = Asked { applied: Some(at(2)) };
    assert_eq!(answer(Some(at(1)), asked), Answer::AskAgain(again));
    // One that does not say is as old as the question.
    assert_eq!(answer(None, asked), Answer::AskAgain(again));
    // Something that does not concern it does not matter.
    registry.take(&entry(3, person("bob")));
    assert_eq!(answer(Some(at(2)), again), Answer::Give { as_of: Some(at(2)) });
    // From then on it is found.
    assert_eq!(registry.take(&entry(4, project("apollo"))).mine, [key(1)]);
}

#[test]
fn a_grant_that_does_not_say_what_it_rests_on_may_rest_on_anything() {
    let registry = begun();
    let asked = registry.ask(record(1, &alice(), None), false);
    registry.take(&entry(2, project("apollo")));
    let answer = registry.answer(record(1, &alice(), Some(at(1))), facts(&[]), asked);
    assert!(matches!(answer, Answer::AskAgain(_)));
    assert_eq!(
        registry.answer(record(1, &alice(), Some(at(2))), facts(&[]), asked),
        Answer::Give { as_of: Some(at(2)) }
    );
    // But only its own principal's revocations are about it for certain, and others' are not.
    assert!(registry.take(&entry(3, person("bob"))).mine.is_empty());
    assert_eq!(registry.take(&entry(4, project("gemini"))).mine, [key(1)]);
}

#[test]
fn a_grant_of_an_epoch_that_is_over_is_asked_for_again_and_one_of_a_newer_is_not() {
    let registry = begun();
    let asked = registry.ask(record(1, &alice(), None), false);
    registry.jump(held(Revision::new(epoch(2), 1), &[]));
    let answer = |as_of| {
        registry.answer(
            record(1, &alice(), Some(as_of)),
            facts(&about("alice", &[])),
            asked,
        )
    };
    assert!(matches!(answer(at(9)), Answer::AskAgain(_)));
    let newer = Revision::new(epoch(3), 1);
    assert_eq!(answer(newer), Answer::Give { as_of: Some(newer) });
}

#[test]
fn a_session_that_is_to_be_closed_is_not_answered() {
    let registry = begun();
    let asked = registry.ask(record(1, &alice(), None), false);
    let one = Selector::Session {
        server_id: "NA".into(),
        client_id: 1,
    };
    // Even in flight: who asked for it named the connection.
    assert_eq!(registry.take(&entry(2, one)).mine, [key(1)]);
    assert!(registry.doom(&key(1)).unwrap().in_callout);
    let answer = registry.answer(record(1, &alice(), Some(at(2))), facts(&[]), asked);
    assert_eq!(answer, Answer::Drop);
}

#[test]
fn what_is_valid_as_of_an_entry_is_not_struck_by_it() {
    let registry = begun();
    let_in(&registry, 1, at(7), &about("alice", &[]));
    for sequence in 2..=7 {
        assert!(registry.take(&entry(sequence, person("alice"))).mine.is_empty());
    }
    assert_eq!(registry.take(&entry(8, person("alice"))).mine, [key(1)]);
}

fn found(client_id: u64, shim: &str, as_of: Option<Revision>) -> Found {
    Found {
        record: SessionRecord {
            shim: shim.into(),
            principal: None,
            ..record(client_id, &alice(), as_of)
        },
        leaf: false,
    }
}

#[test]
fn a_found_session_is_judged_by_its_name() {
    let registry = begun();
    for sequence in 2..=5 {
        let selector = if sequence == 3 {
            project("apollo")
        } else {
            person("bob")
        };
        registry.take(&entry(sequence, selector));
    }
    assert!(registry.seen(found(1, "other", Some(at(2)))));
    assert!(!registry.seen(found(1, "other", Some(at(2)))), "it is known now");
    let against = registry.against(&key(1)).unwrap();
    assert_eq!(against.len(), 1, "{against:?}");
    assert_eq!((against[0].0.revision, against[0].1), (at(3), Touch::Maybe));
    registry.seen(found(2, "other", Some(at(3))));
    assert!(registry.against(&key(2)).unwrap().is_empty());
    // Without a place, of an epoch that is over, or from before what is remembered: nobody knows.
    registry.seen(found(3, "other", None));
    registry.seen(found(4, "other", Some(at(0))));
    assert!(registry.against(&key(3)).is_none() && registry.against(&key(4)).is_none());
    registry.jump(held(Revision::new(epoch(2), 5), &[]));
    assert!(registry.against(&key(2)).is_none());
}

#[test]
fn what_is_gone_is_not_brought_back_by_what_was_told_before() {
    let registry = begun();
    // The events of one connection overtake one another.
    registry.gone(&key(1), "Client Closed");
    assert!(!registry.seen(found(1, "other", Some(at(1)))));
    assert!(registry.is_empty());
}

#[test]
fn one_that_was_let_in_is_arriving_until_it_is_seen_or_gone() {
    let registry = begun();
    registry.ask(record(1, &alice(), None), false);
    assert_eq!(registry.arriving(), 0, "it is not let in yet");
    for client in [2, 3] {
        let_in(&registry, client, at(1), &about("alice", &[]));
    }
    assert_eq!(registry.arriving(), 2);
    registry.seen(found(2, "me", Some(at(1))));
    registry.gone(&key(3), "");
    // Another shim's is not this one's to wait for.
    registry.seen(found(4, "other", Some(at(1))));
    assert_eq!(registry.arriving(), 0);
}

#[test]
fn of_two_answers_the_one_that_the_server_took_counts() {
    let registry = begun();
    let_in(&registry, 1, at(7), &about("alice", &["apollo"]));
    // Another shim had answered too, with what it knew before.
    assert!(registry.seen(found(1, "other", Some(at(1)))));
    let session = registry.get(&key(1)).unwrap();
    assert_eq!((session.as_of(), session.facts.is_none()), (Some(at(1)), true));
    assert_eq!(registry.others(), [(key(1), Owner::Other("other".into()))]);
}

#[test]
fn a_session_that_an_entry_closes_is_left_until_it_is_gone() {
    let registry = begun();
    let revoked = entry(2, person("alice"));
    registry.take(&revoked);
    assert!(!registry.is_left(&revoked));
    // Found only now.
    registry.seen(found(1, "gone", Some(at(1))));
    assert!(!registry.is_left(&revoked), "it is another's");
    registry.hand_over(&key(1), Owner::Me);
    assert!(registry.is_left(&revoked));
    registry.gone(&key(1), "Kicked");
    assert!(!registry.is_left(&revoked));
}

#[test]
fn one_of_its_own_that_was_forgotten_is_nobody_s() {
    let registry = begun();
    registry.seen(found(1, "me", Some(at(1))));
    assert_eq!(registry.others(), [(key(1), Owner::Nobody)]);
}

#[test]
fn of_a_found_session_its_owner_is_told_apart() {
    let registry = begun();
    registry.seen(found(1, "other", Some(at(1))));
    let struck = registry.take(&entry(2, person("alice")));
    assert!(struck.mine.is_empty());
    assert_eq!(struck.others, [(key(1), Touch::Yes)]);
    registry.hand_over(&key(1), Owner::Me);
    assert_eq!(registry.take(&entry(3, person("alice"))).mine, [key(1)]);
}

#[test]
fn what_is_not_listed_any_more_is_gone_and_what_is_new_is_not() {
    let registry = begun();
    let_in(&registry, 1, at(1), &[]);
    registry.seen(found(1, "me", Some(at(1))));
    let_in(&registry, 2, at(1), &[]);
    let later = Instant::now() + Duration::from_secs(1);
    // The second was answered a moment ago, and may be on its way.
    assert_eq!(registry.missing("NA", later, &|_| false), 1);
    assert_eq!(registry.missing("NB", later + CONNECTS_WITHIN, &|_| false), 0);
    assert_eq!(registry.missing("NA", later + CONNECTS_WITHIN, &|_| false), 1);
    assert!(registry.is_empty());
}

#[test]
fn a_recheck_that_ends_late_does_not_make_a_session_older() {
    let registry = begun();
    let_in(&registry, 1, at(1), &about("alice", &["apollo"]));
    for sequence in 2..=9 {
        registry.take(&entry(sequence, person("bob")));
    }
    registry.renew(&key(1), Some(at(9)), 2, facts(&about("alice", &["gemini"])));
    registry.renew(&key(1), Some(at(5)), 1, facts(&about("alice", &["apollo"])));
    let session = registry.get(&key(1)).unwrap();
    assert_eq!(
        (session.as_of(), session.record.policy_generation),
        (Some(at(9)), 2)
    );
    assert_eq!(registry.take(&entry(10, project("gemini"))).mine, [key(1)]);
}

/// What closes a session whatever it would get.
fn closing(client_id: u64) -> [Selector; 3] {
    let SessionKey { server_id, client_id } = key(client_id);
    [
        Selector::Account { name: "APP".into() },
        person("alice"),
        Selector::Session { server_id, client_id },
    ]
}

fn concerned() -> Vec<Concern> {
    let mut concerns = about("alice", &["apollo"]);
    concerns.push(Concern::account("APP"));
    concerns
}

#[test]
fn looking_at_anothers_session_does_not_carry_out_what_closes_it() {
    for selector in closing(1) {
        let registry = begun();
        registry.seen(found(1, "other", Some(at(1))));
        registry.take(&entry(2, selector.clone()));
        registry.take(&entry(3, project("gemini")));
        // For the third entry it was asked what it would get, of somebody who had read on.
        registry.renew(&key(1), Some(at(4)), 0, facts(&concerned()));
        let owner = registry.owner_of_older(&key(1), &at(2));
        assert_eq!(owner, Some(Owner::Other("other".into())), "{selector:?}");
        let against = registry.against(&key(1)).unwrap();
        assert!(
            against.iter().any(|(entry, _)| entry.revision == at(2)),
            "{selector:?}"
        );
        // Another look does not either, nor one that ends late.
        for later in [5, 3] {
            registry.renew(&key(1), Some(at(later)), 0, facts(&concerned()));
            assert!(registry.owner_of_older(&key(1), &at(2)).is_some(), "{selector:?}");
        }
    }
}

#[test]
fn looking_at_a_session_ahead_of_the_log_does_not_carry_out_what_is_still_to_come() {
    for selector in closing(1) {
        let registry = begun();
        let_in(&registry, 1, at(1), &concerned());
        registry.renew(&key(1), Some(at(3)), 0, facts(&concerned()));
        assert_eq!(registry.get(&key(1)).unwrap().as_of(), Some(at(1)));
        let closing = entry(2, selector.clone());
        assert_eq!(registry.take(&closing).mine, [key(1)], "{selector:?}");
        // It is on its way out, and looked at once more: the entry is not carried out by that.
        registry.renew(&key(1), Some(at(3)), 0, facts(&concerned()));
        assert!(registry.is_left(&closing), "{selector:?}");
        registry.gone(&key(1), "");
        assert!(!registry.is_left(&closing), "{selector:?}");
    }
}

#[test]
fn looking_carries_out_what_only_asks_for_a_look_and_what_is_about_others() {
    let registry = begun();
    let mut concerns = about("alice", &["apollo"]);
    concerns.push(Concern::member(&alice(), "project", "apollo"));
    let_in(&registry, 1, at(1), &concerns);
    let member = Selector::Membership {
        principal: alice(),
        kind: "project".into(),
        id: "apollo".into(),
    };
    assert_eq!(registry.take(&entry(2, member)).mine, [key(1)]);
    registry.take(&entry(3, person("bob")));
    // A project it did not have when that was closed.
    registry.take(&entry(4, project("gemini")));
    registry.renew(
        &key(1),
        Some(at(4)),
        0,
        facts(&about("alice", &["apollo", "gemini"])),
    );
    assert_eq!(registry.get(&key(1)).unwrap().as_of(), Some(at(4)));
    // Of an epoch that was not taken in here nothing is known.
    let ahead = Revision::new(epoch(2), 9);
    registry.renew(&key(1), Some(ahead), 0, facts(&about("alice", &["apollo"])));
    assert_eq!(registry.get(&key(1)).unwrap().as_of(), Some(at(4)));
    assert_eq!(
        registry.jump(held(Revision::new(epoch(2), 3), &[])).look,
        [key(1)]
    );
}

#[test]
fn nothing_of_a_session_stays_when_it_is_gone() {
    let registry = begun();
    let_in(&registry, 1, at(1), &about("alice", &["apollo"]));
    let_in(&registry, 2, at(1), &[]);
    for client in [1, 2] {
        registry.gone(&key(client), "");
    }
    let state = registry.state();
    assert_eq!(
        (state.ids.len(), state.sessions.len(), state.index.sizes()),
        (0, 0, (0, 0))
    );
}

#[test]
fn a_gap_strikes_everybody_who_is_not_valid_as_of_after_it() {
    let registry = begun();
    let_in(&registry, 1, at(1), &about("alice", &[]));
    let after = Revision::new(epoch(2), 3);
    let_in(&registry, 2, after, &about("alice", &[]));
    registry.ask(record(3, &alice(), None), false);
    assert_eq!(registry.jump(held(after, &[])).look, [key(1)]);
}

#[test]
fn a_session_of_an_epoch_that_was_never_heard_of_cannot_be_judged() {
    let registry = begun();
    let as_of = |client, as_of| Found {
        record: record(client, &alice(), Some(as_of)),
        leaf: false,
    };
    // The log was lost while no shim was there that remembers it.
    assert!(registry.seen(as_of(1, Revision::new(epoch(9), 1))));
    assert!(registry.seen(as_of(2, at(1))));
    assert!(registry.against(&key(1)).is_none());
    assert!(
        registry
            .against(&key(2))
            .is_some_and(|entries| entries.is_empty())
    );
}

/// The clients that each missed entry closes, by the entry's sequence.
fn missed(jumped: &Jumped) -> Vec<(u64, Vec<u64>)> {
    let one = |(entry, struck): &(Arc<LogEntry>, Struck)| {
        let mut clients: Vec<u64> = struck.mine.iter().map(|key| key.client_id).collect();
        clients.sort_unstable();
        (entry.revision.sequence, clients)
    };
    jumped.missed.iter().map(one).collect()
}

#[test]
fn what_another_epoch_still_has_of_the_one_before_and_was_not_taken_in_is_carried_out() {
    let registry = begun();
    let log = [
        entry(1, person("alice")),
        entry(2, person("alice")),
        entry(3, person("bob")),
        entry(4, person("alice")),
    ];
    registry.take(&log[1]);
    for (client, as_of) in [
        (1, at(2)),
        (2, at(3)),
        (3, at(4)),
        (4, Revision::new(epoch(2), 4)),
    ] {
        let_in(&registry, client, as_of, &about("alice", &[]));
    }
    let jumped = registry.jump(held(Revision::new(epoch(2), 4), &log));
    // The second was carried out; the fourth finds those that are older than it.
    assert_eq!(missed(&jumped), [(3, vec![]), (4, vec![1, 2])]);
    assert_eq!(jumped.look.len(), 3);
    // Looked at and spared, both are still to be closed for it; nobody else is left to wait for.
    for client in [1, 2] {
        let now = Revision::new(epoch(2), 4);
        registry.renew(&key(client), Some(now), 0, facts(&about("alice", &[])));
        assert!(registry.is_left(&log[3]), "{client} is");
        registry.gone(&key(client), "Kicked");
    }
    assert!(!registry.is_left(&log[3]));
    // Once taken in it is not missed again.
    let later = registry.jump(held(Revision::new(epoch(3), 4), &log));
    assert!(later.missed.is_empty());
}

#[test]
fn what_is_left_of_a_log_that_was_trimmed_is_carried_out() {
    let registry = begun();
    let_in(&registry, 1, at(1), &about("alice", &[]));
    let log = [entry(4, person("bob")), entry(5, person("alice"))];
    let jumped = registry.jump(held(at(5), &log));
    assert_eq!(missed(&jumped), [(4, vec![]), (5, vec![1])]);
    assert_eq!(jumped.look, [key(1)]);
    // A grant of before what is missing cannot be judged, one of after it can.
    let answer = |client, as_of| let_in(&registry, client, as_of, &about("alice", &[]));
    assert!(matches!(answer(2, at(2)), Answer::AskAgain(_)));
    assert!(matches!(answer(3, at(4)), Answer::AskAgain(_)));
    assert_eq!(answer(4, at(5)), Answer::Give { as_of: Some(at(5)) });
}

#[test]
fn what_a_log_held_before_this_shim_began_was_not_missed() {
    let (registry, _told) = Registry::new("me");
    let log = [entry(1, person("alice")), entry(2, person("alice"))];
    assert!(registry.jump(held(at(2), &log)).missed.is_empty());
    // Nor is it where the next epochs have none of its own.
    for later in [2, 3] {
        let position = Revision::new(epoch(later), 2);
        assert!(registry.jump(held(position, &log)).missed.is_empty());
    }
    // But it is held against whom this shim finds, be it of the epoch before.
    registry.seen(found(1, "gone", Some(at(1))));
    registry.seen(found(2, "gone", Some(at(2))));
    registry.seen(found(3, "gone", Some(Revision::new(epoch(9), 1))));
    let closed = [1, 2, 3].map(|client| registry.is_closed_since(&key(client), false));
    assert_eq!(closed, [true, false, false]);
    // One of an epoch that nobody here has heard of is of before the newest.
    let now = Revision::new(epoch(3), 3);
    registry.take(&Arc::new(LogEntry {
        revision: now,
        ..LogEntry::clone(&entry(3, person("alice")))
    }));
    assert!(!registry.is_closed_since(&key(3), false));
    assert!(registry.is_closed_since(&key(3), true));
    registry.seen(found(4, "gone", Some(now)));
    assert!(!registry.is_closed_since(&key(4), true));
}

#[test]
fn an_entry_of_an_epoch_that_came_and_went_unnoticed_is_carried_out() {
    let registry = begun();
    registry.take(&entry(2, person("bob")));
    registry.take(&entry(3, person("bob")));
    let_in(&registry, 1, at(3), &about("alice", &[]));
    // The log lost its third entry; another took its place in an epoch that is over too.
    let unnoticed = LogEntry {
        id: EntryId([9; 16]),
        revision: Revision::new(epoch(2), 3),
        ..LogEntry::clone(&entry(3, person("alice")))
    };
    let log = [
        entry(1, person("alice")),
        entry(2, person("bob")),
        Arc::new(unnoticed),
    ];
    let jumped = registry.jump(held(Revision::new(epoch(3), 3), &log));
    assert_eq!(missed(&jumped), [(3, vec![1])]);
}

#[test]
fn looking_at_a_session_of_an_epoch_that_is_over_does_not_carry_out_what_closes_it_in_this_one() {
    for selector in closing(1) {
        let registry = begun();
        registry.seen(found(1, "other", Some(at(1))));
        // Nothing of before is left.
        registry.jump(held(Revision::new(epoch(2), 1), &[]));
        let closing = Arc::new(LogEntry {
            revision: Revision::new(epoch(2), 2),
            ..LogEntry::clone(&entry(2, selector.clone()))
        });
        registry.take(&closing);
        // What its shim told of it before is learned; then it is taken over, and looked at.
        let now = Revision::new(epoch(2), 2);
        registry.renew(&key(1), Some(at(1)), 0, facts(&concerned()));
        assert!(registry.is_closed_since(&key(1), false), "{selector:?}");
        registry.hand_over(&key(1), Owner::Me);
        registry.renew(&key(1), Some(now), 0, facts(&concerned()));
        assert!(registry.is_left(&closing), "{selector:?}");
        registry.gone(&key(1), "Kicked");
        assert!(!registry.is_left(&closing), "{selector:?}");
    }
    // What is about others does not hold it back.
    let registry = begun();
    registry.seen(found(1, "other", Some(at(1))));
    registry.jump(held(Revision::new(epoch(2), 1), &[]));
    registry.take(&Arc::new(LogEntry {
        revision: Revision::new(epoch(2), 2),
        ..LogEntry::clone(&entry(2, person("bob")))
    }));
    let now = Some(Revision::new(epoch(2), 2));
    registry.renew(&key(1), now, 0, facts(&concerned()));
    assert_eq!(registry.get(&key(1)).unwrap().as_of(), now);
}

#[test]
fn a_log_that_begins_anew_with_low_sequences_is_carried_out() {
    let (registry, _told) = Registry::new("me");
    registry.jump(held(at(9), &[]));
    let_in(&registry, 1, at(9), &about("alice", &[]));
    let first = LogEntry {
        revision: Revision::new(epoch(2), 1),
        ..LogEntry::clone(&entry(1, person("alice")))
    };
    let jumped = registry.jump(held(first.revision, &[Arc::new(first)]));
    assert_eq!(missed(&jumped), [(1, vec![1])]);
}
