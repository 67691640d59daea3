//! A primary and its replica, watched by three sentinels that replace it within two seconds or so.

use std::path::Path;

use tempfile::TempDir;

use super::launch::{free_port, launch, on_free_ports, until};
use super::raw::{raw, words_of};
use super::server::RedisServer;
use crate::error::DevkitError;
use crate::process::Process;

/// How long a server may be silent before a sentinel takes it for dead, in milliseconds.
const DOWN_AFTER: u32 = 500;

/// How long after a failover another may be tried, in milliseconds.
const FAILOVER_TIMEOUT: u32 = 3000;

/// A running set of them. Dropping it kills all.
#[derive(Debug)]
pub struct RedisSentinels {
    /// The server that is primary at the start.
    pub primary: RedisServer,
    /// Its replica.
    pub replica: RedisServer,
    sentinels: Vec<Sentinel>,
}

#[derive(Debug)]
struct Sentinel {
    process: Process,
    port: u16,
    _folder: TempDir,
}

impl RedisSentinels {
    /// The name that the sentinels know the primary by.
    pub const MASTER: &'static str = "natsgate-test";

    /// Starts them and waits until every sentinel knows the replica and the other sentinels.
    ///
    /// # Errors
    /// As for [`RedisServer::start`].
    pub async fn start() -> Result<Self, DevkitError> {
        let primary = RedisServer::start().await?;
        let replica = primary.start_replica().await?;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(start_sentinel(primary.port()).await?);
        }
        for sentinel in &sentinels {
            until("redis-sentinel", async || {
                let known = sentinel.known().await;
                known.as_deref() == Some(&["1".to_owned(), "2".to_owned()])
            })
            .await?;
        }
        Ok(Self {
            primary,
            replica,
            sentinels,
        })
    }

    /// The sentinels, as `host:port`.
    pub fn addresses(&self) -> Vec<String> {
        self.sentinels
            .iter()
            .map(|sentinel| format!("127.0.0.1:{}", sentinel.port))
            .collect()
    }

    /// Freezes one of the three sentinels (SIGSTOP).
    ///
    /// # Errors
    /// There is no such sentinel, or it is not running.
    pub fn suspend_sentinel(&self, index: usize) -> Result<(), DevkitError> {
        match self.sentinels.get(index) {
            Some(sentinel) => sentinel.process.suspend(),
            None => Err(DevkitError::NotRunning {
                name: format!("redis-sentinel {index}"),
            }),
        }
    }

    /// The port of the primary that most sentinels name.
    ///
    /// # Errors
    /// None answers.
    pub async fn named(&self) -> Result<u16, DevkitError> {
        let mut named = Vec::new();
        for sentinel in &self.sentinels {
            let question = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Self::MASTER];
            let answer = words_of(&raw(sentinel.port, false, &question).await?);
            named.extend(answer.get(1).and_then(|port| port.parse::<u16>().ok()));
        }
        named.sort_unstable();
        named
            .get(named.len() / 2)
            .copied()
            .ok_or_else(|| DevkitError::NotRunning {
                name: "redis-sentinel".to_owned(),
            })
    }

    /// Waits until the sentinels name the replica of the start as primary.
    ///
    /// # Errors
    /// That takes longer than half a minute.
    pub async fn wait_for_failover(&self) -> Result<(), DevkitError> {
        until("a failover by redis-sentinel", async || {
            self.named().await.ok() == Some(self.replica.port())
        })
        .await
    }
}

impl Sentinel {
    /// How many replicas and how many other sentinels it knows of.
    async fn known(&self) -> Option<Vec<String>> {
        let answer = raw(self.port, false, &["SENTINEL", "MASTER", RedisSentinels::MASTER])
            .await
            .ok()?;
        let words = words_of(&answer);
        ["num-slaves", "num-other-sentinels"]
            .iter()
            .map(|field| {
                let at = words.iter().position(|word| word == field)?;
                words.get(at.checked_add(1)?).cloned()
            })
            .collect()
    }
}

async fn start_sentinel(primary: u16) -> Result<Sentinel, DevkitError> {
    on_free_ports(|| async {
        let folder = tempfile::Builder::new()
            .prefix("natsgate-sentinel-")
            .tempdir()
            .map_err(DevkitError::io("make a folder for redis-sentinel"))?;
        let port = free_port().await?;
        let config = write_config(folder.path(), port, primary)?;
        let arguments = [config, "--sentinel".to_owned()];
        let process = launch("redis-sentinel", port, &arguments, folder.path()).await?;
        Ok(Sentinel {
            process,
            port,
            _folder: folder,
        })
    })
    .await
}

/// A sentinel rewrites its configuration, so it is a file of its own.
fn write_config(folder: &Path, port: u16, primary: u16) -> Result<String, DevkitError> {
    let master = RedisSentinels::MASTER;
    let config = format!(
        "bind 127.0.0.1\nport {port}\ndir {}\n\
         sentinel monitor {master} 127.0.0.1 {primary} 2\n\
         sentinel down-after-milliseconds {master} {DOWN_AFTER}\n\
         sentinel failover-timeout {master} {FAILOVER_TIMEOUT}\n",
        folder.display()
    );
    let path = folder.join("sentinel.conf");
    std::fs::write(&path, config).map_err(DevkitError::io("write a sentinel's configuration"))?;
    Ok(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_replica_takes_over_when_the_primary_is_killed() {
        let mut redis = RedisSentinels::start().await.unwrap();
        assert_eq!(redis.named().await.unwrap(), redis.primary.port());
        redis.primary.kill().unwrap();
        redis.wait_for_failover().await.unwrap();
        redis.replica.raw(&["SET", "k", "v"]).await.unwrap();
    }
}
