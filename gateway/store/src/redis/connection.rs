//! The connection that everything else speaks to Redis through.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use natsgate_core::Deadline;
use redis::{Cmd, FromRedisValue, Pipeline, Value};
use tokio::sync::{Semaphore, broadcast, watch};

use super::channel::Channel;
use super::cluster::Cluster;
use super::dial::How;
use super::error::RedisError;
use super::link::{Bell, Link, LinkState, Meter, Request, Rings, Whom};
use super::script::Script;
use super::sentinel::Sentinels;
use super::settings::{RedisSettings, Target};
use super::topology::Topology;
use crate::settings::SettingsError;

/// How many messages a listener may be behind before it misses some.
const MESSAGES_BEHIND: usize = 4096;

/// What was sent so far, for tests that count round trips and for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Round trips made for callers: one a command, script or pipeline; one more for a script that the server did not
    /// know, and for a key that had moved to another node. What keeps connections alive is not in it.
    pub round_trips: u64,
    /// Connections made.
    pub connected: u64,
}

/// A connection to Redis, whatever its topology. Cloning it is cheap, and clones share it.
///
/// It never waits for Redis when made, comes back by itself however long Redis was away, speaks to primaries only, and
/// ends every call by the earlier of the call's deadline and `command_timeout`. While a server is known to be out of reach,
/// calls to it fail at once. A command that timed out may still have, or get, its effect: a frozen server reads it when it
/// thaws. When the last clone is dropped, everything ends.
#[derive(Clone)]
pub struct RedisConnection {
    inner: Arc<Inner>,
}

struct Inner {
    plan: Plan,
    servers: Servers,
    /// Held by the call that has Redis wait: another's behind it on the same connection would wait longer than it asked for.
    turn: Semaphore,
    /// What was subscribed to: the links that hear it, and what they ring.
    bells: Mutex<Subscriptions<watch::Sender<u64>>>,
    /// The same where what is published is listened to.
    channels: Mutex<Subscriptions<Arc<Channel<Bytes>>>>,
}

/// By channel, the link that hears it and whom it tells.
type Subscriptions<T> = HashMap<String, (Link, T)>;

/// All that is needed to make links, and shared by all lanes.
#[derive(Clone)]
struct Plan {
    how: Arc<How>,
    reached: Reached,
    namespace: Arc<str>,
    max_in_flight: usize,
    meter: Arc<Meter>,
}

/// How the servers are found.
#[derive(Clone)]
enum Reached {
    Directly(Whom),
    Cluster(Arc<Topology>),
}

enum Servers {
    One(Link),
    Cluster(Cluster),
}

impl RedisConnection {
    /// A connection as configured, made in the background: must be called within a tokio runtime.
    ///
    /// # Errors
    /// A setting cannot be used as it stands.
    pub fn new(settings: &RedisSettings) -> Result<Self, SettingsError> {
        let target = settings.target()?;
        let how = |database, tls| How::new(settings, database, tls);
        let (how, reached) = match target {
            Target::Server {
                address,
                database,
                tls,
            } => (
                Arc::new(how(database, tls)?),
                Reached::Directly(Whom::Primary(address)),
            ),
            Target::Sentinel {
                nodes,
                tls,
                sentinels,
            } => {
                let asked = how(0, sentinels.tls.unwrap_or(tls))?
                    .with_user(sentinels.username.clone(), sentinels.password.clone());
                let sentinels = Sentinels {
                    how: asked,
                    nodes,
                    master: sentinels.master.clone(),
                };
                (
                    Arc::new(how(0, tls)?),
                    Reached::Directly(Whom::Sentinel(Arc::new(sentinels))),
                )
            }
            Target::Cluster { nodes, tls } => {
                let how = Arc::new(how(0, tls)?);
                let topology = Topology::new(how.clone(), nodes);
                (how, Reached::Cluster(Arc::new(topology)))
            }
        };
        Ok(Self::made(Plan {
            how,
            reached,
            namespace: settings.namespace.as_str().into(),
            max_in_flight: settings.max_in_flight,
            meter: Arc::default(),
        }))
    }

    fn made(plan: Plan) -> Self {
        let servers = match &plan.reached {
            Reached::Directly(whom) => Servers::One(plan.link(whom.clone(), None)),
            Reached::Cluster(topology) => Servers::Cluster(Cluster::new(
                topology.clone(),
                plan.how.clone(),
                plan.max_in_flight,
                plan.meter.clone(),
            )),
        };
        Self {
            inner: Arc::new(Inner {
                plan,
                servers,
                turn: Semaphore::new(1),
                bells: Mutex::default(),
                channels: Mutex::default(),
            }),
        }
    }

