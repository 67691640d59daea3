//! The writer: carries changes to one account out on the servers of a cluster, one writer of an account at a
//! time.
//!
//! # How an account is written
//!
//! Servers take any account JWT that the operator signed, and the last one wins; there is no compare-and-set.
//! So writers share a store ([`AccountStore`]). It gives one of them the lease, with a fencing token, and
//! keeps what is wanted of the account and the JWT that was pushed last. A request goes in rounds; each looks
//! at what every server keeps and has in force, and takes one step:
//!
//! 1. Somebody else pushed the account since, or something is wanted that does not hold: what is there is
//!    merged with what is wanted, signed, and stored, under the token and the version that was read. The
//!    store refuses a writer that was frozen while another took over.
//! 2. What is stored is not what the servers have: it is pushed, if the lease holds with a margin to spare.
//! 3. Neither: done.
//!
//! So a JWT stands in the store before any server has it, every push directly follows a look that showed
//! nothing new, and the look after it reads it back. A writer that dies anywhere is continued by the next
//! request of any other. Nothing is pushed where there is nothing to do.
//!
//! # What becomes of what others push
//!
//! The newest JWT by `iat` is the new base, except for natsgate's own part of it: natsgate's signing keys are
//! put back as they were pushed last, with the same generations, older ones and removals included, and what
//! is wanted is made to hold again. Signing keys of natsgate's are not to be edited by hand. What is not
//! natsgate's is as that JWT has it.
//!
//! # What is not kept
//!
//! Another's edit is lost without a trace where no look ever showed it, or too late:
//!
//! - It came to the servers after the last look before a push, and that push overwrote it. That is the time
//!   of one look and of the push's way; longer if the writer is frozen just there, whose push then also
//!   overwrites what another writer wrote. The latter is put right by the next look of a live writer; an edit
//!   that no look had seen until then is gone.
//! - Only servers that did not answer had it, and when they did again it was issued before an edit that had
//!   been merged, or longer than the clock skew before the last look that led to a push. So is a JWT that was
//!   signed long before it is pushed: it counts as an old copy. Sign again what is to count.
//! - Another edit, made from a copy without it, was pushed over it; or both were seen at once, and the other
//!   is newer. The report names those that were seen.
//!
//! A machine that is suspended with its monotonic clock, as virtual machines may be, is a writer that is
//! frozen.
//!
//! # The store
//!
//! It must not be lost, or restored from a backup: where a server has a JWT with a higher fencing token than
//! the store gave out, or a newer generation than it knows of, nothing is written until somebody has looked
//! at it.

mod cycle;
mod decide;
mod error;
mod lease;
mod look;
mod once;
mod record;
mod report;
mod sorted;
mod view;
mod wanted;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use natsgate_core::{AccountServers, AccountStore, AccountStoreError, Clock, Deadline};
use tokio::sync::Mutex;

pub use error::WriterError;
pub use once::Once;
pub use record::RecordError;
pub use report::{Foreign, Outdated, Report, ServerReport, Signed, Standing};
pub use view::View;
pub use wanted::{Wanted, WantedDefaults};

use crate::keys::ScopedKeys;
use crate::operation::Operation;
use crate::plan::{CAP, Plan, Sessions};
use crate::signer::OperatorSigner;
use cycle::Cycle;
use lease::Leasehold;
use record::Record;

/// How a writer works.
#[derive(Debug, Clone)]
pub struct WriterSettings {
    /// The name under which it holds leases, for people to find it by. Every process needs one of its own,
    /// and a new one whenever it is started: with something random in it.
    pub holder: String,
    /// How long a lease lasts unless it is renewed.
    pub lease: Duration,
    /// How long before its end a lease counts as over: longer than a push takes to be carried out, and than
    /// the store's clock may run ahead within a lease.
    pub margin: Duration,
    /// By how much the clocks of those who push may differ.
    pub skew: Duration,
    /// How far ahead of this clock a JWT may be issued.
    pub ahead: Duration,
    /// How long one question to the servers may take.
    pub ask: Duration,
    /// How often a JWT is pushed for one request, at most.
    pub pushes: u32,
    /// How often a request looks at the servers, at most.
    pub rounds: u32,
    /// The largest account JWT wanted, in bytes.
    pub cap: usize,
    /// How long giving the lease back after every request may take, so that another writer need not wait for its end; `None`: it is
    /// kept until [`Writer::release`].
    pub give_back: Option<Duration>,
}

