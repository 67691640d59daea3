//! Introspection (RFC 7662) and userinfo (OpenID Connect Core 1.0 section 5.3) of the development provider.

use std::sync::{Arc, PoisonError};

use axum::extract::State as Extract;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Form, Json};
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Fault, INTROSPECTION_CLIENT, State};

/// What introspection is asked.
#[derive(Deserialize)]
pub(super) struct IntrospectionForm {
    token: String,
    client_id: Option<String>,
    client_secret: Option<String>,
}

pub(super) async fn introspection(
    Extract(state): Extract<Arc<State>>,
    headers: HeaderMap,
    Form(form): Form<IntrospectionForm>,
) -> Response {
    state.fetches.send_modify(|fetches| fetches.introspections += 1);
    let proper = |state: &State| {
        if !knows(&headers, &form) {
            return (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"}))).into_response();
        }
        let Some(mut claims) = state.issued.find(&form.token, state.clock.unix_seconds()) else {
            return Json(json!({"active": false})).into_response();
        };
        claims.extend(state.owner(&claims).unwrap_or_default());
        claims.extend(state.wrong_subject().map(|subject| ("sub".to_owned(), subject)));
        claims.insert("active".to_owned(), json!(true));
        claims.entry("client_id").or_insert_with(|| json!("natsgate-cli"));
        Json(Value::Object(claims)).into_response()
    };
    state.online(proper).await
}

pub(super) async fn userinfo(Extract(state): Extract<Arc<State>>, headers: HeaderMap) -> Response {
    state.fetches.send_modify(|fetches| fetches.userinfos += 1);
    let proper = |state: &State| {
        let token = credential(&headers, "Bearer ").unwrap_or_default();
        let Some(claims) = state.issued.find(token, state.clock.unix_seconds()) else {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")];
            return (StatusCode::UNAUTHORIZED, challenge).into_response();
        };
        let mut answer = state.owner(&claims).unwrap_or_else(|| {
            let of_the_token = ["iss", "aud", "exp", "iat", "nbf", "jti"];
            let mut claims = claims.clone();
            claims.retain(|claim, _| !of_the_token.contains(&claim.as_str()));
            claims
        });
        let subject = state.wrong_subject().or_else(|| claims.get("sub").cloned());
        answer.extend(subject.map(|subject| ("sub".to_owned(), subject)));
        Json(Value::Object(answer)).into_response()
    };
    state.online(proper).await
}

impl State {
    /// Answers as both faults say.
    async fn online(&self, proper: impl FnOnce(&Self) -> Response) -> Response {
        let general = *self.fault.borrow() != Fault::None;
        let faults = if general { &self.fault } else { &self.online_fault };
        self.under(faults, proper).await
    }

    /// The claims of the token's owner as they are now; `None` if it is nobody the provider knows.
    fn owner(&self, claims: &Map<String, Value>) -> Option<Map<String, Value>> {
        let subject = claims.get("sub").and_then(Value::as_str)?;
        let people = self.people.read().unwrap_or_else(PoisonError::into_inner);
        let owner = people.iter().find(|person| person.name == subject)?;
        Some(owner.claims.clone())
    }

    fn wrong_subject(&self) -> Option<Value> {
        match &*self.online_fault.borrow() {
            Fault::WrongSubject(subject) => Some(json!(subject)),
            _ => None,
        }
    }
}

fn credential<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix(scheme)
}

/// Whether it is the one client that asks.
fn knows(headers: &HeaderMap, form: &IntrospectionForm) -> bool {
    let (id, secret) = INTROSPECTION_CLIENT;
    let expected = BASE64.encode(format!("{id}:{secret}").as_bytes());
    let basic = credential(headers, "Basic ").is_some_and(|given| given == expected);
    let post = form.client_id.as_deref() == Some(id) && form.client_secret.as_deref() == Some(secret);
    basic || post
}
