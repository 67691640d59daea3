//! A nats-server, shims on it, a revocation log, and a decision service made of a table.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use async_trait::async_trait;
use natsgate_core::{
    Acknowledgement, Board, Change, Clock, Concern, Deadline, EntryId, Freshness, NewEntry, Principal,
    Revision, RevocationFeed, Selector, SystemClock,
};
use natsgate_devkit::{ConfigMode, ConfigModeOptions, NatsServer, NatsServerOptions};
use natsgate_proto::v1;
use natsgate_proto::v1::recheck_result::Result as Now;
use natsgate_shim::decision_point::{Answer, NotRechecked, Unanswered};
use natsgate_shim::{
    Bounds, Counters, DecisionPoint, EnforcementSettings, Issuing, NatsCredentials, NatsSettings,
    Revocations, Shim, ShimSettings, TargetAccount,
};
use natsgate_store::{Follower, FollowerSettings, InProcessBoard, InProcessLog, LogSettings};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The longest anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const ISSUER: &str = "https://login.example";

pub fn principal(name: &str) -> Principal {
    Principal::new(ISSUER, name)
}

pub fn person(name: &str) -> Selector {
    Selector::Principal {
        principal: principal(name),
    }
}

pub fn project(id: &str) -> Selector {
    Selector::Resource {
        kind: "project".into(),
        id: id.into(),
    }
}

pub fn membership(name: &str, id: &str) -> Selector {
    Selector::Membership {
        principal: principal(name),
        kind: "project".into(),
        id: id.into(),
    }
}

/// Who belongs to what, and what is done with it.
pub struct Decisions {
    pub projects: Mutex<HashMap<String, Vec<String>>>,
    follower: Arc<Follower>,
    /// Permits to answer; as many as wanted unless a test takes them away.
    pub gate: Semaphore,
    /// How often was asked.
    pub asked: AtomicUsize,
    /// `min_revision` of every question.
    pub told: Mutex<Vec<String>>,
    /// How often was rechecked: sessions.
    pub rechecked: AtomicUsize,
    pub can_recheck: Mutex<bool>,
}

impl Decisions {
    pub fn set(&self, name: &str, projects: &[&str]) {
        let projects = projects.iter().map(|id| (*id).to_owned()).collect();
        self.projects.lock().unwrap().insert(name.to_owned(), projects);
    }

    fn grant(&self, name: &str, as_of: Option<Revision>) -> Option<v1::Grant> {
        let projects = self.projects.lock().unwrap().get(name).cloned()?;
        let who = principal(name);
        let mut concerns = vec![
            Concern::principal(&who),
            Concern::memberships_of(&who),
            Concern::provider(ISSUER),
            Concern::account("APP"),
        ];
        for id in &projects {
            concerns.push(Concern::resource("project", id));
            concerns.push(Concern::member(&who, "project", id));
        }
        let in_an_hour = SystemClock.now() + Duration::from_secs(3600);
        Some(v1::Grant {
            account: "APP".into(),
            principal: Some(v1::Principal {
                issuer: who.issuer,
                subject: who.subject,
            }),
            permissions: Some(v1::Permissions {
                publish_allow: projects
                    .iter()
                    .map(|id| format!("projects.{id}.>"))
                    .chain(["$SYS.REQ.USER.INFO".to_owned()])
                    .collect(),
                subscribe_allow: vec![v1::SubscribeSubject {
                    subject: "_INBOX.>".into(),
                    queue: String::new(),
                }],
                ..Default::default()
            }),
            limits: None,
            expires_at: Some(in_an_hour.into()),
            as_of: as_of.map(|as_of| as_of.to_string()).unwrap_or_default(),
            concerns: concerns.iter().map(|one| one.as_bytes().to_vec()).collect(),
            basis: name.as_bytes().to_vec(),
            ..Default::default()
        })
    }

    async fn catch_up(&self, min_revision: &str) {
        if let Ok(revision) = min_revision.parse() {
            self.follower
                .catch_up(revision, Deadline::after(PATIENCE))
                .await
                .unwrap();
        }
    }
}

