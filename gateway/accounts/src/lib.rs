//! The account writer: account JWTs, derived scoped signing keys, default permissions, plans.

pub mod account;
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
