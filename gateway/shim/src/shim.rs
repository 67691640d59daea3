//! Puts a shim together, runs it and drains it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::Client;
use data_encoding::BASE32_NOPAD;
use natsgate_core::{Board, Clock, RevocationFeed};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::account_servers::SystemAccountServers;
use crate::account_views::AccountViews;
use crate::callout::{Callout, QUEUE, SUBJECT, memory};
use crate::decision_point::DecisionPoint;
use crate::enforce::{Counters, Enforcer, Kicks};
use crate::evict::Evictor;
use crate::lending::{Lending, Lent, SystemAccounts};
use crate::nats::{self, ConnectError, Signals};
use crate::peers::Peers;
use crate::servers::Servers;
use crate::sessions::Registry;
use crate::settings::{Issuing, ShimSettings};
use crate::telling;
use crate::watching::{Accounts, Watch};

/// How often a server is asked which account a connection is in, before that is given up.
const ACCOUNT_LOOKUPS: u32 = 5;

/// Pause before it is asked again.
const LOOKUP_PAUSE: Duration = Duration::from_millis(250);

/// How long closing a connection may take.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// How long a shim that stops waits for those to arrive whom it let in last: as long as a request is worked on at most.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Pause before it looks again whether they have.
const ARRIVAL_PAUSE: Duration = Duration::from_millis(10);

/// Why a shim did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// A connection could not be begun.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The subscription could not be made.
    #[error("subscribing to {SUBJECT}: {0}")]
    Subscribe(async_nats::SubscribeError),
    /// A target account is one no grant may lead into.
    #[error(
        "shim.accounts: {name} is the {kind} account, into which no grant may lead; remove it (or give the {kind} \
         connection a user of the right account)"
    )]
    ForbiddenAccount {
        /// The account's configured name.
        name: String,
        /// `system` or `callout`.
        kind: &'static str,
    },
    /// The server does not let the callout user subscribe.
    #[error(
        "shim.nats: the server refuses its user the subscription to {SUBJECT}; it must be the callout's user, with that \
         permission"
    )]
    SubscriptionRefused,
    /// A connection is in another account than it must be.
    #[error("{key}: its user is in the account {account}, {why}")]
    WrongAccount {
        /// The connection's key: `shim.system`.
        key: &'static str,
        /// The account it is in.
        account: String,
        /// What is wrong with that.
        why: &'static str,
    },
    /// Which account a connection is in could not be learned, so neither that no grant leads into it.
    #[error(
        "which account the {kind} connection is in could not be learned: {cause}; allow its user to publish on \
         $SYS.REQ.USER.INFO and to subscribe to _INBOX.natsgate.>"
    )]
    UnknownAccount {
        /// `system`, `eviction` or `callout`.
        kind: &'static str,
        /// What went wrong.
        cause: String,
    },
}

/// Where revocations come from, and where is told what was done.
#[derive(Clone)]
pub struct Revocations {
    /// Reads the revocation log.
    pub feed: Arc<dyn RevocationFeed>,
    /// What shims tell of themselves.
    pub board: Arc<dyn Board>,
}

/// A callout shim.
pub struct Shim {
    settings: ShimSettings,
    decisions: Arc<dyn DecisionPoint>,
    clock: Arc<dyn Clock>,
    revocations: Option<Revocations>,
    counters: Arc<Counters>,
    lending: Option<Lending>,
}

/// To whom the connection into the system account is lent, and the one that was made for it.
type Lender = (watch::Sender<Option<Arc<Lent>>>, Option<Client>);

/// What carries out revocations while the shim runs.
struct Enforcement {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Shim {
    /// A shim that asks `decisions`.
    pub fn new(settings: ShimSettings, decisions: Arc<dyn DecisionPoint>, clock: Arc<dyn Clock>) -> Self {
        Self {
            settings,
            decisions,
            clock,
            revocations: None,
            counters: Arc::default(),
            lending: None,
        }
    }

    /// The same, which lends its connection into the system account while it runs.
    #[must_use]
    pub fn with_lending(mut self, lending: Lending) -> Self {
        self.lending = Some(lending);
        self
    }

