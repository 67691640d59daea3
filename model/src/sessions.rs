//! A model of how a revocation reaches live sessions: shims that register, ask, answer, follow the log, kick and acknowledge.
//!
//! The promises it checks: whatever was lost or crashed, any shim that reaches log and server closes, within a bounded number
//! of its own steps, every session whose permissions are older than an appended revocation; and what `wait` calls complete
//! is complete. The decision service is not modelled again: it answers with permissions and the revision they were validated
//! at, nothing older than that revision says, which is what the caches' model shows.
//!
//! | module | what |
//! | --- | --- |
//! | [`bounds`] | how large a world is explored |
//! | [`flaw`] | mistakes that can be built in |
//! | [`state`] | what there is: the log, the shims and what they know, the connections on the server |
//! | [`action`] | what can happen |
//! | [`step`] | what happens then |
//! | [`promises`] | what must hold in every state, and what must be possible in some |
//! | [`rest`] | what a shim comes to if nothing goes wrong any more |
//! | [`trace`] | a counterexample in words |

pub mod action;
pub mod bounds;
pub mod flaw;
pub mod promises;
pub mod protocol;
pub mod rest;
pub mod state;
pub mod step;
pub mod trace;

pub use action::Action;
pub use bounds::Bounds;
pub use flaw::Flaw;
pub use protocol::Protocol;
pub use state::State;
