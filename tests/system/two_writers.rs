//! Two account writers with one PostgreSQL between them: at once, and one of them frozen past its lease and revived. No template that
//! somebody was told is in the account is lost, nor what somebody else pushed.

use std::collections::BTreeSet;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use natsgate_accounts::ManagedAccount;
use natsgate_core::{AccountAtServer, AccountServers, Clock, Deadline, SystemClock};
use natsgate_devkit::process::Process;
use natsgate_devkit::{ClusterOptions, NatsServer, NatsServerOptions, PostgresServer};
use natsgate_postgres::{Access, Pool, PostgresSettings, PostgresTlsMode, Session};
use secrecy::ExposeSecret;

use crate::harness::{Cluster, Folder, Keys, Mode, PATIENCE, command};
use crate::held_back::HeldBack;
use crate::written_rights::Writer;

/// The longest anything may take here that has to wait for a lease's end, or for a writer's own patience.
const LONG: Duration = Duration::from_secs(120);

/// Two servers in one cluster, and a PostgreSQL.
struct Site {
    cluster: Cluster,
    _second: NatsServer,
    postgres: PostgresServer,
    watcher: Writer,
    /// So that both servers have the account loaded.
    _connected: [Client; 2],
}

/// Makes tries of something until it is so.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let found = tokio::time::timeout(LONG, looking).await;
    found.unwrap_or_else(|_| panic!("it did not come to: {what}"))
}

/// A change that puts the template `name`.
fn template(name: &str) -> String {
    format!(
        "version: 1\ntemplates:\n  {name}:\n    subscribe: {{ allow: ['{name}.{{{{tag(project)}}}}.>'] }}\n"
    )
}

/// What a push of a template came to.
struct Pushed {
    status: ExitStatus,
    said: String,
}

/// `natsgate account push` of a template, under way.
struct Pushing {
    process: Process,
    _folder: Folder,
}

impl Pushing {
    fn id(&self) -> u32 {
        self.process.id().unwrap()
    }

    async fn end(mut self) -> Pushed {
        let status = until("the writer's end", async || self.process.status()).await;
        Pushed {
            status,
            said: self.process.logs(),
        }
    }
}

impl Site {
    async fn start() -> Self {
        let in_cluster = |name: &str, routes: Vec<String>| {
            let cluster = ClusterOptions {
                name: "test".into(),
                routes,
            };
            (Some(name.to_owned()), Some(cluster))
        };
        let cluster = Cluster::start_with(Mode::OperatorWithPushes, false, |options| {
            let (name, cluster) = in_cluster("n1", Vec::new());
            NatsServerOptions {
                name,
                cluster,
                ..options
            }
        })
        .await;
        let Keys::Operator(keys) = &cluster.keys else {
            unreachable!("operator mode")
        };
        let (name, there) = in_cluster("n2", vec![cluster.nats.cluster_url().unwrap().to_owned()]);
        let second = NatsServer::start(NatsServerOptions {
            name,
            config: keys.server_config(),
            cluster: there,
            ..NatsServerOptions::default()
        })
        .await
        .unwrap();
        let watcher = Writer::of(&cluster).await;
        until("both servers in one cluster", async || {
            let roster = watcher.servers.roster(Deadline::after(PATIENCE)).await;
            roster.is_ok_and(|roster| roster.len() == 2).then_some(())
        })
        .await;
        let connect = async |url: &str| {
            let options: ConnectOptions = cluster.break_glass_options();
            options.connect(url.to_owned()).await.unwrap()
        };
        let connected = [
            connect(cluster.nats.client_url()).await,
            connect(second.client_url()).await,
        ];
        Self {
            _second: second,
            postgres: PostgresServer::start().await.unwrap(),
            watcher,
            _connected: connected,
            cluster,
        }
    }