    /// The same, which closes the sessions it let in when what they rest on is revoked.
    #[must_use]
    pub fn with_revocations(mut self, revocations: Revocations) -> Self {
        self.revocations = Some(revocations);
        self
    }

    /// What it has done, as it does it.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Answers authorization requests until `stop`; then takes no more, answers those it has taken, and closes its
    /// connections. `ready` is cancelled once it takes requests.
    ///
    /// # Errors
    /// [`ShimError`] if it cannot begin.
    pub async fn run(mut self, stop: CancellationToken, ready: CancellationToken) -> Result<(), ShimError> {
        let signals = Signals::default();
        let refused = signals.refused.clone();
        let client = nats::connect(&self.settings.callout, "callout", signals).await?;
        let watched = Signals::default();
        let system = match &self.settings.system {
            Some(settings) => Some(nats::connect(settings, "system", watched.clone()).await?),
            None => {
                warn!(
                    "no shim.system is configured: authorization requests are accepted from any key that signs as a \
                     server, and what cannot be answered in time stays silent, which the client reads as \
                     \"Authorization Violation\""
                );
                None
            }
        };
        let eviction = match &self.settings.eviction {
            Some(settings) => Some(nats::connect(settings, "eviction", Signals::default()).await?),
            None => system.clone(),
        };
        tokio::select! {
            refused = self.check_accounts(&client, system.as_ref(), eviction.as_ref()) => refused?,
            () = stop.cancelled() => return Ok(()),
        }

        let requests = client
            .queue_subscribe(SUBJECT, QUEUE.to_owned())
            .await
            .map_err(ShimError::Subscribe)?;
        let servers = system.clone().map(Servers::new);
        let following = servers
            .clone()
            .map(|servers| tokio::spawn(servers.follow(stop.clone())));
        let views = system
            .clone()
            .and_then(|system| self.account_views(system, &stop));
        let evictor = eviction.clone().map(Evictor::new);
        let shim = name();
        let lent = self
            .lend(shim.clone(), system.as_ref(), eviction.as_ref())
            .await?;
        let (registry, events) = Registry::new(&shim);
        let registry = Arc::new(registry);
        let enforcement = match (&self.revocations, &system) {
            (Some(revocations), Some(system)) => {
                // With places of its own: what cannot be answered is kicked meanwhile.
                let kicks = Kicks::new(eviction.clone().map(Evictor::new), Arc::clone(&registry));
                Some(self.enforce(revocations, system, kicks, watched.missed, events))
            }
            (Some(_), None) => {
                warn!("sessions cannot be closed when something is revoked: that takes shim.system");
                None
            }
            (None, _) => {
                warn!(
                    "no revocation log is configured (store.redis): sessions last until their tokens end, whatever is revoked"
                );
                None
            }
        };
        let callout = Arc::new(Callout {
            settings: self.settings,
            decisions: self.decisions,
            clock: self.clock,
            client: client.clone(),
            servers,
            views,
            evictor,
            seen: memory(),
            registry: Arc::clone(&registry),
            remembers: enforcement.is_some(),
            counters: self.counters,
        });
        let cluster = callout.settings.cluster.clone();
        let telling = tokio::spawn({
            let client = client.clone();
            async move {
                // Once the server answers anything, it has the subscription.
                nats::round_trip(&client).await;
                info!(cluster, "the shim takes authorization requests");
                ready.cancel();
            }
        });
        // Without its subscription it would stand there and every client be denied. (While draining it tries another one,
        // which it may do without.)
        let shut_out = Arc::new(AtomicBool::new(false));
        let watching = tokio::spawn({
            let (stop, shut_out) = (stop.clone(), Arc::clone(&shut_out));
            async move {
                refused.cancelled().await;
                if !stop.is_cancelled() {
                    shut_out.store(true, Ordering::SeqCst);
                    stop.cancel();
                }
            }
        });
        callout.run(requests, stop).await;
        // Whoever writes accounts learns of it before the connection is closed.
        let lent = lent.and_then(|(to, own)| {
            to.send_replace(None);
            own
        });
        if let Some(enforcement) = enforcement {
            last_answers_arrive(&client, &registry).await;
            enforcement.end().await;
        }
        watching.abort();
        telling.abort();

        if let Some(following) = following {
            following.abort();
        }
        for connection in [Some(client), eviction, system, lent].into_iter().flatten() {
            close(&connection).await;
        }
        info!("the shim stopped");
        if shut_out.load(Ordering::SeqCst) {
            Err(ShimError::SubscriptionRefused)
        } else {
            Ok(())
        }
    }