impl WriterSettings {
    /// A lease of 30 s with a margin of 5 s, a skew of 30 s, 60 s ahead, 3 s a question, 3 pushes, 12 rounds.
    pub fn new(holder: impl Into<String>) -> Self {
        Self {
            holder: holder.into(),
            lease: Duration::from_secs(30),
            margin: Duration::from_secs(5),
            skew: Duration::from_secs(30),
            ahead: Duration::from_secs(60),
            ask: Duration::from_secs(3),
            pushes: 3,
            rounds: 12,
            cap: CAP,
            give_back: None,
        }
    }
}

/// What a writer is to do.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The changes. Templates, default permissions and revocations become wanted; removals and rotations are
    /// done once.
    pub operations: Vec<Operation>,
    /// The account's sessions, for the plan.
    pub sessions: Sessions,
    /// The largest message that every server takes, in bytes, if that is known.
    pub max_payload: Option<u64>,
    /// Whether sessions may be made to reconnect where a server does not apply default permissions live.
    pub may_reconnect: bool,
    /// What makes it be done once, however often it is asked for; `None`: nothing does.
    pub once: Option<Once>,
}

/// What a writer works with.
#[derive(Clone)]
pub struct WriterParts {
    /// The servers.
    pub servers: Arc<dyn AccountServers>,
    /// The store that all writers of the account share.
    pub store: Arc<dyn AccountStore>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The account's keys, and with them which account it is.
    pub keys: Arc<ScopedKeys>,
    /// Who signs.
    pub signer: OperatorSigner,
    /// The public keys of the operator, its signing keys included, that account JWTs are taken from. The
    /// signer's own need not be among them.
    pub operators: Vec<String>,
}

/// Writes one account. See the [module](self).
pub struct Writer {
    shared: Shared,
    /// Held while a request is under way: one at a time.
    lease: Mutex<Leasehold>,
}

struct Shared {
    servers: Arc<dyn AccountServers>,
    store: Arc<dyn AccountStore>,
    clock: Arc<dyn Clock>,
    keys: Arc<ScopedKeys>,
    signer: OperatorSigner,
    operators: Vec<String>,
    settings: WriterSettings,
}

impl Writer {
    /// A writer of the account of `parts.keys`.
    pub fn new(parts: WriterParts, settings: WriterSettings) -> Self {
        let WriterParts {
            servers,
            store,
            clock,
            keys,
            signer,
            mut operators,
        } = parts;
        if !operators.iter().any(|operator| operator == signer.public_key()) {
            operators.push(signer.public_key().to_owned());
        }
        let shared = Shared {
            servers,
            store,
            clock,
            keys,
            signer,
            operators,
            settings,
        };
        Self {
            shared,
            lease: Mutex::default(),
        }
    }

    /// The account's public key.
    pub fn account(&self) -> &str {
        self.shared.account()
    }

    /// Does `request`. What it changes of what is wanted holds from the moment it is stored, also if an error
    /// comes after: the next request, or [`Self::tend`], goes on with it. Asking for the same again changes
    /// nothing more.
    ///
    /// That some servers missed the push is no error; [`Report::is_complete`] says so.
    ///
    /// # Errors
    /// [`WriterError`].
    pub async fn push(&self, request: &Request, deadline: Deadline) -> Result<Report, WriterError> {
        let mut lease = self.lease.lock().await;
        let done = Cycle::new(&self.shared, request, &mut lease, deadline)
            .run()
            .await;
        // Where servers failed, a push may still be on its way to them: nobody else is to write before the lease is over.
        if !matches!(done, Err(WriterError::Servers { .. })) {
            self.give_back(&mut lease).await;
        }
        done
    }

