//! What the decision service serves over gRPC, and what it says of its health.

use std::time::Duration;

use natsgate_api::listener::Served;
use natsgate_api::{Listener, ServerError, TlsMaterial};
use natsgate_core::Position;
use natsgate_proto::v1::decision_service_server::DecisionServiceServer;
use natsgate_proto::v1::membership_service_server::MembershipServiceServer;
use natsgate_proto::v1::revocation_service_server::RevocationServiceServer;
use natsgate_proto::v1::session_service_server::SessionServiceServer;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::service::RoutesBuilder;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::memberships::Memberships;
use crate::revocations::{LONGEST_WAIT, Revocations};
use crate::service::Decider;
use crate::sessions::Sessions;

/// No answer begins later: shims are waited for so long at most, and a call whose body never comes is given up then. What is
/// streamed goes on as long as somebody watches it.
const LONGEST_CALL: Duration = Duration::from_secs(LONGEST_WAIT.as_secs() + 30);

/// The largest question to the decision service: of sessions, as `RecheckRequest` has them; an authorization request has a token
/// of 1 MiB, the most that can be configured, twice in its CONNECT.
const MAX_QUESTION_BYTES: usize = 8 * 1024 * 1024 + 64 * 1024;

/// The largest push: 500 memberships with all of their texts as long as may be.
const MAX_PUSH_BYTES: usize = 1_500_000;

/// The name by which the health service tells whether the revocation log is within reach. Not serving means degraded:
/// decisions are made from the sources alone, and grants are short.
pub const LOG_HEALTH: &str = "natsgate.RevocationLog";

/// What is served.
pub struct Services {
    /// Decides.
    pub decider: Decider,
    /// Takes pushed memberships, where they are kept.
    pub memberships: Option<Memberships>,
    /// Revokes.
    pub revocations: Option<Revocations>,
    /// Knows sessions.
    pub sessions: Option<Sessions>,
}

/// The decision service's gRPC server.
pub struct Server {
    services: Services,
    tls: Option<TlsMaterial>,
    position: watch::Receiver<Position>,
    routes: RoutesBuilder,
}

impl Server {
    /// A server for `services`, plain or with `tls`, healthy as the log's `position` says.
    pub fn new(services: Services, tls: Option<TlsMaterial>, position: watch::Receiver<Position>) -> Self {
        Self {
            services,
            tls,
            position,
            routes: RoutesBuilder::default(),
        }
    }

    /// The same, which serves `others` too.
    #[must_use]
    pub fn beside(mut self, others: RoutesBuilder) -> Self {
        self.routes = others;
        self
    }

    /// Serves on `listener` until `stop`, then finishes the calls under way, within ten seconds.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn run(self, listener: Listener, stop: CancellationToken) -> Result<(), ServerError> {
        let Services {
            decider,
            memberships,
            revocations,
            sessions,
        } = self.services;
        let mut routes = self.routes;
        routes.add_service(DecisionServiceServer::new(decider).max_decoding_message_size(MAX_QUESTION_BYTES));
        if let Some(service) = memberships {
            routes
                .add_service(MembershipServiceServer::new(service).max_decoding_message_size(MAX_PUSH_BYTES));
        }
        if let Some(service) = revocations {
            routes.add_service(RevocationServiceServer::new(service.until(stop.clone())));
        }
        if let Some(service) = sessions {
            routes.add_service(SessionServiceServer::new(service.until(stop.clone())));
        }
        let served = Served {
            name: "the decision service",
            routes,
            longest_call: LONGEST_CALL,
            tls: self.tls,
        };
        let (position, stopping) = (self.position, stop.clone());
        listener
            .serve(served, |health| report(health, position, stopping), stop)
            .await
    }
}

/// Tells whoever watches our health: serving once the log was read and until `stop`, and apart from that whether the log
/// is within reach.
async fn report(health: HealthReporter, mut position: watch::Receiver<Position>, stop: CancellationToken) {
    let status = |serving| {
        if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    };
    loop {
        let now = *position.borrow_and_update();
        let stopping = stop.is_cancelled();
        let decides = status(now != Position::Unknown && !stopping);
        // The empty name is the whole server (gRPC health checking protocol).
        for name in ["", DecisionServiceServer::<Decider>::NAME] {
            health.set_service_status(name, decides).await;
        }
        let reached = status(matches!(now, Position::Confirmed(_)));
        health.set_service_status(LOG_HEALTH, reached).await;
        if stopping {
            return;
        }
        tokio::select! {
            changed = position.changed() => if changed.is_err() { stop.cancelled().await },
            () = stop.cancelled() => {}
        }
    }
}
