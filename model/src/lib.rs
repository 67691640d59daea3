//! A model of the revocation log and of the caches in front of the sources, checked exhaustively with stateright.
//!
//! The promise it checks: no fact older than an applied revocation is served; and once a revocation has returned,
//! nobody serves anything older for longer than a log that cannot be heard is believed. The model is the protocol that
//! the ports in `natsgate-core` describe (`revocation_log`, `freshness`, `lookup`), under the same names, with everything
//! in it that can go wrong: lost announcements, answers that get lost, crashes between any two steps, a failover that
//! loses what was not replicated, an old primary that still answers, an old snapshot, an emptied Redis.
//!
//! | module | what |
//! | --- | --- |
//! | [`bounds`] | how large a world is explored |
//! | [`flaw`] | mistakes that can be built in, to see that the check finds them |
//! | [`state`] | what there is: the log's nodes, the instances, the writer |
//! | [`action`] | what can happen |
//! | [`step`] | what happens then |
//! | [`promises`] | what must hold in every state, and what must be possible in some |
//! | [`trace`] | a counterexample in words |
//! | [`sessions`] | the second model: how a revocation reaches live sessions |
//!
//! No real code runs here: `README.md` says where the model and the code could differ, why the world is as small as it
//! is, how many states there are and which flaw leads to which counterexample.

pub mod action;
pub mod bounds;
pub mod flaw;
pub mod promises;
pub mod protocol;
pub mod sessions;
pub mod state;
pub mod step;
pub mod trace;

pub use action::Action;
pub use bounds::Bounds;
pub use flaw::Flaw;
pub use protocol::Protocol;
pub use state::State;