    /// Where the servers and the database are.
    fn addresses(&self) -> [String; 2] {
        let nats = self.cluster.nats.client_url().strip_prefix("nats://").unwrap();
        [nats.to_owned(), format!("127.0.0.1:{}", self.postgres.port())]
    }

    /// The configuration of a writer that reaches the servers and the database at these addresses.
    fn config(&self, [nats, database]: [&str; 2]) -> String {
        let Keys::Operator(keys) = &self.cluster.keys else {
            unreachable!("operator mode")
        };
        let postgres = &self.postgres;
        let shim = self.cluster.shim_section();
        format!(
            "{}accounts:\n  operator_seed: {}\n  lease: 5s\n  postgres:\n    database: {{ host: 127.0.0.1, port: {}, database: {}, \
             user: {}, password: '{}', tls: {{ mode: disable }}, statement_timeout: {} }}\n",
            shim.replace(self.cluster.nats.client_url(), &format!("nats://{nats}")),
            keys.operator.seed().unwrap().expose_secret(),
            database.rsplit(':').next().unwrap(),
            postgres.database(),
            postgres.user(),
            postgres.password(),
            // The server undoes what is left for longer; one that is asked late is to find the transaction still there.
            if database == self.addresses()[1] {
                "5s"
            } else {
                "2m"
            },
        )
    }

    /// Begins to push the template `name`, by these addresses.
    fn begin(&self, name: &str, addresses: [&str; 2]) -> Pushing {
        let folder = Folder::new(&self.config(addresses));
        let path = folder.write("changes.yaml", &template(name));
        let mut command = command(folder.path(), &["account", "push", path.to_str().unwrap()]);
        let log = folder.path().join("push.log");
        Pushing {
            process: Process::spawn(format!("the writer of {name}"), &mut command, &log).unwrap(),
            _folder: folder,
        }
    }

    /// Pushes the template `name`, again and again while another has the lease, or the database a transaction that nobody ends.
    async fn push(&self, name: &str) {
        let [nats, database] = self.addresses();
        until(&format!("a push of {name}"), async || {
            let pushed = self.begin(name, [&nats, &database]).end().await;
            if !pushed.status.success() {
                let known = ["is its writer for another", "PostgreSQL at"];
                assert!(
                    known.iter().any(|part| pushed.said.contains(part)),
                    "{}",
                    pushed.said
                );
            }
            pushed.status.success().then_some(())
        })
        .await;
    }

    /// The first column of what `sql` gives, if that is one row.
    async fn one(&self, sql: &str) -> Option<String> {
        match self.postgres.query(sql).await.unwrap().as_slice() {
            [row] => row[0].clone(),
            _ => None,
        }
    }

    /// A transaction of the test's own, in everybody's way.
    async fn in_the_way(&self, lock: &str) -> Session {
        let postgres = &self.postgres;
        let mut settings = PostgresSettings::new("127.0.0.1", postgres.database(), postgres.user());
        settings.port = postgres.port();
        settings.password = Some(postgres.password().to_owned().into());
        settings.tls.mode = Some(PostgresTlsMode::Disable);
        settings.statement_timeout = LONG;
        let pool = Pool::new(&settings).unwrap();
        let deadline = Deadline::after(LONG);
        let mut session = pool.begin(Access::Write, "a test", deadline).await.unwrap();
        session.batch(lock).await.unwrap();
        session
    }

    /// Waits until the lease is that of `writer`.
    async fn held_by(&self, writer: &Pushing) {
        let holder = format!(
            "SELECT holder FROM natsgate_accounts.account_leases
             WHERE holder LIKE '%process {} (%' AND ends_at > clock_timestamp()",
            writer.id()
        );
        until("the lease's holder", async || self.one(&holder).await).await;
    }

    /// Waits until one statement waits for a lock.
    async fn one_waits(&self) {
        let waits = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        until("a statement that waits", async || self.one(waits).await).await;
    }

