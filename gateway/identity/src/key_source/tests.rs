//! The keys' life, at a provider on loopback that counts and a clock moved by hand.

use std::sync::atomic::Ordering;

use natsgate_core::clock::unix_seconds;
use serde_json::json;
use tokio::task::JoinSet;

use super::*;
use crate::testing::{
    Answer, HandClock, SigningKey, TestCache, TestFreshness, TestProvider, key_source, soon,
};

const KNOWN: Algorithm = Algorithm::ES256;

struct Scene {
    provider: TestProvider,
    clock: Arc<HandClock>,
    cache: Arc<TestCache>,
    keys: KeySource,
    key: SigningKey,
    freshness: Option<Arc<TestFreshness>>,
}

impl Scene {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut OidcSettings)) -> Self {
        Self::hearing(None, change).await
    }

    /// With a log of revocations.
    async fn hearing(freshness: Option<Arc<TestFreshness>>, change: impl FnOnce(&mut OidcSettings)) -> Self {
        let key = SigningKey::shared(KNOWN, "known");
        let provider = TestProvider::start(&[&key]).await;
        let clock = HandClock::new();
        let cache = Arc::new(TestCache::default());
        let mut settings = provider.settings();
        // Time-outs are real time; the tests that need a slow provider close its gate.
        settings.fetch_timeout = Duration::from_secs(20);
        change(&mut settings);
        let keys = key_source(&settings, &clock, &cache, freshness.clone()).unwrap();
        Self {
            provider,
            clock,
            cache,
            keys,
            key,
            freshness,
        }
    }

    /// Another instance: it shares the cache, the clock and the provider.
    fn sibling(&self) -> KeySource {
        let settings = self.provider.settings();
        key_source(&settings, &self.clock, &self.cache, self.freshness.clone()).unwrap()
    }

    async fn find(&self, kid: &str) -> Result<usize, Failure> {
        self.keys
            .find(Some(kid), KNOWN, soon())
            .await
            .map(|keys| keys.len())
    }

    async fn unavailable(&self, kid: &str) -> String {
        match self.find(kid).await {
            Err(Failure::Unavailable(why)) => why.0,
            other => panic!("{other:?}"),
        }
    }

    async fn unknown(&self, kid: &str) {
        match self.find(kid).await {
            Err(Failure::Denied(denial)) => assert_eq!(denial.reason, DenialReason::UnknownKey),
            other => panic!("{other:?}"),
        }
    }

    /// Until no fetch runs.
    async fn settled(&self) {
        let running = self.keys.shared.lock().running();
        if let Some(running) = running {
            self.keys.wait(running, soon()).await.unwrap();
        }
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

#[tokio::test]
async fn a_hundred_first_lookups_make_one_fetch() {
    let scene = Scene::new().await;
    scene.provider.close_gate();
    let mut lookups = JoinSet::new();
    for _ in 0..100 {
        let keys = scene.keys.clone();
        lookups.spawn(async move {
            keys.find(Some("known"), KNOWN, soon())
                .await
                .map(|keys| keys.len())
        });
    }
    scene.provider.arrival().await;
    scene.provider.open_gate();
    while let Some(found) = lookups.join_next().await {
        assert_eq!(found.unwrap(), Ok(1));
    }
    assert_eq!((scene.provider.discoveries(), scene.provider.fetches()), (1, 1));
}

#[tokio::test]
async fn a_slow_provider_holds_nobody_past_his_deadline_and_the_fetch_goes_on() {
    let scene = Scene::new().await;
    scene.provider.close_gate();
    // The gate stays closed, so this can only end by its deadline.
    let hasty = scene
        .keys
        .find(Some("known"), KNOWN, Deadline::after(Duration::from_millis(20)))
        .await;
    assert!(matches!(hasty, Err(Failure::Unavailable(_))), "{hasty:?}");
    scene.provider.arrival().await;
    scene.provider.open_gate();
    assert_eq!(scene.find("known").await, Ok(1));
    assert_eq!(scene.provider.fetches(), 1);
}

#[tokio::test]
async fn a_waiter_that_is_dropped_does_not_end_the_fetch() {
    let scene = Scene::new().await;
    scene.provider.close_gate();
    let keys = scene.keys.clone();
    let waiter = tokio::spawn(async move { keys.find(Some("known"), KNOWN, soon()).await.map(|_| ()) });
    scene.provider.arrival().await;
    waiter.abort();
    assert!(waiter.await.unwrap_err().is_cancelled());
    scene.provider.open_gate();
    assert_eq!(scene.find("known").await, Ok(1));
    assert_eq!(scene.provider.fetches(), 1);
}

#[tokio::test]
async fn a_fetch_has_a_bound_of_its_own() {
    let scene = Scene::with(|settings| settings.fetch_timeout = Duration::from_millis(20)).await;
    scene.provider.close_gate();
    let why = scene.unavailable("known").await;
    assert!(
        why.contains("fetch_timeout") && why.contains("`corp`") && why.contains(&scene.provider.issuer),
        "{why}"
    );
}

#[tokio::test]
async fn a_flood_of_unknown_keys_makes_one_fetch_per_cool_down() {
    let scene = Scene::new().await;
    assert_eq!(scene.find("known").await, Ok(1));
    for round in 0..3 {
        let mut lookups = JoinSet::new();
        for number in 0..100 {
            let keys = scene.keys.clone();
            lookups.spawn(async move {
                let kid = format!("unknown{number}");
                keys.find(Some(&kid), KNOWN, soon()).await.map(|keys| keys.len())
            });
        }
        while let Some(found) = lookups.join_next().await {
            let failure = found.unwrap().unwrap_err();
            assert!(
                matches!(&failure, Failure::Denied(d) if d.reason == DenialReason::UnknownKey),
                "{failure}"
            );
        }
        assert_eq!(scene.provider.fetches(), 2 + round);
        // Known keys are found all the while.
        assert_eq!(scene.find("known").await, Ok(1));
        scene.pass(29);
        scene.unknown("unknown").await;
        assert_eq!(scene.provider.fetches(), 2 + round);
        scene.pass(1);
    }
}

#[tokio::test]
async fn an_unknown_key_in_the_very_first_lookup_makes_one_fetch() {
    let scene = Scene::new().await;
    scene.unknown("unknown").await;
    assert_eq!(scene.provider.fetches(), 1);
}

#[tokio::test]
async fn a_rotated_key_is_found_by_fetching_again_past_the_cache() {
    let scene = Scene::new().await;
    assert_eq!(scene.find("known").await, Ok(1));
    let new = SigningKey::shared(KNOWN, "new");
    scene.provider.publish(&[&scene.key, &new]);
    assert_eq!(scene.find("new").await, Ok(1));
    assert_eq!(scene.provider.fetches(), 2);
}

#[tokio::test]
async fn an_unknown_key_while_the_provider_is_away_is_no_denial() {
    let scene = Scene::new().await;
    assert_eq!(scene.find("known").await, Ok(1));
    scene.provider.answer(Answer::Status(503));
    let why = scene.unavailable("unknown").await;
    assert!(why.contains("503"), "{why}");
    // Within the back-off nobody is asked again, and it is still no denial.
    scene.unavailable("unknown").await;
    assert_eq!(scene.provider.fetches(), 2);
    assert_eq!(scene.find("known").await, Ok(1));
    scene.provider.publish(&[&scene.key]);
    scene.pass(1);
    scene.unknown("unknown").await;
}

#[tokio::test]
async fn a_provider_that_fails_is_left_alone_for_longer_each_time() {
    let scene = Scene::new().await;
    scene.provider.answer(Answer::Status(500));
    for (fetches, pause) in [(1, 500), (2, 1000), (3, 2000), (4, 4000), (5, 5000), (6, 5000)] {
        scene.unavailable("known").await;
        assert_eq!(scene.provider.fetches(), fetches);
        scene.clock.advance(Duration::from_millis(pause - 1));
        scene.unavailable("known").await;
        assert_eq!(scene.provider.fetches(), fetches, "before {pause} ms");
        scene.clock.advance(Duration::from_millis(1));
    }
    scene.provider.publish(&[&scene.key]);
    assert_eq!(scene.find("known").await, Ok(1));
}

#[tokio::test]
async fn old_keys_are_refreshed_in_the_background_without_anybody_waiting() {
    let scene = Scene::new().await;
    assert_eq!(scene.find("known").await, Ok(1));
    scene.pass(299);
    assert_eq!(scene.find("known").await, Ok(1));
    assert_eq!(scene.provider.fetches(), 1);
    scene.pass(1);
    scene.provider.close_gate();
    scene.provider.publish(&[&SigningKey::shared(KNOWN, "another")]);
    // Answered although the fetch that this begins cannot end.
    assert_eq!(scene.find("known").await, Ok(1));
    scene.provider.open_gate();
    scene.settled().await;
    assert_eq!((scene.provider.fetches(), scene.provider.discoveries()), (2, 2));
    // A key that the provider took out is gone.
    scene.unknown("known").await;
}

#[tokio::test]
async fn keys_are_kept_through_an_outage_for_their_time_and_no_longer() {
    let scene = Scene::new().await;
    assert_eq!(scene.find("known").await, Ok(1));
    scene.provider.answer(Answer::Status(503));
    for _ in 0..11 {
        scene.pass(300);
        assert_eq!(scene.find("known").await, Ok(1));
        scene.settled().await;
    }
    scene.pass(299);
    assert_eq!(scene.find("known").await, Ok(1));
    scene.settled().await;
    scene.pass(1);
    scene.unavailable("known").await;
    scene.provider.publish(&[&scene.key]);
    scene.pass(5);
    assert_eq!(scene.find("known").await, Ok(1));
}

#[tokio::test]
async fn a_clock_set_back_does_not_make_keys_last() {
    let scene = Scene::new().await;
    assert_eq!(scene.find("known").await, Ok(1));
    scene.clock.set_back(Duration::from_secs(20));
    assert_eq!(scene.find("known").await, Ok(1));
    assert_eq!(scene.provider.fetches(), 1);
    scene.clock.set_back(Duration::from_secs(86_400));
    scene.provider.answer(Answer::Status(503));
    scene.unavailable("known").await;
}

#[tokio::test]
async fn what_another_instance_fetched_serves_this_one() {
    let scene = Scene::new().await;
    assert_eq!(scene.find("known").await, Ok(1));
    scene.pass(100);
    let sibling = scene.sibling();
    assert_eq!(sibling.find(Some("known"), KNOWN, soon()).await.unwrap().len(), 1);
    assert_eq!((scene.provider.fetches(), scene.provider.discoveries()), (1, 1));
    // They are as old as the fetch, not as their arrival here.
    scene.provider.answer(Answer::Status(503));
    scene.pass(3499);
    assert!(sibling.find(Some("known"), KNOWN, soon()).await.is_ok());
    scene.pass(1);
    assert!(sibling.find(Some("known"), KNOWN, soon()).await.is_err());
}

#[tokio::test]
async fn an_unknown_key_is_not_denied_on_the_word_of_the_cache() {
    let scene = Scene::new().await;
    assert_eq!(scene.find("known").await, Ok(1));
    let new = SigningKey::shared(KNOWN, "new");
    scene.provider.publish(&[&new]);
    assert_eq!(
        scene
            .sibling()
            .find(Some("new"), KNOWN, soon())
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(scene.provider.fetches(), 2);
}

#[tokio::test]
async fn a_broken_cache_or_nonsense_in_it_changes_nothing() {
    let scene = Scene::new().await;
    scene.cache.broken.store(true, Ordering::SeqCst);
    assert_eq!(scene.find("known").await, Ok(1));
    assert_eq!(scene.provider.fetches(), 1);

    let scene = Scene::new().await;
    assert_eq!(scene.find("known").await, Ok(1));
    let stamp = unix_seconds(scene.clock.now());
    let entry = |stamp: i64, body: &str| [&stamp.to_be_bytes(), &[0; 25][..], body.as_bytes()].concat();
    let forged = json!({"keys": [SigningKey::shared(KNOWN, "forged").jwk()]}).to_string();
    for (number, nonsense) in [
        vec![],
        vec![1, 2, 3],
        entry(stamp, "<html>"),
        entry(stamp + 10, &forged),
        entry(-5, &forged),
        entry(0, &forged),
        // Of an earlier form, and with a stamp that is neither there nor not.
        [&stamp.to_be_bytes(), forged.as_bytes()].concat(),
        [&stamp.to_be_bytes(), &[2; 25][..], forged.as_bytes()].concat(),
    ]
    .into_iter()
    .enumerate()
    {
        for value in scene.cache.entries.lock().unwrap().values_mut() {
            *value = nonsense.clone().into();
        }
        let sibling = scene.sibling();
        // A key that nobody published is not to be had this way.
        assert!(sibling.find(Some("forged"), KNOWN, soon()).await.is_err());
        assert!(sibling.find(Some("known"), KNOWN, soon()).await.is_ok());
        assert_eq!(scene.provider.fetches(), number + 2);
    }
}

#[tokio::test]
async fn answers_that_are_no_key_set_are_unavailable_and_say_why() {
    for (answer, hint) in [
        (Answer::Raw("<html>".to_owned()), "not a key set"),
        (Answer::Keys(vec![]), "none of the 0 keys"),
        (
            Answer::Keys(vec![json!({"kty": "oct", "kid": "known", "k": "AAAA"})]),
            "none of the 1 keys",
        ),
        (Answer::Raw("x".repeat(1024 * 1024 + 1)), "1 MiB"),
        (Answer::Status(404), "404"),
        (Answer::Status(204), "204"),
        (Answer::Redirect, "redirect"),
    ] {
        let scene = Scene::new().await;
        scene.provider.answer(answer);
        let why = scene.unavailable("known").await;
        assert!(why.contains(hint) && why.contains("/jwks"), "{why}");
        assert_eq!(scene.provider.fetches(), 1);
    }
}

#[tokio::test]
async fn a_discovery_document_of_another_issuer_is_not_followed() {
    let scene = Scene::new().await;
    scene.provider.discover_as("https://elsewhere.example");
    let why = scene.unavailable("known").await;
    assert!(why.contains("issuer"), "{why}");
    assert_eq!(scene.provider.fetches(), 0);
}

#[tokio::test]
async fn a_configured_key_url_needs_no_discovery() {
    let key = SigningKey::shared(KNOWN, "known");
    let provider = TestProvider::start(&[&key]).await;
    let mut settings = provider.settings();
    settings.jwks_url = Some(format!("{}/jwks?secret=hidden", provider.issuer));
    let keys = key_source(&settings, &HandClock::new(), &Arc::default(), None).unwrap();
    assert_eq!(keys.load(soon()).await, Ok(1));
    assert_eq!(provider.discoveries(), 0);

    provider.answer(Answer::Status(500));
    let keys = key_source(&settings, &HandClock::new(), &Arc::default(), None).unwrap();
    let why = keys.load(soon()).await.unwrap_err();
    assert!(why.0.contains("/jwks") && !why.0.contains("hidden"), "{why}");
}

#[tokio::test]
async fn nobody_listening_is_unavailable_with_the_cause() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut settings = OidcSettings::new("corp", &issuer, vec!["nats".to_owned()]);
    settings.jwks_url = Some(format!("{issuer}/jwks?secret=hidden"));
    let keys = key_source(&settings, &HandClock::new(), &Arc::default(), None).unwrap();
    let why = keys.load(soon()).await.unwrap_err().0;
    assert!(
        why.contains("corp") && why.contains(&issuer) && why.contains("refused"),
        "{why}"
    );
    assert!(!why.contains("hidden"), "{why}");
}

#[tokio::test]
async fn a_ca_file_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let mut settings = OidcSettings::new("corp", "https://idp.example", vec!["nats".to_owned()]);
    settings.ca_file = Some(path.clone());
    let fails = |settings: &OidcSettings| {
        key_source(settings, &HandClock::new(), &Arc::default(), None)
            .err()
            .unwrap()
    };
    assert_eq!(fails(&settings).key, "providers[corp].ca_file");
    std::fs::write(&path, "no certificate").unwrap();
    let error = fails(&settings);
    assert!(
        error.problem.contains("PEM") && error.problem.contains("ca.pem"),
        "{error}"
    );
}

