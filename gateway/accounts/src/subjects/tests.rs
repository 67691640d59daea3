use natsgate_core::ResponsePermission;

use super::*;
use crate::testing::{permissions, subject};

fn queued(text: &str, queue: &str) -> SubscribeSubject {
    SubscribeSubject {
        subject: subject(text),
        queue: Some(subject(queue)),
    }
}

#[test]
fn order_and_repetition_say_nothing() {
    let one = permissions(&["b", "a", "b"], &["x", "w"]);
    let other = permissions(&["a", "b"], &["w", "x"]);
    assert_eq!(normal(one), normal(other));
}

#[test]
fn what_a_plain_denial_covers_is_left_out() {
    let mut denying = permissions(&["a"], &["b"]);
    denying.subscribe.deny = vec![queued("s", ">"), queued("s", "q"), queued("t", ">")];
    let mut with_plain = denying.clone();
    with_plain.subscribe.deny.push(SubscribeSubject {
        subject: subject("s"),
        queue: None,
    });
    assert_eq!(normal(denying).subscribe.deny.len(), 3);
    assert_eq!(
        normal(with_plain)
            .subscribe
            .deny
            .iter()
            .filter(|e| is_any_queue(e))
            .count(),
        1
    );
}

#[test]
fn only_more_plain_subjects_allowed_take_nothing() {
    let before = permissions(&["a"], &["b"]);
    let difference = |change: fn(&mut Permissions)| {
        let mut after = before.clone();
        change(&mut after);
        Difference::between(&normal(before.clone()), &normal(after), false)
    };
    let same = difference(|_| {});
    assert!(same.is_empty() && !same.narrows());
    let wider = difference(|p| {
        p.publish.allow.push(subject("c"));
        p.subscribe.allow.push(SubscribeSubject {
            subject: subject("d"),
            queue: None,
        });
    });
    assert!(!wider.is_empty() && !wider.narrows());
    assert_eq!(wider.to_string(), "+ publish.allow c\n+ subscribe.allow d");

    for change in [
        (|p| p.publish.allow = vec![subject("c")]) as fn(&mut Permissions),
        |p| p.publish.allow.clear(),
        |p| p.publish.deny.push(subject("a.x")),
        |p| p.subscribe.allow.push(queued("b", "q")),
        |p| p.subscribe.deny.push(queued("b", "q")),
        |p| {
            p.responses = Some(ResponsePermission {
                max_messages: 1,
                ttl: None,
            });
        },
    ] {
        let narrower = difference(change);
        assert!(narrower.narrows() && !narrower.is_empty(), "{narrower:?}");
    }
    let limits = Difference::between(&before, &before, true);
    assert!(limits.narrows() && limits.other);
    assert!(Difference::unknown().narrows());
}

#[test]
fn a_denial_alone_is_found() {
    let mut alone = permissions(&[], &["b"]);
    assert_eq!(deny_without_allow(&alone), None);
    alone.publish.deny.push(subject("x"));
    assert_eq!(deny_without_allow(&alone), Some(List::PublishDeny));
    let mut alone = permissions(&["a"], &[]);
    alone.subscribe.deny.push(queued("x", "q"));
    assert_eq!(deny_without_allow(&alone), Some(List::SubscribeDeny));
}
