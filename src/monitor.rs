//! The monitoring port: is this process alive, is it ready, what has it done?
//!
//! `GET /healthz` answers as long as the process runs. `GET /readyz` says whether it takes work (200 or 503) and what is
//! wrong, which may be something that does not keep it from working: a shim without Redis goes on answering. `GET /metrics`
//! is for Prometheus. Nothing here names a person, a token or a subject.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use natsgate_core::Position;
use natsgate_shim::Counters;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Something that is counted elsewhere.
pub struct Measure {
    /// Its name, after `natsgate_`.
    name: &'static str,
    /// What it is, in a line.
    what: &'static str,
    is_gauge: bool,
    read: Box<dyn Fn() -> u64 + Send + Sync>,
}

/// What is watched.
#[derive(Default)]
pub struct Watched {
    /// How far the revocation log is read, if it is.
    pub log: Option<watch::Receiver<Position>>,
    /// What the shim does, if there is one.
    pub shim: Option<Arc<Counters>>,
    /// Whether the shim takes requests.
    pub shim_ready: Option<CancellationToken>,
    /// What else is counted.
    pub measures: Vec<Measure>,
}

impl Measure {
    /// Something that only goes up.
    pub fn counter(
        name: &'static str,
        what: &'static str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            what,
            is_gauge: false,
            read: Box::new(read),
        }
    }

    /// Something that goes up and down.
    pub fn gauge(
        name: &'static str,
        what: &'static str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        Self {
            is_gauge: true,
            ..Self::counter(name, what, read)
        }
    }
}

/// How the log is read, in a word.
fn log_state(log: Option<&watch::Receiver<Position>>) -> &'static str {
    match log.map(|log| *log.borrow()) {
        None => "none",
        Some(Position::Unknown) => "unknown",
        Some(Position::Confirmed(_)) => "confirmed",
        Some(Position::Degraded(_)) => "degraded",
    }
}

/// What `/readyz` says.
#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    /// `confirmed`; `degraded` without Redis; `unknown` before it was read; `none` where there is none.
    revocation_log: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    shim: Option<ShimReadiness>,
}

#[derive(Debug, Serialize)]
struct ShimReadiness {
    takes_requests: bool,
    sessions: u64,
    sessions_to_close: u64,
    servers_out_of_reach: u64,
    /// Whether other shims and decision services hear of what this one does.
    is_heard: bool,
}

impl Watched {
    fn readiness(&self) -> Readiness {
        let revocation_log = log_state(self.log.as_ref());
        let shim = self.shim.as_ref().map(|counters| {
            let read = |gauge: &AtomicU64| gauge.load(Ordering::Relaxed);
            ShimReadiness {
                takes_requests: self
                    .shim_ready
                    .as_ref()
                    .is_some_and(CancellationToken::is_cancelled),
                sessions: read(&counters.sessions),
                sessions_to_close: read(&counters.pending),
                servers_out_of_reach: read(&counters.unreachable),
                is_heard: read(&counters.board_away) == 0,
            }
        });
        let takes_requests = shim.as_ref().is_none_or(|shim| shim.takes_requests);
        Readiness {
            // A shim that cannot read the log goes on answering, if whoever decides can.
            ready: takes_requests && (shim.is_some() || revocation_log != "unknown"),
            revocation_log,
            shim,
        }
    }

    /// Everything that is counted.
    fn all(mut self) -> (Vec<Measure>, Self) {
        let mut measures = std::mem::take(&mut self.measures);
        if let Some(log) = &self.log {
            let confirmed = log.clone();
            measures.push(Measure::gauge(
                "revocation_log_confirmed",
                "Whether the revocation log was read to its end lately: 0 means that Redis is out of reach.",
                move || u64::from(log_state(Some(&confirmed)) == "confirmed"),
            ));
            let position = log.clone();
            measures.push(Measure::gauge(
                "revocation_log_position",
                "The number of the last entry that was read.",
                move || {
                    position
                        .borrow()
                        .revision()
                        .map_or(0, |revision| revision.sequence)
                },
            ));
        }
        if let Some(counters) = &self.shim {
            measures.extend(of_shim(counters));
        }
        (measures, self)
    }
}