#[tokio::test]
async fn an_empty_key_set_is_an_outage_and_the_old_keys_are_kept() {
    let scene = Scene::new().await;
    assert_eq!(scene.find("known").await, Ok(1));
    scene.provider.publish(&[]);
    scene.pass(300);
    assert_eq!(scene.find("known").await, Ok(1));
    scene.settled().await;
    assert_eq!(scene.provider.fetches(), 2);
    assert_eq!(scene.find("known").await, Ok(1));
    scene.pass(3300);
    scene.unavailable("known").await;
}

#[tokio::test]
async fn keys_from_before_a_revocation_are_fetched_again_before_they_are_used() {
    let freshness = TestFreshness::new();
    let scene = Scene::hearing(Some(freshness.clone()), |_| {}).await;
    assert_eq!(scene.find("known").await, Ok(1));
    let mut fetches = 1;
    for concern in [
        Concern::provider(&scene.provider.issuer),
        Concern::signing_key(&scene.provider.issuer, "known"),
    ] {
        freshness.revoke(Concern::provider("https://elsewhere.example"));
        freshness.revoke(Concern::signing_key(&scene.provider.issuer, "another"));
        assert_eq!(scene.find("known").await, Ok(1));
        assert_eq!(scene.provider.fetches(), fetches);

        freshness.revoke(concern);
        assert_eq!(scene.find("known").await, Ok(1));
        fetches += 1;
        assert_eq!(scene.provider.fetches(), fetches);
    }

    // Nobody goes by the old keys because the provider is away.
    freshness.revoke(Concern::provider(&scene.provider.issuer));
    scene.provider.answer(Answer::Status(503));
    let why = scene.unavailable("known").await;
    assert!(why.contains("503"), "{why}");
    scene.provider.publish(&[&SigningKey::shared(KNOWN, "new")]);
    scene.pass(1);
    assert_eq!(scene.find("new").await, Ok(1));
    scene.unknown("known").await;
}

