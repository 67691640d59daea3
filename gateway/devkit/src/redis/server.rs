//! One server.

use std::fmt;
use std::path::{Path, PathBuf};

use ::redis::Value;
use tempfile::TempDir;

use super::dump::{RedisDump, dump};
use super::launch::{free_port, launch, on_free_ports, until};
use super::raw::{ADMINISTRATOR, connect, raw, words_of};
use crate::error::DevkitError;
use crate::process::Process;

/// What a server is started with, beside the defaults: a loopback port, no persistence, no password.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// More arguments, such as `["--appendonly", "yes"]`.
    pub arguments: Vec<String>,
    /// The default user's password.
    pub password: Option<String>,
    /// The users there are, as lines of an ACL file (`user default off`); not together with `password`.
    pub users: Vec<String>,
    /// With this it also listens on [`RedisServer::tls_port`].
    pub tls: Option<RedisTls>,
    /// The port on this machine whose replica it is.
    pub replica_of: Option<u16>,
}

/// How a server speaks TLS.
#[derive(Clone)]
pub struct RedisTls {
    /// Its certificate, with those that vouch for it, in PEM form.
    pub certificate_pem: String,
    /// The certificate's private key in PEM form.
    pub key_pem: String,
    /// With this, clients must have a certificate that one of these vouches for.
    pub client_ca_pem: Option<String>,
}

impl fmt::Debug for RedisTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisTls")
    }
}

/// A running Redis on a loopback port, without persistence. Dropping it kills it and removes its files.
#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    port: u16,
    tls_port: Option<u16>,
    arguments: Vec<String>,
    has_users: bool,
    folder: TempDir,
}

impl RedisServer {
    /// Starts an empty Redis and waits until it answers.
    ///
    /// # Errors
    /// The binary is not there, or it does not answer within half a minute.
    pub async fn start() -> Result<Self, DevkitError> {
        Self::start_as(RedisOptions::default()).await
    }

    /// As [`Self::start`], with more arguments, such as `["--appendonly", "yes"]`.
    ///
    /// # Errors
    /// As for [`Self::start`]; also when Redis refuses an argument.
    pub async fn start_with(arguments: Vec<String>) -> Result<Self, DevkitError> {
        Self::start_as(RedisOptions {
            arguments,
            ..RedisOptions::default()
        })
        .await
    }

    /// As [`Self::start`], with `options`.
    ///
    /// # Errors
    /// As for [`Self::start`]; also when Redis refuses an option, or was built without TLS.
    pub async fn start_as(options: RedisOptions) -> Result<Self, DevkitError> {
        let options = &options;
        on_free_ports(|| async {
            let folder = tempfile::Builder::new()
                .prefix("natsgate-redis-")
                .tempdir()
                .map_err(DevkitError::io("make a folder for redis-server"))?;
            let port = free_port().await?;
            let tls_port = match &options.tls {
                Some(_) => Some(free_port().await?),
                None => None,
            };
            let arguments = arguments(port, tls_port, options, folder.path())?;
            let process = launch("redis-server", port, &arguments, folder.path()).await?;
            Ok(Self {
                process,
                port,
                tls_port,
                arguments,
                has_users: options.password.is_some() || !options.users.is_empty(),
                folder,
            })
        })
        .await
    }

