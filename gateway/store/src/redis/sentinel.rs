//! Whom the sentinels name as primary.

use std::collections::HashMap;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use redis::Value;

use super::address::Address;
use super::dial::How;
use super::error::{clean, refused};

/// The sentinels of one primary.
#[derive(Debug)]
pub(super) struct Sentinels {
    /// How sentinels are spoken to.
    pub(super) how: How,
    pub(super) nodes: Vec<Address>,
    /// The name they know the primary by.
    pub(super) master: String,
}

impl Sentinels {
    /// The primary's address as most sentinels have it. All are asked at once, so that one that is frozen holds nobody
    /// up: as soon as a majority agrees, that is the answer. Where none does (sentinels down, or a failover under way),
    /// it is the address that most of those named who answered.
    ///
    /// # Errors
    /// No sentinel knows, in words.
    pub(super) async fn primary(&self) -> Result<Address, String> {
        let majority = self.nodes.len() / 2 + 1;
        let mut asked: FuturesUnordered<_> = self.nodes.iter().map(|node| self.ask(node)).collect();
        let mut votes: HashMap<Address, usize> = HashMap::new();
        let mut problems = Vec::new();
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(address) => {
                    let count = votes.entry(address.clone()).or_default();
                    *count += 1;
                    if *count >= majority {
                        return Ok(address);
                    }
                }
                Err(problem) => problems.push(problem),
            }
        }
        votes
            .into_iter()
            .max_by_key(|(_, count)| *count)
            .map(|(address, _)| address)
            .ok_or_else(|| format!("no sentinel names a primary: {}", problems.join("; ")))
    }

    /// Whom one sentinel names.
    async fn ask(&self, node: &Address) -> Result<Address, String> {
        let mut connection = self
            .how
            .dial(node, |_| ())
            .await
            .map_err(|problem| format!("sentinel {problem}"))?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master);
        let answer = tokio::time::timeout(
            self.how.connect_timeout,
            connection.send_packed_command(&question),
        )
        .await
        .map_err(|_elapsed| format!("sentinel {node} did not answer"))?
        .map_err(|error| clean(format!("sentinel {node}: {error}")))?;
        match answer {
            Value::Nil => Err(format!(
                "sentinel {node} knows no primary \"{}\": check redis.sentinel.master",
                self.master.escape_debug()
            )),
            Value::ServerError(error) => Err(format!("sentinel {node}: {}", refused(&error))),
            answer => redis::from_redis_value::<(String, u16)>(answer)
                .map(|(host, port)| Address::new(host, port))
                .map_err(|_| format!("sentinel {node} answered with something unexpected")),
        }
    }
}
