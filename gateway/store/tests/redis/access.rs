//! Every way of being let in: password, ACL user, TLS.

use std::sync::Arc;

use natsgate_core::{
    Acknowledgement, Board, Cache, CacheKey, Change, Clock, EntryId, Epoch, Idempotency, NewEntry,
    PolicyGeneration, Revision, RevocationLog, SessionEvent, SessionKey, SessionRecord, ShimPresence,
    SystemClock,
};
use natsgate_devkit::{DevkitError, RedisOptions, RedisServer, RedisTls};
use natsgate_store::redis::{LinkState, RedisCache, RedisSettings, RedisTlsSettings, Script};
use natsgate_store::{LogSettings, RedisBoard, RedisLog, WatchedLog};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use secrecy::SecretString;

use super::support::*;

const USERS: &str = include_str!("../../../../deploy/redis/users.acl");

#[tokio::test]
async fn a_password_is_given_and_a_wrong_one_is_told_without_repeating_it() {
    let options = RedisOptions {
        password: Some("correct horse battery".to_owned()),
        ..RedisOptions::default()
    };
    let server = RedisServer::start_as(options).await.unwrap();
    let mut settings = patient(RedisSettings::url(server.url()));
    settings.password = Some(SecretString::from("correct horse battery"));
    let redis = connect(&settings);
    set(&redis, "k", "v").await.unwrap();

    settings.password = Some(SecretString::from("hunter2"));
    let stranger = connect(&settings);
    until_down(&stranger).await;
    let error = set(&stranger, "k", "w").await.unwrap_err();
    assert!(error.had_no_effect());
    assert!(error.to_string().contains("WRONGPASS"), "{error}");
    assert!(
        !format!("{error:?} {stranger:?}").contains("hunter2"),
        "{error:?}"
    );
    assert_eq!(get(&redis, "k").await.unwrap().as_deref(), Some("v"));
}

/// The server that deploy/redis describes, and settings to be `user` there.
async fn as_deployed() -> (RedisServer, impl Fn(&str) -> RedisSettings) {
    let options = RedisOptions {
        users: USERS.lines().map(str::to_owned).collect(),
        ..RedisOptions::default()
    };
    let server = RedisServer::start_as(options).await.unwrap();
    let url = server.url();
    let settings = move |user: &str| {
        let password = USERS
            .lines()
            .find(|line| line.starts_with(&format!("user {user} ")))
            .and_then(|line| line.split(' ').find_map(|word| word.strip_prefix('>')))
            .unwrap();
        let mut settings = patient(RedisSettings::url(url.clone()));
        settings.username = Some(user.to_owned());
        settings.password = Some(SecretString::from(password));
        settings
    };
    (server, settings)
}

#[tokio::test]
async fn the_decision_services_user_may_do_what_it_must_and_nothing_else() {
    let (server, settings) = as_deployed().await;
    let redis = connect(&settings("natsgate-decision"));
    let cache = RedisCache::new(redis.clone(), &secrets(), 1000).unwrap();
    let key = CacheKey::new("test", b"k");
    cache.put(&key, "v".into(), PATIENCE).await.unwrap();
    assert_eq!(cache.get(&key).await.unwrap().unwrap(), "v");
    cache.put(&key, vec![0; 2000].into(), PATIENCE).await.unwrap();
    assert_eq!(cache.get(&key).await.unwrap(), None);

    // The commands of the log's scripts, within a script.
    let script = Script::new(
        "redis.call('TIME')
         redis.call('INFO', 'replication')
         redis.call('XADD', KEYS[1], '1-1', 'e', ARGV[1])
         redis.call('XRANGE', KEYS[1], '-', '+')
         redis.call('XREVRANGE', KEYS[1], '+', '-')
         redis.call('XINFO', 'STREAM', KEYS[1])
         redis.call('XTRIM', KEYS[1], 'MAXLEN', '=', 10)
         redis.call('HSET', KEYS[2], 'f', 'v')
         redis.call('HINCRBY', KEYS[2], 'ticks', 1)
         redis.call('TYPE', KEYS[2])
         redis.call('XDEL', KEYS[1], '1-1')
         redis.call('SET', KEYS[3], 'v', 'PX', 1000)
         redis.call('DEL', KEYS[3])
         redis.call('PUBLISH', ARGV[2], 'x')
         return redis.call('HGET', KEYS[2], 'f')",
    );
    let keys = ["{natsgate}:log", "{natsgate}:log:head", "{natsgate}:log:once:1"];
    let mut bell = redis.doorbell("{natsgate}:log:bell");
    rung(&mut bell).await;
    let (answer, replicas): (String, u32) = redis
        .lane()
        .script_then_wait(
            &script,
            &keys,
            &[b"entry", b"{natsgate}:log:bell"],
            0,
            PATIENCE,
            later(),
        )
        .await
        .unwrap();
    assert_eq!((answer.as_str(), replicas), ("v", 0));
    rung(&mut bell).await;

    for command in [
        ["GET", "{other}:log"].as_slice(),
        &["SET", "natsgate:d:1", "x"],
        &["FLUSHALL"],
        &["KEYS", "*"],
        &["CONFIG", "GET", "*"],
        &["PUBLISH", "other", "x"],
    ] {
        refused(&redis, command).await;
    }
    drop(server);
}

