//! The front of the gRPC API, the same for every service of it: who calls and what they may ([`caller`]), how calls are let in
//! ([`gate`]), checked ([`fields`]), told from repetitions ([`idempotency`]) and refused ([`refusal`]), when streams end ([`long`]), and
//! the [`listener`]. What a call does is not here.

pub mod audit;
pub mod caller;
pub mod fields;
pub mod gate;
pub mod idempotency;
pub mod listener;
pub mod long;
pub mod refusal;

pub use caller::{Caller, CallerAuthenticator, CallerSettings, CallerSettingsError, Scope};
pub use gate::{Admitted, Gate};
pub use listener::{Listener, ServerError, TlsMaterial};
