//! What a revocation does, whoever is stopped half-way, and what is no revocation.

use std::time::Duration;

use natsgate_core::{BanScope, Change, Clock, Freshness, Idempotency, Pace, Position};
use natsgate_decision::revocations::{Banned, Revocation, RevokeError};
use natsgate_devkit::LogCapture;
use natsgate_proto::v1;
use natsgate_proto::v1::selector::Selector as By;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::desk::{Desk, ISSUER, LIFE, Options, SKEW, alice, ban, revoke, selector_of_alice, soon};
use crate::faults::Fault;
use crate::service::{fields, reason};

fn principal(issuer: &str) -> v1::Principal {
    v1::Principal {
        issuer: issuer.into(),
        subject: "alice".into(),
    }
}

/// One of each kind, of this issuer and in this resource.
fn all_kinds(issuer: &str, id: &str) -> Vec<By> {
    let text = |text: &str| text.to_owned();
    vec![
        By::Principal(principal(issuer)),
        By::Membership(v1::MembershipSelector {
            principal: Some(principal(issuer)),
            kind: text("project"),
            id: text(id),
        }),
        By::Provider(text(issuer)),
        By::SigningKey(v1::SigningKeySelector {
            issuer: text(issuer),
            key_id: text("k"),
        }),
        By::Token(v1::TokenSelector {
            issuer: text(issuer),
            token_id: text("t"),
        }),
        By::ProviderSession(v1::ProviderSessionSelector {
            issuer: text(issuer),
            session_id: text("s"),
        }),
        By::Resource(v1::ResourceSelector {
            kind: text("project"),
            id: text(id),
        }),
        By::Role(v1::RoleSelector {
            kind: text("project"),
            role: text("member"),
        }),
        By::Rule(text("members")),
        By::Session(v1::SessionSelector {
            server_id: text("N"),
            client_id: 7,
        }),
        By::Account(text("APP")),
    ]
}

#[tokio::test]
async fn a_revocation_is_one_entry_that_this_instance_has_applied_when_it_answers() {
    let desk = Desk::start().await;
    let capture = LogCapture::new();
    let _heard = capture.listen();
    let mut ops = desk.revoking("ops").await;
    let request = v1::RevokeRequest {
        spread: Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        }),
        ..revoke("k1", alice())
    };
    let done = ops.revoke(request).await.unwrap().into_inner();
    let position = desk.log.follower.position();
    assert_eq!(Position::Confirmed(done.revision.parse().unwrap()), position);
    assert!(!done.repeated && done.confirmed && done.clusters.is_empty() && !done.complete);
    let entries = desk.entries();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].id.to_string(), done.id);
    assert_eq!(
        entries[0].change,
        Change::Revoked {
            selector: selector_of_alice(),
            reason: "a test".into(),
            actor: "ops".into(),
            pace: Pace::Spread {
                over: Duration::from_secs(60)
            },
            ban: None,
        }
    );
    assert_eq!(capture.lines_with("revoked").len(), 1);
}

#[tokio::test]
async fn every_kind_can_be_revoked_by_who_may_and_those_of_its_issuers_by_who_may_less() {
    let desk = Desk::start().await;
    let (mut ops, mut bot) = (desk.revoking("ops").await, desk.revoking("bot").await);
    for (number, selector) in all_kinds(ISSUER, "eu-1").into_iter().enumerate() {
        let key = format!("k{number}");
        ops.revoke(revoke(&key, selector.clone())).await.unwrap();
        let by_bot = bot.revoke(revoke(&key, selector.clone())).await;
        if number < 6 {
            assert!(
                !by_bot.unwrap().into_inner().repeated,
                "another caller's same key is another"
            );
            continue;
        }
        let status = by_bot.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status)),
            (Code::PermissionDenied, "OUT_OF_REACH".into())
        );
    }
    assert_eq!(desk.entries().len(), 11 + 6);
    let counts = desk.revocations.counts();
    assert_eq!(counts.revoked.iter().map(|(_, count)| count).sum::<u64>(), 17);
    assert!(counts.revoked.contains(&("account", 1)) && counts.revoked.contains(&("token", 2)));
    assert_eq!(counts.out_of_reach, 5);

    for (selector, field) in all_kinds("https://other", "eu-1").into_iter().zip([
        "selector.principal.issuer",
        "selector.membership.principal.issuer",
        "selector.provider",
        "selector.signing_key.issuer",
        "selector.token.issuer",
        "selector.provider_session.issuer",
        "selector.resource",
    ]) {
        let status = bot.revoke(revoke("k", selector)).await.unwrap_err();
        assert_eq!(fields(&status), [field]);
    }
    let elsewhere = all_kinds(ISSUER, "us-1").remove(1);
    let status = bot.revoke(revoke("k", elsewhere)).await.unwrap_err();
    assert_eq!(fields(&status), ["selector.membership.id"]);
}

