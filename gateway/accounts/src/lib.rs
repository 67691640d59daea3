//! The account writer: account JWTs, derived scoped signing keys, default permissions, plans.

pub mod keys;
pub mod naming;
