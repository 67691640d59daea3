//! Bans listed and lifted, and what they do to decisions meanwhile.

use std::time::Duration;

use natsgate_core::{Change, Clock, Freshness};
use natsgate_proto::v1;
use natsgate_proto::v1::authorize_response::Result as Answer;
use natsgate_proto::v1::selector::Selector as By;
use tonic::{Code, Status};

use crate::desk::{Desk, ISSUER, alice, ban, selector_of_alice, with_token};
use crate::faults::Fault;
use crate::service::{fields, reason};

fn lift(key: &str, ban: &str) -> v1::LiftBanRequest {
    v1::LiftBanRequest {
        idempotency_key: key.into(),
        ban: ban.into(),
        reason: "a mistake".into(),
    }
}

/// Whether alice gets in: the reason if not.
async fn lets_in(desk: &Desk, min_revision: &str) -> Result<(), String> {
    let request = v1::AuthorizeRequest {
        server: Some(v1::Server {
            id: "N".into(),
            ..Default::default()
        }),
        user_nkey: "U".into(),
        client: Some(v1::Client::default()),
        connect_options: Some(with_token("alice")),
        min_revision: min_revision.into(),
        ..Default::default()
    };
    let answered: Result<_, Status> = desk.deciding().await.authorize(request).await;
    match answered.unwrap().into_inner().result.unwrap() {
        Answer::Grant(_) => Ok(()),
        Answer::Denial(denial) => Err(denial.reason),
    }
}

#[tokio::test]
async fn a_ban_refuses_from_the_revision_it_was_answered_with_until_it_is_lifted() {
    let desk = Desk::start().await;
    let mut ops = desk.revoking("ops").await;
    // Looked up, and so kept by the caches: that there is none.
    assert_eq!(lets_in(&desk, "").await, Ok(()));
    let until = prost_types::Timestamp {
        seconds: desk.clock.unix_seconds() + 3600,
        nanos: 0,
    };
    let everyone = v1::RevokeRequest {
        ban: Some(v1::BanRequest {
            scope: Some(v1::ban_request::Scope::EveryoneUntil(until)),
        }),
        ..ban("k", alice())
    };
    let banned = ops.revoke(everyone).await.unwrap().into_inner();
    // What is as old as the revocation does not count in any case; a newer token is refused by the ban alone.
    assert_eq!(lets_in(&desk, &banned.revision).await, Err("superseded".into()));
    desk.clock.advance(Duration::from_secs(31));
    assert_eq!(lets_in(&desk, &banned.revision).await, Err("banned".into()));
    let lifted = ops.lift_ban(lift("k", &banned.id)).await.unwrap().into_inner();
    let told = lifted.ban.clone().unwrap();
    assert_eq!(
        (told.id, told.lifted_by, told.lifted_for),
        (banned.id.clone(), "ops".into(), "a mistake".into())
    );
    assert_eq!(lets_in(&desk, &lifted.revision).await, Ok(()));
    match &desk.entries()[1].change {
        Change::BanLifted { ban, selector, .. } => {
            assert_eq!(
                (ban.to_string(), selector),
                (banned.id.clone(), &selector_of_alice())
            );
        }
        other => panic!("{other:?}"),
    }

    // Once more, with the same key and with another: it stays as it was.
    let again = ops.lift_ban(lift("k", &banned.id)).await.unwrap().into_inner();
    assert_eq!(
        again,
        v1::LiftBanResponse {
            repeated: true,
            ..lifted.clone()
        }
    );
    let again = ops.lift_ban(lift("k2", &banned.id)).await.unwrap().into_inner();
    assert_eq!(again.ban, lifted.ban);
    assert_eq!(desk.entries().len(), 2);
    assert_eq!(desk.revocations.counts().lifted, 2);
}

#[tokio::test]
async fn while_bans_cannot_be_read_there_is_no_answer() {
    let desk = Desk::start().await;
    desk.bans.reading.next(Fault::Before);
    let request = v1::ListBansRequest::default();
    let status = desk.revoking("ops").await.list_bans(request).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::Unavailable, "STORE_UNAVAILABLE".into())
    );
}