/// What a shim counts.
fn of_shim(counters: &Arc<Counters>) -> Vec<Measure> {
    type Pick = fn(&Counters) -> &AtomicU64;
    let counted: [(&str, &str, Pick); 8] = [
        (
            "shim_log_entries_total",
            "Entries of the revocation log held against all sessions.",
            |c| &c.entries,
        ),
        (
            "shim_log_gaps_total",
            "Times that entries were missed and every session was looked at.",
            |c| &c.gaps,
        ),
        (
            "shim_sessions_closed_total",
            "Sessions closed since what they rest on was revoked.",
            |c| &c.closed,
        ),
        (
            "shim_sessions_gone_total",
            "Sessions that were to be closed and went by themselves.",
            |c| &c.gone,
        ),
        (
            "shim_sessions_spared_total",
            "Sessions that were looked at and lose nothing.",
            |c| &c.spared,
        ),
        (
            "shim_sessions_incomparable_total",
            "Sessions closed since it could not be told whether they lose something.",
            |c| &c.incomparable,
        ),
        (
            "shim_sessions_taken_over_total",
            "Sessions taken over from shims that are gone.",
            |c| &c.taken_over,
        ),
        (
            "shim_grants_asked_again_total",
            "Grants asked for again since something that concerns them was revoked meanwhile.",
            |c| &c.asked_again,
        ),
    ];
    let gauges: [(&str, &str, Pick); 4] = [
        ("shim_sessions", "Live sessions that are known.", |c| &c.sessions),
        ("shim_sessions_pending", "Sessions still to be closed.", |c| {
            &c.pending
        }),
        ("shim_servers_unreachable", "nats-servers out of reach.", |c| {
            &c.unreachable
        }),
        (
            "shim_unheard",
            "1 while nobody can be told what this shim does.",
            |c| &c.board_away,
        ),
    ];
    let read = |pick: Pick| {
        let counters = Arc::clone(counters);
        move || pick(&counters).load(Ordering::Relaxed)
    };
    let counters = counted.map(|(name, what, pick)| Measure::counter(name, what, read(pick)));
    let gauges = gauges.map(|(name, what, pick)| Measure::gauge(name, what, read(pick)));
    counters.into_iter().chain(gauges).collect()
}

/// What the routes share.
struct Monitor {
    watched: Watched,
    measures: Vec<Measure>,
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl Monitor {
    fn metrics(&self) -> String {
        metrics::with_local_recorder(&self.recorder, || {
            for measure in &self.measures {
                let name = format!("natsgate_{}", measure.name);
                let value = (measure.read)();
                if measure.is_gauge {
                    metrics::describe_gauge!(name.clone(), measure.what);
                    // Whole numbers up to 2^53 are exact, which is enough for counts of anything.
                    #[allow(clippy::cast_precision_loss, reason = "a count")]
                    metrics::gauge!(name).set(value as f64);
                } else {
                    metrics::describe_counter!(name.clone(), measure.what);
                    metrics::counter!(name).absolute(value);
                }
            }
        });
        self.handle.render()
    }
}

/// Serves on `address` until `stop`.
///
/// # Errors
/// The address is taken.
pub async fn serve(address: SocketAddr, watched: Watched, stop: CancellationToken) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("monitor.listen: listening on {address}; free the address or choose another")
    })?;
    let address = listener.local_addr().context("monitor.listen")?;
    let (measures, watched) = watched.all();
    let recorder = PrometheusBuilder::new().build_recorder();
    let monitor = Arc::new(Monitor {
        handle: recorder.handle(),
        watched,
        measures,
        recorder,
    });
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .with_state(monitor);
    info!(%address, "the monitoring port listens");
    tokio::spawn(async move {
        // What ends it early is the process's end.
        let _ = axum::serve(listener, routes)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await;
    });
    Ok(())
}

async fn readyz(State(monitor): State<Arc<Monitor>>) -> impl IntoResponse {
    let readiness = monitor.watched.readiness();
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(readiness))
}

async fn metrics_text(State(monitor): State<Arc<Monitor>>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        monitor.metrics(),
    )
}

#[cfg(test)]
mod tests {
    use natsgate_core::{Epoch, Revision};

    use super::*;

    fn watched(position: Position) -> (watch::Sender<Position>, Watched) {
        let (told, log) = watch::channel(position);
        let watched = Watched {
            log: Some(log),
            ..Watched::default()
        };
        (told, watched)
    }

    #[test]
    fn a_decision_service_is_ready_once_it_has_read_the_log_and_stays_so_without_redis() {
        let (told, watched) = watched(Position::Unknown);
        assert!(!watched.readiness().ready);
        let revision = Revision::new(Epoch::from_bytes([1; 16]), 7);
        told.send_replace(Position::Confirmed(revision));
        assert!(watched.readiness().ready);
        told.send_replace(Position::Degraded(revision));
        let readiness = watched.readiness();
        assert!(readiness.ready);
        assert_eq!(readiness.revocation_log, "degraded");
    }

    #[test]
    fn a_shim_is_ready_once_it_takes_requests() {
        let (_told, mut watched) = watched(Position::Unknown);
        let ready = CancellationToken::new();
        watched.shim = Some(Arc::default());
        watched.shim_ready = Some(ready.clone());
        assert!(!watched.readiness().ready);
        ready.cancel();
        assert!(watched.readiness().ready);
    }

    #[test]
    fn what_is_counted_is_shown() {
        let revision = Revision::new(Epoch::from_bytes([1; 16]), 7);
        let (_told, mut watched) = watched(Position::Confirmed(revision));
        let counters = Arc::new(Counters::default());
        counters.closed.store(3, Ordering::Relaxed);
        watched.shim = Some(counters);
        let (measures, watched) = watched.all();
        let recorder = PrometheusBuilder::new().build_recorder();
        let monitor = Monitor {
            handle: recorder.handle(),
            watched,
            measures,
            recorder,
        };
        let text = monitor.metrics();
        for line in [
            "natsgate_shim_sessions_closed_total 3",
            "natsgate_revocation_log_confirmed 1",
            "natsgate_revocation_log_position 7",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}: {text}");
        }
    }
}
