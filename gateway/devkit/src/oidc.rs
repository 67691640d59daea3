//! OpenID providers for tests and the demo: a certified one that nobody here wrote, and one in process that can also
//! misbehave.
//!
//! Neither is for production: both issue any token to anybody on the loopback interface.

pub mod algorithm;
pub mod certified;
pub mod development;
mod key;
pub mod spec;