#[tokio::test]
async fn who_may_only_look_revokes_nothing() {
    let desk = Desk::start().await;
    let mut viewer = desk.revoking("viewer").await;
    let status = viewer.revoke(revoke("k", alice())).await.unwrap_err();
    assert_eq!(reason(&status), "SCOPE_MISSING");
    let status = viewer
        .list_bans(v1::ListBansRequest::default())
        .await
        .unwrap_err();
    assert_eq!(reason(&status), "SCOPE_MISSING");
    let watching = viewer.watch_revocations(v1::WatchRevocationsRequest::default());
    assert_eq!(reason(&watching.await.unwrap_err()), "SCOPE_MISSING");
    assert!(desk.entries().is_empty());
}

#[tokio::test]
async fn what_is_no_revocation_is_told_field_by_field_and_appends_nothing() {
    let desk = Desk::start().await;
    let mut ops = desk.revoking("ops").await;
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let now = desk.clock.unix_seconds();
    let until = |seconds| {
        Some(v1::BanRequest {
            scope: Some(v1::ban_request::Scope::EveryoneUntil(prost_types::Timestamp {
                seconds,
                nanos: 0,
            })),
        })
    };
    let good = || revoke("k", alice());
    let with = |selector| revoke("k", selector);
    let long = "x".repeat(600);
    for (request, wrong) in [
        (revoke("", alice()), "idempotency_key"),
        (revoke(&"k".repeat(129), alice()), "idempotency_key"),
        (
            v1::RevokeRequest {
                selector: None,
                ..good()
            },
            "selector",
        ),
        (
            v1::RevokeRequest {
                selector: Some(v1::Selector { selector: None }),
                ..good()
            },
            "selector",
        ),
        (
            v1::RevokeRequest {
                reason: "a\nb".into(),
                ..good()
            },
            "reason",
        ),
        (
            v1::RevokeRequest {
                spread: seconds(3601),
                ..good()
            },
            "spread",
        ),
        (
            v1::RevokeRequest {
                wait: seconds(61),
                ..good()
            },
            "wait",
        ),
        (
            v1::RevokeRequest {
                wait: seconds(-1),
                ..good()
            },
            "wait",
        ),
        (
            v1::RevokeRequest {
                ban: until(now),
                ..good()
            },
            "ban.everyone_until",
        ),
        (
            v1::RevokeRequest {
                ban: until(now + 11 * 366 * 24 * 3600),
                ..good()
            },
            "ban.everyone_until",
        ),
        (
            v1::RevokeRequest {
                ban: Some(v1::BanRequest { scope: None }),
                ..good()
            },
            "ban",
        ),
        (
            v1::RevokeRequest {
                ban: Some(v1::BanRequest {
                    scope: Some(v1::ban_request::Scope::TokensIssuedUntilNow(false)),
                }),
                ..good()
            },
            "ban.tokens_issued_until_now",
        ),
        (ban("k", By::Rule("members".into())), "ban"),
        (with(By::Principal(principal(""))), "selector.principal.issuer"),
        (with(By::Principal(principal(&long))), "selector.principal.issuer"),
        (with(By::Provider("a\0b".into())), "selector.provider"),
        (with(By::Rule(String::new())), "selector.rule"),
        (with(By::Account(long.clone())), "selector.account"),
        (
            with(By::Membership(v1::MembershipSelector {
                principal: None,
                kind: "project".into(),
                id: "a".into(),
            })),
            "selector.membership.principal",
        ),
        (
            with(By::Session(v1::SessionSelector {
                server_id: "N".into(),
                client_id: 0,
            })),
            "selector.session.client_id",
        ),
    ] {
        let status = ops.revoke(request.clone()).await.unwrap_err();
        assert_eq!(
            (status.code(), fields(&status)),
            (Code::InvalidArgument, vec![wrong.to_owned()]),
            "{request:?}"
        );
    }
    // All of it at once.
    let status = ops.revoke(revoke("", By::Rule(String::new()))).await.unwrap_err();
    assert_eq!(fields(&status), ["idempotency_key", "selector.rule"]);
    let status = ops
        .revoke(ban("k", By::Provider(String::new())))
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["selector.provider"]);
    assert!(desk.entries().is_empty());
    assert!(desk.bans.bans().is_empty());
}