#[tokio::test]
async fn the_decision_services_user_may_keep_the_revocation_log() {
    let (_server, settings) = as_deployed().await;
    let redis = connect(&settings("natsgate-decision"));
    let log = RedisLog::new(&redis, &secrets(), &LogSettings::default(), Arc::new(SystemClock)).unwrap();
    let head = log.tick(None, later()).await.unwrap();
    let entry = NewEntry {
        id: EntryId([7; 16]),
        at: SystemClock.now(),
        change: Change::PolicyChanged {
            policy: PolicyGeneration {
                generation: 1,
                digest: "of the policy".to_owned(),
            },
        },
        idempotency: Some(Idempotency {
            key: [1; 32],
            body: [2; 32],
        }),
    };
    for repeated in [false, true] {
        let appended = log.append(&entry, later()).await.unwrap();
        assert_eq!(appended.repeated, repeated);
    }
    let entries = log
        .read(head.revision.sequence, 10, later())
        .await
        .unwrap()
        .entries;
    assert_eq!(entries.len(), 1);
}

#[tokio::test]
async fn the_shims_user_reads_the_log_and_writes_none_of_it() {
    let (_server, settings) = as_deployed().await;
    let decision = connect(&settings("natsgate-decision"));
    let log = RedisLog::new(
        &decision,
        &secrets(),
        &LogSettings::default(),
        Arc::new(SystemClock),
    )
    .unwrap();
    log.tick(None, later()).await.unwrap();
    let redis = connect(&settings("natsgate-shim"));
    let watched = WatchedLog::new(&redis, &secrets()).unwrap();
    let entry = NewEntry {
        id: EntryId([7; 16]),
        at: SystemClock.now(),
        change: Change::PolicyChanged {
            policy: PolicyGeneration {
                generation: 1,
                digest: "of the policy".to_owned(),
            },
        },
        idempotency: None,
    };
    let mut bell = watched.doorbell();
    rung(&mut bell).await;
    log.append(&entry, later()).await.unwrap();
    rung(&mut bell).await;
    let head = log.tick(None, later()).await.unwrap();
    assert_eq!(watched.tick(None, later()).await.unwrap(), head);
    assert_eq!(
        watched.read(0, 10, later()).await.unwrap(),
        log.read(0, 10, later()).await.unwrap()
    );

    for command in [
        ["XADD", "{natsgate}:log", "2-1", "e", "forged"].as_slice(),
        &["HSET", "{natsgate}:log:head", "record", "forged"],
        &["SET", "{natsgate}:log", "x"],
        &["DEL", "{natsgate}:log"],
        &["GET", "natsgate:c:x:00"],
        &["SET", "natsgate:c:x:00", "x"],
        &[
            "EVAL",
            "return redis.call('XADD', KEYS[1], '2-1', 'e', 'x')",
            "1",
            "{natsgate}:log",
        ],
        &["PUBLISH", "{natsgate}:log:bell", "x"],
        &["CONFIG", "GET", "*"],
        &[
            "EVAL",
            "return redis.call('GET', KEYS[1])",
            "1",
            "natsgate:c:x:00",
        ],
    ] {
        refused(&redis, command).await;
    }
    // Nor in a script that does not say beforehand what it will touch.
    for script in [
        "return redis.call('XADD', '{natsgate}:log', '9-1', 'e', 'forged')",
        "return redis.call('HSET', '{natsgate}:log:head', 'record', 'forged')",
        "return redis.call('PUBLISH', '{natsgate}:log:bell', 'x')",
        "return redis.call('DEL', '{natsgate}:log')",
    ] {
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(0);
        let error = redis
            .command::<redis::Value>("{natsgate}:log", &command, later())
            .await
            .unwrap_err();
        let text = error.to_string();
        // In the words of Redis 7.0, and of later ones.
        let refused = text.contains("The user executing the script can't") || text.contains("ACL failure");
        assert!(refused, "{script}: {error}");
    }
    let entries = log.read(0, 10, later()).await.unwrap().entries;
    assert_eq!(entries.len(), 1);
}