    /// Lends the connection into the system account, if it is to be lent; returns to whom, and the connection made for it, if one was.
    async fn lend(
        &mut self,
        shim: String,
        system: Option<&Client>,
        eviction: Option<&Client>,
    ) -> Result<Option<Lender>, ShimError> {
        let Some(Lending { to, system: own }) = self.lending.take() else {
            return Ok(None);
        };
        let Some((watching, eviction)) = system.zip(eviction) else {
            warn!("accounts cannot be written: that takes shim.system");
            return Ok(None);
        };
        let own = match &own {
            Some(settings) => Some(nats::connect(settings, "accounts", Signals::default()).await?),
            None => None,
        };
        let accounts = self.settings.accounts.iter();
        let accounts = accounts.filter_map(|account| Some(account.signer.as_ref()?.account.clone()));
        let lent = Lent {
            shim,
            cluster: self.settings.cluster.clone(),
            accounts: SystemAccounts::new(
                own.clone().unwrap_or_else(|| watching.clone()),
                Evictor::new(eviction.clone()),
                accounts.collect(),
                self.settings.operators.clone(),
                Arc::clone(&self.clock),
            ),
        };
        to.send_replace(Some(Arc::new(lent)));
        Ok(Some((to, own)))
    }

    /// What servers have in force of accounts, and pushes followed until `stop`; none where no operator is known.
    fn account_views(&self, system: Client, stop: &CancellationToken) -> Option<Arc<AccountViews>> {
        let operators = &self.settings.operators;
        if operators.is_empty() {
            return None;
        }
        let servers = Arc::new(SystemAccountServers::new(system.clone()));
        let views = AccountViews::new(servers, operators.clone(), Arc::clone(&self.clock));
        let views = Arc::new(views);
        tokio::spawn(Arc::clone(&views).follow(system, stop.clone()));
        Some(views)
    }

    /// Begins to carry out revocations.
    fn enforce(
        &self,
        revocations: &Revocations,
        system: &Client,
        kicks: Arc<Kicks>,
        missed: Arc<Notify>,
        events: tokio::sync::mpsc::Receiver<natsgate_core::SessionEvent>,
    ) -> Enforcement {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let registry = kicks.registry();
        let watch = Watch {
            system: system.clone(),
            registry: Arc::clone(&registry),
            accounts: Accounts::of(&self.settings.accounts),
            cluster: self.settings.cluster.clone(),
            every: self.settings.enforcement.reconcile_every,
            missed: Arc::clone(&missed),
        };
        let enforcer = Arc::new(Enforcer {
            registry,
            kicks,
            decisions: Arc::clone(&self.decisions),
            feed: Arc::clone(&revocations.feed),
            board: Arc::clone(&revocations.board),
            peers: Arc::new(Peers::default()),
            settings: self.settings.enforcement.clone(),
            max_session: self.settings.max_session,
            cluster: self.settings.cluster.clone(),
            clock: Arc::clone(&self.clock),
            counters: Arc::clone(&self.counters),
            tasks: tasks.clone(),
            found: CancellationToken::new(),
            taking_over: AtomicUsize::new(0),
        });
        let listed = Arc::new(Notify::new());
        tasks.spawn(watch.run(Arc::clone(&listed), stop.clone()));
        tasks.spawn(Arc::clone(&enforcer).run(stop.clone()));
        tasks.spawn(telling::tell_sessions(
            Arc::clone(&enforcer),
            events,
            stop.clone(),
        ));
        tasks.spawn(telling::tidy(Arc::clone(&enforcer), stop.clone()));
        let started_at = self.clock.now();
        tasks.spawn({
            let stop = stop.clone();
            async move {
                // Whoever says that he is there must know who is connected: what is waited for is waited for from him too.
                tokio::select! {
                    () = listed.notified() => telling::be_present(enforcer, started_at, missed, stop).await,
                    () = stop.cancelled() => {}
                }
            }
        });
        Enforcement { stop, tasks }
    }

