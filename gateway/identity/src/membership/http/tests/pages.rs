//! How a list goes on, and that it is whole or no answer.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::settings::membership::http::CursorSettings;

fn cursor(may_be_absent: bool) -> PaginationSettings {
    PaginationSettings::Cursor(CursorSettings {
        field: "meta.next".to_owned(),
        parameter: "after".to_owned(),
        may_be_absent,
    })
}

#[tokio::test]
async fn links_are_followed_to_the_end() {
    let api = Api::start(|target| {
        let (link, ids): (&str, &[&str]) = match target {
            "/users/alice/projects" => ("</users/alice/projects?page=2&x=%20>; rel=\"next\"", &["a"]),
            "/users/alice/projects?page=2&x=%20" => ("<?page=3>; rel=\"next\", </>; rel=\"first\"", &["b"]),
            "/users/alice/projects?page=3" => ("</>; rel=\"first\"", &["c"]),
            _ => return StatusCode::IM_A_TEAPOT.into_response(),
        };
        ([("link", link)], entries(ids).to_string()).into_response()
    })
    .await;
    let mut settings = api.settings();
    settings.pagination = PaginationSettings::Link;
    assert_eq!(
        ask(&settings).await.unwrap(),
        ["project/a/member", "project/b/member", "project/c/member"]
    );
    assert_eq!(api.targets().len(), 3);
}

#[tokio::test]
async fn links_to_elsewhere_are_not_followed_and_not_passed_over() {
    let elsewhere = Api::start(|_| json(&entries(&["hidden"]))).await;
    for target in [
        format!("{}/users/alice/projects", elsewhere.url),
        elsewhere.url.replace("http://", "//"),
        elsewhere.url.replace("http://", "https://"),
        "http://user:pw@127.0.0.1/".to_owned(),
        "ftp://127.0.0.1/".to_owned(),
        "http://[".to_owned(),
    ] {
        let link = format!("<{target}>; rel=\"next\"");
        let api =
            Api::start(move |_| ([("link", link.clone())], entries(&["a"]).to_string()).into_response())
                .await;
        let mut settings = api.settings();
        settings.pagination = PaginationSettings::Link;
        let why = unanswered(&settings).await;
        assert!(why.contains("`Link`"), "{target}: {why}");
    }
    assert_eq!(elsewhere.targets(), [""; 0]);
}

#[tokio::test]
async fn cursors_are_followed_to_the_end() {
    for end in [json!(null), json!(""), json!(false)] {
        let api = Api::start(move |target| {
            let (next, ids): (Value, &[&str]) = match target {
                "/users/alice/projects" => (json!("a b&c"), &["a"]),
                "/users/alice/projects?after=a+b%26c" => (json!(7), &["b"]),
                "/users/alice/projects?after=7" => (end.clone(), &["c"]),
                _ => return StatusCode::IM_A_TEAPOT.into_response(),
            };
            json(&json!({"items": entries(ids), "meta": {"next": next}}))
        })
        .await;
        let mut settings = api.settings();
        settings.list = Some("items".to_owned());
        settings.pagination = cursor(false);
        assert_eq!(
            ask(&settings).await.unwrap(),
            ["project/a/member", "project/b/member", "project/c/member"]
        );
    }
}

#[tokio::test]
async fn a_cursor_that_is_missing_or_strange_is_not_taken_for_the_end() {
    for (meta, absent_is_end) in [
        (json!({}), true),
        (json!(null), true),
        (json!({"next": ["x"]}), false),
        (json!({"next": {}}), false),
        (json!({"next": true}), false),
        (json!({"next": 1.5}), false),
    ] {
        let body = json!({"items": entries(&["a"]), "meta": meta});
        let api = Api::start(move |_| json(&body)).await;
        let mut settings = api.settings();
        settings.list = Some("items".to_owned());
        settings.pagination = cursor(false);
        assert!(
            unanswered(&settings).await.contains("pagination.cursor.field"),
            "{meta}"
        );
        settings.pagination = cursor(true);
        assert_eq!(ask(&settings).await.is_ok(), absent_is_end, "{meta}");
    }
}

#[tokio::test]
async fn pages_are_asked_for_until_one_is_empty() {
    let api = Api::start(|target| match target {
        "/users/alice/projects?page=1" => json(&entries(&["a"])),
        "/users/alice/projects?page=2" => json(&entries(&["b"])),
        "/users/alice/projects?page=3" => json(&entries(&[])),
        _ => StatusCode::IM_A_TEAPOT.into_response(),
    })
    .await;
    let mut settings = api.settings();
    settings.pagination = page();
    assert_eq!(
        ask(&settings).await.unwrap(),
        ["project/a/member", "project/b/member"]
    );
    assert_eq!(api.targets().len(), 3);
}

#[tokio::test]
async fn lists_without_an_end_are_no_answer() {
    // An API that knows nothing of pages.
    let api = Api::start(|_| json(&entries(&["a"]))).await;
    let mut settings = api.settings();
    settings.pagination = page();
    assert!(unanswered(&settings).await.contains("repeats"));
    assert_eq!(api.targets().len(), 2);

    // A circle.
    let api = Api::start(|target| {
        let other = if target.ends_with("=2") { "1" } else { "2" };
        let link = format!("</users/alice/projects?page={other}>; rel=next");
        ([("link", link)], entries(&["a"]).to_string()).into_response()
    })
    .await;
    settings.url = api.settings().url;
    settings.pagination = PaginationSettings::Link;
    assert!(unanswered(&settings).await.contains("circles"));

    let api = Api::start(|_| json(&json!({"items": entries(&["a"]), "meta": {"next": "x"}}))).await;
    settings.url = api.settings().url;
    settings.list = Some("items".to_owned());
    settings.pagination = cursor(false);
    assert!(unanswered(&settings).await.contains("circles"));

    // Always a new page.
    let pages = AtomicUsize::new(0);
    let api = Api::start(move |_| {
        let next = pages.fetch_add(1, Ordering::SeqCst) + 1;
        json(&json!({"items": entries(&["a"]), "meta": {"next": next}}))
    })
    .await;
    settings.url = api.settings().url;
    settings.max_pages = 5;
    assert!(unanswered(&settings).await.contains("max_pages"));
    assert_eq!(api.targets().len(), 5);
}

#[tokio::test]
async fn a_page_that_fails_leaves_no_answer() {
    for second in [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::OK] {
        let api = Api::start(move |target| match target {
            "/users/alice/projects?page=1" => json(&entries(&["hidden"])),
            _ => (second, "[{\"id\": 1}]").into_response(),
        })
        .await;
        let mut settings = api.settings();
        settings.pagination = page();
        unanswered(&settings).await;
    }
}