#[tokio::test]
async fn the_shims_user_tells_of_itself_and_the_decision_services_user_hears_it() {
    let (_server, settings) = as_deployed().await;
    let board = |user: &str| RedisBoard::new(&connect(&settings(user)), &secrets()).unwrap();
    let (shim, decision) = (board("natsgate-shim"), board("natsgate-decision"));
    let presence = |name: &str| ShimPresence {
        shim: name.to_owned(),
        cluster: "east".to_owned(),
        started_at: SystemClock.now(),
        seen_at: SystemClock.now(),
        applied: None,
        confirmed: true,
        sessions: 1,
        pending: 0,
        unreachable: Vec::new(),
    };
    let done = Acknowledgement {
        shim: "shim-1".to_owned(),
        cluster: "east".to_owned(),
        entry: EntryId([1; 16]),
        revision: Revision::new(Epoch::from_bytes([7; 16]), 1),
        closed: 1,
        gone: 0,
        spared: 0,
        own_done: true,
        pending: 0,
        took: std::time::Duration::ZERO,
        unreachable: Vec::new(),
    };
    let over = SessionEvent::Disconnected {
        cluster: "east".to_owned(),
        key: SessionKey {
            server_id: "NSERVER".to_owned(),
            client_id: 1,
        },
        reason: String::new(),
    };
    let mut bell = decision.acknowledged();
    rung(&mut bell).await;
    // `natsgate all` is both, as the one.
    for (number, teller) in [&shim, &decision].into_iter().enumerate() {
        teller.present(&presence("shim-1"), later()).await.unwrap();
        teller.present(&presence("shim-2"), later()).await.unwrap();
        teller.leave("shim-2", later()).await.unwrap();
        teller.acknowledge(&done, later()).await.unwrap();
        rung(&mut bell).await;
        let there = SessionEvent::Connected(Box::new(session(number as u64)));
        teller
            .tell("east", &[over.clone(), there], later())
            .await
            .unwrap();
        for reader in [&shim, &decision] {
            assert_eq!(reader.shims(later()).await.unwrap().len(), 1);
            let found = reader.acknowledgements(done.entry, later()).await.unwrap();
            assert_eq!(found, std::slice::from_ref(&done));
            let page = reader.sessions("east", None, 10, later()).await.unwrap();
            assert!(page.sessions.contains(&session(number as u64)));
            assert_eq!(reader.clusters(later()).await.unwrap(), ["east"]);
        }
    }
    let mut events = decision.session_events();
    // It ends when the subscription is made.
    let ended = async { while events.recv().await.is_ok() {} };
    tokio::time::timeout(PATIENCE, ended)
        .await
        .expect("it never ended");
    let mut events = decision.session_events();
    let there = SessionEvent::Connected(Box::new(session(9)));
    shim.tell("east", std::slice::from_ref(&there), later())
        .await
        .unwrap();
    assert_eq!(events.recv().await.unwrap(), there);
}

