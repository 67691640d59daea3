//! A Redis Cluster: one link a primary, and calls sent to the one that owns their key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use natsgate_core::Deadline;
use redis::{Cmd, Value};

use super::address::Address;
use super::dial::How;
use super::error::{RedisError, refused};
use super::link::{Link, LinkState, Meter, Request, Whom};
use super::topology::Topology;

/// How often a call is sent elsewhere before it fails.
const MAX_REDIRECTIONS: usize = 4;

pub(super) struct Cluster {
    topology: Arc<Topology>,
    how: Arc<How>,
    max_in_flight: usize,
    meter: Arc<Meter>,
    links: Mutex<HashMap<Address, Arc<Link>>>,
}

/// Where a node sends us.
enum Redirection {
    /// The slot lives there now.
    Moved(Address),
    /// The slot is on its way there, and this key has arrived already.
    Ask(Address),
}

impl Cluster {
    pub(super) fn new(
        topology: Arc<Topology>,
        how: Arc<How>,
        max_in_flight: usize,
        meter: Arc<Meter>,
    ) -> Self {
        Self {
            topology,
            how,
            max_in_flight,
            meter,
            links: Mutex::default(),
        }
    }

    /// Sends `request` to whoever owns the slot of `key`, following the Cluster's redirections within the same time.
    pub(super) async fn call(
        &self,
        key: &str,
        request: Request<'_>,
        deadline: Deadline,
        within: Duration,
    ) -> Result<Value, RedisError> {
        let bound = deadline.or_sooner(within);
        let not_connected = |cause: String| RedisError::NotConnected { cause };
        let mut address = bound
            .bound(self.topology.owner(key))
            .await
            .map_err(|_passed| not_connected("the Cluster's topology is not known yet".to_owned()))?
            .map_err(not_connected)?;
        let mut answer = self
            .link(&address)
            .call(request, deadline, bound.remaining())
            .await;
        for _ in 0..MAX_REDIRECTIONS {
            let Some(redirection) = redirection(&answer, &address) else {
                break;
            };
            answer = match redirection {
                Redirection::Moved(to) => {
                    self.topology.look_again();
                    address = to;
                    self.link(&address).call(request, bound, within).await
                }
                Redirection::Ask(to) => {
                    address = to;
                    self.ask(&address, request, bound, within).await
                }
            };
        }
        if let Err(error) = &answer
            && may_mean_another_topology(error)
        {
            self.topology.look_again();
        }
        answer
    }

    /// Sends `request` to a node that does not own the slot yet: each command after an ASKING, which holds for one.
    async fn ask(
        &self,
        address: &Address,
        request: Request<'_>,
        deadline: Deadline,
        within: Duration,
    ) -> Result<Value, RedisError> {
        let mut asking = redis::pipe();
        let mut add = |command: &Cmd| {
            asking.cmd("ASKING");
            asking.add_command(command.clone());
        };
        match request {
            Request::One(command) => add(command),
            Request::Many(pipeline) => pipeline.cmd_iter().for_each(&mut add),
        }
        let answers = self
            .link(address)
            .call(Request::Many(&asking), deadline, within)
            .await?;
        let Value::Array(answers) = answers else {
            return Err(RedisError::Unexpected("an array was asked for".to_owned()));
        };
        let mut wanted = answers.into_iter().skip(1).step_by(2);
        match request {
            Request::Many(_) => Ok(Value::Array(wanted.collect())),
            Request::One(_) => match wanted.next() {
                Some(Value::ServerError(error)) => Err(refused(&error)),
                Some(answer) => Ok(answer),
                None => Err(RedisError::Unexpected("a command had no answer".to_owned())),
            },
        }
    }

    /// The link to `address`, made if there is none. Links to nodes that own nothing any more go then.
    fn link(&self, address: &Address) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(address) {
            return link.clone();
        }
        if let Some(slots) = self.topology.slots() {
            links.retain(|known, _| slots.primaries.contains(known));
        }
        let link = Arc::new(Link::new(
            self.how.clone(),
            Whom::Node(address.clone()),
            None,
            self.max_in_flight,
            self.meter.clone(),
        ));
        links.insert(address.clone(), link.clone());
        link
    }

    /// How the worst of the links does.
    pub(super) fn state(&self) -> LinkState {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let rank = |state: &LinkState| match state {
            LinkState::Up => 0,
            LinkState::Connecting => 1,
            LinkState::Suspect => 2,
            LinkState::Down(_) => 3,
        };
        links
            .values()
            .map(|link| link.state())
            .max_by_key(rank)
            .unwrap_or(LinkState::Connecting)
    }
}

/// Where the node at `asked` sends us, if it does. Of a pipeline, whose keys share a slot, the first error tells.
fn redirection(answer: &Result<Value, RedisError>, asked: &Address) -> Option<Redirection> {
    let of = |code: &str, detail: &str| {
        let to = detail.split_whitespace().nth(1)?;
        // A node that does not know its own address leaves the host out.
        let to = Address::parse(to).or_else(|| Address::parse(&format!("{}{to}", asked.host)))?;
        match code {
            "MOVED" => Some(Redirection::Moved(to)),
            "ASK" => Some(Redirection::Ask(to)),
            _ => None,
        }
    };
    match answer {
        Err(RedisError::Refused { code, detail }) => of(code, detail),
        Ok(Value::Array(answers)) => answers.iter().find_map(|answer| match answer {
            Value::ServerError(error) => of(error.code(), error.details().unwrap_or_default()),
            _ => None,
        }),
        _ => None,
    }
}

/// Whether `error` may come of slots that live elsewhere by now.
fn may_mean_another_topology(error: &RedisError) -> bool {
    match error {
        RedisError::NotConnected { .. } | RedisError::TimedOut { .. } | RedisError::Lost { .. } => true,
        RedisError::Refused { code, .. } => {
            matches!(code.as_str(), "CLUSTERDOWN" | "READONLY" | "MASTERDOWN")
        }
        RedisError::Unexpected(_) => false,
    }
}
