//! A backend that knows who belongs to which projects: the truth behind an HTTP source of memberships.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

type Known = Arc<Mutex<HashMap<String, BTreeSet<String>>>>;

/// The backend. Ends when it is dropped.
pub struct Members {
    known: Known,
    port: u16,
    serving: JoinHandle<()>,
}

impl Members {
    /// One that knows nobody.
    pub async fn start() -> Self {
        let known = Known::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new()
            .route("/people/{subject}/projects", get(projects))
            .with_state(Arc::clone(&known));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { known, port, serving }
    }

    /// Makes `subject` a member of `project`.
    pub fn add(&self, subject: &str, project: &str) {
        let mut known = lock(&self.known);
        known
            .entry(subject.to_owned())
            .or_default()
            .insert(project.to_owned());
    }

    /// Makes `subject` no member of `project`.
    pub fn remove(&self, subject: &str, project: &str) {
        if let Some(projects) = lock(&self.known).get_mut(subject) {
            projects.remove(project);
        }
    }

    /// Makes nobody a member of `project`.
    pub fn remove_all(&self, project: &str) {
        for projects in lock(&self.known).values_mut() {
            projects.remove(project);
        }
    }

    /// The entry for it in `decision.memberships`.
    pub(crate) fn source(&self) -> Value {
        let url = format!(
            "http://127.0.0.1:{}/people/{{principal.subject}}/projects",
            self.port
        );
        json!({ "http": { "name": "backend", "url": url, "list": "projects", "kind": "project", "role": "member" } })
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock(known: &Known) -> MutexGuard<'_, HashMap<String, BTreeSet<String>>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn projects(State(known): State<Known>, Path(subject): Path<String>) -> Json<Value> {
    let projects = lock(&known).get(&subject).cloned().unwrap_or_default();
    Json(json!({ "projects": projects }))
}
