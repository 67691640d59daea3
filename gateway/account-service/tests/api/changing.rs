//! Changes: what they do to the clusters, once.

use std::time::Duration;

use natsgate_core::{AccountStore, Deadline};
use natsgate_proto::v1;
use natsgate_proto::v1::plan_account_response::Result as Planned;
use natsgate_proto::v1::template_change::Kind;
use tonic::{Code, Request};

use crate::site::{Beginning, PATIENCE, Pretended, Site, put, reason};

async fn get(site: &Site) -> v1::GetAccountResponse {
    let request = v1::GetAccountRequest {
        account: "APP".to_owned(),
    };
    site.api("viewer")
        .get_account(request)
        .await
        .unwrap()
        .into_inner()
}

#[tokio::test]
async fn a_template_is_put_in_every_cluster_and_told_of_each() {
    let beginning = Beginning::new().await;
    // The resolvers of the second know nothing of the account yet, and nobody of it is connected there.
    let (eu, us) = (
        Pretended::new("eu", Some(&beginning.jwt)),
        Pretended::new("us", None),
    );
    let site = Site::of(&beginning, vec![eu.clone(), us.clone()]).await;
    let before = get(&site).await;
    assert_eq!((before.revision, before.complete), (0, false));

    let done = site
        .api("ops")
        .put_template(put("k1", &["a"]))
        .await
        .unwrap()
        .into_inner();
    let outcome = done.outcome.unwrap();
    assert!(outcome.complete, "{outcome:?}");
    assert!(done.revision > 0 && !done.repeated);
    let standings: Vec<(String, i32)> = outcome
        .clusters
        .iter()
        .map(|cluster| (cluster.cluster.clone(), cluster.servers[0].standing))
        .collect();
    assert_eq!(
        standings,
        [
            ("eu".to_owned(), v1::AccountStanding::InForce.into()),
            ("us".to_owned(), v1::AccountStanding::NotLoaded.into()),
        ]
    );
    let kept = |one: &Pretended| one.state.lock().unwrap().kept.clone().unwrap();
    assert_eq!(kept(&eu), kept(&us));
    let after = get(&site).await;
    assert_eq!((after.revision, after.complete), (done.revision, true));
    assert_eq!(after.templates[0].generations[0].public_key, site.key(1));
    assert_eq!(after.size, kept(&eu).len() as u64);
}

#[tokio::test]
async fn a_cluster_whose_resolvers_lack_the_account_is_not_complete() {
    let beginning = Beginning::new().await;
    let (eu, us) = (
        Pretended::new("eu", Some(&beginning.jwt)),
        Pretended::new("us", Some(&beginning.jwt)),
    );
    let site = Site::of(&beginning, vec![eu.clone(), us.clone()]).await;
    site.api("ops").put_template(put("k1", &["a"])).await.unwrap();
    {
        let mut state = us.state.lock().unwrap();
        state.kept = None;
        state.in_force = None;
    }
    let lost = get(&site).await;
    assert!(!lost.complete);
    let missed: i32 = v1::AccountStanding::Missed.into();
    assert_eq!(lost.clusters[1].servers[0].standing, missed);
    let again = site.api("ops").put_template(put("k2", &["a"])).await.unwrap();
    assert!(again.into_inner().outcome.unwrap().complete);
    assert_eq!(us.state.lock().unwrap().kept, eu.state.lock().unwrap().kept);
}

#[tokio::test]
async fn a_cluster_that_is_away_is_named_and_what_is_wanted_stays_wanted() {
    let beginning = Beginning::new().await;
    let (eu, us) = (
        Pretended::new("eu", Some(&beginning.jwt)),
        Pretended::new("us", Some(&beginning.jwt)),
    );
    let site = Site::of(&beginning, vec![eu.clone(), us.clone()]).await;
    us.state.lock().unwrap().away = true;
    let done = site.api("ops").put_template(put("k1", &["a"])).await.unwrap();
    let outcome = done.into_inner().outcome.unwrap();
    assert!(!outcome.complete);
    assert_eq!(outcome.clusters[0].problem, "");
    assert!(
        outcome.clusters[1].problem.contains("the cluster is away"),
        "{outcome:?}"
    );
    assert!(outcome.clusters[1].servers.is_empty());

    // A repetition changes nothing of what is wanted, and gives it to whoever missed it.
    us.state.lock().unwrap().away = false;
    let done = site
        .api("ops")
        .put_template(put("k1", &["a"]))
        .await
        .unwrap()
        .into_inner();
    assert!(done.repeated && done.outcome.unwrap().complete);
    assert_eq!(us.state.lock().unwrap().kept, eu.state.lock().unwrap().kept);
}

