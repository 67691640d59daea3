//! The account writer: account JWTs, derived scoped signing keys, default permissions, plans.
//!
//! Here lives what can be known and decided of an account without asking a server: [`template`]s and their generations
//! in an account JWT ([`account`]), the keys they have ([`keys`]), what a change would do ([`plan`]), which mode suits a
//! workload ([`advise`]), and who signs for the operator ([`signer`], the one part that starts a process). And the
//! [`writer`], which carries changes out on servers it reaches through a port, one writer of an account at a time. What
//! does not live here: how servers and stores are spoken to, sessions, minting users.
//!
//! What nats-servers do with it, from their source and measured:
//!
//! - A signing key whose scope differs in anything after a push has its connections closed (`updateAccountClaims`). So a
//!   scope is never changed; a changed template is a new key.
//! - Functions are expanded once, when a user connects, and differently from version to version. What versions do not
//!   agree on is refused ([`template`]).
//! - Of a template's limits, a user that comes through the auth callout is held to none: networks, kinds of connection
//!   and times are looked at before the template is applied, and subscriptions and payload are bounded only for users that
//!   bring their own JWT. Networks and kinds of connection are for the shim to hold.
//! - Default permissions reach live connections from 2.14.3 on. Without any, users that bring none may do everything.

pub mod account;
pub mod advise;
pub mod defaults;
pub mod keys;
pub mod naming;
pub mod operation;
pub mod plan;
pub mod signer;
pub mod subjects;
pub mod template;
#[cfg(test)]
mod testing;
pub mod version;
pub mod writer;

pub use account::{AccountError, ManagedAccount};
pub use defaults::DefaultPermissions;
pub use keys::{RootSecret, ScopedKeys};
pub use naming::{Generation, ScopeRole, TemplateName};
pub use operation::Operation;
pub use plan::{Plan, PlanError};
pub use signer::{OperatorSigner, SignerCommand, SignerError};
pub use template::{Template, TemplateError};
pub use version::ServerVersion;
pub use writer::{Writer, WriterError};
