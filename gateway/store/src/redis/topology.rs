//! Which node of a Cluster owns which slot, as far as is known, and finding out.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use redis::Value;
use redis::cluster_routing::Slot;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::address::Address;
use super::backoff::Backoff;
use super::dial::How;
use super::error::{clean, refused};

/// How often the nodes are asked, whatever happens.
const REFRESH: Duration = Duration::from_secs(10);

/// How long the other nodes may take once the first has answered.
const GATHER: Duration = Duration::from_millis(250);

/// The last slot there is.
const LAST_SLOT: u16 = 16_383;

/// Who owns what.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Slots {
    owners: HashMap<Slot, Address>,
    /// All primaries that own something.
    pub(super) primaries: BTreeSet<Address>,
}

impl Slots {
    /// The owner of the slot of `key`.
    pub(super) fn owner(&self, key: &str) -> Option<&Address> {
        self.owners.get(&Slot::for_key(key))
    }
}

/// What is known.
#[derive(Debug, Clone)]
enum Known {
    /// Nobody has answered yet.
    Nothing,
    /// Nobody could be asked, and nothing was known before.
    Unreachable(String),
    /// This, once.
    Slots(Arc<Slots>),
}

/// The topology of a Cluster, followed by a task of its own.
#[derive(Debug)]
pub(super) struct Topology {
    known: Arc<watch::Sender<Known>>,
    again: Arc<Notify>,
    _follower: AbortOnDropHandle<()>,
}

impl Topology {
    /// The topology as the nodes `seeds`, and those they name, tell it.
    pub(super) fn new(how: Arc<How>, seeds: Vec<Address>) -> Self {
        let known = Arc::new(watch::Sender::new(Known::Nothing));
        let again = Arc::new(Notify::new());
        let follow = follow(how, seeds, known.clone(), again.clone());
        Self {
            known,
            again,
            _follower: AbortOnDropHandle::new(tokio::spawn(follow)),
        }
    }

    /// What is known may be wrong: asks for it to be found out anew, soon.
    pub(super) fn look_again(&self) {
        self.again.notify_one();
    }

    /// The slots, if they are known.
    pub(super) fn slots(&self) -> Option<Arc<Slots>> {
        match &*self.known.borrow() {
            Known::Slots(slots) => Some(slots.clone()),
            _ => None,
        }
    }

    /// The node that owns the slot of `key`; waits for the first answer of the Cluster, without bound.
    ///
    /// # Errors
    /// Nobody can tell, or nobody owns it, in words.
    pub(super) async fn owner(&self, key: &str) -> Result<Address, String> {
        let mut known = self.known.subscribe();
        loop {
            match &*known.borrow_and_update() {
                Known::Nothing => {}
                Known::Unreachable(problem) => return Err(problem.clone()),
                Known::Slots(slots) => {
                    return slots.owner(key).cloned().ok_or_else(|| {
                        "no node of the Cluster owns the key's slot: it is not whole".to_owned()
                    });
                }
            }
            if known.changed().await.is_err() {
                return Err("the connection was closed".to_owned());
            }
        }
    }
}

/// Asks all nodes every now and then and when told to, for ever.
async fn follow(how: Arc<How>, seeds: Vec<Address>, known: Arc<watch::Sender<Known>>, again: Arc<Notify>) {
    let mut backoff = Backoff::new();
    loop {
        let began = Instant::now();
        let mut nodes: BTreeSet<Address> = seeds.iter().cloned().collect();
        if let Known::Slots(slots) = &*known.borrow() {
            nodes.extend(slots.primaries.iter().cloned());
        }
        let settled = match ask_all(&how, &nodes).await {
            Ok(view) => {
                let (settled, found) = (view.whole, Arc::new(view.slots));
                known.send_if_modified(|known| match known {
                    Known::Slots(before) if *before == found => false,
                    _ => {
                        tracing::info!(
                            primaries = found.primaries.len(),
                            "learned the topology of the Redis Cluster"
                        );
                        *known = Known::Slots(found);
                        true
                    }
                });
                settled
            }
            Err(problem) => {
                known.send_if_modified(|known| match known {
                    // Stale knowledge is better than none: a node that was asked in error says where to go.
                    Known::Slots(_) => false,
                    Known::Nothing | Known::Unreachable(_) => {
                        *known = Known::Unreachable(problem);
                        true
                    }
                });
                false
            }
        };
        if settled {
            backoff.reset();
            let _told_or_time = tokio::time::timeout(REFRESH, again.notified()).await;
        }
        // Also after having been told: calls that fail by the thousand do not ask by the thousand.
        tokio::time::sleep_until(began + backoff.next()).await;
    }
}

