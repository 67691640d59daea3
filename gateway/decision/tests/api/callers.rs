//! Who may call, and who is refused; each refusal counted, audited, and without a token in any log.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use natsgate_api::caller::{self, CallerAuthenticator, Scope};
use natsgate_core::{
    ClaimsStanding, Clock, Concern, Deadline, Freshness, PolicyGeneration, Position, Revision, Unavailable,
};
use natsgate_devkit::{Fault, LogCapture, MockClock, Signature};
use natsgate_proto::v1::{ListMembershipsRequest, ListMembershipsResponse};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tonic::metadata::MetadataMap;
use tonic::{Code, Extensions, Request, Response, Status};

use crate::service::{
    AUDIENCE, Client, Name, Options, Service, bot, crm, item, put, reason, soon, with_token,
};

/// Lists, which every test's caller may who is anybody.
async fn list(client: &mut Client, token: Option<&SecretString>) -> Result<ListMembershipsResponse, Status> {
    let message = ListMembershipsRequest::default();
    let request = match token {
        Some(token) => with_token(message, token),
        None => Request::new(message),
    };
    client.list_memberships(request).await.map(Response::into_inner)
}

fn told(result: Result<ListMembershipsResponse, Status>) -> (Code, String) {
    let status = result.expect_err("refused");
    (status.code(), reason(&status))
}

fn unauthenticated() -> (Code, String) {
    (Code::Unauthenticated, "CALLER_NOT_AUTHENTICATED".to_owned())
}

#[tokio::test]
async fn a_certificate_or_a_token_of_a_configured_caller_lets_in() {
    let by = |name: &str, certificate: Value| {
        let mut caller = crm();
        caller["name"] = json!(name);
        caller["certificate"] = certificate;
        caller
    };
    let service = Service::start_with(Options {
        callers: json!([
            crm(),
            bot(),
            by("by-dns", json!({"san_dns": "Backend.example.com"})),
            by("by-name", json!({"common_name": "backend"})),
        ]),
        ..Default::default()
    })
    .await;
    for name in [
        Name::Uri("spiffe://example.com/crm"),
        Name::Dns("backend.EXAMPLE.com"),
        Name::Common("backend"),
    ] {
        list(&mut service.named(name).await, None).await.unwrap();
    }
    let token = service.token(|spec| spec);
    list(&mut service.stranger().await, Some(&token)).await.unwrap();
    assert_eq!(service.callers.refusals(), Default::default());
}