fn session(client_id: u64) -> SessionRecord {
    SessionRecord {
        key: SessionKey {
            server_id: "NANOTHER".to_owned(),
            client_id,
        },
        cluster: "east".to_owned(),
        server_name: "nats-1".to_owned(),
        account: "APP".to_owned(),
        principal: None,
        name: "alice".to_owned(),
        principal_digest: "digest".to_owned(),
        shim: "shim-1".to_owned(),
        as_of: None,
        policy_generation: 0,
        connected_at: None,
        expires_at: None,
        client_host: String::new(),
        client_name: String::new(),
        client_kind: "Client".to_owned(),
        client_type: String::new(),
        details: String::new(),
    }
}

async fn refused(redis: &natsgate_store::RedisConnection, command: &[&str]) {
    let mut built = redis::cmd(command[0]);
    for word in &command[1..] {
        built.arg(*word);
    }
    let error = redis
        .command::<redis::Value>(command.get(1).unwrap_or(&""), &built, later())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("NOPERM"), "{command:?}: {error}");
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Certificate and key, in PEM form.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &self.0)
            .unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// A server with a certificate for `name` that wants clients' certificates; `None` where Redis was built without TLS.
async fn with_tls(authority: &Authority, name: &str) -> Option<RedisServer> {
    let (certificate_pem, key_pem) = authority.issue(name);
    let options = RedisOptions {
        tls: Some(RedisTls {
            certificate_pem,
            key_pem,
            client_ca_pem: Some(authority.0.pem()),
        }),
        ..RedisOptions::default()
    };
    match RedisServer::start_as(options).await {
        Ok(server) => Some(server),
        Err(DevkitError::Exited { log, .. }) if log.contains("TLS") || log.contains("tls-port") => {
            eprintln!("not tested: this Redis was built without TLS");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn over_tls_both_sides_must_show_a_certificate_of_the_right_authority() {
    let ours = Authority::new("ours");
    let Some(server) = with_tls(&ours, "localhost").await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    let (certificate, key) = ours.issue("natsgate");
    let good = RedisTlsSettings {
        ca_file: put("ca.pem", &ours.0.pem()),
        cert_file: put("cert.pem", &certificate),
        key_file: put("key.pem", &key),
    };
    let url = |host: &str| format!("rediss://{host}:{}", server.tls_port().unwrap());
    let settings = |host: &str, tls: &RedisTlsSettings| {
        let mut settings = patient(RedisSettings::url(url(host)));
        settings.tls = Some(tls.clone());
        settings
    };
    let redis = connect(&settings("localhost", &good));
    set(&redis, "k", "v").await.unwrap();

    let theirs = Authority::new("theirs");
    let stranger = RedisTlsSettings {
        ca_file: put("theirs.pem", &theirs.0.pem()),
        ..good.clone()
    };
    let nobody = RedisTlsSettings {
        cert_file: None,
        key_file: None,
        ..good.clone()
    };
    for (what, settings) in [
        ("a server of another authority", settings("localhost", &stranger)),
        ("a server of another name", settings("127.0.0.1", &good)),
        ("a client without a certificate", settings("localhost", &nobody)),
    ] {
        let redis = connect(&settings);
        until_down(&redis).await;
        assert!(set(&redis, "k", "w").await.is_err(), "{what}");
        assert!(matches!(redis.state(), LinkState::Down(_)), "{what}");
    }
    assert_eq!(get(&redis, "k").await.unwrap().as_deref(), Some("v"));

    // A file that was exchanged counts from the next connection on; one that cannot be used is told at the start.
    put("ca.pem", &theirs.0.pem());
    server.raw(&["CLIENT", "KILL", "TYPE", "normal"]).await.unwrap();
    until_down(&redis).await;
    put("ca.pem", &ours.0.pem());
    until_it_works(&redis).await;
    put("cert.pem", "no certificate");
    let error = natsgate_store::RedisConnection::new(&settings("localhost", &good)).unwrap_err();
    assert!(error.to_string().starts_with("redis.tls"), "{error}");
}
