//! The port to sealing: bytes that whoever keeps them can neither read nor make, and only we can open again.

use zeroize::Zeroizing;

/// Something could not be sealed, for want of randomness say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a value could not be sealed: the system's source of randomness failed")]
pub struct NotSealed;

/// Seals what others keep for us.
pub trait Sealing: Send + Sync {
    /// `plaintext`, sealed.
    ///
    /// # Errors
    /// [`NotSealed`].
    fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>, NotSealed>;

    /// What was sealed; `None` for what was not sealed by us (or with a secret we do not have any more), or was altered.
    fn open(&self, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>>;
}
