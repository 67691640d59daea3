//! What the tests hold in their hands.

pub(crate) mod cache;
pub(crate) mod freshness;
pub(crate) mod rig;
pub(crate) mod source;