    /// Another connection to the same Redis, with sockets of its own: for what would make everything else on a connection
    /// wait ([`Self::script_then_wait`]). Counters are shared. Must be called within a tokio runtime.
    #[must_use]
    pub fn lane(&self) -> Self {
        Self::made(self.inner.plan.clone())
    }

    /// What every key and channel begins with.
    pub fn namespace(&self) -> &str {
        &self.inner.plan.namespace
    }

    /// Sends `command`, which is about `key`: in a Cluster it goes to where that lives.
    ///
    /// # Errors
    /// [`RedisError`].
    pub async fn command<T: FromRedisValue>(
        &self,
        key: &str,
        command: &Cmd,
        deadline: Deadline,
    ) -> Result<T, RedisError> {
        let within = self.inner.plan.how.command_timeout;
        let answer = self.call(key, Request::One(command), deadline, within).await?;
        read(answer)
    }

    /// Sends the commands of `pipeline` at once, in one round trip, all to where `key` lives: in a Cluster their keys must
    /// share its slot. An error among the answers is a [`Value::ServerError`].
    ///
    /// # Errors
    /// [`RedisError`].
    pub async fn pipeline(
        &self,
        key: &str,
        pipeline: &Pipeline,
        deadline: Deadline,
    ) -> Result<Vec<Value>, RedisError> {
        let within = self.inner.plan.how.command_timeout;
        let answer = self.call(key, Request::Many(pipeline), deadline, within).await?;
        array(answer)
    }

