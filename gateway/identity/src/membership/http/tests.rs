mod pages;
mod tls;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use natsgate_core::DenialReason;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::settings::membership::http::{
    HttpAuthenticationSettings, NotFoundSettings, PageSettings, PaginationSettings,
};
use crate::testing::{identity, soon};

/// Whatever takes longer than this hangs.
const HANGS: Duration = Duration::from_secs(60);

type Answer = dyn Fn(&str) -> Response + Send + Sync;

/// An API on loopback, gone when dropped.
struct Api {
    url: String,
    /// Path with query, and headers, of every request.
    requests: Arc<Mutex<Vec<(String, HeaderMap)>>>,
    task: JoinHandle<()>,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Shared {
    requests: Arc<Mutex<Vec<(String, HeaderMap)>>>,
    answer: Box<Answer>,
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let target = request.uri().to_string();
    shared
        .requests
        .lock()
        .unwrap()
        .push((target.clone(), request.headers().clone()));
    (shared.answer)(&target)
}

impl Api {
    /// Answers by path and query.
    async fn start(answer: impl Fn(&str) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::default();
        let shared = Shared {
            requests: Arc::clone(&requests),
            answer: Box::new(answer),
        };
        let router = Router::new().fallback(handle).with_state(Arc::new(shared));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, requests, task }
    }

    fn settings(&self) -> HttpMembershipSettings {
        settings(&self.url)
    }

    fn targets(&self) -> Vec<String> {
        self.requests
            .lock()
            .unwrap()
            .iter()
            .map(|(target, _)| target.clone())
            .collect()
    }
}

/// Sends `bytes` to whoever connects, and then holds the connection, or closes it.
async fn raw(bytes: &'static str, hold: bool) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _read = stream.read(&mut request).await;
            stream.write_all(bytes.as_bytes()).await.unwrap();
            if hold {
                held.push(stream);
            }
        }
    });
    (url, task)
}

fn settings(url: &str) -> HttpMembershipSettings {
    let mut settings =
        HttpMembershipSettings::new("api", format!("{url}/users/{{principal.subject}}/projects"));
    settings.kind = Some("project".to_owned());
    settings.role_field = Some("role".to_owned());
    settings
}

fn json(value: &Value) -> Response {
    value.to_string().into_response()
}

fn entries(ids: &[&str]) -> Value {
    ids.iter().map(|id| json!({"id": id, "role": "member"})).collect()
}

async fn ask_about(
    settings: &HttpMembershipSettings,
    subject: &str,
    deadline: Deadline,
) -> Result<Vec<String>, Failure> {
    let source = HttpMemberships::new(settings).unwrap();
    let identity = identity("https://idp.example", subject);
    let asked = source.memberships(&identity, deadline);
    let found = timeout(HANGS, asked).await.expect("it hangs")?;
    Ok(found
        .into_iter()
        .map(|m| format!("{}/{}/{}", m.kind, m.id, m.role))
        .collect())
}

async fn ask(settings: &HttpMembershipSettings) -> Result<Vec<String>, Failure> {
    ask_about(settings, "alice", soon()).await
}