#[tokio::test]
async fn whoever_is_not_configured_is_refused_counted_and_audited() {
    let service = Service::start().await;
    let capture = LogCapture::new();
    let _heard = capture.listen();
    assert_eq!(
        told(list(&mut service.stranger().await, None).await),
        unauthenticated()
    );
    for name in [
        Name::Uri("spiffe://example.com/crm2"),
        Name::Uri("spiffe://example.com/CRM"),
        Name::Uri("spiffe://example.com/cr"),
        // The right text in the wrong place.
        Name::Common("spiffe://example.com/crm"),
    ] {
        assert_eq!(
            told(list(&mut service.named(name).await, None).await),
            unauthenticated()
        );
    }
    assert_eq!(service.callers.refusals().unauthenticated, 5);
    let audited = capture.lines_with("natsgate::audit");
    assert_eq!(audited.len(), 5, "{audited:?}");
    for line in audited {
        assert!(
            line.contains("CALLER_NOT_AUTHENTICATED") && line.contains("peer=\"127.0.0.1:"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_does_not_get_through_the_handshake() {
    let service = Service::start().await;
    // In TLS 1.3 the client learns that with its first call.
    if let Ok(mut client) = service.forger(Name::Uri("spiffe://example.com/crm")).await {
        let status = list(&mut client, None).await.unwrap_err();
        assert!(
            matches!(status.code(), Code::Unavailable | Code::Unknown),
            "{status:?}"
        );
    }
}

#[tokio::test]
async fn a_certificate_that_has_run_out_since_the_handshake_does_not_count() {
    let service = Service::start().await;
    let mut client = service.crm().await;
    list(&mut client, None).await.unwrap();
    // rcgen's certificates are in force until the year 4096.
    service
        .clock
        .set(SystemTime::UNIX_EPOCH + Duration::from_secs(70_000_000_000));
    assert_eq!(told(list(&mut client, None).await), unauthenticated());
}

#[tokio::test]
async fn every_bad_token_is_refused_and_none_is_shown() {
    let service = Service::start().await;
    let capture = LogCapture::new();
    let _heard = capture.listen();
    let mut client = service.stranger().await;
    let expired = service.token(|spec| spec.ttl(Duration::from_secs(1)));
    let forged = service.token(|spec| spec.signature(Signature::Forged));
    let unsigned = service.token(|spec| spec.signature(Signature::None));
    let for_nats = service.token(|spec| spec.audience("nats"));
    let other_client = service.token(|spec| spec.claim("client_id", "bot2"));
    let listed_client = service.token(|spec| spec.claim("client_id", json!(["bot"])));
    // `azp` counts only where there is no `client_id`.
    let other_azp = service.token(|spec| spec.claim("client_id", "x").claim("azp", "bot"));
    service.clock.advance(Duration::from_secs(120));
    let junk = SecretString::from("not-a-token-but-secret");
    let bad = [
        expired,
        forged,
        unsigned,
        for_nats,
        other_client,
        listed_client,
        other_azp,
        junk,
    ];
    for (index, token) in bad.iter().enumerate() {
        assert_eq!(
            told(list(&mut client, Some(token)).await),
            unauthenticated(),
            "{index}"
        );
    }
    assert_eq!(service.callers.refusals().unauthenticated, bad.len() as u64);
    let good = service.token(|spec| spec.claim("client_id", Value::Null).claim("azp", "bot"));
    list(&mut client, Some(&good)).await.unwrap();

    let heard = capture.text();
    assert_eq!(capture.lines_with("natsgate::audit").len(), bad.len());
    for token in bad.iter().chain([&good]) {
        let signature = token
            .expose_secret()
            .rsplit('.')
            .find(|part| !part.is_empty())
            .unwrap();
        assert!(!heard.contains(signature), "a token in the log");
    }
    assert_ne!(AUDIENCE, "nats");
}

#[tokio::test]
async fn a_token_that_cannot_be_verified_is_an_outage_not_a_refusal() {
    let service = Service::start().await;
    service.provider.set_fault(Fault::Status(503));
    let token = service.token(|spec| spec);
    let result = list(&mut service.stranger().await, Some(&token)).await;
    assert_eq!(
        told(result),
        (Code::Unavailable, "PROVIDER_UNAVAILABLE".to_owned())
    );
    assert_eq!(service.callers.refusals().unavailable, 1);
}

#[tokio::test]
async fn a_scope_must_be_in_the_token_and_in_the_binding() {
    let mut reader = bot();
    reader["scopes"] = json!(["natsgate.memberships.read"]);
    let service = Service::start_with(Options {
        callers: json!([reader]),
        ..Default::default()
    })
    .await;
    let mut client = service.stranger().await;
    let missing = (Code::PermissionDenied, "SCOPE_MISSING".to_owned());
    let both = service.token(|spec| spec);
    list(&mut client, Some(&both)).await.unwrap();
    // In the token, not in the binding.
    let request = put("k", vec![item("alice", "eu-1")]);
    let status = client
        .put_memberships(with_token(request, &both))
        .await
        .unwrap_err();
    assert_eq!((status.code(), reason(&status)), missing);
    // In the binding, not in the token.
    for scope in [json!("natsgate.memberships.write"), json!("openid"), Value::Null] {
        let token = service.token(|spec| spec.claim("scope", scope.clone()));
        assert_eq!(told(list(&mut client, Some(&token)).await), missing, "{scope}");
    }
    assert_eq!(service.callers.refusals().denied, 4);
    assert_eq!(service.ids("alice").await, Vec::<String>::new());
}

#[tokio::test]
async fn of_a_certificate_and_a_token_both_must_be_known_and_the_token_decides() {
    let service = Service::start().await;
    let token = service.token(|spec| spec);
    let mut both = service.crm().await;
    // Within the certificate's reach, beyond the token's.
    let request = put("k", vec![item("alice", "us-1")]);
    let status = both
        .put_memberships(with_token(request, &token))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::PermissionDenied, "OUT_OF_REACH".into())
    );
    let request = put("k", vec![item("alice", "eu-1")]);
    let done = both
        .put_memberships(with_token(request, &token))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(done.results[0].record.as_ref().unwrap().changed_by, "bot");

    let bad = service.token(|spec| spec.signature(Signature::Forged));
    assert_eq!(told(list(&mut both, Some(&bad)).await), unauthenticated());
    let mut unknown = service.named(Name::Common("nobody")).await;
    assert_eq!(told(list(&mut unknown, Some(&token)).await), unauthenticated());
}

#[tokio::test]
async fn credentials_of_two_callers_are_those_of_none() {
    let mut other = bot();
    other["name"] = json!("other");
    other["token"] = json!({"subject": "service-account-bot"});
    let service = Service::start_with(Options {
        callers: json!([bot(), other]),
        ..Default::default()
    })
    .await;
    let mut client = service.stranger().await;
    let token = service.token(|spec| spec);
    let result = list(&mut client, Some(&token)).await;
    assert_eq!(
        told(result),
        (Code::PermissionDenied, "CALLER_AMBIGUOUS".to_owned())
    );
    let only_one = service.token(|spec| spec.claim("client_id", "x"));
    list(&mut client, Some(&only_one)).await.unwrap();
}

#[tokio::test]
async fn without_callers_nobody_may_do_more_than_have_decisions_made() {
    let service = Service::start_with(Options {
        callers: json!([]),
        ..Default::default()
    })
    .await;
    let token = service.token(|spec| spec);
    let missing = (Code::PermissionDenied, "SCOPE_MISSING".to_owned());
    assert_eq!(
        told(list(&mut service.stranger().await, Some(&token)).await),
        missing
    );
    assert_eq!(told(list(&mut service.crm().await, None).await), missing);
    let (nothing, none) = (Extensions::new(), MetadataMap::new());
    let anyone = service
        .callers
        .authorize(Scope::Authorize, &nothing, &none, soon())
        .await
        .unwrap();
    assert_eq!(anyone.name(), "anyone");
}

#[tokio::test]
async fn a_part_of_this_process_may_have_decisions_made_and_nothing_else() {
    let settings = serde_json::from_value::<Vec<_>>(json!([crm()])).unwrap();
    let callers = CallerAuthenticator::new(&settings, None, Arc::new(MockClock::from_now())).unwrap();
    let mut extensions = Extensions::new();
    let none = MetadataMap::new();
    let status = callers
        .authorize(Scope::Authorize, &extensions, &none, soon())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    caller::mark_local(&mut extensions);
    let local = callers.authenticate(&extensions, &none, soon()).await.unwrap();
    assert_eq!(local.name(), "local");
    for scope in Scope::ALL {
        assert_eq!(local.may(scope), scope == Scope::Authorize, "{scope}");
    }
}

/// Says of every token what it was told to.
struct Told(ClaimsStanding);

#[async_trait]
impl Freshness for Told {
    fn position(&self) -> Position {
        Position::Unknown
    }

    fn stamp(&self, _lag: Duration) -> Option<Revision> {
        None
    }

    fn superseded(&self, _stamp: &Revision, _concerns: &[Concern]) -> bool {
        true
    }

    fn claims(&self, _issued_at: Option<SystemTime>, concerns: &[Concern]) -> ClaimsStanding {
        assert!(!concerns.is_empty());
        self.0
    }

    fn policy(&self) -> Option<PolicyGeneration> {
        None
    }

    async fn catch_up(&self, _revision: Revision, _deadline: Deadline) -> Result<(), Unavailable> {
        Err(Unavailable::new("a test"))
    }
}

#[tokio::test]
async fn a_token_that_something_was_revoked_of_does_not_count() {
    let service = Service::start_with(Options {
        freshness: Some(Arc::new(Told(ClaimsStanding::Superseded))),
        ..Default::default()
    })
    .await;
    let token = service.token(|spec| spec);
    let mut client = service.stranger().await;
    assert_eq!(told(list(&mut client, Some(&token)).await), unauthenticated());
    // Certificates are not of the provider's making.
    list(&mut service.crm().await, None).await.unwrap();
}

#[tokio::test]
async fn while_that_cannot_be_told_a_token_is_good_for_decisions_only() {
    let mut shim = bot();
    shim["scopes"] = json!(["natsgate.authorize", "natsgate.memberships.read"]);
    let service = Service::start_with(Options {
        callers: json!([shim]),
        freshness: Some(Arc::new(Told(ClaimsStanding::Unknown))),
        ..Default::default()
    })
    .await;
    let token = service.token(|spec| spec.claim("scope", "natsgate.authorize natsgate.memberships.read"));
    let result = list(&mut service.stranger().await, Some(&token)).await;
    assert_eq!(told(result), (Code::Unavailable, "STANDING_UNKNOWN".to_owned()));
    let request = with_token((), &token);
    let allowed = service
        .callers
        .authorize(Scope::Authorize, request.extensions(), request.metadata(), soon())
        .await;
    assert_eq!(allowed.unwrap().name(), "bot");
    assert!(service.clock.now() > SystemTime::UNIX_EPOCH);
}
