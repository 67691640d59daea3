//! Clusters that shims lend: whoever may, while they are there, and what is told when they are not.

use std::time::Duration;

use natsgate_proto::v1;
use tonic::Code;

use crate::shim::{OnPush, attach, hello, shim};
use crate::site::{Beginning, PATIENCE, Pretended, Site, put, reason};

/// Waits until `is`.
async fn until(is: impl Fn() -> bool) {
    let waiting = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

#[tokio::test]
async fn only_a_known_shim_of_that_cluster_attaches() {
    let beginning = Beginning::new().await;
    let site = Site::linked(&beginning, &["eu", "us"]).await;
    for (caller, first, code, why) in [
        (
            "",
            hello("eu", "s"),
            Code::Unauthenticated,
            "CALLER_NOT_AUTHENTICATED",
        ),
        ("ops", hello("eu", "s"), Code::PermissionDenied, "SCOPE_MISSING"),
        (
            "eu-shim",
            hello("us", "s"),
            Code::PermissionDenied,
            "OUT_OF_REACH",
        ),
        (
            "shim",
            hello("mars", "s"),
            Code::PermissionDenied,
            "CLUSTER_NOT_CONFIGURED",
        ),
        ("shim", hello("", "s"), Code::InvalidArgument, "INVALID_REQUEST"),
        (
            "shim",
            v1::AttachRequest::default(),
            Code::InvalidArgument,
            "INVALID_REQUEST",
        ),
    ] {
        let status = attach(&site, caller, first).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (code, why), "{caller}");
    }
    assert!(site.links.counts().values().all(|count| *count == 0));
    attach(&site, "eu-shim", hello("eu", "s")).await.unwrap();
}

#[tokio::test]
async fn a_shim_that_goes_or_hangs_in_the_middle_is_followed_by_another() {
    for first in [OnPush::Goes, OnPush::Hangs] {
        let beginning = Beginning::new().await;
        let eu = Pretended::new("eu", Some(&beginning.jwt));
        let site = Site::linked(&beginning, &["eu"]).await;
        let _first = shim(&site, &eu, "eu", first).await;
        let _other = shim(&site, &eu, "eu", OnPush::Pushes).await;
        let done = site.api("ops").put_template(put("k1", &["a"])).await.unwrap();
        let outcome = done.into_inner().outcome.unwrap();
        assert!(outcome.complete, "{outcome:?}");
        assert_eq!(eu.state.lock().unwrap().pushes, 1);
    }
}

#[tokio::test]
async fn a_cluster_without_a_shim_is_missing_until_one_attaches_and_then_gets_what_is_wanted() {
    let beginning = Beginning::new().await;
    let (eu, us) = (
        Pretended::new("eu", Some(&beginning.jwt)),
        Pretended::new("us", Some(&beginning.jwt)),
    );
    let site = Site::linked(&beginning, &["eu", "us"]).await;
    let status = site.api("ops").put_template(put("k0", &["a"])).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "SERVERS_UNAVAILABLE")
    );
    assert!(status.message().contains("no shim of the cluster us is attached"));

    let _eu = shim(&site, &eu, "eu", OnPush::Pushes).await;
    let done = site.api("ops").put_template(put("k1", &["a"])).await.unwrap();
    let outcome = done.into_inner().outcome.unwrap();
    assert!(!outcome.complete);
    assert!(
        outcome.clusters[1]
            .problem
            .contains("no shim of the cluster us is attached"),
        "{outcome:?}"
    );
    let plan = v1::PlanAccountRequest {
        account: "APP".to_owned(),
        changes: None,
    };
    let planned = site.api("viewer").plan_account(plan).await.unwrap().into_inner();
    assert_eq!(planned.missing[0].cluster, "us");

    // Nobody asks for anything: it is given what it missed.
    let kept = || us.state.lock().unwrap().kept.clone();
    assert_eq!(kept(), Some(beginning.jwt.clone()));
    let lent = shim(&site, &us, "us", OnPush::Pushes).await;
    until(|| kept() == eu.state.lock().unwrap().kept).await;

    // And one that goes is missing again.
    drop(lent);
    until(|| site.links.counts()["us"] == 0).await;
    let request = v1::GetAccountRequest {
        account: "APP".to_owned(),
    };
    let view = site
        .api("viewer")
        .get_account(request)
        .await
        .unwrap()
        .into_inner();
    assert!(!view.complete);
    assert!(view.clusters[0].problem.is_empty() && !view.clusters[1].problem.is_empty());
}