    /// Runs `script`, which needs at least one key, and all of them in one slot. One round trip, two if the server does not
    /// know the script yet.
    ///
    /// # Errors
    /// [`RedisError`].
    pub async fn script<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[&[u8]],
        deadline: Deadline,
    ) -> Result<T, RedisError> {
        let key = keys.first().copied().unwrap_or_default();
        let within = self.inner.plan.how.command_timeout;
        let by_name = script.invocation(true, keys, args);
        let answer = match self.call(key, Request::One(&by_name), deadline, within).await {
            Err(error) if error.code() == Some("NOSCRIPT") => {
                let by_text = script.invocation(false, keys, args);
                self.call(key, Request::One(&by_text), deadline, within).await?
            }
            answer => answer?,
        };
        read(answer)
    }

    /// Runs `script`, and has Redis wait until `replicas` replicas have what it wrote, `within` at most (WAIT): the
    /// script's answer, and how many had it. One round trip, bounded by `command_timeout` and `within` together.
    ///
    /// Redis answers nothing else on a connection that waits: use a [`Self::lane`] for it. Such calls on one lane take
    /// turns, within their deadlines.
    ///
    /// # Errors
    /// [`RedisError`]; that WAIT itself was refused is no error, but zero replicas.
    pub async fn script_then_wait<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[&[u8]],
        replicas: u32,
        within: Duration,
        deadline: Deadline,
    ) -> Result<(T, u32), RedisError> {
        let key = keys.first().copied().unwrap_or_default();
        let bound = self.inner.plan.how.command_timeout.saturating_add(within);
        let Ok(Ok(_turn)) = deadline.bound(self.inner.turn.acquire()).await else {
            return Err(RedisError::NotConnected {
                cause: "others that wait for replicas came first".to_owned(),
            });
        };
        // Zero would be for ever.
        let millis = u64::try_from(within.as_millis()).unwrap_or(u64::MAX).max(1);
        // Never by its name: where that is not known, Redis would go on to wait all the same, for nothing.
        let mut pipeline = redis::pipe();
        pipeline.add_command(script.invocation(false, keys, args));
        pipeline.cmd("WAIT").arg(replicas).arg(millis);
        let answers = self.call(key, Request::Many(&pipeline), deadline, bound).await?;
        let mut answers = array(answers)?.into_iter();
        let (Some(answer), Some(waited)) = (answers.next(), answers.next()) else {
            return Err(RedisError::Unexpected("a command had no answer".to_owned()));
        };
        let answer = read(accepted(answer)?)?;
        let having = accepted(waited).and_then(read).unwrap_or(0);
        Ok((answer, having))
    }

    /// A number that grows whenever something was published on `channel`, and whenever the subscription was made or made
    /// anew, since nobody knows what was published before. It takes a socket of its own. In a Cluster the subscription is
    /// with the node that a key of the channel's name would live on. Ends with the connection. Must be called within a
    /// tokio runtime.
    pub fn doorbell(&self, channel: &str) -> watch::Receiver<u64> {
        let mut bells = self.inner.bells.lock().unwrap_or_else(PoisonError::into_inner);
        let (_link, rings) = bells.entry(channel.to_owned()).or_insert_with(|| {
            let rings = watch::Sender::new(0);
            let link = self.inner.plan.subscribe(channel, Rings::Doorbell(rings.clone()));
            (link, rings)
        });
        rings.subscribe()
    }

    /// What is published on `channel` from now on. Ends for its listeners whenever the subscription was made or made anew,
    /// since nobody knows what was published before: whoever must know what he missed looks, and listens again. Otherwise
    /// as [`Self::doorbell`].
    pub fn messages(&self, channel: &str) -> broadcast::Receiver<Bytes> {
        let mut channels = self.inner.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let (_link, messages) = channels.entry(channel.to_owned()).or_insert_with(|| {
            let messages = Arc::new(Channel::new(MESSAGES_BEHIND));
            let link = self
                .inner
                .plan
                .subscribe(channel, Rings::Listeners(messages.clone()));
            (link, messages)
        });
        messages.listen()
    }

    /// What was sent so far, by all lanes.
    pub fn counters(&self) -> Counters {
        let meter = &self.inner.plan.meter;
        Counters {
            round_trips: meter.round_trips.load(Ordering::Relaxed),
            connected: meter.connected.load(Ordering::Relaxed),
        }
    }

    /// Whether all doorbells and listeners are subscribed, as far as is known. While one is not, it may miss what is
    /// published, and is told so when it is again.
    pub fn hears(&self) -> bool {
        let bells = self.inner.bells.lock().unwrap_or_else(PoisonError::into_inner);
        let channels = self.inner.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let bells = bells.values().map(|(link, _)| link);
        let channels = channels.values().map(|(link, _)| link);
        bells.chain(channels).all(|link| link.state() == LinkState::Up)
    }

    /// How the connection stands; for a Cluster, how the worst of the nodes spoken to so far does.
    pub fn state(&self) -> LinkState {
        match &self.inner.servers {
            Servers::One(link) => link.state(),
            Servers::Cluster(cluster) => cluster.state(),
        }
    }

    async fn call(
        &self,
        key: &str,
        request: Request<'_>,
        deadline: Deadline,
        within: Duration,
    ) -> Result<Value, RedisError> {
        match &self.inner.servers {
            Servers::One(link) => {
                let answer = link.call(request, deadline, within).await;
                // A primary that became a replica: whoever is the primary now has to be found.
                if answer
                    .as_ref()
                    .is_err_and(|error| error.code() == Some("READONLY"))
                {
                    link.look_again();
                }
                answer
            }
            Servers::Cluster(cluster) => cluster.call(key, request, deadline, within).await,
        }
    }
}

impl Plan {
    /// A link that hears what is published on `channel`.
    fn subscribe(&self, channel: &str, rings: Rings) -> Link {
        let whom = match &self.reached {
            Reached::Directly(whom) => whom.clone(),
            Reached::Cluster(topology) => Whom::OwnerOf(topology.clone(), channel.to_owned()),
        };
        let bell = Bell {
            channel: channel.to_owned(),
            rings,
        };
        self.link(whom, Some(bell))
    }

    fn link(&self, whom: Whom, bell: Option<Bell>) -> Link {
        Link::new(
            self.how.clone(),
            whom,
            bell,
            self.max_in_flight,
            self.meter.clone(),
        )
    }
}

impl fmt::Debug for RedisConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConnection")
            .field("namespace", &self.namespace())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// An answer that is no error.
fn accepted(answer: Value) -> Result<Value, RedisError> {
    match answer {
        Value::ServerError(error) => Err(super::error::refused(&error)),
        answer => Ok(answer),
    }
}

fn array(answer: Value) -> Result<Vec<Value>, RedisError> {
    match answer {
        Value::Array(answers) => Ok(answers),
        _ => Err(RedisError::Unexpected("an array was asked for".to_owned())),
    }
}

/// The redis crate's own words for a value of another type repeat the value.
fn read<T: FromRedisValue>(answer: Value) -> Result<T, RedisError> {
    redis::from_redis_value(answer)
        .map_err(|_| RedisError::Unexpected("the answer is of another type than asked for".to_owned()))
}