#[tokio::test]
async fn a_repetition_is_answered_as_the_first_call_was_however_long_it_waits() {
    let desk = Desk::start().await;
    let mut ops = desk.revoking("ops").await;
    let first = ops.revoke(revoke("k", alice())).await.unwrap().into_inner();
    let again = v1::RevokeRequest {
        wait: Some(prost_types::Duration { seconds: 0, nanos: 1 }),
        ..revoke("k", alice())
    };
    let again = ops.revoke(again).await.unwrap().into_inner();
    assert_eq!(
        again,
        v1::RevokeResponse {
            repeated: true,
            ..first
        }
    );
    assert_eq!(desk.entries().len(), 1);

    for other in [
        revoke("k", By::Account("APP".into())),
        v1::RevokeRequest {
            reason: "another".into(),
            ..revoke("k", alice())
        },
    ] {
        let status = ops.revoke(other).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status)),
            (Code::InvalidArgument, "IDEMPOTENCY_KEY_REUSED".into())
        );
    }
    let by_another = desk.revoking("night").await.revoke(revoke("k", alice())).await;
    assert!(!by_another.unwrap().into_inner().repeated);
    // With a ban it is another request, too: it is written elsewhere.
    let banned = ops.revoke(ban("k", alice())).await.unwrap().into_inner();
    assert!(!banned.repeated);
    assert!(ops.revoke(ban("k", alice())).await.unwrap().into_inner().repeated);
    let status = ops.revoke(ban("k", By::Account("APP".into()))).await.unwrap_err();
    assert_eq!(reason(&status), "IDEMPOTENCY_KEY_REUSED");
    let entries = desk.entries();
    let ids: std::collections::HashSet<_> = entries.iter().map(|entry| entry.id).collect();
    assert_eq!((entries.len(), ids.len(), desk.bans.bans().len()), (3, 3, 1));
}

#[tokio::test]
async fn a_ban_is_kept_as_long_as_it_can_refuse_anybody() {
    let desk = Desk::start().await;
    let mut ops = desk.revoking("ops").await;
    let done = ops.revoke(ban("k", alice())).await.unwrap().into_inner();
    let kept = desk.ban();
    let now = natsgate_core::clock::whole_micros(desk.clock.now());
    assert_eq!((kept.id.to_string(), kept.imposed_at), (done.id.clone(), now));
    assert_eq!(kept.scope, BanScope::IssuedUntil(now + SKEW));
    assert!(kept.ends_at > now + SKEW + LIFE);
    assert_eq!(desk.bans.pending(), 0);
    let entries = desk.entries();
    assert_eq!((entries.len(), entries[0].id), (1, kept.id));
    assert_eq!(done.revision, entries[0].revision.to_string());
    match &entries[0].change {
        Change::Revoked { ban, .. } => assert_eq!(*ban, Some(kept.scope)),
        other => panic!("{other:?}"),
    }
    assert_eq!(desk.revocations.counts().bans, 1);
}

#[tokio::test]
async fn without_a_place_for_bans_revoking_goes_on_and_banning_does_not() {
    let desk = Desk::start_with(Options {
        bans: false,
        ..Options::default()
    })
    .await;
    let mut ops = desk.revoking("ops").await;
    ops.revoke(revoke("k1", alice())).await.unwrap();
    let status = ops.revoke(ban("k2", alice())).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::FailedPrecondition, "NO_BAN_STORE".into())
    );
    assert_eq!(desk.entries().len(), 1);
}

#[tokio::test]
async fn what_fails_half_way_is_done_once_when_it_is_asked_for_again() {
    type Break = fn(&Desk, Fault);
    let places: [(Break, &str, bool); 3] = [
        (
            |desk, fault| desk.bans.writing.next(fault),
            "STORE_UNAVAILABLE",
            false,
        ),
        (|desk, fault| desk.log.faulty.next(fault), "NOT_ANNOUNCED", false),
        // That it stands in the log could not be noted: it does all the same.
        (|desk, fault| desk.bans.noting.next(fault), "", true),
    ];
    for (place, said, goes_through) in places {
        for fault in [Fault::Before, Fault::After] {
            let desk = Desk::start().await;
            let mut ops = desk.revoking("ops").await;
            place(&desk, fault);
            let first = ops.revoke(ban("k", alice())).await;
            match first {
                Ok(_) => assert!(goes_through),
                Err(status) => assert_eq!((status.code(), reason(&status)), (Code::Unavailable, said.into())),
            }
            let again = ops.revoke(ban("k", alice())).await.unwrap().into_inner();
            let (entries, kept) = (desk.entries(), desk.ban());
            assert_eq!(entries.len(), 1, "{said} {fault:?}");
            assert_eq!((entries[0].id, again.id), (kept.id, kept.id.to_string()));
            assert_eq!(
                (again.revision, desk.bans.pending()),
                (entries[0].revision.to_string(), 0)
            );
        }
    }
    for fault in [Fault::Before, Fault::After] {
        let desk = Desk::start().await;
        let mut ops = desk.revoking("ops").await;
        desk.log.faulty.next(fault);
        let status = ops.revoke(revoke("k", alice())).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status)),
            (Code::Unavailable, "LOG_UNAVAILABLE".into())
        );
        let again = ops.revoke(revoke("k", alice())).await.unwrap().into_inner();
        assert_eq!(again.repeated, fault == Fault::After);
        assert_eq!(desk.entries().len(), 1);
    }
}

