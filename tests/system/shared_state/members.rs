//! A backend that knows who belongs to what, and counts how often it is asked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

#[derive(Clone, Default)]
struct Known {
    projects: Arc<Mutex<HashMap<String, Vec<String>>>>,
    asked: Arc<AtomicUsize>,
}

/// The backend. Ends when it is dropped.
pub struct Members {
    known: Known,
    port: u16,
    serving: JoinHandle<()>,
}

impl Members {
    pub async fn start(of: &[(&str, &str)]) -> Self {
        let known = Known::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new()
            .route("/people/{subject}/projects", get(projects))
            .with_state(known.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let members = Self { known, port, serving };
        for (subject, project) in of {
            members.set(subject, &[project]);
        }
        members
    }

    /// Makes `projects` all that `subject` is a member of.
    pub fn set(&self, subject: &str, projects: &[&str]) {
        let projects = projects.iter().map(|project| (*project).to_owned()).collect();
        self.known
            .projects
            .lock()
            .unwrap()
            .insert(subject.to_owned(), projects);
    }

    /// How often it was asked so far.
    pub fn asked(&self) -> usize {
        self.known.asked.load(Ordering::SeqCst)
    }

    /// The entry for it in `decision.memberships`.
    pub fn source(&self) -> String {
        let port = self.port;
        format!(
            "    - http: {{ name: backend, url: 'http://127.0.0.1:{port}/people/{{principal.subject}}/projects', list: projects, \
             kind: project, role: member }}\n"
        )
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn projects(
    State(known): State<Known>,
    Path(subject): Path<String>,
) -> Result<Json<Value>, StatusCode> {
    known.asked.fetch_add(1, Ordering::SeqCst);
    let projects = known
        .projects
        .lock()
        .unwrap()
        .get(&subject)
        .cloned()
        .unwrap_or_default();
    Ok(Json(json!({ "projects": projects })))
}
