//! The pipeline with controllable identities, sources and log.

mod banned;
mod rechecked;
mod scene;

use std::time::Duration;

use natsgate_core::{Concern, DenialReason, Evidence, Failure, PolicyGeneration, Position, Principal};

use super::*;
use scene::{NOW, Scene, Source, alice, epoch, revision};

fn denied(outcome: Result<Grant, Failure>) -> DenialReason {
    match outcome {
        Err(Failure::Denied(denial)) => denial.reason,
        other => panic!("{other:?}"),
    }
}

fn unanswered(outcome: Result<Grant, Failure>) -> String {
    match outcome {
        Err(Failure::Unavailable(unavailable)) => unavailable.0,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_the_sources_say_is_put_together() {
    let scene = Scene::new(vec![
        Source::member("b"),
        Source::member("a"),
        Source::member("b"),
    ]);
    assert_eq!(scene.allowed().await, ["projects.a.in.>", "projects.b.in.>"]);
}

#[tokio::test]
async fn one_source_that_is_down_leaves_no_answer() {
    let scene = Scene::new(vec![Source::member("a"), Source::Down]);
    unanswered(scene.decide().await.outcome);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_is_left_at_the_deadline() {
    let scene = Scene::new(vec![Source::member("a"), Source::Stuck]);
    unanswered(scene.decide().await.outcome);
}

#[tokio::test]
async fn no_membership_matches_no_rule() {
    let scene = Scene::new(vec![]);
    assert_eq!(denied(scene.decide().await.outcome), DenialReason::NoRuleMatched);
}

#[tokio::test]
async fn an_instance_that_has_not_read_the_log_decides_nothing() {
    let scene = Scene::new(vec![Source::member("a")]);
    scene.log.set(|log| log.position = Position::Unknown);
    let why = unanswered(scene.decide().await.outcome);
    assert!(why.contains("revocation log"), "{why}");

    scene
        .log
        .set(|log| log.position = Position::Confirmed(revision(4)));
    let decision = scene.decide().await;
    assert_eq!((decision.as_of, decision.degraded), (Some(revision(4)), false));
    assert_eq!(
        decision.outcome.unwrap().expires_at,
        NOW + Duration::from_secs(3600)
    );
}

#[tokio::test]
async fn without_the_log_grants_are_short_and_say_so() {
    let scene = Scene::new(vec![Source::member("a")]);
    scene
        .log
        .set(|log| log.position = Position::Degraded(revision(4)));
    let decision = scene.decide().await;
    assert!(decision.degraded);
    assert_eq!(
        decision.outcome.unwrap().expires_at,
        NOW + Duration::from_secs(60)
    );
}

#[tokio::test]
async fn an_instance_with_an_older_or_another_policy_decides_nothing() {
    for (own, in_force, same_digest, decides) in [
        (Some(7), None, true, false),
        (Some(7), Some(6), false, true),
        (Some(7), Some(7), true, true),
        (Some(7), Some(7), false, false),
        (Some(7), Some(8), true, false),
        (None, Some(1), true, false),
        (None, None, true, true),
    ] {
        let scene = Scene::with_generation(vec![Source::member("a")], own);
        let digest = if same_digest {
            scene.pipeline.policy.digest()
        } else {
            "other"
        }
        .to_owned();
        scene
            .log
            .set(|log| log.policy = in_force.map(|generation| PolicyGeneration { generation, digest }));
        let outcome = scene.decide().await.outcome;
        assert_eq!(
            outcome.is_ok(),
            decides,
            "{own:?} {in_force:?} {same_digest}: {outcome:?}"
        );
        if !decides {
            unanswered(outcome);
        }
    }
}

#[tokio::test]
async fn a_token_older_than_a_revocation_is_checked_online_or_denied() {
    let mut scene = Scene::new(vec![Source::member("a")]);
    scene
        .log
        .set(|log| log.superseded_claims = vec![Concern::principal(&alice())]);
    assert_eq!(denied(scene.decide().await.outcome), DenialReason::Superseded);

    scene.identities(|provider| provider.online = Some(Ok(Evidence::Online)));
    let decision = scene.decide().await;
    assert!(decision.outcome.is_ok() && !decision.degraded, "{decision:?}");
    assert_eq!(scene.confirmed(), 1);

    scene.identities(|provider| provider.online = Some(Err(Failure::unavailable("down"))));
    unanswered(scene.decide().await.outcome);
    let inactive = Failure::denied(DenialReason::InactiveToken, "no more");
    scene.identities(|provider| provider.online = Some(Err(inactive)));
    assert_eq!(denied(scene.decide().await.outcome), DenialReason::InactiveToken);
}

#[tokio::test]
async fn a_revocation_of_what_is_not_in_the_token_leaves_it_alone() {
    let scene = Scene::new(vec![Source::claims("a")]);
    scene.log.set(|log| {
        log.superseded_claims = vec![
            Concern::resource("project", "b"),
            Concern::memberships_of(&alice()),
            Concern::principal(&Principal::new("https://login.example", "bob")),
        ]
    });
    assert_eq!(scene.allowed().await, ["projects.a.in.>"]);
}

#[tokio::test]
async fn a_claim_that_names_a_revoked_resource_role_or_membership_is_checked_online_or_denied() {
    for concern in [
        Concern::resource("project", "a"),
        Concern::role("project", "member"),
        Concern::member(&alice(), "project", "a"),
    ] {
        let mut scene = Scene::new(vec![Source::claims("a"), Source::member("b")]);
        scene.log.set(|log| log.superseded_claims = vec![concern]);
        assert_eq!(denied(scene.decide().await.outcome), DenialReason::Superseded);

        // What the provider says now takes the place of the claims: here they name nothing.
        scene.identities(|provider| provider.online = Some(Ok(Evidence::Online)));
        assert_eq!(scene.allowed().await, ["projects.b.in.>"]);
    }
}

#[tokio::test]
async fn a_token_from_before_the_log_is_checked_online_or_short() {
    let mut scene = Scene::new(vec![Source::claims("a")]);
    scene.log.set(|log| log.unknown_claims = true);
    let decision = scene.decide().await;
    assert!(decision.degraded);
    assert_eq!(
        decision.outcome.unwrap().expires_at,
        NOW + Duration::from_secs(60)
    );

    // That it cannot be told of all does not hide what is known.
    scene
        .log
        .set(|log| log.superseded_claims = vec![Concern::resource("project", "a")]);
    assert_eq!(denied(scene.decide().await.outcome), DenialReason::Superseded);

    scene.log.set(|log| log.superseded_claims.clear());
    scene.pipeline.memberships = scene::merged(vec![Source::member("a")]);
    scene.identities(|provider| provider.online = Some(Ok(Evidence::Online)));
    let decision = scene.decide().await;
    assert!(!decision.degraded);
    assert_eq!(
        decision.outcome.unwrap().expires_at,
        NOW + Duration::from_secs(3600)
    );
}

#[tokio::test]
async fn certificates_and_online_answers_are_not_held_against_an_old_revocation() {
    for evidence in [Evidence::Online, Evidence::Certificate] {
        let mut scene = Scene::new(vec![Source::member("a")]);
        scene
            .log
            .set(|log| log.superseded_claims = vec![Concern::principal(&alice())]);
        scene.identities(|provider| provider.evidence = evidence.clone());
        assert!(scene.decide().await.outcome.is_ok(), "{evidence:?}");
    }
}

#[tokio::test]
async fn the_provider_s_word_about_somebody_else_is_not_taken() {
    let mut scene = Scene::new(vec![Source::member("a")]);
    scene
        .log
        .set(|log| log.superseded_claims = vec![Concern::principal(&alice())]);
    scene.identities(|provider| {
        provider.online = Some(Ok(Evidence::Online));
        provider.online_subject = "bob";
    });
    assert_eq!(denied(scene.decide().await.outcome), DenialReason::BadClaim);
}

#[tokio::test(start_paused = true)]
async fn what_the_caller_has_applied_is_applied_first() {
    let mut scene = Scene::new(vec![Source::member("a")]);
    scene.min_revision = Some(revision(4));
    assert!(scene.decide().await.outcome.is_ok());
    assert_eq!(scene.log.caught_up(), [], "it was applied already");

    scene.min_revision = Some(revision(9));
    let decision = scene.decide().await;
    assert_eq!(decision.as_of, Some(revision(9)));
    assert_eq!(scene.log.caught_up(), [revision(9)]);

    scene.log.set(|log| log.stuck = true);
    scene.min_revision = Some(revision(10));
    unanswered(scene.decide().await.outcome);
    // A revision of another epoch is never included, whatever its number.
    scene.min_revision = Some(Revision::new(epoch(2), 1));
    unanswered(scene.decide().await.outcome);
}

#[tokio::test]
async fn a_decision_that_a_revocation_overtakes_is_made_anew() {
    let scene = Scene::new(vec![Source::revoking(1)]);
    let decision = scene.decide().await;
    assert_eq!(
        scene.asked(),
        2,
        "the first answer was from before the revocation"
    );
    assert_eq!(decision.as_of, Some(revision(5)));
    assert!(decision.outcome.is_ok());

    // Again and again: no answer in the end, never an old one.
    let scene = Scene::new(vec![Source::revoking(usize::MAX)]);
    unanswered(scene.decide().await.outcome);
    assert_eq!(scene.asked(), MAX_ROUNDS);
}
