//! How a revocation reaches live sessions.

use natsgate_model::sessions::promises::{ACKNOWLEDGED, ASKED, ONCE, REACHED, SPARED};
use natsgate_model::sessions::{Bounds, Flaw, Protocol, trace};

fn breaks(flaw: Flaw, bounds: Bounds, promise: &'static str, steps: usize) {
    crate::breaks(Protocol::with(flaw, bounds), flaw, trace::tell, promise, steps);
}

const ONE: Bounds = Bounds {
    shims: 1,
    connections: 1,
    leaves: false,
    versions: 1,
    others: 0,
    rechecks: false,
    kicks: false,
    failovers: 0,
    trims: 0,
    crashes: 0,
    twice: false,
};

const CRASH: Bounds = Bounds { crashes: 1, ..ONE };

const KICKS: Bounds = Bounds {
    rechecks: true,
    kicks: true,
    ..ONE
};

const TWO: Bounds = Bounds { shims: 2, ..ONE };

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
    a_connection_registered_once_it_is_connected: RegisteredOnceConnected, ONE, ACKNOWLEDGED, 8;
    no_min_revision: NoMinRevision, ONE, ASKED, 6;
    an_old_answer_not_asked_again: NotAskedAgain, ONE, REACHED, 6;
    an_old_recheck_not_asked_again: RecheckNotAskedAgain, Bounds { rechecks: true, others: 1, ..ONE }, REACHED, 9;
    sessions_looked_up_before_the_entry_is_applied: LookedUpBeforeApplied, ONE, REACHED, 6;
    only_the_owner_closes: OwnerOnly, TWO, REACHED, 5;
    a_takeover_without_a_look_at_the_owner: TakeoverBlind, Bounds { rechecks: true, others: 1, versions: 0, ..TWO }, SPARED, 10;
    a_gap_that_the_owner_cannot_vouch_for: GapNotVouchedFor, Bounds { failovers: 1, versions: 0, ..TWO }, SPARED, 10;
    a_kick_given_up: GivenUp, ONE, REACHED, 7;
    a_leaf_node_treated_like_a_client: LeafLikeClient, Bounds { leaves: true, ..ONE }, ACKNOWLEDGED, 9;
    a_leaf_node_believed_gone_inside_its_callout: AbsenceBelievedEarly, Bounds { leaves: true, ..ONE }, ACKNOWLEDGED, 10;
    a_client_believed_gone_inside_its_callout: AbsenceBelievedEarly, ONE, ACKNOWLEDGED, 10;
    a_server_out_of_reach_believed_empty: SilenceIsGone, ONE, ACKNOWLEDGED, 9;
    a_server_out_of_reach_believed_looked_at: SilenceIsReconciled, CRASH, ACKNOWLEDGED, 11;
    a_gap_ignored: GapIgnored, Bounds { others: 1, ..ONE }, REACHED, 7;
    a_trimmed_gap_ignored: TrimmedGapIgnored, Bounds { trims: 1, ..ONE }, REACHED, 6;
    another_epoch_ignored: EpochIgnored, Bounds { failovers: 1, ..ONE }, REACHED, 6;
    a_log_read_from_its_end: LogReadFromEnd, CRASH, REACHED, 6;
    sessions_closed_unasked_after_a_gap: ClosedUnasked, Bounds { failovers: 1, versions: 0, ..ONE }, SPARED, 6;
    sessions_of_an_unknown_epoch_closed: UnknownEpochClosed, Bounds { failovers: 1, versions: 0, ..TWO }, SPARED, 7;
    spared_past_a_kick: SparedPastKick, Bounds { others: 1, ..KICKS }, REACHED, 8;
    what_was_missed_only_rechecked: MissedOnlyRechecked, Bounds { failovers: 1, ..KICKS }, REACHED, 6;
    what_was_missed_in_a_gap_only_rechecked: MissedOnlyRechecked, Bounds { others: 1, trims: 1, ..KICKS }, REACHED, 7;
    what_was_carried_out_before_carried_out_again: TakenInTwice, Bounds { failovers: 1, ..KICKS }, SPARED, 8;
    no_as_of_in_the_name: AsOfNotInName, CRASH, REACHED, 6;
    what_is_found_not_judged: FoundNotJudged, CRASH, REACHED, 6;
    what_is_found_not_concerned: FoundConcernsUnknown, CRASH, REACHED, 6;
    an_own_answer_believed: OwnAnswerBelieved, Bounds { twice: true, ..TWO }, REACHED, 7;
    events_only: EventsOnly, CRASH, REACHED, 6;
    a_client_id_alone: ClientIdAlone, Bounds { connections: 2, ..ONE }, ACKNOWLEDGED, 12;
    acknowledged_before_it_is_done: AcknowledgedEarly, ONE, ACKNOWLEDGED, 8;
    others_sessions_not_pending: OthersNotPending, Bounds { crashes: 1, ..TWO }, ACKNOWLEDGED, 12;
    acknowledged_before_looking: AcknowledgedUnreconciled, CRASH, ACKNOWLEDGED, 10;
    an_acknowledgement_not_withdrawn: NotWithdrawn, Bounds { crashes: 1, ..TWO }, ACKNOWLEDGED, 12;
    a_presence_too_short: PresenceTooShort, Bounds { crashes: 1, ..TWO }, ACKNOWLEDGED, 10;
    who_vanished_forgiven: VanishedForgiven, Bounds { crashes: 2, ..TWO }, ACKNOWLEDGED, 11;
    nobody_taken_for_everybody: NobodyIsEverybody, CRASH, ACKNOWLEDGED, 8;
    what_is_gone_counted_as_closed: GoneCountsAsClosed, TWO, ONCE, 10;
    a_grant_stamped_late: StampedLate, ONE, REACHED, 5;
}
