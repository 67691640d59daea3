//! What a session would get now.

use std::time::Duration;

use natsgate_core::{
    Concern, DenialReason, Evidence, Failure, PolicyGeneration, Position, Principal, Revision, Selector,
};

use super::scene::{NOW, Scene, Source, alice, epoch, merged, revision, sealing};
use crate::pipeline::Rechecked;

/// The subjects it may publish to.
fn allowed(rechecked: &Rechecked) -> Vec<String> {
    match rechecked {
        Rechecked::Granted { grant, .. } => {
            let allow = &grant.rights.own().unwrap().publish.allow;
            allow.iter().map(ToString::to_string).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn in_doubt(rechecked: Rechecked) -> bool {
    matches!(rechecked, Rechecked::InDoubt(_))
}

#[tokio::test]
async fn what_the_sources_say_now_counts() {
    let mut scene = Scene::new(vec![Source::member("a"), Source::member("b")]);
    let decision = scene.decide().await;
    scene
        .log
        .set(|log| log.position = Position::Confirmed(revision(6)));
    scene.pipeline.memberships = merged(vec![Source::member("b"), Source::member("c")]);
    let rechecked = scene.recheck(&decision.basis).await.unwrap();
    assert_eq!(allowed(&rechecked), ["projects.b.in.>", "projects.c.in.>"]);
    let Rechecked::Granted {
        grant,
        as_of,
        concerns,
        basis,
    } = rechecked
    else {
        panic!()
    };
    assert_eq!(
        (as_of, grant.expires_at),
        (revision(6), NOW + Duration::from_secs(3600))
    );
    assert!(concerns.contains(&Concern::resource("project", "c")));
    assert!(!concerns.contains(&Concern::resource("project", "a")));
    assert_eq!(allowed(&scene.recheck(&basis).await.unwrap()).len(), 2);

    scene.pipeline.memberships = merged(vec![]);
    match scene.recheck(&basis).await.unwrap() {
        Rechecked::Denied(denial) => assert_eq!(denial.reason, DenialReason::NoRuleMatched),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_grant_says_all_that_a_revocation_could_name() {
    let mut scene = Scene::new(vec![Source::member("a")]);
    scene.identities(|provider| {
        provider.online = Some(Ok(Evidence::Online));
    });
    // Confirmed by the provider, whose answer does not name the key that signed the token.
    scene.log.set(|log| log.unknown_claims = true);
    let decision = scene.decide().await;
    assert_eq!(scene.confirmed(), 1);
    let (issuer, name) = (alice().issuer, |name: &str| name.to_owned());
    for selector in [
        Selector::Principal { principal: alice() },
        Selector::Membership {
            principal: alice(),
            kind: name("project"),
            id: name("a"),
        },
        Selector::Resource {
            kind: name("project"),
            id: name("a"),
        },
        Selector::Role {
            kind: name("project"),
            role: name("member"),
        },
        Selector::Rule {
            name: name("members"),
        },
        Selector::Account { name: name("APP") },
        Selector::Provider {
            issuer: issuer.clone(),
        },
        Selector::SigningKey {
            issuer: issuer.clone(),
            key_id: name("k1"),
        },
        Selector::Token {
            issuer: issuer.clone(),
            token_id: name("t1"),
        },
        Selector::ProviderSession {
            issuer,
            session_id: name("s1"),
        },
    ] {
        let concern = selector.session_concern().unwrap();
        assert!(decision.concerns.contains(&concern), "{selector:?}");
    }
    assert!(decision.concerns.is_sorted());
    assert!(
        !decision.concerns.contains(&Concern::rule("nobody")),
        "it does not match"
    );
    let Rechecked::Granted { concerns, .. } = scene.recheck(&decision.basis).await.unwrap() else {
        panic!()
    };
    assert_eq!(concerns, decision.concerns);
}

#[tokio::test]
async fn a_token_that_was_revoked_since_leaves_its_session_in_doubt() {
    let scene = Scene::new(vec![Source::member("a")]);
    let basis = scene.decide().await.basis;
    scene
        .log
        .set(|log| log.superseded_claims = vec![Concern::principal(&Principal::new(alice().issuer, "bob"))]);
    assert!(!in_doubt(scene.recheck(&basis).await.unwrap()));
    scene
        .log
        .set(|log| log.superseded_claims = vec![Concern::principal(&alice())]);
    assert!(in_doubt(scene.recheck(&basis).await.unwrap()));
    // That the log does not reach back so far is no better.
    scene.log.set(|log| {
        log.superseded_claims.clear();
        log.unknown_claims = true;
    });
    assert!(in_doubt(scene.recheck(&basis).await.unwrap()));
}

#[tokio::test]
async fn a_revoked_membership_among_the_claims_leaves_the_session_in_doubt_and_another_does_not() {
    let scene = Scene::new(vec![Source::claims("a")]);
    let basis = scene.decide().await.basis;
    scene
        .log
        .set(|log| log.superseded_claims = vec![Concern::member(&alice(), "project", "b")]);
    assert_eq!(
        allowed(&scene.recheck(&basis).await.unwrap()),
        ["projects.a.in.>"]
    );
    scene
        .log
        .set(|log| log.superseded_claims = vec![Concern::member(&alice(), "project", "a")]);
    assert!(in_doubt(scene.recheck(&basis).await.unwrap()));
}

#[tokio::test]
async fn what_a_provider_said_when_asked_holds_until_it_is_revoked() {
    for (concern, doubt) in [
        (Concern::principal(&alice()), true),
        (Concern::claims_of(&alice()), true),
        (Concern::memberships_of(&alice()), false),
        (Concern::CLAIMS, false),
        (Concern::resource("project", "a"), false),
    ] {
        let mut scene = Scene::new(vec![Source::member("a")]);
        scene.identities(|provider| provider.evidence = Evidence::Online);
        let basis = scene.decide().await.basis;
        scene.log.revoke(concern);
        assert_eq!(
            in_doubt(scene.recheck(&basis).await.unwrap()),
            doubt,
            "{concern:?}"
        );
    }
    // The same of the memberships that the provider named.
    for (concern, doubt) in [
        (Concern::resource("project", "a"), true),
        (Concern::resource("project", "b"), false),
    ] {
        let mut scene = Scene::new(vec![Source::claims_always("a")]);
        scene.identities(|provider| provider.evidence = Evidence::Online);
        let basis = scene.decide().await.basis;
        scene.log.revoke(concern);
        assert_eq!(
            in_doubt(scene.recheck(&basis).await.unwrap()),
            doubt,
            "{concern:?}"
        );
    }
}

#[tokio::test]
async fn a_certificate_says_nothing_that_could_be_old() {
    let mut scene = Scene::new(vec![Source::member("a")]);
    scene.identities(|provider| provider.evidence = Evidence::Certificate);
    let basis = scene.decide().await.basis;
    scene.log.revoke(Concern::principal(&alice()));
    scene
        .log
        .set(|log| log.superseded_claims = vec![Concern::principal(&alice())]);
    assert_eq!(
        allowed(&scene.recheck(&basis).await.unwrap()),
        ["projects.a.in.>"]
    );
}

#[tokio::test]
async fn what_was_sealed_elsewhere_or_altered_leaves_the_session_in_doubt() {
    let mut scene = Scene::new(vec![Source::member("a")]);
    let basis = scene.decide().await.basis;
    let mut altered = basis.clone();
    *altered.last_mut().unwrap() ^= 1;
    let cut = &basis[..basis.len() - 1];
    for bad in [&altered[..], cut, b"", b"{}"] {
        assert!(in_doubt(scene.recheck(bad).await.unwrap()));
    }
    scene.pipeline.sealing = sealing("another secret, of as many bytes or more");
    assert!(in_doubt(scene.recheck(&basis).await.unwrap()));
}

#[tokio::test]
async fn the_basis_says_nothing_to_whoever_keeps_it() {
    let scene = Scene::new(vec![Source::member("a")]);
    let basis = scene.decide().await.basis;
    let text = String::from_utf8_lossy(&basis);
    assert!(!text.contains("alice") && !text.contains("login"), "{text}");
}

#[tokio::test]
async fn one_session_that_cannot_be_told_leaves_no_answer_to_any() {
    let mut scene = Scene::new(vec![Source::member("a")]);
    let basis = scene.decide().await.basis;
    scene.pipeline.memberships = merged(vec![Source::member("a"), Source::Down]);
    scene.recheck(&basis).await.unwrap_err();
}

#[tokio::test]
async fn without_the_log_or_the_policy_in_force_nothing_can_be_told() {
    let scene = Scene::new(vec![Source::member("a")]);
    let basis = scene.decide().await.basis;
    for position in [Position::Degraded(revision(4)), Position::Unknown] {
        scene.log.set(|log| log.position = position);
        scene.recheck(&basis).await.unwrap_err();
        scene.recheck(b"").await.unwrap_err();
    }
    scene.log.set(|log| {
        log.position = Position::Confirmed(revision(4));
        log.policy = Some(PolicyGeneration {
            generation: 1,
            digest: "other".into(),
        });
    });
    scene.recheck(&basis).await.unwrap_err();
}

#[tokio::test]
async fn an_expired_credential_is_denied() {
    let mut scene = Scene::new(vec![Source::member("a")]);
    scene.identities(|provider| provider.life = Duration::from_secs(60));
    let basis = scene.decide().await.basis;
    scene.clock_to(NOW + Duration::from_secs(60));
    match scene.recheck(&basis).await.unwrap() {
        Rechecked::Denied(denial) => assert_eq!(denial.reason, DenialReason::Expired),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_caller_has_applied_is_applied_first() {
    let mut scene = Scene::new(vec![Source::member("a")]);
    let basis = scene.decide().await.basis;
    scene.min_revision = Some(revision(9));
    let Rechecked::Granted { as_of, .. } = scene.recheck(&basis).await.unwrap() else {
        panic!()
    };
    assert_eq!((as_of, scene.log.caught_up()), (revision(9), vec![revision(9)]));
    scene.log.set(|log| log.stuck = true);
    scene.min_revision = Some(Revision::new(epoch(2), 1));
    scene.recheck(&basis).await.unwrap_err();
}

#[tokio::test]
async fn an_answer_that_a_revocation_overtakes_is_made_anew() {
    let mut scene = Scene::new(vec![Source::member("a")]);
    let basis = scene.decide().await.basis;
    let interrupted = Source::interrupting(Concern::memberships_of(&alice()), &scene.log);
    scene.pipeline.memberships = merged(vec![interrupted]);
    let Rechecked::Granted { as_of, .. } = scene.recheck(&basis).await.unwrap() else {
        panic!()
    };
    assert_eq!(as_of, revision(5));
}

#[tokio::test]
async fn many_are_answered_in_their_order() {
    let scene = Scene::new(vec![Source::member("a")]);
    let basis = scene.decide().await.basis;
    let bases = (0..100).map(|n| if n % 3 == 0 { Vec::new() } else { basis.clone() });
    let deadline = super::scene::deadline();
    let all = scene
        .pipeline
        .recheck(bases.collect(), None, deadline)
        .await
        .unwrap();
    let doubts: Vec<_> = all.into_iter().map(in_doubt).collect();
    assert_eq!(doubts, (0..100).map(|n| n % 3 == 0).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_connection_is_held_against_the_limits_again() {
    let scene = Scene::limited(vec![Source::member("a")]);
    let mut connection = natsgate_core::Connection {
        client_host: "10.1.2.3".into(),
        server_tags: vec!["eu".into()],
        ..Default::default()
    };
    let decision = scene.decide_for(&connection).await;
    assert_eq!(allowed(&scene.recheck(&decision.basis).await.unwrap()).len(), 1);
    connection.client_host = "192.168.1.1".into();
    assert!(matches!(
        scene.decide_for(&connection).await.outcome,
        Err(Failure::Denied(_))
    ));
}
