//! Whom a ban refuses.

use std::time::Duration;

use natsgate_core::{Ban, BanScope, Concern, DenialReason, EntryId, Selector};

use super::scene::{NOW, Scene, Source, alice, revision};
use super::{denied, unanswered};
use crate::pipeline::Rechecked;

const ISSUER: &str = "https://login.example";

fn ban(selector: Selector) -> Ban {
    let until = NOW + Duration::from_secs(60);
    Ban {
        id: EntryId([7; 16]),
        selector,
        scope: BanScope::Everyone { until },
        reason: String::new(),
        actor: "ops".into(),
        imposed_at: NOW,
        ends_at: until,
        lifted: None,
    }
}

fn on_alice() -> Ban {
    ban(Selector::Principal { principal: alice() })
}

#[tokio::test]
async fn who_is_banned_gets_nothing_however_they_are_banned() {
    let scene = Scene::new(vec![Source::member("a")]);
    let of = |token_id: &str| Selector::Token {
        issuer: ISSUER.into(),
        token_id: token_id.into(),
    };
    for selector in [
        Selector::Principal { principal: alice() },
        Selector::Provider {
            issuer: ISSUER.into(),
        },
        Selector::SigningKey {
            issuer: ISSUER.into(),
            key_id: "k1".into(),
        },
        of("t1"),
        Selector::ProviderSession {
            issuer: ISSUER.into(),
            session_id: "s1".into(),
        },
        Selector::Account { name: "APP".into() },
    ] {
        scene.bans.set(vec![ban(selector.clone())]);
        assert_eq!(
            denied(scene.decide().await.outcome),
            DenialReason::Banned,
            "{selector:?}"
        );
    }
    for selector in [
        of("t2"),
        Selector::Provider {
            issuer: "https://other".into(),
        },
        Selector::Account { name: "OTHER".into() },
    ] {
        scene.bans.set(vec![ban(selector)]);
        assert!(scene.decide().await.outcome.is_ok());
    }
}

#[tokio::test]
async fn only_credentials_of_before_are_refused_where_the_ban_says_so() {
    let mut scene = Scene::new(vec![Source::member("a")]);
    scene.bans.set(vec![Ban {
        scope: BanScope::IssuedUntil(NOW),
        ..on_alice()
    }]);
    // One that does not say when it was issued is as old as may be.
    assert_eq!(denied(scene.decide().await.outcome), DenialReason::Banned);
    scene.identities(|provider| provider.issued_at = Some(NOW));
    assert_eq!(denied(scene.decide().await.outcome), DenialReason::Banned);
    scene.identities(|provider| provider.issued_at = Some(NOW + Duration::from_secs(1)));
    assert!(scene.decide().await.outcome.is_ok());
}

#[tokio::test]
async fn a_ban_that_has_ended_or_was_lifted_meanwhile_refuses_nobody() {
    let scene = Scene::new(vec![Source::member("a")]);
    scene.bans.set(vec![Ban {
        ends_at: NOW,
        ..on_alice()
    }]);
    assert!(scene.decide().await.outcome.is_ok());
}

#[tokio::test]
async fn while_bans_cannot_be_asked_for_nobody_is_let_in() {
    let scene = Scene::new(vec![Source::member("a")]);
    let basis = scene.decide().await.basis;
    scene.bans.go_away();
    let why = unanswered(scene.decide().await.outcome);
    assert!(why.contains("bans"), "{why}");
    scene.recheck(&basis).await.unwrap_err();
}

#[tokio::test]
async fn a_ban_that_overtakes_a_decision_is_seen() {
    // The source revokes memberships while it is asked; a ban stands in the log the same way.
    let mut scene = Scene::new(vec![]);
    let banning = Source::interrupting(Concern::ban_on(&Concern::principal(&alice())), &scene.log);
    scene.pipeline.memberships = super::scene::merged(vec![banning]);
    let decision = scene.decide().await;
    assert_eq!(decision.as_of, Some(revision(5)), "the first round was as of 4");
}

#[tokio::test]
async fn a_session_of_somebody_banned_since_would_get_nothing() {
    let scene = Scene::new(vec![Source::member("a")]);
    let basis = scene.decide().await.basis;
    scene.bans.set(vec![on_alice()]);
    match scene.recheck(&basis).await.unwrap() {
        Rechecked::Denied(denial) => assert_eq!(denial.reason, DenialReason::Banned),
        other => panic!("{other:?}"),
    }
}