    /// The number of the last write; 0 if there was none.
    async fn version(&self) -> u64 {
        let version = "SELECT version FROM natsgate_accounts.account_wanted";
        self.one(version)
            .await
            .map_or(0, |version| version.parse().unwrap())
    }

    async fn lease_is_over(&self) {
        let over = "SELECT 1 FROM natsgate_accounts.account_leases WHERE holder IS NULL OR ends_at <= clock_timestamp()";
        until("the lease's end", async || self.one(over).await).await;
    }

    /// The account, once every server keeps the same and has it in force; `None` if they do not.
    async fn account(&self) -> Option<ManagedAccount> {
        let Writer {
            servers,
            keys,
            operators,
            ..
        } = &self.watcher;
        let soon = || Deadline::after(PATIENCE);
        let kept = servers.look_up(keys.account(), soon()).await.unwrap();
        let [jwt] = kept.as_slice() else { return None };
        let roster = servers.roster(soon()).await.unwrap();
        assert_eq!(roster.len(), 2, "{roster:?}");
        for server in &roster {
            let there = servers
                .in_force(&server.id, keys.account(), soon())
                .await
                .unwrap();
            if there != AccountAtServer::InForce(jwt.clone()) {
                return None;
            }
        }
        let now = SystemClock.unix_seconds();
        Some(ManagedAccount::read(jwt, Arc::clone(keys), operators, now).unwrap())
    }

    /// What another program does that knows nothing of natsgate: takes a copy, adds a tag, signs and pushes it.
    async fn edit(&self, tag: &str) {
        let account = until("one JWT everywhere", async || self.account().await).await;
        let mut claims = account.claims().clone();
        claims.body.tags.push(tag.to_owned());
        let at = SystemClock.unix_seconds().max(account.issued_at().unwrap() + 1);
        let jwt = self.watcher.signer.sign(&claims, at).await.unwrap();
        let answers = self
            .watcher
            .servers
            .push(&jwt, 2, Deadline::after(PATIENCE))
            .await
            .unwrap();
        assert!(
            answers.len() == 2 && answers.iter().all(|one| one.taken.is_ok()),
            "{answers:?}"
        );
    }

