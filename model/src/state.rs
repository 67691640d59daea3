//! What there is.

pub mod fold;
pub mod instance;
pub mod log;
pub mod writer;

use crate::bounds::Bounds;
use instance::Instance;
use log::Node;
use writer::Writer;

/// One of the two instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Who {
    /// Instance 1.
    First,
    /// Instance 2.
    Second,
}

impl Who {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::First, Self::Second];
}

/// A version of the truth about the one key: how often it has changed. The caller's answer to "is it so?" may be
/// different in each.
pub type Version = u8;

/// A position in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Revision {
    /// The epoch; 0 is none, the others are numbered as they begin. (In the code they are random, and have no order.)
    pub epoch: u8,
    /// The sequence; 0 is before the first entry.
    pub sequence: u8,
}

/// A fact as caches keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fact {
    /// What the source said.
    pub version: Version,
    /// What its reader had applied before the source was asked.
    pub stamp: Revision,
}

/// Everything there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    /// The truth.
    pub truth: Version,
    /// The truth as it was a lag ago: the oldest that a lagging source may still say.
    pub lagged_truth: Version,
    /// Whoever changes the truth and revokes.
    pub writer: Writer,
    /// How many entries about other facts were appended.
    pub others: u8,
    /// The Redis that is the primary.
    pub primary: Node,
    /// Its replica, as far as it has come.
    pub replica: Option<Node>,
    /// The primary of before the last failover, cut off but running.
    pub old: Option<Node>,
    /// A snapshot of the primary, and of the shared cache beside it.
    pub snapshot: Option<(Node, Option<Fact>)>,
    /// The shared cache's entry for the key.
    pub shared: Option<Fact>,
    /// The instances.
    pub instances: [Instance; 2],
    /// The last epoch that began.
    pub epochs: u8,
    /// How many failovers are still to come at most.
    pub failovers: u8,
    /// How many restores are still to come at most.
    pub restores: u8,
    /// For the promises only: the newest version whose revocation had returned, confirmed, and that a lagging source said too, longer
    /// than `max_lag` ago.
    pub overdue: Version,
}

impl State {
    /// Everything quiet: one epoch, an empty log, both instances caught up.
    pub fn at_rest(bounds: &Bounds) -> Self {
        Self {
            truth: 0,
            lagged_truth: 0,
            writer: Writer::default(),
            others: 0,
            primary: Node::new(1),
            replica: (bounds.failovers > 0).then(|| Node::new(1)),
            old: None,
            snapshot: None,
            shared: None,
            instances: [Instance::caught_up(1); 2],
            epochs: 1,
            failovers: bounds.failovers,
            restores: bounds.restores,
            overdue: 0,
        }
    }

    /// An instance.
    pub fn instance(&self, who: Who) -> &Instance {
        let [first, second] = &self.instances;
        match who {
            Who::First => first,
            Who::Second => second,
        }
    }

    /// An instance, to change.
    pub fn instance_mut(&mut self, who: Who) -> &mut Instance {
        let [first, second] = &mut self.instances;
        match who {
            Who::First => first,
            Who::Second => second,
        }
    }
}