#[async_trait]
impl DecisionPoint for Decisions {
    async fn authorize(&self, request: v1::AuthorizeRequest, _: Deadline) -> Result<Answer, Unanswered> {
        self.catch_up(&request.min_revision).await;
        self.told.lock().unwrap().push(request.min_revision.clone());
        let options = request.connect_options.as_ref().unwrap();
        let name = [&options.auth_token, &options.pass]
            .into_iter()
            .find(|text| !text.is_empty())
            .unwrap()
            .clone();
        // What is known is known as of now, whenever the answer goes out.
        let as_of = self.follower.position().revision();
        let grant = self.grant(&name, as_of);
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        let outcome = grant.ok_or_else(|| v1::Denial {
            reason: "no_rule_matched".into(),
            detail: String::new(),
        });
        Ok(Answer {
            decision_id: "test".into(),
            outcome,
        })
    }

    async fn recheck(
        &self,
        request: v1::RecheckRequest,
        _: Deadline,
    ) -> Result<v1::RecheckResponse, NotRechecked> {
        if !*self.can_recheck.lock().unwrap() {
            return Err(NotRechecked {
                why: "as the test wants it".into(),
                is_final: true,
            });
        }
        self.catch_up(&request.min_revision).await;
        self.rechecked.fetch_add(request.bases.len(), Ordering::SeqCst);
        let as_of = self.follower.position().revision();
        let results = request.bases.iter().map(|basis| {
            let result = match self.grant(std::str::from_utf8(basis).unwrap(), as_of) {
                Some(grant) => Now::Grant(grant),
                None => Now::Denial(v1::Denial::default()),
            };
            v1::RecheckResult { result: Some(result) }
        });
        Ok(v1::RecheckResponse {
            results: results.collect(),
        })
    }
}

/// A running shim.
pub struct Running {
    pub counters: Arc<Counters>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Ends it as SIGTERM does.
    pub async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("the shim stops")
            .unwrap();
    }
}

pub struct Scene {
    pub nats: NatsServer,
    keys: ConfigMode,
    pub log: Arc<Follower>,
    /// What shims read of the log: all of it, unless a test puts something between.
    pub feed: Arc<dyn RevocationFeed>,
    pub board: Arc<InProcessBoard>,
    pub decisions: Arc<Decisions>,
}

impl Scene {
    pub async fn new() -> Self {
        Self::with("").await
    }

    /// With more in the server's configuration.
    pub async fn with(config: &str) -> Self {
        let keys = ConfigMode::generate(ConfigModeOptions::default()).unwrap();
        let options = NatsServerOptions {
            config: format!("{}\n{config}\n", keys.server_config()),
            ..Default::default()
        };
        let nats = NatsServer::start(options).await.unwrap();
        let clock = Arc::new(SystemClock);
        let log = InProcessLog::new(&LogSettings::default(), None, clock.clone());
        let log = Follower::start(Arc::new(log), FollowerSettings::default(), clock);
        let decisions = Arc::new(Decisions {
            projects: Mutex::default(),
            follower: Arc::clone(&log),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            asked: AtomicUsize::new(0),
            told: Mutex::default(),
            rechecked: AtomicUsize::new(0),
            can_recheck: Mutex::new(true),
        });
        Self {
            nats,
            keys,
            feed: Arc::clone(&log) as Arc<dyn RevocationFeed>,
            log,
            board: Arc::new(InProcessBoard::new()),
            decisions,
        }
    }

    fn connection(&self, user: &natsgate_devkit::ConfiguredUser) -> NatsSettings {
        NatsSettings {
            servers: vec![self.nats.client_url().to_owned()],
            credentials: NatsCredentials::Password {
                user: user.user.clone(),
                password: user.password.clone(),
            },
            require_tls: false,
            ca_file: None,
            client_certificate: None,
        }
    }

    /// Starts a shim and waits until it takes requests and says that it is there.
    pub async fn shim(&self) -> Running {
        let settings = ShimSettings {
            cluster: "test".into(),
            issuing: Issuing::Config {
                issuer: self.keys.issuer.clone(),
            },
            xkey: None,
            accounts: vec![TargetAccount {
                name: "APP".into(),
                signer: None,
            }],
            operators: Vec::new(),
            system_account: None,
            max_session: Duration::from_secs(7200),
            bounds: Bounds {
                max_in_flight: 64,
                max_waiting: 64,
                answer_margin: Duration::from_millis(100),
            },
            callout: self.connection(&self.keys.callout_user),
            system: Some(self.connection(&self.keys.system_user)),
            eviction: None,
            enforcement: EnforcementSettings {
                spread: Duration::from_millis(200),
                reconcile_every: Duration::from_secs(1),
                ..EnforcementSettings::default()
            },
        };
        let revocations = Revocations {
            feed: Arc::clone(&self.feed),
            board: Arc::clone(&self.board) as Arc<dyn Board>,
        };
        let decisions = Arc::clone(&self.decisions) as Arc<dyn DecisionPoint>;
        let shim = Shim::new(settings, decisions, Arc::new(SystemClock)).with_revocations(revocations);
        let counters = shim.counters();
        let before = self.present().await;
        let (stop, ready) = (CancellationToken::new(), CancellationToken::new());
        let task = tokio::spawn({
            let (stop, ready) = (stop.clone(), ready.clone());
            async move { shim.run(stop, ready).await.unwrap() }
        });
        tokio::time::timeout(PATIENCE, ready.cancelled()).await.unwrap();
        until("the shim says that it is there", async || {
            self.present().await > before
        })
        .await;
        Running { counters, stop, task }
    }