#[tokio::test]
async fn a_key_is_for_one_request_of_one_caller() {
    let beginning = Beginning::new().await;
    let eu = Pretended::new("eu", Some(&beginning.jwt));
    let site = Site::of(&beginning, vec![eu.clone()]).await;
    let mut ops = site.api("ops");
    let first = ops.put_template(put("k1", &["a"])).await.unwrap().into_inner();
    let second = ops
        .put_template(put("k2", &["a", "b"]))
        .await
        .unwrap()
        .into_inner();
    assert!(second.revision > first.revision);

    // The first comes again: it is not to undo the second.
    let again = ops.put_template(put("k1", &["a"])).await.unwrap().into_inner();
    assert_eq!((again.repeated, again.revision), (true, second.revision));
    let status = ops.put_template(put("k1", &["c"])).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "IDEMPOTENCY_KEY_REUSED")
    );
    // Nor where there is nothing to do.
    ops.put_template(put("k3", &["a", "b"])).await.unwrap();
    let status = ops.put_template(put("k3", &["c"])).await.unwrap_err();
    assert_eq!(reason(&status), "IDEMPOTENCY_KEY_REUSED");
    let now = get(&site).await;
    let member = now.templates[0].template.clone().unwrap();
    assert_eq!(member.permissions.unwrap().publish_allow, ["a", "b"]);

    // Another caller's, and another method's, are others.
    let others = site.api("night").put_template(put("k1", &["c"])).await.unwrap();
    assert!(!others.into_inner().repeated);
    let retire = v1::RetireTemplateRequest {
        account: "APP".to_owned(),
        idempotency_key: "k1".to_owned(),
        name: "member".to_owned(),
        reason: String::new(),
    };
    let retired = ops.retire_template(retire).await.unwrap().into_inner();
    assert!(!retired.repeated);
    assert!(get(&site).await.templates[0].retired);
}

#[tokio::test]
async fn writers_take_turns() {
    let beginning = Beginning::new().await;
    let eu = Pretended::new("eu", Some(&beginning.jwt));
    let site = Site::of(&beginning, vec![eu]).await;
    let acquire = async |duration: Duration| {
        let account = site.keys.account();
        let deadline = Deadline::after(PATIENCE);
        site.store.acquire(account, "another", duration, deadline).await
    };
    site.api("ops").put_template(put("k1", &["a"])).await.unwrap();
    // The lease was given back, and is waited for.
    acquire(Duration::from_secs(1)).await.unwrap();
    let done = site.api("ops").put_template(put("k2", &["b"])).await.unwrap();
    assert!(done.into_inner().outcome.unwrap().complete);

    // As long as the caller waits.
    acquire(Duration::from_secs(600)).await.unwrap();
    let mut request = Request::new(put("k3", &["c"]));
    request.set_timeout(Duration::from_secs(2));
    let status = site.api("ops").put_template(request).await.unwrap_err();
    assert!([Code::Unavailable, Code::Cancelled, Code::DeadlineExceeded].contains(&status.code()));
}

#[tokio::test]
async fn whoever_loses_something_is_planned_for_and_closed() {
    let beginning = Beginning::new().await;
    let (eu, us) = (
        Pretended::new("eu", Some(&beginning.jwt)),
        Pretended::new("us", Some(&beginning.jwt)),
    );
    let site = Site::of(&beginning, vec![eu.clone(), us.clone()]).await;
    site.api("ops")
        .put_template(put("k1", &["a", "b"]))
        .await
        .unwrap();
    for (cluster, count) in [(&eu, 2), (&us, 3)] {
        cluster.state.lock().unwrap().sessions.insert(site.key(1), count);
    }
    let plan = v1::PlanAccountRequest {
        account: "APP".to_owned(),
        changes: Some(v1::AccountChanges {
            put_templates: vec![crate::site::member(&["a"])],
            ..v1::AccountChanges::default()
        }),
    };
    let planned = site.api("viewer").plan_account(plan).await.unwrap().into_inner();
    let Some(Planned::Plan(plan)) = planned.result else {
        panic!("{planned:?}")
    };
    assert_eq!((plan.sessions, plan.sessions_losing), (5, 5));
    assert_eq!(plan.templates[0].kind, i32::from(Kind::Narrowed));
    assert_eq!(plan.cap, 1024 * 1024);
    assert!(plan.size_after > plan.size_now.unwrap());
    // It was dry.
    assert_eq!(get(&site).await.templates[0].generations.len(), 1);
    assert_eq!(eu.state.lock().unwrap().pushes, 1);

    let done = site.api("ops").put_template(put("k2", &["a"])).await.unwrap();
    let outcome = done.into_inner().outcome.unwrap();
    let closed: Vec<u64> = outcome.clusters.iter().map(|one| one.sessions_closed).collect();
    assert_eq!((closed, outcome.complete), (vec![2, 3], true));
    assert!(us.state.lock().unwrap().sessions.is_empty());
}
