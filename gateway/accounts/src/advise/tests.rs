use std::sync::Arc;

use natsgate_claims::encode;
use proptest::prelude::*;

use super::*;
use crate::account::ManagedAccount;
use crate::testing::{NOW, keys, operator, template};

fn workload() -> Workload {
    Workload {
        users: 10_000,
        templates: 20,
        memberships_per_user: 3,
        subjects_per_template: 4,
        subject_bytes: USUAL_SUBJECT_BYTES,
        changes_per_hour: 2.0,
        share: 0.01,
        server_version: ServerVersion::parse("2.15.1").unwrap(),
        acceptable_reconnects_per_hour: 1000.0,
    }
}

fn advise(change: impl FnOnce(&mut Workload)) -> Advice {
    let mut workload = workload();
    change(&mut workload);
    workload.advise().unwrap()
}

fn of(advice: &Advice, mode: Mode) -> &Estimate {
    advice
        .estimates
        .iter()
        .find(|estimate| estimate.mode == mode)
        .unwrap()
}

#[test]
fn few_reconnects_are_best_done_by_kicks() {
    let advice = advise(|_| {});
    assert_eq!(advice.recommended, Some(Mode::Reconnect));
    let reconnect = of(&advice, Mode::Reconnect);
    assert_eq!(
        (reconnect.reconnects_per_hour, reconnect.pushes_per_hour),
        (200.0, 0.0)
    );
    let text = advice.to_string();
    assert!(
        text.starts_with(
            "recommended: reconnect\n  - changes cause 200 reconnects an hour, and 1000 are acceptable"
        ),
        "{text}"
    );
    for mode in Mode::ALL {
        assert!(text.contains(&format!("\n{mode}: ")), "{text}");
    }
}

#[test]
fn one_set_for_all_is_live_where_the_server_is_new_enough() {
    let shared = |w: &mut Workload| (w.templates, w.memberships_per_user) = (1, 0);
    let shared_by_all = advise(shared);
    assert_eq!(shared_by_all.recommended, Some(Mode::Live));
    let live = of(&shared_by_all, Mode::Live);
    assert_eq!((live.reconnects_per_hour, live.pushes_per_hour), (0.0, 2.0));
    for old in ["2.12.8", "2.14.2"] {
        let advice = advise(|w| {
            shared(w);
            w.server_version = ServerVersion::parse(old).unwrap();
        });
        assert_eq!(advice.recommended, Some(Mode::Reconnect));
        assert!(advice.to_string().contains("2.14.3 and later do"));
    }
    let differing = advise(|w| w.templates = 1);
    assert!(
        of(&differing, Mode::Live)
            .impossible
            .as_ref()
            .unwrap()
            .contains("membership")
    );
}

#[test]
fn too_many_reconnects_are_drained_generation_by_generation() {
    let advice = advise(|w| w.share = 1.0);
    assert_eq!(advice.recommended, Some(Mode::ScopedKey));
    let scoped = of(&advice, Mode::ScopedKey);
    assert_eq!(
        (scoped.reconnects_per_hour, scoped.pushes_per_hour),
        (20_000.0, 4.0)
    );
    assert!(scoped.account_bytes_at_most > scoped.account_bytes);
    let text = advice.to_string();
    assert!(
        text.contains("(10.0 hours a change)") && text.contains("cannot be paced"),
        "{text}"
    );
    // A pace of nothing is drained never, and everything may be in change at once.
    let never = advise(|w| w.acceptable_reconnects_per_hour = 0.0);
    assert!(!never.to_string().contains("inf"), "{never}");
}

#[test]
fn more_templates_than_fit_leave_reconnect() {
    let advice = advise(|w| (w.templates, w.share) = (3000, 1.0));
    assert_eq!(advice.recommended, Some(Mode::Reconnect));
    let scoped = of(&advice, Mode::ScopedKey);
    assert!(scoped.account_bytes > CAP);
    assert!(
        scoped
            .impossible
            .as_ref()
            .unwrap()
            .contains("1048576 are the most")
    );
    assert!(advice.to_string().contains("change permissions less often"));
}

#[test]
fn what_fits_only_while_nothing_changes_does_not_fit() {
    let fits = advise(|w| (w.templates, w.changes_per_hour) = (2300, 0.0));
    assert_eq!(of(&fits, Mode::ScopedKey).impossible, None);
    let all_in_change = advise(|w| {
        (w.templates, w.changes_per_hour, w.share) = (2300, 1000.0, 1.0);
    });
    assert!(of(&all_in_change, Mode::ScopedKey).impossible.is_some());
}

