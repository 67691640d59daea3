//! The sources of memberships: a token's claims ([`claim`]), a file ([`mod@file`]), an HTTP API ([`http`]) and a database
//! ([`postgres`]).

pub mod claim;
pub mod file;
pub mod http;
mod placeholder;
pub mod postgres;
