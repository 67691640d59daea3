//! The revocation log and the caches.

use natsgate_model::promises::{APPLIED, KEPT, OVERDUE, TOLD, WAITERS};
use natsgate_model::{Bounds, Flaw, Protocol, trace};

fn breaks(flaw: Flaw, bounds: Bounds, promise: &'static str, steps: usize) {
    crate::breaks(Protocol::with(flaw, bounds), flaw, trace::tell, promise, steps);
}

const CACHES: Bounds = Bounds {
    versions: 1,
    others: 0,
    failovers: 0,
    restores: 0,
    trims: 0,
    silences: false,
    lag: false,
    tokens: false,
    crashes: false,
};

const SILENCES: Bounds = Bounds {
    silences: true,
    ..CACHES
};

const TOKENS: Bounds = Bounds {
    tokens: true,
    ..CACHES
};

macro_rules! breaks {
    ($($name:ident: $flaw:ident, $bounds:expr, $promise:ident, $steps:literal;)*) => {
        $(#[test] fn $name() { breaks(Flaw::$flaw, $bounds, $promise, $steps); })*
        #[test]
        fn no_flaw_is_forgotten() {
            let tried = [$(Flaw::$flaw),*];
            for flaw in Flaw::ALL {
                assert!(tried.contains(&flaw), "{flaw:?}");
            }
        }
    };
}

breaks! {
    a_stamp_taken_after_the_fetch: StampAfterFetch, CACHES, APPLIED, 5;
    a_lag_not_subtracted: LagNotSubtracted, Bounds { lag: true, ..CACHES }, APPLIED, 5;
    a_lag_forgotten_by_who_begins_anew: LagForgottenAnew, Bounds { lag: true, crashes: true, ..CACHES }, WAITERS, 6;
    no_stamp_while_degraded: NoStampWhileDegraded, SILENCES, WAITERS, 6;
    no_stamp_while_degraded_from_a_lagging_source: NoStampWhileDegraded, Bounds { lag: true, ..SILENCES }, WAITERS, 5;
    a_waiter_who_joins_any_fetch: JoinsAnyFetch, CACHES, WAITERS, 5;
    a_waiter_who_joins_an_old_fetch_while_degraded: JoinsOldFetchWhileDegraded, SILENCES, WAITERS, 6;
    a_shared_entry_taken_as_new: SharedTakenAsNew, CACHES, APPLIED, 7;
    a_shared_entry_believed_without_its_epoch: SharedWithoutEpoch, Bounds { failovers: 1, others: 1, ..CACHES }, APPLIED, 9;
    a_fact_served_while_unconfirmed: ServedUnconfirmed, SILENCES, OVERDUE, 6;
    a_position_confirmed_from_the_ticks_end: ConfirmedFromEnd, SILENCES, OVERDUE, 8;
    a_position_confirmed_for_ever: ConfirmedForEver, SILENCES, OVERDUE, 6;
    a_gap_ignored: GapIgnored, Bounds { others: 1, ..CACHES }, TOLD, 9;
    a_trimmed_gap_ignored: TrimmedGapIgnored, Bounds { trims: 1, ..CACHES }, TOLD, 8;
    an_epoch_not_bound_to_the_primary: EpochNotBound, Bounds { failovers: 1, others: 1, ..CACHES }, TOLD, 10;
    a_record_written_apart: RecordApart, CACHES, TOLD, 9;
    a_repeat_not_waited_for: RepeatNotWaitedFor, Bounds { failovers: 1, ..TOKENS }, TOLD, 9;
    an_old_primary_that_ticks: OldPrimaryTicks, Bounds { failovers: 1, ..CACHES }, TOLD, 9;
    a_head_not_checked: HeadNotChecked, Bounds { failovers: 1, others: 1, ..TOKENS }, TOLD, 9;
    nothing_appended_again: NotAppendedAgain, Bounds { failovers: 1, ..CACHES }, KEPT, 6;
    nothing_appended_again_and_tokens: NotAppendedAgain, Bounds { failovers: 1, ..TOKENS }, APPLIED, 8;
    what_was_lost_forgotten: LostForgotten, Bounds { failovers: 1, ..TOKENS }, APPLIED, 9;
    what_is_back_before_it_is_read: AppendedCountsAsRead, Bounds { failovers: 1, ..TOKENS }, APPLIED, 10;
    a_witness_believed_alone: WitnessAlone, Bounds { restores: 1, ..TOKENS }, TOLD, 9;
    a_witness_believed_by_its_ticks: WitnessByTicks, Bounds { restores: 1, ..TOKENS }, TOLD, 9;
}