    /// Refuses target accounts that are the system or the callout account, by the configuration or by what the server
    /// says.
    async fn check_accounts(
        &self,
        callout: &Client,
        system: Option<&Client>,
        eviction: Option<&Client>,
    ) -> Result<(), ShimError> {
        let callout_account = learn_account(callout, "callout").await?;
        if let Issuing::Operator {
            callout_account: configured,
            ..
        } = &self.settings.issuing
            && *configured != callout_account
        {
            let why = "not in shim.operator_mode.callout_account";
            return Err(ShimError::WrongAccount {
                key: "shim.nats",
                account: callout_account,
                why,
            });
        }
        self.forbid(&callout_account, "callout")?;
        if let Some(configured) = &self.settings.system_account {
            self.forbid(configured, "system")?;
        }
        let Some(system) = system else { return Ok(()) };
        let system_account = learn_account(system, "system").await?;
        if system_account == callout_account {
            let why = "the callout account, where it must be the system account";
            return Err(ShimError::WrongAccount {
                key: "shim.system",
                account: system_account,
                why,
            });
        }
        self.forbid(&system_account, "system")?;
        if let Some(eviction) = eviction {
            let account = learn_account(eviction, "eviction").await?;
            if account != system_account {
                let why = "not in the system account, in which shim.system is";
                return Err(ShimError::WrongAccount {
                    key: "shim.eviction",
                    account,
                    why,
                });
            }
        }
        Ok(())
    }

    fn forbid(&self, account: &str, kind: &'static str) -> Result<(), ShimError> {
        let forbidden = self.settings.accounts.iter().find(|target| {
            target.name == account
                || target
                    .signer
                    .as_ref()
                    .is_some_and(|signer| signer.account == account)
        });
        match forbidden {
            Some(target) => Err(ShimError::ForbiddenAccount {
                name: target.name.clone(),
                kind,
            }),
            None => Ok(()),
        }
    }
}

impl Enforcement {
    /// Ends it. What is still to be closed is left to other shims, or to this one's next start.
    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        // Kicks of what is out of reach have no end.
        let _ = tokio::time::timeout(CLOSE_TIME, self.tasks.wait()).await;
    }
}

/// Waits until whom this shim let in last is seen connected. Until then nobody else knows of them, so a shim that left would leave
/// revocations acknowledged by the others as if nothing were to come.
async fn last_answers_arrive(client: &Client, registry: &Registry) {
    let arrive = async {
        nats::round_trip(client).await;
        while registry.arriving() > 0 {
            tokio::time::sleep(ARRIVAL_PAUSE).await;
        }
    };
    // Some give up on their way.
    if nats::is_connected(client) {
        let _ = tokio::time::timeout(LAST_ANSWERS, arrive).await;
    }
}

/// A shim's name: new at every start, since what it knows of its sessions ends with it.
fn name() -> String {
    BASE32_NOPAD
        .encode(&rand::random::<[u8; 5]>())
        .to_ascii_lowercase()
}

/// The account `client` is in. Waits for the connection as long as it takes.
async fn learn_account(client: &Client, kind: &'static str) -> Result<String, ShimError> {
    let mut lookups = 0;
    loop {
        while !nats::is_connected(client) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        lookups += 1;
        match nats::account_of(client).await {
            Ok(account) => return Ok(account),
            Err(cause) if lookups == ACCOUNT_LOOKUPS => {
                return Err(ShimError::UnknownAccount { kind, cause });
            }
            Err(_) => tokio::time::sleep(LOOKUP_PAUSE).await,
        }
    }
}

/// Sends what is buffered, then closes.
async fn close(client: &Client) {
    let flushed = tokio::time::timeout(CLOSE_TIME, client.flush()).await;
    if !matches!(flushed, Ok(Ok(()))) {
        warn!("a NATS connection was closed with messages that could not be sent");
    }
    if let Err(cause) = client.drain().await {
        warn!(%cause, "closing a NATS connection");
    }
}