#[tokio::test]
async fn a_fetch_that_began_before_a_revocation_and_ends_after_it_is_made_again() {
    let freshness = TestFreshness::new();
    let scene = Scene::hearing(Some(freshness.clone()), |_| {}).await;
    scene.provider.close_gate();
    let keys = scene.keys.clone();
    let waiter = tokio::spawn(async move {
        keys.find(Some("known"), KNOWN, soon())
            .await
            .map(|keys| keys.len())
    });
    scene.provider.arrival().await;
    freshness.revoke(Concern::provider(&scene.provider.issuer));
    scene.provider.open_gate();
    assert_eq!(waiter.await.unwrap(), Ok(1));
    assert_eq!(scene.provider.fetches(), 2);
    assert_eq!(scene.find("known").await, Ok(1));
    assert_eq!(scene.provider.fetches(), 2);
}

#[tokio::test]
async fn a_shared_document_from_before_a_revocation_is_ignored() {
    let freshness = TestFreshness::new();
    let scene = Scene::hearing(Some(freshness.clone()), |_| {}).await;
    assert_eq!(scene.find("known").await, Ok(1));
    assert!(scene.sibling().find(Some("known"), KNOWN, soon()).await.is_ok());
    assert_eq!((scene.provider.fetches(), scene.provider.discoveries()), (1, 1));
    freshness.revoke(Concern::signing_key(&scene.provider.issuer, "known"));
    assert!(scene.sibling().find(Some("known"), KNOWN, soon()).await.is_ok());
    assert_eq!((scene.provider.fetches(), scene.provider.discoveries()), (2, 1));
    freshness.revoke(Concern::provider(&scene.provider.issuer));
    assert!(scene.sibling().find(Some("known"), KNOWN, soon()).await.is_ok());
    assert_eq!((scene.provider.fetches(), scene.provider.discoveries()), (3, 2));
}