#[test]
fn more_subjects_than_a_grant_has_need_a_template() {
    let advice = advise(|w| w.memberships_per_user = 300);
    assert!(of(&advice, Mode::Reconnect).impossible.is_some());
    assert_eq!(advice.recommended, Some(Mode::ScopedKey));
    let neither = advise(|w| w.memberships_per_user = 3000);
    assert_eq!(neither.recommended, None);
    let text = neither.to_string();
    assert!(
        text.starts_with("no mode is possible") && text.contains("4096 at most"),
        "{text}"
    );
}

#[test]
fn a_user_jwt_has_its_largest_size_too() {
    let advice = advise(|w| {
        (w.subject_bytes, w.memberships_per_user) = (1024, 250);
    });
    let reconnect = of(&advice, Mode::Reconnect);
    assert!(reconnect.user_bytes > CAP && reconnect.impossible.is_some());
}

#[test]
fn numbers_that_mean_nothing_are_refused() {
    for (change, field) in [
        ((|w| w.users = 0) as fn(&mut Workload), "users"),
        (|w| w.templates = 0, "templates"),
        (|w| w.templates = 20_001, "templates"),
        (|w| w.subjects_per_template = 0, "subjects_per_template"),
        (|w| w.subjects_per_template = u64::MAX, "subjects_per_template"),
        (|w| w.memberships_per_user = u64::MAX, "memberships_per_user"),
        (|w| w.subject_bytes = 0, "subject_bytes"),
        (|w| w.changes_per_hour = f64::NAN, "changes_per_hour"),
        (|w| w.changes_per_hour = f64::INFINITY, "changes_per_hour"),
        (|w| w.share = 1.1, "share"),
        (|w| w.share = -0.1, "share"),
        (
            |w| w.acceptable_reconnects_per_hour = -1.0,
            "acceptable_reconnects_per_hour",
        ),
    ] {
        let mut workload = workload();
        change(&mut workload);
        let error = workload.advise().unwrap_err();
        assert!(
            matches!(error, AdviseError::Number { field: found, .. } if found == field),
            "{error}"
        );
    }
}

/// The size that is promised is that of an account as it is written.
#[test]
fn the_size_is_that_of_a_real_account() {
    let mut account = ManagedAccount::create("x".repeat(12), Arc::new(keys()));
    for number in 0..20 {
        let subjects: Vec<String> = (0..4)
            .map(|subject| format!("{:x<20}", format!("{{{{tag(project)}}}}.{subject}.")))
            .collect();
        let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
        let (publish, subscribe) = subjects.split_at(2);
        account
            .put_template(&template(&format!("{number:012}"), publish, subscribe))
            .unwrap();
    }
    let token = encode(account.claims().clone(), &operator(), NOW).unwrap();
    let advice = advise(|_| {});
    let promised = of(&advice, Mode::ScopedKey).account_bytes;
    // It counts a plain signing key besides.
    let besides = promised - token.len();
    assert!((60..120).contains(&besides), "{promised} {}", token.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn only_what_is_possible_is_recommended(
        users in 1u64..1_000_000,
        templates in 1u64..40,
        memberships in 0u64..400,
        subjects in 1u64..12,
        changes in 0.0f64..1000.0,
        share in 0.0f64..=1.0,
        acceptable in 0.0f64..100_000.0,
        new in any::<bool>(),
    ) {
        let workload = Workload {
            users,
            templates,
            memberships_per_user: memberships,
            subjects_per_template: subjects,
            changes_per_hour: changes,
            share,
            acceptable_reconnects_per_hour: acceptable,
            server_version: ServerVersion::parse(if new { "2.14.3" } else { "2.12.8" }).unwrap(),
            ..workload()
        };
        let advice = workload.advise().unwrap();
        match advice.recommended {
            Some(mode) => prop_assert!(of(&advice, mode).impossible.is_none()),
            None => prop_assert!(advice.estimates.iter().all(|estimate| estimate.impossible.is_some())),
        }
        prop_assert!(!advice.reasons.is_empty());
        for estimate in &advice.estimates {
            prop_assert!(estimate.account_bytes_at_most >= estimate.account_bytes);
            prop_assert!(estimate.reconnects_per_hour.is_finite() && estimate.reconnects_per_hour >= 0.0);
            prop_assert!(estimate.impossible.as_deref() != Some(""));
        }
        prop_assert!(!advice.to_string().contains("NaN"));
    }
}
