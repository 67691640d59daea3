//! Parts of a site that fail and are mended.

use std::time::Duration;

use crate::schedule::{How, Part};
use crate::site::Site;

/// How often something is started on a port that somebody else has for the moment.
const ATTEMPTS: usize = 100;

impl Site {
    /// Makes a part fail.
    pub(super) async fn fail(&mut self, part: Part, how: How) {
        match (part, how) {
            (Part::Shim(index), how) => fail_natsgate(&mut self.shims[index], how),
            (Part::Decision(index), how) => fail_natsgate(&mut self.decisions[index], how),
            (Part::Redis, How::Frozen) => self.redis.suspend().unwrap(),
            (Part::Redis, How::Emptied) => self.redis_says(&["FLUSHALL"]).await,
            (Part::Redis, How::KilledAndEmptied) => {
                self.redis.kill().unwrap();
                self.redis.lose_everything().unwrap();
            }
            (Part::Redis, _) => self.redis.kill().unwrap(),
            (Part::Nats(index), How::Frozen) => self.nats.servers[index].suspend().unwrap(),
            (Part::Nats(index), _) => self.nats.servers[index].kill().unwrap(),
        }
    }

    /// Mends it: lets it go on if it is frozen, starts it if it does not run.
    pub(super) async fn mend(&mut self, part: Part) {
        match part {
            Part::Shim(index) => mend_natsgate(&mut self.shims[index]),
            Part::Decision(index) => mend_natsgate(&mut self.decisions[index]),
            Part::Redis => {
                if self.redis.id().is_some() {
                    self.redis.resume().unwrap();
                    return;
                }
                for _attempt in 1..ATTEMPTS {
                    if self.redis.restart().await.is_ok() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                self.redis.restart().await.unwrap();
            }
            Part::Nats(index) => {
                let server = &mut self.nats.servers[index];
                if server.id().is_some() {
                    server.resume().unwrap();
                    return;
                }
                for _attempt in 1..ATTEMPTS {
                    if server.restart().await.is_ok() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                server.restart().await.unwrap();
            }
        }
    }

    /// Mends everything but `left`, and waits until it works: shims take requests, decision services take calls, the servers
    /// are a cluster.
    pub(super) async fn works(&mut self, left: Option<Part>) {
        for index in 0..self.nats.servers.len() {
            self.mend(Part::Nats(index)).await;
        }
        self.mend(Part::Redis).await;
        for index in 0..self.decisions.len() {
            if left != Some(Part::Decision(index)) {
                self.mend(Part::Decision(index)).await;
                self.decisions[index].ready().await;
                self.takes_calls(index).await;
            }
        }
        for index in 0..self.shims.len() {
            if left != Some(Part::Shim(index)) {
                self.mend(Part::Shim(index)).await;
                self.shims[index].ready().await;
            }
        }
        let count = self.nats.servers.len();
        crate::until("the servers are a cluster again", || async {
            self.system.servers().await.len() == count
        })
        .await;
    }

    /// Tells Redis something, if it hears.
    pub(super) async fn redis_says(&self, words: &[&str]) {
        let _ = tokio::time::timeout(Duration::from_millis(300), self.redis.raw(words)).await;
    }
}

fn fail_natsgate(natsgate: &mut crate::program::Natsgate, how: How) {
    match how {
        How::Frozen => natsgate.suspend(),
        How::Stopped => natsgate.ask_to_stop(),
        _ => natsgate.kill(),
    }
}

fn mend_natsgate(natsgate: &mut crate::program::Natsgate) {
    if natsgate.is_running() && !natsgate.is_asked_to_stop() {
        natsgate.resume();
    } else {
        natsgate.start_again();
    }
}
