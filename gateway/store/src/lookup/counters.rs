//! What the caches of one source did, in numbers that only grow.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Declares the counters and what is read of them, so that neither can lack one.
macro_rules! counters {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Counter,)+
        }

        /// What the caches of one source did since it was made.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct LookupCounts {
            $($(#[$doc])+ pub $name: u64,)+
        }

        impl Counters {
            pub(super) fn read(&self) -> LookupCounts {
                LookupCounts { $($name: self.$name.get(),)+ }
            }
        }

        impl LookupCounts {
            /// Every count with its name, for metrics.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }
        }
    };
}

counters! {
    /// Answered out of this process, without a network call.
    in_process_hits,
    /// Fetches answered out of the cache that instances share.
    shared_hits,
    /// Fetches begun: each asks the shared cache first, and the source if that has nothing.
    fetches,
    /// Fetches that asked the source.
    asked,
    /// Fetches that the source did not answer.
    failed,
    /// Look-ups that waited for a fetch which another one had begun.
    joins,
    /// Fetches begun ahead of time, or to see whether the source is back: nobody waited for them.
    in_background,
    /// Look-ups answered with what was over its time, because the source could not be asked.
    stale_served,
    /// Answers, kept or just fetched, that did not count any more because of a revocation.
    voided,
    /// Answers, most of them kept ones, that were not used because the position in the revocation log was not confirmed.
    unconfirmed,
    /// Look-ups refused because the last fetch had failed a moment ago.
    backed_off,
    /// Look-ups refused because too many fetches were running.
    refused,
    /// Look-ups that had to wait until a source that lags behind could know of a revocation.
    waited_for_lag,
    /// Calls of the shared cache that failed or took too long.
    shared_errors,
    /// Entries of the shared cache that could not be read.
    unreadable,
    /// Answers too large to be kept.
    too_large,
}
