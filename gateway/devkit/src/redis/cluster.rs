//! A Cluster of three primaries, each with a replica where that is asked for.

use super::dump::RedisDump;
use super::launch::{free_port, on_free_ports, until};
use super::raw::words_of;
use super::server::{RedisOptions, RedisServer};
use crate::error::DevkitError;

/// How long a node may be silent before the others take it for dead, in milliseconds.
const NODE_TIMEOUT: &str = "1000";

/// How many slots there are.
const SLOTS: u16 = 16384;

/// A running Cluster. Dropping it kills all its nodes.
#[derive(Debug)]
pub struct RedisCluster {
    /// The three nodes that are primaries at the start, each with a third of the slots, in order.
    pub primaries: Vec<RedisServer>,
    /// Their replicas, in the same order, if there are any.
    pub replicas: Vec<RedisServer>,
}

impl RedisCluster {
    /// Three primaries; waits until every node takes the Cluster to be in order.
    ///
    /// # Errors
    /// As for [`RedisServer::start`].
    pub async fn start() -> Result<Self, DevkitError> {
        Self::start_as(false).await
    }

    /// Three primaries and three replicas, which take over from a primary that was killed within seconds.
    ///
    /// # Errors
    /// As for [`RedisServer::start`].
    pub async fn start_with_replicas() -> Result<Self, DevkitError> {
        Self::start_as(true).await
    }

    async fn start_as(with_replicas: bool) -> Result<Self, DevkitError> {
        let mut nodes = Vec::new();
        for number in 1..=if with_replicas { 6 } else { 3 } {
            nodes.push(start_node(number).await?);
        }
        if let Some((first, _)) = nodes.first() {
            for (other, bus_port) in nodes.iter().skip(1) {
                let (port, bus_port) = (other.port().to_string(), bus_port.to_string());
                first
                    .raw(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus_port])
                    .await?;
            }
        }
        let mut primaries: Vec<RedisServer> = nodes.into_iter().map(|(node, _)| node).collect();
        let replicas = primaries.split_off(3);
        let everyone = primaries.len() + replicas.len();
        for (node, first) in primaries.iter().zip([0, SLOTS / 3, SLOTS / 3 * 2]) {
            let last = if first == SLOTS / 3 * 2 {
                SLOTS - 1
            } else {
                first + SLOTS / 3 - 1
            };
            node.raw(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()])
                .await?;
        }
        let cluster = Self { primaries, replicas };
        cluster.wait_until_known(everyone).await?;
        for (replica, primary) in cluster.replicas.iter().zip(&cluster.primaries) {
            let id = words_of(&primary.raw(&["CLUSTER", "MYID"]).await?).concat();
            replica.raw(&["CLUSTER", "REPLICATE", &id]).await?;
            replica.wait_for_replication().await?;
        }
        for replica in &cluster.replicas {
            // A replica that its primary's gossip has not spoken of yet is not voted for.
            for node in cluster.nodes() {
                let id = words_of(&replica.raw(&["CLUSTER", "MYID"]).await?).concat();
                until("a replica in a Cluster", async || {
                    let nodes = node.raw(&["CLUSTER", "NODES"]).await;
                    nodes.is_ok_and(|nodes| {
                        words_of(&nodes)
                            .iter()
                            .any(|line| line.starts_with(&id) && line.contains("slave"))
                    })
                })
                .await?;
            }
        }
        cluster.wait_until_whole().await?;
        Ok(cluster)
    }

    /// All nodes there are, the primaries of the start first.
    pub fn nodes(&self) -> impl Iterator<Item = &RedisServer> {
        self.primaries.iter().chain(&self.replicas)
    }

    /// Their addresses, as `host:port`.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes().map(RedisServer::address).collect()
    }

    /// Waits until every node that runs takes the Cluster to be in order.
    ///
    /// # Errors
    /// That takes longer than half a minute.
    pub async fn wait_until_whole(&self) -> Result<(), DevkitError> {
        for node in self.nodes().filter(|node| node.id().is_some()) {
            until("a Cluster of redis-servers", async || {
                cluster_info(node, "cluster_state").await.as_deref() == Some("ok")
            })
            .await?;
        }
        Ok(())
    }

    async fn wait_until_known(&self, everyone: usize) -> Result<(), DevkitError> {
        for node in self.nodes() {
            until("a Cluster of redis-servers", async || {
                cluster_info(node, "cluster_known_nodes").await == Some(everyone.to_string())
                    && cluster_info(node, "cluster_slots_assigned").await == Some(SLOTS.to_string())
            })
            .await?;
        }
        Ok(())
    }

    /// The node, of those that run, that is primary of the slot of `key`.
    ///
    /// # Errors
    /// No node answers, or none has it.
    pub async fn owner(&self, key: &str) -> Result<&RedisServer, DevkitError> {
        for node in self.nodes().filter(|node| node.id().is_some()) {
            // A node that does not have the slot says where it is (MOVED).
            if node.raw(&["EXISTS", key]).await.is_ok() {
                return Ok(node);
            }
        }
        Err(DevkitError::NotRunning {
            name: format!("the redis-server that owns {key}"),
        })
    }

    /// Every key and value there is, of all primaries that run.
    ///
    /// # Errors
    /// One does not answer.
    pub async fn dump(&self) -> Result<RedisDump, DevkitError> {
        let mut dump = Vec::new();
        for node in self.nodes().filter(|node| node.id().is_some()) {
            if node.info("replication", "role").await.as_deref() == Some("master") {
                dump.extend(node.dump().await?);
            }
        }
        Ok(dump)
    }
}

async fn cluster_info(node: &RedisServer, field: &str) -> Option<String> {
    let answer = node.raw(&["CLUSTER", "INFO"]).await.ok()?;
    words_of(&answer).iter().find_map(|line| {
        let value = line.strip_prefix(field)?.strip_prefix(':')?;
        Some(value.trim().to_owned())
    })
}

/// A node with a bus port of its own choice: the usual one, 10,000 further up, may not exist.
async fn start_node(number: usize) -> Result<(RedisServer, u16), DevkitError> {
    on_free_ports(|| async {
        let bus_port = free_port().await?;
        let arguments = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            NODE_TIMEOUT,
            "--cluster-port",
            &bus_port.to_string(),
        ];
        let node = RedisServer::start_as(RedisOptions {
            arguments: arguments.map(str::to_owned).to_vec(),
            ..RedisOptions::default()
        })
        .await?;
        node.raw(&["CLUSTER", "SET-CONFIG-EPOCH", &number.to_string()])
            .await?;
        Ok((node, bus_port))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn three_primaries_share_the_slots_and_a_replica_takes_over() {
        let mut cluster = RedisCluster::start_with_replicas().await.unwrap();
        // The last slots are the third node's.
        let owner = cluster.owner("{a}k").await.unwrap();
        assert_eq!(owner.port(), cluster.primaries[2].port());
        cluster.primaries[2].kill().unwrap();
        let replica = &cluster.replicas[2];
        until("the failover", async || {
            replica.info("replication", "role").await.as_deref() == Some("master")
        })
        .await
        .unwrap();
        cluster.wait_until_whole().await.unwrap();
        assert_eq!(cluster.owner("{a}k").await.unwrap().port(), replica.port());
    }
}
