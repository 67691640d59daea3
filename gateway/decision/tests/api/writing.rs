//! What a push does, and what is no push.

use natsgate_core::{Change, MembershipWrite};
use natsgate_devkit::LogCapture;
use natsgate_proto::v1;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::log::{Mood, TestLog};
use crate::service::{Service, delete, fields, item, put, reason, with_token};

fn changed(status: &Status) -> (Code, String) {
    (status.code(), reason(status))
}

#[tokio::test]
async fn a_push_is_written_announced_and_answered_with_where_everybody_sees_it() {
    let service = Service::start().await;
    let capture = LogCapture::new();
    let _heard = capture.listen();
    let mut crm = service.crm().await;
    let items = vec![
        item("alice", "apollo"),
        item("bob", "apollo"),
        item("alice", "zeus"),
    ];
    let done = crm.put_memberships(put("k1", items)).await.unwrap().into_inner();
    assert_eq!(done.revision, TestLog::revision(2), "two people, two entries");
    assert!(!done.repeated && done.confirmed);
    let records: Vec<_> = done
        .results
        .iter()
        .map(|one| one.record.clone().unwrap())
        .collect();
    assert!(done.results.iter().all(|one| one.changed));
    assert_eq!(
        records[2],
        v1::MembershipRecord {
            principal: item("alice", "zeus").principal,
            membership: item("alice", "zeus").membership,
            version: 1,
            deleted: false,
            changed_at: Some(service.now()),
            changed_by: "crm".into(),
        }
    );
    assert_eq!(service.ids("alice").await, ["apollo", "zeus"]);
    assert_eq!(service.pending().await, 0);
    let named: Vec<_> = service
        .log
        .entries()
        .into_iter()
        .map(|entry| match entry.change {
            Change::MembershipsChanged {
                principal,
                given,
                taken,
                actor,
            } => (principal.subject, given.len(), taken.len(), actor),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        named,
        [
            ("alice".into(), 2, 0, "crm".into()),
            ("bob".into(), 1, 0, "crm".into())
        ]
    );
    assert_eq!(capture.lines_with("membership_given").len(), 3);

    let gone = crm
        .delete_memberships(delete("k2", vec![item("alice", "apollo")]))
        .await;
    let gone = gone.unwrap().into_inner();
    assert_eq!(gone.revision, TestLog::revision(3));
    assert!(gone.results[0].changed && gone.results[0].record.as_ref().unwrap().deleted);
    assert_eq!(service.ids("alice").await, ["zeus"]);
}

#[tokio::test]
async fn a_repetition_is_answered_as_the_first_call_was() {
    let service = Service::start().await;
    let mut crm = service.crm().await;
    let request = put("k", vec![item("alice", "apollo")]);
    let first = crm.put_memberships(request.clone()).await.unwrap().into_inner();
    crm.delete_memberships(delete("k", vec![item("alice", "apollo")]))
        .await
        .unwrap();
    let again = crm.put_memberships(request.clone()).await.unwrap().into_inner();
    assert_eq!(
        again,
        v1::PutMembershipsResponse {
            repeated: true,
            ..first
        }
    );
    assert_eq!(
        service.log.entries().len(),
        2,
        "the same key for another method is another"
    );
    assert_eq!(service.ids("alice").await, Vec::<String>::new());

    for other in [
        put("k", vec![item("alice", "zeus")]),
        put("k", vec![item("alice", "apollo"), item("bob", "apollo")]),
        v1::PutMembershipsRequest {
            reason: "another".into(),
            ..request.clone()
        },
    ] {
        let status = crm.put_memberships(other).await.unwrap_err();
        assert_eq!(
            changed(&status),
            (Code::InvalidArgument, "IDEMPOTENCY_KEY_REUSED".into())
        );
        assert_eq!(fields(&status), ["idempotency_key"]);
    }
    // Another caller's same key is another.
    let token = service.token(|spec| spec);
    let other = with_token(put("k", vec![item("alice", "eu-1")]), &token);
    assert!(
        !service
            .stranger()
            .await
            .put_memberships(other)
            .await
            .unwrap()
            .into_inner()
            .repeated
    );
}

#[tokio::test]
async fn what_changes_nothing_is_announced_to_nobody_and_answered_all_the_same() {
    let service = Service::start().await;
    let mut crm = service.crm().await;
    let first = crm
        .put_memberships(put("k1", vec![item("alice", "a")]))
        .await
        .unwrap()
        .into_inner();
    let same = crm
        .put_memberships(put("k2", vec![item("alice", "a")]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((same.revision, same.repeated), (first.revision, false));
    assert!(!same.results[0].changed);
    let never = crm
        .delete_memberships(delete("k3", vec![item("bob", "a")]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(never.revision, "");
    let record = never.results[0].record.clone().unwrap();
    assert_eq!(
        (record.version, record.deleted, record.changed_at),
        (0, true, None)
    );
    assert_eq!(service.log.entries().len(), 1);
}

#[tokio::test]
async fn a_version_that_is_not_the_expected_one_stops_everything() {
    let service = Service::start().await;
    let mut crm = service.crm().await;
    crm.put_memberships(put("k1", vec![item("alice", "a")]))
        .await
        .unwrap();
    let mut careful = item("alice", "a");
    careful.expected_version = Some(0);
    let status = crm
        .put_memberships(put("k2", vec![item("bob", "b"), careful.clone()]))
        .await
        .unwrap_err();
    assert_eq!(changed(&status), (Code::Aborted, "VERSION_CONFLICT".into()));
    let details = status.get_error_details();
    let violation = &details.precondition_failure().unwrap().violations[0];
    assert_eq!(
        (
            violation.r#type.as_str(),
            violation.subject.as_str(),
            violation.description.as_str()
        ),
        ("VERSION", "items[1]", "1")
    );
    assert_eq!(service.ids("bob").await, Vec::<String>::new());
    careful.expected_version = Some(1);
    crm.delete_memberships(delete("k2", vec![careful])).await.unwrap();
    assert_eq!(service.ids("alice").await, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_no_push_is_refused_and_nothing_is_written() {
    let service = Service::start().await;
    let mut crm = service.crm().await;
    let with = |change: fn(&mut v1::MembershipItem)| {
        let mut one = item("alice", "a");
        change(&mut one);
        put("k", vec![item("bob", "b"), one])
    };
    let many = (0..=MembershipWrite::MAX_ITEMS)
        .map(|n| item("alice", &n.to_string()))
        .collect();
    for (request, field) in [
        (put("", vec![item("alice", "a")]), "idempotency_key"),
        (put(&"k".repeat(129), vec![item("alice", "a")]), "idempotency_key"),
        (put("a\nb", vec![item("alice", "a")]), "idempotency_key"),
        (put("k", vec![]), "items"),
        (put("k", many), "items"),
        (put("k", vec![item("alice", "a"), item("alice", "a")]), "items[1]"),
        (with(|one| one.principal = None), "items[1].principal"),
        (with(|one| one.membership = None), "items[1].membership"),
        (
            with(|one| one.principal.as_mut().unwrap().subject.clear()),
            "items[1].principal.subject",
        ),
        (
            with(|one| one.principal.as_mut().unwrap().issuer = "x\0".into()),
            "items[1].principal.issuer",
        ),
        (
            with(|one| one.membership.as_mut().unwrap().kind = "x".repeat(257)),
            "items[1].membership.kind",
        ),
        (
            with(|one| one.membership.as_mut().unwrap().id.clear()),
            "items[1].membership.id",
        ),
        (
            with(|one| one.membership.as_mut().unwrap().role = "a\u{7f}".into()),
            "items[1].membership.role",
        ),
        (
            v1::PutMembershipsRequest {
                reason: "x".repeat(1025),
                ..put("k", vec![item("a", "a")])
            },
            "reason",
        ),
    ] {
        let status = crm.put_memberships(request).await.unwrap_err();
        assert_eq!(
            changed(&status),
            (Code::InvalidArgument, "INVALID_REQUEST".into()),
            "{field}"
        );
        assert_eq!(fields(&status), [field]);
    }
    assert!(service.ids("bob").await.is_empty() && service.log.entries().is_empty());
}

#[tokio::test]
async fn beyond_its_reach_a_caller_writes_nothing() {
    let service = Service::start().await;
    let token = service.token(|spec| spec);
    let mut bot = service.stranger().await;
    let with = |change: fn(&mut v1::MembershipItem)| {
        let mut one = item("alice", "eu-1");
        change(&mut one);
        vec![item("bob", "eu-2"), one]
    };
    for (items, field) in [
        (
            with(|one| one.principal.as_mut().unwrap().issuer = "https://other".into()),
            "principal.issuer",
        ),
        (
            with(|one| one.membership.as_mut().unwrap().kind = "device".into()),
            "membership.kind",
        ),
        (
            with(|one| one.membership.as_mut().unwrap().id = "us-1".into()),
            "membership.id",
        ),
        (
            with(|one| one.membership.as_mut().unwrap().role = "owner".into()),
            "membership.role",
        ),
    ] {
        let put = bot
            .put_memberships(with_token(put("k", items.clone()), &token))
            .await
            .unwrap_err();
        let delete = bot
            .delete_memberships(with_token(delete("k", items), &token))
            .await
            .unwrap_err();
        for status in [put, delete] {
            assert_eq!(changed(&status), (Code::PermissionDenied, "OUT_OF_REACH".into()));
            assert_eq!(fields(&status), [format!("items[1].{field}")]);
        }
    }
    assert!(service.ids("bob").await.is_empty());
    assert_eq!(service.callers.refusals().denied, 8);
    let items = with(|_| {});
    bot.put_memberships(with_token(put("k", items), &token))
        .await
        .unwrap();
}

#[tokio::test]
async fn who_still_grants_what_was_taken_is_said() {
    let service = Service::start().await;
    service
        .others
        .say("apollo", &["file", "pushed"], &["claims", "pushed"]);
    let mut crm = service.crm().await;
    let items = vec![item("alice", "zeus"), item("alice", "apollo")];
    let put = crm
        .put_memberships(put("k", items.clone()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(put.results.len(), 2);
    let gone = crm
        .delete_memberships(delete("k", items))
        .await
        .unwrap()
        .into_inner();
    let said: Vec<_> = gone
        .results
        .iter()
        .map(|one| (one.still_granted_by.clone(), one.not_checked.clone()))
        .collect();
    assert_eq!(
        said,
        [
            (vec![], vec![]),
            (vec!["file".to_owned()], vec!["claims".to_owned()])
        ]
    );
}

#[tokio::test]
async fn without_the_log_a_push_is_kept_and_says_that_it_is_not_announced() {
    let service = Service::start().await;
    let mut crm = service.crm().await;
    service.log.set(Mood::Away);
    let request = put("k", vec![item("alice", "a"), item("bob", "b")]);
    let status = crm.put_memberships(request.clone()).await.unwrap_err();
    assert_eq!(changed(&status), (Code::Unavailable, "NOT_ANNOUNCED".into()));
    assert!(status.message().contains("same idempotency key"), "{status}");
    assert_eq!(service.ids("alice").await, ["a"]);
    assert_eq!(service.pending().await, 2);
    // Half of it gets through, and an answer is lost: asked again, it is done once.
    service.log.set(Mood::Only(1));
    crm.put_memberships(request.clone()).await.unwrap_err();
    assert_eq!(service.pending().await, 1);
    service.log.set(Mood::LosesAnswers);
    crm.put_memberships(request.clone()).await.unwrap_err();
    service.log.set(Mood::Well);
    let done = crm.put_memberships(request).await.unwrap().into_inner();
    assert!(done.repeated);
    assert_eq!(done.revision, TestLog::revision(2));
    assert_eq!((service.log.entries().len(), service.pending().await), (2, 0));
}

#[tokio::test]
async fn a_write_that_rests_on_one_not_announced_announces_it() {
    let service = Service::start().await;
    let mut crm = service.crm().await;
    service.log.set(Mood::Away);
    crm.put_memberships(put("k1", vec![item("alice", "a")]))
        .await
        .unwrap_err();
    // Nothing to do, it seems; but nobody has seen it.
    let status = crm
        .put_memberships(put("k2", vec![item("alice", "a")]))
        .await
        .unwrap_err();
    assert_eq!(changed(&status), (Code::Unavailable, "NOT_ANNOUNCED".into()));
    service.log.set(Mood::Well);
    let done = crm
        .put_memberships(put("k3", vec![item("alice", "a")]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(done.revision, TestLog::revision(1));
    assert_eq!(service.pending().await, 0);
}

#[tokio::test]
async fn a_caller_who_leaves_does_not_stop_what_was_begun() {
    let service = Service::start().await;
    let mut crm = service.crm().await;
    service.log.set(Mood::Holds);
    let mut leaving = crm.clone();
    let call = tokio::spawn(async move { leaving.put_memberships(put("k", vec![item("alice", "a")])).await });
    service.log.called(1).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    // Over the same connection, so the service has heard that the caller left before it answers this.
    crm.list_memberships(v1::ListMembershipsRequest::default())
        .await
        .unwrap();
    service.log.set(Mood::Well);
    let noted = async {
        while service.pending().await > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), noted)
        .await
        .unwrap();
    assert_eq!(service.log.entries().len(), 1);
}

#[tokio::test]
async fn the_callers_own_deadline_ends_the_call() {
    let service = Service::start().await;
    let mut crm = service.crm().await;
    service.log.set(Mood::Holds);
    let mut request = Request::new(put("k", vec![item("alice", "a")]));
    request.set_timeout(std::time::Duration::from_millis(300));
    let status = crm.put_memberships(request).await.unwrap_err();
    // Whoever is first: the client's own clock, or our answer that it is not announced.
    assert!(
        matches!(
            status.code(),
            Code::DeadlineExceeded | Code::Cancelled | Code::Unavailable
        ),
        "{status:?}"
    );
    assert_eq!(service.ids("alice").await, ["a"]);
    assert_eq!(service.pending().await, 1);
}

#[tokio::test]
async fn more_at_once_than_the_bound_are_sent_away() {
    let service = Service::start_with(crate::service::Options {
        limits: natsgate_decision::memberships::MembershipsLimits {
            max_in_flight: 1,
            ..Default::default()
        },
        ..Default::default()
    })
    .await;
    let mut crm = service.crm().await;
    service.log.set(Mood::Holds);
    let mut other = crm.clone();
    let call = tokio::spawn(async move { other.put_memberships(put("k", vec![item("alice", "a")])).await });
    service.log.called(1).await;
    let status = crm
        .put_memberships(put("k2", vec![item("alice", "b")]))
        .await
        .unwrap_err();
    assert_eq!(changed(&status), (Code::ResourceExhausted, "OVERLOADED".into()));
    service.log.set(Mood::Well);
    call.await.unwrap().unwrap();
}