/// Why there is no answer.
async fn unanswered(settings: &HttpMembershipSettings) -> String {
    match ask(settings).await {
        Err(Failure::Unavailable(why)) => {
            assert!(!why.0.contains("alice") && !why.0.contains("hidden"), "{why}");
            assert!(
                why.0.contains("`http api`") && why.0.contains("/users/{principal.subject}"),
                "{why}"
            );
            why.0
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_list_is_asked_for_and_read() {
    let api = Api::start(|_| json(&entries(&["b", "a", "b"]))).await;
    assert_eq!(
        ask(&api.settings()).await.unwrap(),
        ["project/a/member", "project/b/member"]
    );
    assert_eq!(api.targets(), ["/users/alice/projects"]);
    let requests = api.requests.lock().unwrap();
    let headers = &requests[0].1;
    assert_eq!(headers["accept"], "application/json");
    assert!(!headers.contains_key(AUTHORIZATION));
}

#[tokio::test]
async fn hostile_subjects_arrive_as_one_segment_or_not_at_all() {
    let api = Api::start(|_| json(&entries(&[]))).await;
    for (subject, target) in [
        ("a?b=c", "/users/a%3Fb%3Dc/projects"),
        ("%2e%2e", "/users/%252e%252e/projects"),
        ("zoë", "/users/zo%C3%AB/projects"),
        ("x#y", "/users/x%23y/projects"),
    ] {
        ask_about(&api.settings(), subject, soon()).await.unwrap();
        assert_eq!(api.requests.lock().unwrap().pop().unwrap().0, target);
    }
    for subject in ["../../admin", "..", ".", "a/b"] {
        match ask_about(&api.settings(), subject, soon()).await {
            Err(Failure::Denied(denial)) => assert_eq!(denial.reason, DenialReason::UnsafeValue),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(api.targets(), [""; 0]);
}

#[tokio::test]
async fn only_a_200_is_an_answer() {
    for (status, words) in [
        (StatusCode::CREATED, "201"),
        (StatusCode::NO_CONTENT, "204"),
        (StatusCode::BAD_REQUEST, "400"),
        (StatusCode::UNAUTHORIZED, "check `authentication`"),
        (StatusCode::FORBIDDEN, "check `authentication`"),
        (StatusCode::NOT_FOUND, "not_found: nothing"),
        (StatusCode::TOO_MANY_REQUESTS, "fewer requests"),
        (StatusCode::INTERNAL_SERVER_ERROR, "500"),
        (StatusCode::SERVICE_UNAVAILABLE, "503"),
    ] {
        let api = Api::start(move |_| (status, entries(&["hidden"]).to_string()).into_response()).await;
        let why = unanswered(&api.settings()).await;
        assert!(why.contains(words), "{why}");
    }
}

#[tokio::test]
async fn not_found_is_nothing_where_that_is_configured_and_only_for_the_first_page() {
    let api = Api::start(|_| StatusCode::NOT_FOUND.into_response()).await;
    let mut settings = api.settings();
    settings.not_found = NotFoundSettings::Nothing;
    assert_eq!(ask(&settings).await.unwrap(), [""; 0]);

    let api = Api::start(|target| match target {
        "/users/alice/projects?page=1" => json(&entries(&["hidden"])),
        _ => StatusCode::NOT_FOUND.into_response(),
    })
    .await;
    let mut settings = api.settings();
    settings.not_found = NotFoundSettings::Nothing;
    settings.pagination = page();
    assert!(unanswered(&settings).await.contains("404"));
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Api::start(|_| json(&entries(&["hidden"]))).await;
    let target = format!("{}/users/alice/projects", elsewhere.url);
    let api = Api::start(move |_| (StatusCode::FOUND, [("location", target.clone())]).into_response()).await;
    let why = unanswered(&api.settings()).await;
    assert!(why.contains("redirect"), "{why}");
    assert_eq!(elsewhere.targets(), [""; 0]);
}

#[tokio::test]
async fn what_is_not_a_whole_list_is_no_answer() {
    for (body, words) in [
        ("", "not JSON"),
        ("<html>hidden</html>", "not JSON"),
        ("[{\"id\": \"hidden\", \"role\": \"x\"}", "not JSON"),
        ("[] []", "not JSON"),
        ("{\"items\": []}", "not a list"),
        ("null", "list"),
        ("[{\"id\": \"hidden\"}]", "no `role`"),
    ] {
        let api = Api::start(move |_| body.into_response()).await;
        let why = unanswered(&api.settings()).await;
        assert!(why.contains(words), "{body}: {why}");
    }
}

#[tokio::test]
async fn a_body_that_ends_early_or_never_is_no_answer() {
    // The JSON is whole, the body is not: another entry may be missing.
    const CUT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[]";
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n[]\r\n";
    for (bytes, hold) in [
        (CUT, false),
        (CHUNKED, false),
        ("", false),
        ("HTTP/1.1 garbage\r\n\r\n", false),
    ] {
        let (url, task) = raw(bytes, hold).await;
        let why = unanswered(&settings(&url)).await;
        assert!(!why.contains("deadline") && !why.contains("timeout"), "{why}");
        task.abort();
    }
    for bytes in [CUT, CHUNKED, ""] {
        let (url, task) = raw(bytes, true).await;
        let late = Deadline::after(Duration::from_millis(300));
        match ask_about(&settings(&url), "alice", late).await {
            Err(Failure::Unavailable(why)) => assert!(why.0.contains("the request's deadline"), "{why}"),
            other => panic!("{other:?}"),
        }
        let mut settings = settings(&url);
        settings.timeout = Duration::from_millis(300);
        let why = unanswered(&settings).await;
        assert!(why.contains("`timeout`"), "{why}");
        task.abort();
    }
}

#[tokio::test]
async fn an_api_that_is_not_there_is_no_answer() {
    let api = Api::start(|_| json(&entries(&[]))).await;
    let settings = api.settings();
    api.task.abort();
    // The port is free again once the task is gone.
    let gone = async {
        while !api.task.is_finished() {
            tokio::task::yield_now().await;
        }
    };
    timeout(HANGS, gone).await.unwrap();
    assert!(unanswered(&settings).await.contains("refused"));
}

#[tokio::test]
async fn answers_beyond_the_bounds_are_told_not_cut() {
    let api = Api::start(|_| json(&entries(&["a", "b", "c"]))).await;
    let size = entries(&["a", "b", "c"]).to_string().len();
    let mut settings = api.settings();
    settings.max_entries = 3;
    settings.max_bytes = size;
    assert_eq!(ask(&settings).await.unwrap().len(), 3);
    settings.max_entries = 2;
    assert!(unanswered(&settings).await.contains("max_entries"));
    settings.max_entries = 3;
    settings.max_bytes = size - 1;
    assert!(unanswered(&settings).await.contains("max_bytes"));

    // All pages count together.
    settings.max_bytes = size * 2;
    settings.pagination = PaginationSettings::Link;
    let next = |target: &str| match target {
        "/users/alice/projects" => "</users/alice/projects?p=2>; rel=next",
        "/users/alice/projects?p=2" => "</users/alice/projects?p=3>; rel=next",
        _ => "",
    };
    let api = Api::start(move |target| {
        ([("link", next(target))], entries(&["a", "b", "c"]).to_string()).into_response()
    })
    .await;
    settings.url = api.settings().url;
    settings.max_entries = 100;
    assert!(unanswered(&settings).await.contains("max_bytes"));
}

fn page() -> PaginationSettings {
    PaginationSettings::Page(PageSettings {
        parameter: "page".to_owned(),
        first: 1,
    })
}

#[tokio::test]
async fn natsgate_proves_itself_as_configured_and_shows_it_to_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "first\n").unwrap();
    let api = Api::start(|_| json(&entries(&[]))).await;
    let last = |name: &str| {
        let requests = api.requests.lock().unwrap();
        requests
            .last()
            .unwrap()
            .1
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };

    let mut settings = api.settings();
    settings.authentication = HttpAuthenticationSettings::Bearer("hidden-token".into());
    settings
        .headers
        .insert("X-Api-Key".to_owned(), "hidden-key".into());
    ask(&settings).await.unwrap();
    assert_eq!(last("authorization").as_deref(), Some("Bearer hidden-token"));
    assert_eq!(last("x-api-key").as_deref(), Some("hidden-key"));
    let source = HttpMemberships::new(&settings).unwrap();
    assert!(!format!("{settings:?} {source:?} {:?}", settings.authentication).contains("hidden"));

    settings.authentication = HttpAuthenticationSettings::BearerFile(file.clone());
    let source = HttpMemberships::new(&settings).unwrap();
    let alice = identity("https://idp.example", "alice");
    source.memberships(&alice, soon()).await.unwrap();
    assert_eq!(last("authorization").as_deref(), Some("Bearer first"));
    std::fs::write(&file, "second").unwrap();
    source.memberships(&alice, soon()).await.unwrap();
    assert_eq!(last("authorization").as_deref(), Some("Bearer second"));
    for broken in ["", "two words", "line\nbreak"] {
        std::fs::write(&file, broken).unwrap();
        let error = source.memberships(&alice, soon()).await.unwrap_err().to_string();
        assert!(error.contains("bearer_file"), "{error}");
    }
    std::fs::remove_file(&file).unwrap();
    assert!(source.memberships(&alice, soon()).await.is_err());
}

#[tokio::test]
async fn only_the_configured_providers_people_are_asked_about() {
    let api = Api::start(|_| json(&entries(&["a"]))).await;
    let mut settings = api.settings();
    settings.providers = vec!["elsewhere".to_owned()];
    assert_eq!(ask(&settings).await.unwrap(), [""; 0]);
    assert_eq!(api.targets(), [""; 0]);
    let alice = identity("https://idp.example", "alice");
    assert!(
        HttpMemberships::new(&settings)
            .unwrap()
            .cache_key(&alice)
            .is_none()
    );
    settings.providers.push("corp".to_owned());
    assert_eq!(ask(&settings).await.unwrap().len(), 1);
    settings.lag = Duration::from_secs(3);
    let source = HttpMemberships::new(&settings).unwrap();
    assert!(source.cache_key(&alice).is_some());
    assert_eq!(
        (source.lag(), source.reads_claims()),
        (Duration::from_secs(3), false)
    );
}

#[test]
fn settings_that_cannot_work_are_refused() {
    type Change = fn(&mut HttpMembershipSettings);
    let cases: [(&str, Change); 19] = [
        ("name", |s| s.name = " ".to_owned()),
        ("url", |s| {
            s.url = "http://api.example/{principal.subject}".to_owned()
        }),
        ("url", |s| s.url = "https://api.example/users".to_owned()),
        ("url", |s| {
            s.url.push_str("?page=7");
            s.pagination = page();
        }),
        ("kind", |s| s.kind = None),
        ("kind", |s| s.kind_field = Some("type".to_owned())),
        ("role", |s| s.role = Some("x".to_owned())),
        ("role_field", |s| s.role_field = Some(String::new())),
        ("list", |s| s.list = Some(String::new())),
        ("max_pages", |s| s.max_pages = 0),
        ("max_bytes", |s| s.max_bytes = 0),
        ("max_entries", |s| s.max_entries = usize::MAX),
        ("timeout", |s| s.timeout = Duration::ZERO),
        ("lag", |s| s.lag = Duration::from_secs(3601)),
        ("authentication.bearer", |s| {
            s.authentication = HttpAuthenticationSettings::Bearer("".into())
        }),
        ("authentication.bearer", |s| {
            s.authentication = HttpAuthenticationSettings::Bearer("a\nb".into())
        }),
        ("headers.X Y", |s| {
            drop(s.headers.insert("X Y".to_owned(), "v".into()))
        }),
        ("headers.Host", |s| {
            drop(s.headers.insert("Host".to_owned(), "v".into()))
        }),
        ("ca_file", |s| s.ca_file = Some("/nowhere/ca.pem".into())),
    ];
    for (field, change) in cases {
        let mut settings = settings("https://api.example");
        change(&mut settings);
        let error = HttpMemberships::new(&settings).unwrap_err();
        assert!(error.key.ends_with(&format!("].{field}")), "{field}: {error}");
    }
}