    /// Sees to it that what is wanted holds, everywhere: merges what others pushed, puts back what they
    /// dropped, and gives servers that missed it what was pushed last. To be called from time to time. Of
    /// `request` the operations do not count.
    ///
    /// # Errors
    /// [`WriterError`].
    pub async fn tend(&self, request: &Request, deadline: Deadline) -> Result<Report, WriterError> {
        let request = Request {
            operations: Vec::new(),
            once: None,
            ..request.clone()
        };
        self.push(&request, deadline).await
    }

    /// What `request` would do: as [`Self::push`] would find it, and change nothing. It takes the lease, so that nobody changes
    /// what it is made from meanwhile.
    ///
    /// # Errors
    /// [`WriterError`]; [`WriterError::Plan`] if it would be refused.
    pub async fn plan(&self, request: &Request, deadline: Deadline) -> Result<Plan, WriterError> {
        let mut lease = self.lease.lock().await;
        let planned = Cycle::new(&self.shared, request, &mut lease, deadline)
            .dry()
            .await;
        self.give_back(&mut lease).await;
        planned
    }

    async fn give_back(&self, lease: &mut Leasehold) {
        if let Some(time) = self.shared.settings.give_back {
            // It ends by itself where this fails, and whoever waits for it is told how long that takes.
            let _ = lease.release(&self.shared, Deadline::after(time)).await;
        }
    }

    /// Whether a writer ever wrote it.
    ///
    /// # Errors
    /// [`WriterError::Store`], [`WriterError::Record`].
    pub async fn is_written(&self, deadline: Deadline) -> Result<bool, WriterError> {
        Ok(self.shared.stored(deadline).await?.number.is_some())
    }

    /// What is wanted of the account, and how the servers stand; a lease is not needed.
    ///
    /// # Errors
    /// [`WriterError::Store`], [`WriterError::Record`], [`WriterError::Unreadable`]; without anything in the store also that no server
    /// answers or knows the account.
    pub async fn view(&self, deadline: Deadline) -> Result<View, WriterError> {
        // One look at a time: the servers' port may remember the last one.
        let _alone = self.lease.lock().await;
        View::take(&self.shared, deadline).await
    }

    /// What is wanted of the account, as the store has it; a lease is not needed.
    ///
    /// # Errors
    /// [`WriterError::Store`], [`WriterError::Record`].
    pub async fn wanted(&self, deadline: Deadline) -> Result<Wanted, WriterError> {
        let Version { record, .. } = self.shared.stored(deadline).await?;
        Ok(record.wanted)
    }

    /// Gives the lease back, once a request that is under way is done, so that another writer need not wait
    /// for its end.
    ///
    /// # Errors
    /// [`WriterError::Store`].
    pub async fn release(&self, deadline: Deadline) -> Result<(), WriterError> {
        self.lease.lock().await.release(&self.shared, deadline).await
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("account", &self.account())
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

/// What is stored, with its version.
#[derive(Debug, Clone)]
struct Version {
    number: Option<u64>,
    record: Record,
}

impl Shared {
    fn account(&self) -> &str {
        self.keys.account()
    }

    /// What the store has now.
    async fn stored(&self, deadline: Deadline) -> Result<Version, WriterError> {
        let read = self.store.read(self.account(), deadline).await;
        let read = read.map_err(|cause| store_failed(self, "reading what is wanted of it", cause))?;
        let (number, record) = match read {
            None => (None, Record::default()),
            Some(found) => {
                let record = Record::read(&found.body).map_err(|cause| WriterError::Record {
                    account: self.account().to_owned(),
                    cause,
                })?;
                (Some(found.version), record)
            }
        };
        Ok(Version { number, record })
    }
}

fn store_failed(shared: &Shared, doing: &'static str, cause: AccountStoreError) -> WriterError {
    WriterError::Store {
        account: shared.account().to_owned(),
        doing,
        cause,
    }
}

/// Whole seconds.
fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
