//! What a grant's subjects add up to.
//!
//! Nearly a union. One thing keeps it from being one in nats-server (`canSubscribeInternal`, 2.10 to 2.15): where an
//! allowed subject with a queue group matches a queue subscription, the allowed subjects without one are not asked any
//! more. So `jobs.>` from one rule, for everybody and every queue group, would shrink to one queue group where another
//! rule adds `jobs.a` with queue `workers`. [`allowed`] writes the union so that the server reads it as one.

use std::collections::BTreeSet;

use natsgate_core::{Subject, SubscribeSubject};

/// The queue group that is every queue group.
const ANY_QUEUE: &str = ">";

/// `allow` in a form in which what one entry allows, another does not take.
pub(crate) fn allowed(allow: BTreeSet<SubscribeSubject>) -> Vec<SubscribeSubject> {
    if allow.iter().all(|entry| entry.queue.is_none()) {
        return allow.into_iter().collect();
    }
    let plain: Vec<Subject> = allow
        .iter()
        .filter(|e| e.queue.is_none())
        .map(|e| e.subject.clone())
        .collect();
    // A queue entry within a plain one adds nothing.
    let mut kept: BTreeSet<SubscribeSubject> = allow
        .into_iter()
        .filter(|e| e.queue.is_none() || !plain.iter().any(|p| covers(p, &e.subject)))
        .collect();
    // A plain entry that shares subjects with a queue entry that stays says aloud that it is for every queue group.
    let shared: Vec<SubscribeSubject> = plain
        .into_iter()
        .filter(|p| kept.iter().any(|e| e.queue.is_some() && overlap(p, &e.subject)))
        .filter_map(|subject| {
            Some(SubscribeSubject {
                subject,
                queue: Some(Subject::parse(ANY_QUEUE).ok()?),
            })
        })
        .collect();
    kept.extend(shared);
    kept.into_iter().collect()
}

/// Whether every subject that `b` matches is matched by `a`.
fn covers(a: &Subject, b: &Subject) -> bool {
    let (mut a, mut b) = (a.as_str().split('.'), b.as_str().split('.'));
    loop {
        match (a.next(), b.next()) {
            (Some(">"), Some(_)) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(x), Some(y)) if x == y => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// Whether there is a subject that both match.
fn overlap(a: &Subject, b: &Subject) -> bool {
    let (mut a, mut b) = (a.as_str().split('.'), b.as_str().split('.'));
    loop {
        match (a.next(), b.next()) {
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
            (Some(x), Some(y)) if x == y => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(text: &str) -> Subject {
        Subject::parse(text).unwrap()
    }

    fn written(entries: &[&str]) -> Vec<String> {
        let allow = entries.iter().map(|entry| match entry.split_once(' ') {
            None => SubscribeSubject {
                subject: subject(entry),
                queue: None,
            },
            Some((s, q)) => SubscribeSubject {
                subject: subject(s),
                queue: Some(subject(q)),
            },
        });
        let all = allowed(allow.collect());
        all.iter()
            .map(|e| match &e.queue {
                None => e.subject.to_string(),
                Some(queue) => format!("{} {queue}", e.subject),
            })
            .collect()
    }

    #[test]
    fn a_queue_entry_never_takes_what_a_plain_one_allows() {
        for (entries, kept) in [
            (vec!["b", "a"], vec!["a", "b"]),
            (vec!["jobs.a workers"], vec!["jobs.a workers"]),
            (vec!["jobs.>", "jobs.a workers"], vec!["jobs.>"]),
            (
                vec!["jobs.a", "jobs.> workers"],
                vec!["jobs.> workers", "jobs.a", "jobs.a >"],
            ),
            (
                vec!["jobs.*", "*.a workers"],
                vec!["*.a workers", "jobs.*", "jobs.* >"],
            ),
            (vec!["other", "jobs.a workers"], vec!["jobs.a workers", "other"]),
        ] {
            assert_eq!(written(&entries), kept);
        }
    }

    #[test]
    fn covering_and_overlapping_follow_the_tokens() {
        for (a, b, cover, share) in [
            ("a.b", "a.b", true, true),
            ("a.*", "a.b", true, true),
            ("a.>", "a.b.c", true, true),
            ("a.>", "a", false, false),
            (">", "a.*", true, true),
            ("a.b", "a.*", false, true),
            ("a.*", "a.>", false, true),
            ("a.*", "*.b", false, true),
            ("a.*", "b.*", false, false),
            ("a.b", "a.b.c", false, false),
        ] {
            assert_eq!(covers(&subject(a), &subject(b)), cover, "{a} covers {b}");
            assert_eq!(overlap(&subject(a), &subject(b)), share, "{a} overlaps {b}");
            assert_eq!(overlap(&subject(b), &subject(a)), share, "{b} overlaps {a}");
        }
    }
}
