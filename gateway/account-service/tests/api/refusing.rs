//! What is refused, and what is said of it.

use natsgate_proto::v1;
use natsgate_proto::v1::plan_account_response::Result as Planned;
use tonic::Code;
use tonic_types::StatusExt;

use crate::site::{Beginning, Pretended, Site, fields, member, put, reason};

#[tokio::test]
async fn whoever_may_not_is_told_so() {
    let beginning = Beginning::new().await;
    let eu = Pretended::new("eu", Some(&beginning.jwt));
    let site = Site::of(&beginning, vec![eu.clone()]).await;
    let get = || v1::GetAccountRequest {
        account: "APP".to_owned(),
    };
    for (caller, code, why) in [
        ("", Code::Unauthenticated, "CALLER_NOT_AUTHENTICATED"),
        ("nobody", Code::Unauthenticated, "CALLER_NOT_AUTHENTICATED"),
        ("viewer", Code::PermissionDenied, "SCOPE_MISSING"),
        ("shim", Code::PermissionDenied, "SCOPE_MISSING"),
        ("other", Code::PermissionDenied, "OUT_OF_REACH"),
    ] {
        let status = site.api(caller).put_template(put("k", &["a"])).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (code, why), "{caller}");
        if caller != "viewer" {
            let status = site.api(caller).get_account(get()).await.unwrap_err();
            assert_eq!(status.code(), code, "{caller}");
        }
    }
    site.api("viewer").get_account(get()).await.unwrap();
    let elsewhere = v1::PutTemplateRequest {
        account: "NONE".to_owned(),
        ..put("k", &["a"])
    };
    let status = site.api("ops").put_template(elsewhere).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::NotFound, "ACCOUNT_NOT_CONFIGURED")
    );
    assert_eq!(eu.state.lock().unwrap().pushes, 0);
}

#[tokio::test]
async fn what_cannot_be_read_is_named_by_its_field() {
    let beginning = Beginning::new().await;
    let eu = Pretended::new("eu", Some(&beginning.jwt));
    let site = Site::of(&beginning, vec![eu.clone()]).await;
    let named = |name: &str| v1::Template {
        name: name.to_owned(),
        ..member(&["a"])
    };
    let limited = v1::Template {
        limits: Some(v1::Limits {
            payload: Some(0),
            ..v1::Limits::default()
        }),
        ..member(&["a"])
    };
    for (template, field) in [
        (None, "template"),
        (Some(named("a.b")), "template.name"),
        (Some(named("")), "template.name"),
        (Some(member(&["a..b"])), "template.permissions.publish_allow"),
        (Some(member(&["{{name()}}"])), "template"),
        (Some(member(&[])), "template"),
        (Some(limited), "template.limits.payload"),
    ] {
        let request = v1::PutTemplateRequest {
            template,
            ..put("k", &[])
        };
        let status = site.api("ops").put_template(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(fields(&status), [field], "{status:?}");
    }
    let status = site.api("ops").put_template(put("", &["a"])).await.unwrap_err();
    assert_eq!(fields(&status), ["idempotency_key"]);
    let both = v1::PushAccountRequest {
        account: "APP".to_owned(),
        idempotency_key: "k".to_owned(),
        changes: Some(v1::AccountChanges {
            put_templates: vec![member(&["a"])],
            retire_templates: vec!["member".to_owned()],
            ..v1::AccountChanges::default()
        }),
        reason: String::new(),
    };
    let status = site.api("ops").push_account(both).await.unwrap_err();
    assert_eq!(fields(&status), ["changes.retire_templates[0]"]);
    assert_eq!(eu.state.lock().unwrap().pushes, 0);
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_numbers_and_the_plan_says_so_before() {
    let beginning = Beginning::new().await;
    let eu = Pretended::new("eu", Some(&beginning.jwt));
    let site = Site::of(&beginning, vec![eu.clone()]).await;
    let long = "x".repeat(400);
    let templates = (0..1000).map(|number| {
        let subjects: Vec<String> = (0..3).map(|one| format!("{long}.{one}.{number}")).collect();
        v1::Template {
            name: format!("t{number}"),
            ..member(&subjects.iter().map(String::as_str).collect::<Vec<_>>())
        }
    });
    let changes = Some(v1::AccountChanges {
        put_templates: templates.collect(),
        ..v1::AccountChanges::default()
    });
    let plan = v1::PlanAccountRequest {
        account: "APP".to_owned(),
        changes: changes.clone(),
    };
    let planned = site.api("viewer").plan_account(plan).await.unwrap().into_inner();
    let Some(Planned::Refusal(refusal)) = planned.result else {
        panic!("{planned:?}")
    };
    assert_eq!(refusal.reason, "OVER_CAP");
    assert_eq!(refusal.metadata["cap"], (1024 * 1024).to_string());
    assert!(refusal.message.contains("instead:"), "{}", refusal.message);
    let push = v1::PushAccountRequest {
        account: "APP".to_owned(),
        idempotency_key: "k".to_owned(),
        changes,
        reason: String::new(),
    };
    let status = site.api("ops").push_account(push).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let details = status.get_details_error_info().unwrap();
    assert_eq!(details.reason, "OVER_CAP");
    assert_eq!(details.metadata["size"], refusal.metadata["size"]);
    assert_eq!(eu.state.lock().unwrap().pushes, 0);
}