    /// Starts a replica of `self` and waits until it has everything that `self` has.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub async fn start_replica(&self) -> Result<Self, DevkitError> {
        let replica = Self::start_as(RedisOptions {
            replica_of: Some(self.port),
            ..RedisOptions::default()
        })
        .await?;
        replica.wait_for_replication().await?;
        Ok(replica)
    }

    /// Waits until this replica is connected to its primary and has taken over its data.
    ///
    /// # Errors
    /// That takes longer than half a minute.
    pub async fn wait_for_replication(&self) -> Result<(), DevkitError> {
        until("a replica of redis-server", async || {
            self.info("replication", "master_link_status").await.as_deref() == Some("up")
        })
        .await
    }

    /// Makes a replica a primary of its own (REPLICAOF NO ONE).
    ///
    /// # Errors
    /// It does not answer.
    pub async fn promote(&self) -> Result<(), DevkitError> {
        self.raw(&["REPLICAOF", "NO", "ONE"]).await.map(drop)
    }

    /// Makes it a replica of `primary`.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn demote(&self, primary: &Self) -> Result<(), DevkitError> {
        self.raw(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()])
            .await
            .map(drop)
    }

    /// Such as `redis://127.0.0.1:40126/`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Such as `127.0.0.1:40126`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port on 127.0.0.1 where it speaks TLS, if it does.
    pub fn tls_port(&self) -> Option<u16> {
        self.tls_port
    }

    /// The process id; `None` after [`Self::stop`] or [`Self::kill`].
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Everything it has logged since the first start.
    pub fn logs(&self) -> String {
        self.process.logs()
    }

    /// Sends it any command, and returns its answer: `["DEL", "natsgate:log"]`. Bounded in time.
    ///
    /// # Errors
    /// It does not answer, or with an error.
    pub async fn raw(&self, command: &[&str]) -> Result<Value, DevkitError> {
        raw(self.port, self.has_users, command).await
    }

    /// A field of a section of INFO: `("replication", "master_replid")`.
    pub async fn info(&self, section: &str, field: &str) -> Option<String> {
        let answer = self.raw(&["INFO", section]).await.ok()?;
        words_of(&answer).iter().find_map(|line| {
            let value = line.strip_prefix(field)?.strip_prefix(':')?;
            Some(value.trim().to_owned())
        })
    }

    /// Every key and value there is.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn dump(&self) -> Result<RedisDump, DevkitError> {
        dump(&mut connect(self.port, self.has_users).await?).await
    }

    /// Writes down what it holds now (SAVE), as an RDB file elsewhere, for [`Self::restart_from`].
    ///
    /// # Errors
    /// It does not answer, or the file cannot be kept.
    pub async fn snapshot(&self) -> Result<PathBuf, DevkitError> {
        self.raw(&["SAVE"]).await?;
        let doing = "keep a snapshot of redis-server";
        let kept = self
            .folder
            .path()
            .join(format!("snapshot-{:016x}.rdb", rand::random::<u64>()));
        // Left in place, a plain restart would read it too.
        std::fs::rename(self.rdb(), &kept).map_err(DevkitError::io(doing))?;
        Ok(kept)
    }

    /// Ends it, without a chance to write anything, and starts it again with what `snapshot` holds.
    ///
    /// # Errors
    /// As for [`Self::start`]; also when somebody else has taken the port.
    pub async fn restart_from(&mut self, snapshot: &Path) -> Result<(), DevkitError> {
        self.process.kill()?;
        std::fs::copy(snapshot, self.rdb()).map_err(DevkitError::io("put a snapshot in place"))?;
        self.launch_again().await?;
        std::fs::remove_file(self.rdb()).map_err(DevkitError::io("remove a snapshot that was read"))
    }

    /// Ends it politely (SIGTERM) and waits until it is gone.
    ///
    /// # Errors
    /// The system refuses the signal or the wait.
    pub async fn stop(&mut self) -> Result<(), DevkitError> {
        self.process.stop().await
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// The system refuses the wait.
    pub fn kill(&mut self) -> Result<(), DevkitError> {
        self.process.kill()
    }

    /// Removes everything that it has written down, so that the next start, after [`Self::stop`] or [`Self::kill`], finds
    /// nothing.
    ///
    /// # Errors
    /// The files cannot be removed.
    pub fn lose_everything(&self) -> Result<(), DevkitError> {
        let doing = "remove what redis-server has written down";
        let appended = self.folder.path().join("appendonlydir");
        if appended.exists() {
            std::fs::remove_dir_all(appended).map_err(DevkitError::io(doing))?;
        }
        if self.rdb().exists() {
            std::fs::remove_file(self.rdb()).map_err(DevkitError::io(doing))?;
        }
        Ok(())
    }

    /// Freezes it (SIGSTOP): connections stay open, nothing is answered.
    ///
    /// # Errors
    /// It is not running.
    pub fn suspend(&self) -> Result<(), DevkitError> {
        self.process.suspend()
    }

    /// Lets a frozen server go on (SIGCONT).
    ///
    /// # Errors
    /// It is not running.
    pub fn resume(&self) -> Result<(), DevkitError> {
        self.process.resume()
    }

    /// Starts it again on its port, empty unless the arguments turned persistence on.
    ///
    /// # Errors
    /// As for [`Self::start`]; also when somebody else has taken the port.
    pub async fn restart(&mut self) -> Result<(), DevkitError> {
        self.process.stop().await?;
        self.launch_again().await
    }

    async fn launch_again(&mut self) -> Result<(), DevkitError> {
        self.process = launch("redis-server", self.port, &self.arguments, self.folder.path()).await?;
        Ok(())
    }

    fn rdb(&self) -> PathBuf {
        self.folder.path().join("dump.rdb")
    }
}