#[tokio::test]
async fn a_revoker_that_is_gone_after_any_step_leaves_it_done_or_not_done() {
    type Place = fn(&Desk) -> &crate::faults::Faulty;
    let places: [Place; 3] = [
        |desk| &desk.bans.writing,
        |desk| &desk.log.faulty,
        |desk| &desk.bans.noting,
    ];
    for banned in [None, Some(Banned::IssuedUntilNow)] {
        for place in places {
            for fault in [Fault::HangsBefore, Fault::HangsAfter] {
                let desk = Desk::start().await;
                let revocation = Revocation {
                    selector: selector_of_alice(),
                    reason: String::new(),
                    actor: "ops".into(),
                    pace: Pace::Immediate,
                    ban: banned,
                    idempotency: Idempotency {
                        key: [7; 32],
                        body: [8; 32],
                    },
                };
                place(&desk).next(fault);
                tokio::select! {
                    done = desk.revoker.revoke(&revocation, soon()) => {
                        assert!(done.is_ok() && banned.is_none(), "{done:?}");
                    }
                    () = place(&desk).called(1) => {}
                }
                place(&desk).next(Fault::Nothing);
                let done = desk.revoker.revoke(&revocation, soon()).await.unwrap();
                let entries = desk.entries();
                assert_eq!(entries.len(), 1, "{banned:?} {fault:?}");
                assert_eq!(
                    (Some(entries[0].revision), entries[0].id),
                    (done.revision, done.id)
                );
                assert_eq!(desk.bans.bans().len(), usize::from(banned.is_some()));
                assert_eq!(desk.bans.pending(), 0);
                // Once more, and later: the same.
                desk.clock.advance(Duration::from_secs(60));
                let again = desk.revoker.revoke(&revocation, soon()).await.unwrap();
                assert_eq!((again.revision, again.repeated), (done.revision, true));
                assert_eq!(desk.entries().len(), 1);
            }
        }
    }
}

#[tokio::test]
async fn a_ban_that_nobody_asks_for_again_is_announced_by_the_relay() {
    let desk = Desk::start().await;
    desk.log.faulty.next(Fault::Before);
    let mut ops = desk.revoking("ops").await;
    ops.revoke(ban("k", alice())).await.unwrap_err();
    assert_eq!((desk.entries().len(), desk.bans.pending()), (0, 1));
    let (relay, stop) = (desk.relay.clone(), CancellationToken::new());
    let (running, stopped) = (relay.clone(), stop.clone());
    let run = tokio::spawn(async move { running.run(Duration::from_secs(3600), stopped).await });
    let mut state = relay.state();
    let done = state.wait_for(|state| *state == natsgate_decision::memberships::RelayState::Done);
    tokio::time::timeout(Duration::from_secs(20), done)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((desk.entries().len(), desk.bans.pending()), (1, 0));
    // A ban that ended long ago is forgotten by the same.
    desk.clock.advance(Duration::from_secs(7 * 24 * 3600));
    stop.cancel();
    run.await.unwrap();
    let (running, stopped) = (relay, CancellationToken::new());
    let ends = stopped.clone();
    let run = tokio::spawn(async move { running.run(Duration::from_secs(3600), stopped).await });
    let gone = async {
        while !desk.bans.bans().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
    ends.cancel();
    run.await.unwrap();
}

#[tokio::test]
async fn a_store_that_cannot_be_asked_in_time_is_no_answer() {
    let desk = Desk::start().await;
    desk.bans.writing.next(Fault::HangsBefore);
    let revocation = Revocation {
        selector: selector_of_alice(),
        reason: String::new(),
        actor: "ops".into(),
        pace: Pace::Immediate,
        ban: Some(Banned::EveryoneUntil(desk.clock.now() + LIFE)),
        idempotency: Idempotency {
            key: [7; 32],
            body: [8; 32],
        },
    };
    let deadline = natsgate_core::Deadline::after(Duration::from_millis(50));
    let failed = desk.revoker.revoke(&revocation, deadline).await;
    assert!(matches!(failed, Err(RevokeError::Store(_))), "{failed:?}");
}
