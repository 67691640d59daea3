//! The HTTP side: discovery (OpenID Connect Discovery 1.0), key set (RFC 7517) and a token endpoint for curl.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::extract::State as Extract;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Fault, Fetches, State, online};
use crate::oidc::algorithm::SigningAlgorithm;
use crate::oidc::spec::TokenSpec;

pub(super) fn routes(state: Arc<State>) -> Router {
    Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/jwks", get(key_set))
        .route("/token", post(token))
        .route("/introspection", post(online::introspection))
        .route("/userinfo", get(online::userinfo))
        .with_state(state)
}

async fn discovery(Extract(state): Extract<Arc<State>>) -> Response {
    state
        .answer(
            |fetches| fetches.discovery += 1,
            |state| Json(state.discovery()).into_response(),
        )
        .await
}

async fn key_set(Extract(state): Extract<Arc<State>>) -> Response {
    state
        .answer(
            |fetches| fetches.keys += 1,
            |state| Json(state.key_set()).into_response(),
        )
        .await
}

/// What the token endpoint is asked: `username`, and what the token shall be where that is not the usual.
#[derive(Deserialize)]
struct TokenForm {
    username: String,
    audience: Option<String>,
    /// Seconds.
    ttl: Option<u64>,
}

async fn token(Extract(state): Extract<Arc<State>>, Form(form): Form<TokenForm>) -> Response {
    state
        .answer(|fetches| fetches.tokens += 1, |state| state.token_answer(form))
        .await
}

impl State {
    /// Counts the request and answers as the fault says.
    pub(super) async fn answer(
        &self,
        count: impl FnOnce(&mut Fetches),
        proper: impl FnOnce(&Self) -> Response,
    ) -> Response {
        self.fetches.send_modify(count);
        self.under(&self.fault, proper).await
    }

    /// Answers as the fault in `faults` says.
    pub(super) async fn under(
        &self,
        faults: &watch::Sender<Fault>,
        proper: impl FnOnce(&Self) -> Response,
    ) -> Response {
        let mut faults = faults.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let fault = match faults.wait_for(|fault| *fault != Fault::Hold).await {
            Ok(fault) => fault.clone(),
            Err(_) => Fault::Status(503),
        };
        match fault {
            Fault::None | Fault::Hold | Fault::WrongSubject(_) => proper(self),
            Fault::Slow(by) => {
                tokio::time::sleep(by).await;
                proper(self)
            }
            Fault::Status(status) => StatusCode::from_u16(status)
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
                .into_response(),
            Fault::Body(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
            Fault::MediaType(media_type) => {
                let mut response = proper(self);
                if let Ok(media_type) = header::HeaderValue::from_str(&media_type) {
                    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
                }
                response
            }
        }
    }

    fn discovery(&self) -> Value {
        let issuer = &self.issuer;
        let algorithms: Vec<&str> = self
            .algorithms
            .iter()
            .map(|algorithm| SigningAlgorithm::as_str(*algorithm))
            .collect();
        json!({
            "issuer": issuer,
            "jwks_uri": format!("{issuer}/jwks"),
            "token_endpoint": format!("{issuer}/token"),
            "introspection_endpoint": format!("{issuer}/introspection"),
            "userinfo_endpoint": format!("{issuer}/userinfo"),
            "grant_types_supported": ["password"],
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        })
    }

    fn token_answer(&self, form: TokenForm) -> Response {
        let refused = |status: StatusCode, error: &str, description: String| {
            (
                status,
                Json(json!({ "error": error, "error_description": description })),
            )
                .into_response()
        };
        let (person, known) = {
            let people = self.people.read().unwrap_or_else(PoisonError::into_inner);
            let known: Vec<String> = people.iter().map(|person| person.name.clone()).collect();
            (
                people.iter().find(|person| person.name == form.username).cloned(),
                known.join(", "),
            )
        };
        let Some(person) = person else {
            let description = format!("nobody of that username is known here; try one of: {known}");
            return refused(StatusCode::BAD_REQUEST, "invalid_grant", description);
        };
        let ttl = form.ttl.map_or(self.ttl, Duration::from_secs);
        let mut spec = TokenSpec::new(person.name).ttl(ttl);
        spec.claims.extend(person.claims);
        if let Some(audience) = form.audience {
            spec = spec.audience(&audience);
        }
        match self.issue(spec) {
            Ok(token) => Json(json!({
                "access_token": token.expose_secret(),
                "token_type": "Bearer",
                "expires_in": ttl.as_secs(),
            }))
            .into_response(),
            Err(error) => refused(
                StatusCode::INTERNAL_SERVER_ERROR,
                "server_error",
                error.to_string(),
            ),
        }
    }
}