/// The command line, and the files it names.
fn arguments(
    port: u16,
    tls_port: Option<u16>,
    options: &RedisOptions,
    folder: &Path,
) -> Result<Vec<String>, DevkitError> {
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text)
            .map_err(DevkitError::io(format!("write {name} for redis-server")))
            .map(|()| path.display().to_string())
    };
    let mut arguments: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(|word| (*word).to_owned()));
    add(&["--bind", "127.0.0.1", "--port", &port.to_string()]);
    add(&["--save", "", "--dir", &folder.display().to_string()]);
    // A replica is there at once, not after five seconds in which more might come.
    add(&["--repl-diskless-sync-delay", "0"]);
    if let Some(password) = &options.password {
        add(&["--requirepass", password]);
        add(&[
            "--user",
            ADMINISTRATOR,
            "on",
            &format!(">{ADMINISTRATOR}"),
            "~*",
            "&*",
            "+@all",
        ]);
    }
    if !options.users.is_empty() {
        let administrator = format!("user {ADMINISTRATOR} on >{ADMINISTRATOR} ~* &* +@all");
        let users = format!("{}\n{administrator}\n", options.users.join("\n"));
        add(&["--aclfile", &put("users.acl", &users)?]);
    }
    if let (Some(tls), Some(port)) = (&options.tls, tls_port) {
        add(&["--tls-port", &port.to_string()]);
        add(&["--tls-cert-file", &put("certificate.pem", &tls.certificate_pem)?]);
        add(&["--tls-key-file", &put("key.pem", &tls.key_pem)?]);
        let authority = tls.client_ca_pem.as_deref().unwrap_or(&tls.certificate_pem);
        add(&["--tls-ca-cert-file", &put("clients.pem", authority)?]);
        add(&[
            "--tls-auth-clients",
            if tls.client_ca_pem.is_some() { "yes" } else { "no" },
        ]);
    }
    if let Some(primary) = options.replica_of {
        add(&["--replicaof", "127.0.0.1", &primary.to_string()]);
    }
    arguments.extend(options.arguments.iter().cloned());
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use ::redis::AsyncCommands;

    use super::super::launch::{answers_as, ask};
    use super::*;

    #[tokio::test]
    async fn it_answers_and_is_gone_when_dropped() {
        let redis = RedisServer::start().await.unwrap();
        assert_eq!(ask(redis.port(), b"PING\r\n").await.unwrap(), "+PONG\r\n+OK\r\n");
        let (process, port) = (format!("/proc/{}", redis.id().unwrap()), redis.port());
        drop(redis);
        assert!(!std::path::Path::new(&process).exists());
        assert!(ask(port, b"PING\r\n").await.is_err());
    }

    #[tokio::test]
    async fn a_restart_keeps_the_port_and_forgets_the_data() {
        let mut redis = RedisServer::start().await.unwrap();
        let url = redis.url();
        let mut before = ::redis::Client::open(url.as_str())
            .unwrap()
            .get_multiplexed_async_connection()
            .await
            .unwrap();
        let () = before.set("k", "v").await.unwrap();
        assert_eq!(
            before.get::<_, Option<String>>("k").await.unwrap().as_deref(),
            Some("v")
        );
        redis.restart().await.unwrap();
        assert_eq!(redis.url(), url);
        let mut after = ::redis::Client::open(url)
            .unwrap()
            .get_multiplexed_async_connection()
            .await
            .unwrap();
        assert_eq!(after.get::<_, Option<String>>("k").await.unwrap(), None);
    }

    #[tokio::test]
    async fn somebody_elses_redis_is_not_taken_for_ours() {
        let redis = RedisServer::start().await.unwrap();
        assert!(answers_as(redis.port(), redis.id()).await);
        assert!(!answers_as(redis.port(), Some(1)).await);
    }

    #[tokio::test]
    async fn a_server_with_a_password_lets_only_those_in_who_know_it() {
        let options = RedisOptions {
            password: Some("a password of sixteen".to_owned()),
            ..RedisOptions::default()
        };
        let redis = RedisServer::start_as(options).await.unwrap();
        let answer = ask(redis.port(), b"GET k\r\n").await.unwrap();
        assert!(answer.starts_with("-NOAUTH"), "{answer}");
        redis.raw(&["SET", "k", "v"]).await.unwrap();
    }

    #[tokio::test]
    async fn a_snapshot_brings_back_what_was_there_then() {
        let mut redis = RedisServer::start().await.unwrap();
        redis.raw(&["SET", "k", "old"]).await.unwrap();
        let snapshot = redis.snapshot().await.unwrap();
        redis.raw(&["SET", "k", "new"]).await.unwrap();
        redis.restart_from(&snapshot).await.unwrap();
        assert_eq!(redis.dump().await.unwrap(), [("k".to_owned(), b"old\n".to_vec())]);
        redis.restart().await.unwrap();
        assert_eq!(redis.dump().await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_replica_follows_until_it_is_promoted() {
        let primary = RedisServer::start().await.unwrap();
        primary.raw(&["SET", "k", "v"]).await.unwrap();
        let replica = primary.start_replica().await.unwrap();
        assert_eq!(replica.dump().await.unwrap(), primary.dump().await.unwrap());
        assert!(replica.raw(&["SET", "k", "w"]).await.is_err());
        replica.promote().await.unwrap();
        replica.raw(&["SET", "k", "w"]).await.unwrap();
        assert_ne!(
            replica.info("replication", "master_replid").await.unwrap(),
            primary.info("replication", "master_replid").await.unwrap()
        );
    }

    #[tokio::test]
    async fn a_dump_holds_values_of_every_kind() {
        let redis = RedisServer::start().await.unwrap();
        for command in [
            ["SET", "1", "s"].as_slice(),
            &["HSET", "2", "f", "v"],
            &["XADD", "3", "1-1", "f", "v"],
            &["RPUSH", "4", "l"],
            &["SADD", "5", "m"],
            &["ZADD", "6", "1", "z"],
        ] {
            redis.raw(command).await.unwrap();
        }
        let dump = redis.dump().await.unwrap();
        assert_eq!(dump.len(), 6);
        for (dumped, needle) in dump.iter().zip(["s", "v", "v", "l", "m", "z"]) {
            assert!(String::from_utf8_lossy(&dumped.1).contains(needle), "{dumped:?}");
        }
    }
}
