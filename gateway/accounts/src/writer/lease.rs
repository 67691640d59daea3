//! The lease as its holder counts it: from before it asked for it, on the monotonic clock, less a margin.

use natsgate_core::{AccountStoreError, Deadline, Fence};
use tokio::time::Instant;

use super::error::WriterError;
use super::{Shared, store_failed};

/// The lease of one account, as far as this writer has it.
#[derive(Debug, Default)]
pub(super) struct Leasehold(Option<Held>);

#[derive(Debug, Clone, Copy)]
struct Held {
    fence: Fence,
    until: Instant,
}

impl Leasehold {
    /// The token, if the lease is held, with the margin to spare; and until when.
    pub(super) fn held(&self) -> Option<(Fence, Deadline)> {
        let held = self.0.filter(|held| Instant::now() < held.until)?;
        Some((held.fence, Deadline::at(held.until)))
    }

    /// Sees to it that the lease is held for at least half of its time. Returns the token, which is another
    /// than before if the lease was lost.
    pub(super) async fn hold(&mut self, shared: &Shared, deadline: Deadline) -> Result<Fence, WriterError> {
        let settings = &shared.settings;
        if let Some(held) = self.0 {
            let enough = Instant::now().checked_add(settings.lease / 2);
            if enough.is_some_and(|enough| enough < held.until) {
                return Ok(held.fence);
            }
            let before = Instant::now();
            let renewed = shared
                .store
                .renew(shared.account(), held.fence, settings.lease, deadline);
            match renewed.await {
                Ok(()) => return Ok(self.took(shared, held.fence, before)),
                Err(AccountStoreError::Lost { .. }) => self.0 = None,
                Err(cause) => return Err(store_failed(shared, "renewing the lease", cause)),
            }
        }
        let before = Instant::now();
        let acquired = shared
            .store
            .acquire(shared.account(), &settings.holder, settings.lease, deadline);
        match acquired.await {
            Ok(fence) => Ok(self.took(shared, fence, before)),
            Err(AccountStoreError::Held { holder, remaining }) => Err(WriterError::Held {
                account: shared.account().to_owned(),
                holder,
                remaining,
            }),
            Err(cause) => Err(store_failed(shared, "acquiring the lease", cause)),
        }
    }

    /// Gives the lease back.
    pub(super) async fn release(&mut self, shared: &Shared, deadline: Deadline) -> Result<(), WriterError> {
        let Some(held) = self.0.take() else {
            return Ok(());
        };
        let released = shared.store.release(shared.account(), held.fence, deadline);
        let failed = |cause| store_failed(shared, "releasing the lease", cause);
        released.await.map_err(failed)
    }

    fn took(&mut self, shared: &Shared, fence: Fence, before: Instant) -> Fence {
        let length = shared.settings.lease.saturating_sub(shared.settings.margin);
        let until = before.checked_add(length).unwrap_or(before);
        self.0 = Some(Held { fence, until });
        fence
    }
}
