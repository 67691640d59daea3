//! The commands, one file each.

pub mod all;
pub mod check_config;
pub mod decision;
#[cfg(feature = "devkit")]
pub mod demo;
#[cfg(feature = "devkit")]
pub mod dev;
pub mod shim;

/// Logs what somebody who relies on the configuration should know.
fn tell(notes: &[String]) {
    for note in notes {
        tracing::warn!("{note}");
    }
}