#[tokio::test]
async fn without_the_log_keys_come_from_the_provider_and_serve_until_the_log_is_back() {
    let freshness = TestFreshness::new();
    let scene = Scene::hearing(Some(freshness.clone()), |_| {}).await;
    assert_eq!(scene.find("known").await, Ok(1));
    freshness.set_confirmed(false);
    // What is shared counts only while the log is there, and nothing is shared without a stamp.
    let sibling = scene.sibling();
    for _ in 0..2 {
        assert!(sibling.find(Some("known"), KNOWN, soon()).await.is_ok());
        assert_eq!(scene.provider.fetches(), 2);
    }
    freshness.set_confirmed(true);
    for _ in 0..2 {
        assert!(sibling.find(Some("known"), KNOWN, soon()).await.is_ok());
        assert_eq!(scene.provider.fetches(), 3);
    }
    scene.cache.entries.lock().unwrap().clear();
    freshness.set_confirmed(false);
    let sibling = scene.sibling();
    assert!(sibling.find(Some("known"), KNOWN, soon()).await.is_ok());
    assert!(scene.cache.entries.lock().unwrap().is_empty());
    freshness.set_confirmed(true);
    assert!(sibling.find(Some("known"), KNOWN, soon()).await.is_ok());
    assert_eq!(scene.provider.fetches(), 5);
}