/// What one node says.
struct View {
    /// Whether it takes the Cluster to be in order.
    whole: bool,
    epoch: u64,
    slots: Slots,
}

/// The view of the node that knows the latest configuration and is not cut off, of those that answer.
async fn ask_all(how: &How, nodes: &BTreeSet<Address>) -> Result<View, String> {
    let mut asked: FuturesUnordered<_> = nodes.iter().map(|node| ask(how, node)).collect();
    let mut best: Option<View> = None;
    let mut problems = Vec::new();
    let mut until = Instant::now() + how.connect_timeout.saturating_mul(3);
    while let Ok(Some(answer)) = tokio::time::timeout_at(until, asked.next()).await {
        match answer {
            Ok(view) => {
                until = until.min(Instant::now() + GATHER);
                let better = best
                    .as_ref()
                    .is_none_or(|best| (view.whole, view.epoch) > (best.whole, best.epoch));
                if better {
                    best = Some(view);
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    best.ok_or_else(|| format!("no node of the Cluster can be asked: {}", problems.join("; ")))
}

async fn ask(how: &How, node: &Address) -> Result<View, String> {
    let mut connection = how.dial(node, |_| ()).await?;
    let mut questions = redis::pipe();
    questions.cmd("CLUSTER").arg("INFO");
    questions.cmd("CLUSTER").arg("SLOTS");
    let answers = tokio::time::timeout(
        how.connect_timeout,
        connection.send_packed_commands(&questions, 0, 2),
    )
    .await
    .map_err(|_elapsed| format!("{node} did not answer"))?
    .map_err(|error| clean(format!("{node}: {error}")))?;
    for answer in &answers {
        if let Value::ServerError(error) = answer {
            return Err(format!("{node}: {}", refused(error)));
        }
    }
    let unexpected = || format!("{node} answered with something unexpected");
    let mut answers = answers.into_iter();
    let info: String = answers
        .next()
        .and_then(|info| redis::from_redis_value(info).ok())
        .ok_or_else(unexpected)?;
    let slots = answers
        .next()
        .and_then(|ranges| read_slots(ranges, node))
        .ok_or_else(unexpected)?;
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    Ok(View {
        whole: field("cluster_state") == Some("ok"),
        epoch: field("cluster_current_epoch")
            .and_then(|epoch| epoch.parse().ok())
            .unwrap_or(0),
        slots,
    })
}

/// CLUSTER SLOTS: for each range its first and last slot, then the nodes that have it, the primary first. A node whose
/// address is not known is the one that was asked.
fn read_slots(ranges: Value, asked: &Address) -> Option<Slots> {
    let Value::Array(ranges) = ranges else {
        return None;
    };
    let mut slots = Slots::default();
    for range in ranges {
        let Value::Array(range) = range else {
            return None;
        };
        let mut fields = range.into_iter();
        let first: u16 = redis::from_redis_value(fields.next()?).ok()?;
        let last: u16 = redis::from_redis_value(fields.next()?).ok()?;
        let Value::Array(primary) = fields.next()? else {
            return None;
        };
        let mut primary = primary.into_iter();
        let host: Option<String> = redis::from_redis_value(primary.next()?).ok()?;
        let port: u16 = redis::from_redis_value(primary.next()?).ok()?;
        let host = host
            .filter(|host| !host.is_empty() && host != "?")
            .unwrap_or_else(|| asked.host.clone());
        let primary = Address::new(host, port);
        for slot in first..=last.min(LAST_SLOT) {
            slots.owners.insert(Slot::new(slot)?, primary.clone());
        }
        slots.primaries.insert(primary);
    }
    Some(slots)
}