    async fn present(&self) -> usize {
        self.board.shims(Deadline::after(PATIENCE)).await.unwrap().len()
    }

    pub async fn connect(&self, name: &str) -> Session {
        let opening = Session::open(self.nats.client_url(), name);
        match tokio::time::timeout(PATIENCE, opening).await {
            Ok(session) => session.expect("let in"),
            Err(_) => panic!("no answer: {}", self.nats.logs()),
        }
    }

    /// Appends a revocation. Returns the entry's name.
    pub async fn revoke(&self, selector: Selector) -> EntryId {
        self.append(Change::revoked(selector, "a test", "a test")).await
    }

    pub async fn append(&self, change: Change) -> EntryId {
        let id = EntryId(rand::random());
        let entry = NewEntry {
            id,
            at: SystemClock.now(),
            change,
            idempotency: None,
        };
        self.log.append(entry, Deadline::after(PATIENCE)).await.unwrap();
        id
    }

    /// What shims have said of an entry by now.
    pub async fn acknowledged(&self, entry: EntryId) -> Vec<Acknowledgement> {
        let said = self
            .board
            .acknowledgements(entry, Deadline::after(PATIENCE))
            .await;
        said.unwrap()
    }

    /// What `shims` shims have done for an entry, once all have done it.
    pub async fn done(&self, entry: EntryId, shims: usize) -> Vec<Acknowledgement> {
        let asked = async || {
            let done = self.acknowledged(entry).await;
            let all = done.len() >= shims && done.iter().all(Acknowledgement::is_complete);
            all.then_some(done)
        };
        let waiting = async {
            loop {
                if let Some(done) = asked().await {
                    return done;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .expect("acknowledged")
    }
}

/// What shims have closed and spared, in all.
pub fn sums(done: &[Acknowledgement]) -> (u64, u64) {
    (
        done.iter().map(|one| one.closed).sum(),
        done.iter().map(|one| one.spared).sum(),
    )
}

/// A client that is connected, once.
pub struct Session {
    pub client: Client,
    events: tokio::sync::Mutex<UnboundedReceiver<Event>>,
}

impl Session {
    pub async fn open(url: &str, name: &str) -> Result<Self, async_nats::ConnectError> {
        let (told, events) = tokio::sync::mpsc::unbounded_channel();
        let connected = Arc::new(AtomicBool::new(false));
        // Once closed it stays away: that it comes back is looked at by other tests.
        let delay = Arc::clone(&connected);
        let client = ConnectOptions::with_token(name.to_owned())
            .max_reconnects(1)
            .reconnect_delay_callback(move |_| match delay.load(Ordering::SeqCst) {
                true => Duration::from_secs(3600),
                false => Duration::ZERO,
            })
            .event_callback(move |event| {
                let _ = told.send(event);
                async {}
            })
            .connect(url)
            .await?;
        connected.store(true, Ordering::SeqCst);
        Ok(Self {
            client,
            events: tokio::sync::Mutex::new(events),
        })
    }

    /// Waits until the server has closed it.
    pub async fn closed(&self) {
        let mut events = self.events.lock().await;
        let waiting = async {
            loop {
                match events.recv().await {
                    Some(Event::Disconnected | Event::Closed) | None => return,
                    Some(_) => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("closed");
    }

    /// Whether the server still answers it: a round trip, so that it is true of now.
    pub async fn is_open(&self) -> bool {
        let asked = self.client.request("$SYS.REQ.USER.INFO", "".into());
        matches!(tokio::time::timeout(PATIENCE, asked).await, Ok(Ok(_)))
    }
}

/// Waits until `done`.
pub async fn until(what: &str, done: impl AsyncFn() -> bool) {
    let waiting = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, waiting).await.is_ok(),
        "never: {what}"
    );
}