#[tokio::test]
async fn what_is_no_ban_cannot_be_lifted() {
    let desk = Desk::start().await;
    let mut ops = desk.revoking("ops").await;
    let banned = ops.revoke(ban("k", alice())).await.unwrap().into_inner().id;
    for bad in ["", "x", "1111111111111111111111111a", &format!("{banned}a")] {
        let status = ops.lift_ban(lift("k", bad)).await.unwrap_err();
        assert_eq!(fields(&status), ["ban"], "{bad:?}");
    }
    let other = "a".repeat(26);
    let status = ops.lift_ban(lift("k", &other)).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::NotFound, "NO_SUCH_BAN".into())
    );
    // Capital letters name the same.
    ops.lift_ban(lift("k", &banned.to_uppercase())).await.unwrap();
}

#[tokio::test]
async fn bans_are_listed_and_lifted_by_those_who_may_revoke_by_the_same() {
    let desk = Desk::start().await;
    let (mut ops, mut bot) = (desk.revoking("ops").await, desk.revoking("bot").await);
    let mut mine = Vec::new();
    for number in 0..5 {
        let token = |issuer: &str| {
            By::Token(v1::TokenSelector {
                issuer: issuer.into(),
                token_id: format!("t{number}"),
            })
        };
        let key = format!("k{number}");
        mine.push(
            bot.revoke(ban(&key, token(ISSUER)))
                .await
                .unwrap()
                .into_inner()
                .id,
        );
        ops.revoke(ban(&key, token("https://other"))).await.unwrap();
    }
    let of_all = ops
        .revoke(ban("all", By::Account("APP".into())))
        .await
        .unwrap()
        .into_inner()
        .id;
    mine.sort();

    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListBansRequest {
            page_size: 2,
            page_token,
            ..Default::default()
        };
        let page = bot.list_bans(request).await.unwrap().into_inner();
        assert!(page.bans.len() <= 2);
        listed.extend(page.bans.into_iter().map(|ban| ban.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let everything = ops
        .list_bans(v1::ListBansRequest::default())
        .await
        .unwrap()
        .into_inner();
    let in_order = everything
        .bans
        .iter()
        .map(|ban| &ban.id)
        .filter(|id| mine.contains(id));
    assert!(listed.iter().eq(in_order), "{listed:?}");
    listed.sort();
    assert_eq!(listed, mine);
    assert_eq!(
        (everything.bans.len(), everything.next_page_token),
        (11, String::new())
    );

    let status = bot.lift_ban(lift("k", &of_all)).await.unwrap_err();
    assert_eq!(
        (reason(&status), fields(&status)),
        ("OUT_OF_REACH".into(), vec!["ban.selector.account".to_owned()])
    );
    bot.lift_ban(lift("k", &mine[0])).await.unwrap();
    let listed = |all| v1::ListBansRequest {
        all,
        ..Default::default()
    };
    assert_eq!(
        bot.list_bans(listed(false))
            .await
            .unwrap()
            .into_inner()
            .bans
            .len(),
        4
    );
    assert_eq!(
        bot.list_bans(listed(true)).await.unwrap().into_inner().bans.len(),
        5
    );

    let first = v1::ListBansRequest {
        page_size: 1,
        ..Default::default()
    };
    let token = bot.list_bans(first).await.unwrap().into_inner().next_page_token;
    for (all, page_token, page_size, wrong) in [
        (true, token.as_str(), 0, "page_token"),
        (false, "x", 0, "page_token"),
        (false, "", 1001, "page_size"),
    ] {
        let request = v1::ListBansRequest {
            all,
            page_size,
            page_token: page_token.into(),
        };
        assert_eq!(fields(&bot.list_bans(request).await.unwrap_err()), [wrong]);
    }
}

#[tokio::test]
async fn a_decision_that_has_to_include_a_ban_waits_for_it() {
    // The log is read by this instance as by any other: what it appended is applied when Revoke answers.
    let desk = Desk::start().await;
    let mut ops = desk.revoking("ops").await;
    let before = desk.log.follower.position().revision().unwrap();
    let account = ban("k", By::Account("APP".into()));
    let banned = ops.revoke(account).await.unwrap().into_inner();
    assert_ne!(banned.revision, before.to_string());
    assert_eq!(lets_in(&desk, &banned.revision).await, Err("banned".into()));
}
