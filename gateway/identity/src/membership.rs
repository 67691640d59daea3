//! The sources of memberships: a token's claims ([`claim`]) and a file ([`mod@file`]).

pub mod claim;
pub mod file;