    /// Asserts that these templates are in the account on every server, in one generation each, and these tags.
    async fn has(&self, templates: &BTreeSet<String>, tags: &BTreeSet<String>) {
        let account = until("one JWT everywhere", async || self.account().await).await;
        let found: BTreeSet<String> = account
            .templates()
            .map(|state| {
                assert_eq!(state.older().count(), 0, "{}", state.name());
                state.name().to_string()
            })
            .collect();
        assert_eq!(&found, templates);
        let found: BTreeSet<String> = account.facts().tags.iter().cloned().collect();
        assert!(found.is_superset(tags), "{tags:?}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_at_once_lose_no_template() {
    let site = Site::start().await;
    site.push("first").await;
    let mut wanted = BTreeSet::from(["first".to_owned()]);
    let mut refused = 0;
    for round in 0..3 {
        let names = [format!("a{round}"), format!("b{round}")];
        // Both are let go when both ask for the lease.
        let gate = site
            .in_the_way("LOCK TABLE natsgate_accounts.account_leases IN SHARE MODE")
            .await;
        let [nats, database] = site.addresses();
        let both = names.each_ref().map(|name| site.begin(name, [&nats, &database]));
        let both_wait =
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' HAVING count(*) = 2";
        until("both asking for the lease", async || site.one(both_wait).await).await;
        gate.rollback().await.unwrap();
        for (name, writer) in names.iter().zip(both) {
            let other = writer.id();
            let pushed = writer.end().await;
            if !pushed.status.success() {
                refused += 1;
                let said = &pushed.said;
                assert!(said.contains("is its writer for another"), "{said}");
                assert!(said.contains("natsgate account, process"), "{said}");
                assert!(!said.contains(&format!("process {other} ")), "{said}");
                site.push(name).await;
            }
        }
        wanted.extend(names);
        site.has(&wanted, &BTreeSet::new()).await;
    }
    println!("{refused} of 6 pushes were told that the lease was held");
}

/// Where the first writer is frozen.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// It has the lease, and waits for what is wanted.
    Reading,
    /// It has sent what it wants, and not yet said that it is to be kept.
    Writing,
    /// It has begun to write, and asks for the lease's row when it is revived.
    Late,
    /// What it wants is stored, and no server has it.
    Stored,
    /// Its push is on its way, and arrives when it is revived.
    Pushing,
}

/// Lets `writer` come as far as `moment`, and freezes it there.
async fn freeze(site: &Site, writer: &Pushing, moment: Moment, gate: Option<Session>, way: &HeldBack) {
    site.held_by(writer).await;
    match moment {
        Moment::Reading | Moment::Writing => {
            site.one_waits().await;
            writer.process.suspend().unwrap();
        }
        Moment::Stored => {
            site.one_waits().await;
            let before = site.version().await;
            way.hold();
            gate.unwrap().rollback().await.unwrap();
            until("what it stored", async || {
                (site.version().await > before).then_some(())
            })
            .await;
            writer.process.suspend().unwrap();
            return;
        }
        Moment::Late | Moment::Pushing => {
            way.held().await;
            writer.process.suspend().unwrap();
        }
    }
    if let Some(gate) = gate {
        gate.rollback().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_frozen_past_its_lease_and_revived_loses_nothing() {
    let site = Site::start().await;
    site.push("first").await;
    let mut templates = BTreeSet::from(["first".to_owned()]);
    let mut tags = BTreeSet::new();
    for moment in [
        Moment::Reading,
        Moment::Writing,
        Moment::Late,
        Moment::Stored,
        Moment::Pushing,
    ] {
        let name = format!("{moment:?}").to_lowercase();
        let (one, two, tag) = (
            format!("one-{name}"),
            format!("two-{name}"),
            format!("edit:{name}"),
        );
        let [nats, database] = site.addresses();
        let late = matches!(moment, Moment::Late);
        let way = HeldBack::before(if late { &database } else { &nats }).await;
        let gate = match moment {
            Moment::Reading => Some("ACCESS EXCLUSIVE"),
            // Readers are let through.
            Moment::Writing | Moment::Stored => Some("SHARE"),
            Moment::Late => {
                way.hold_at(" FOR UPDATE");
                None
            }
            Moment::Pushing => {
                way.hold_at("PUB $SYS.REQ.CLAIMS.UPDATE ");
                None
            }
        };
        let gate = match gate {
            Some(mode) => {
                let lock = format!("LOCK TABLE natsgate_accounts.account_wanted IN {mode} MODE");
                Some(site.in_the_way(&lock).await)
            }
            None => None,
        };
        let by = if late {
            [nats.as_str(), way.address()]
        } else {
            [way.address(), database.as_str()]
        };
        let frozen = site.begin(&one, by);
        freeze(&site, &frozen, moment, gate, &way).await;
        site.lease_is_over().await;

        if matches!(moment, Moment::Pushing) {
            // What a late push overwrites and nobody has looked at is gone: somebody has to have.
            site.edit(&tag).await;
            site.push(&two).await;
        } else {
            site.push(&two).await;
            site.edit(&tag).await;
        }
        frozen.process.resume().unwrap();
        way.release();
        let revived = frozen.end().await;
        println!("{moment:?}: {}: {}", revived.status, revived.said);
        if late {
            assert!(
                revived.said.contains("another writer has taken over"),
                "{}",
                revived.said
            );
        }
        // Whoever was told that it failed asks again; otherwise any push will do.
        let again = if revived.status.success() { &two } else { &one };
        site.push(again).await;
        templates.extend([one, two]);
        tags.insert(tag);
        site.has(&templates, &tags).await;
    }
}
