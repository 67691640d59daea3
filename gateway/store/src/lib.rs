//! Where shared state lives: in-process for one instance.
//!
//! Implements the ports of [`natsgate_core`] that keep something: so far [`natsgate_core::Cache`]. What is kept here may
//! vanish at any moment; nothing is ever right only because it was found here.

mod in_process;

pub use in_process::InProcessCache;
