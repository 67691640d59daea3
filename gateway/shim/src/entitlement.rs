//! What a session was granted, as a digest, and whether another grant gives less.
//!
//! A shim has many sessions; of each it keeps eight bytes for every subject instead of the subjects.

use natsgate_proto::v1;
use prost::Message;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What was granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entitlement {
    account: u64,
    publish: Rules,
    subscribe: Rules,
    /// Whether a subject with a queue group is among what may be subscribed to: then adding one may take something away.
    queues: Box<[u64]>,
    /// Everything that is not subjects: limits, the right to answer.
    rest: u64,
    /// When it ends, in seconds since the Unix epoch.
    expires_at: i64,
}

/// What of `grant` is written in the account's JWT. A tag may stand in what a template denies, so one more is not known to be wider.
fn written(grant: &v1::Grant) -> Vec<u8> {
    let mut template = grant.template.clone();
    if let Some(template) = &mut template {
        template
            .tags
            .sort_by(|one, other| (&one.name, &one.value).cmp(&(&other.name, &other.value)));
        template.tags.dedup();
    }
    let only = v1::Grant {
        template,
        account_defaults: grant.account_defaults,
        ..Default::default()
    };
    only.encode_to_vec()
}

/// Digests of subjects, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Rules {
    allow: Box<[u64]>,
    deny: Box<[u64]>,
}

/// How one grant compares with an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// It gives the same.
    Same,
    /// It gives all that the earlier one gave, and more.
    Wider,
    /// It gives less, or that cannot be told.
    Narrower,
}

impl Entitlement {
    /// What `grant` gives to a session that ends at `expires_at` (seconds since the Unix epoch) at the latest.
    pub fn of(grant: &v1::Grant, expires_at: i64) -> Self {
        let permissions = grant.permissions.clone().unwrap_or_default();
        let entry =
            |entry: &v1::SubscribeSubject| digest(&[entry.subject.as_bytes(), entry.queue.as_bytes()]);
        let plain = |subject: &String| digest(&[subject.as_bytes()]);
        let with_queue = permissions
            .subscribe_allow
            .iter()
            .filter(|entry| !entry.queue.is_empty());
        let responses = permissions.responses.map(|responses| responses.encode_to_vec());
        let limits = grant.limits.as_ref().map(Message::encode_to_vec);
        Self {
            account: digest(&[grant.account.as_bytes()]),
            publish: Rules {
                allow: sorted(permissions.publish_allow.iter().map(plain)),
                deny: sorted(permissions.publish_deny.iter().map(plain)),
            },
            queues: sorted(with_queue.map(entry)),
            subscribe: Rules {
                allow: sorted(permissions.subscribe_allow.iter().map(entry)),
                deny: sorted(permissions.subscribe_deny.iter().map(entry)),
            },
            rest: digest(&[
                &responses.unwrap_or_default(),
                // Limits that do not bound are as good as none.
                &limits.unwrap_or_default(),
                &written(grant),
            ]),
            expires_at,
        }
    }

    /// When it ends, in seconds since the Unix epoch.
    pub fn expires_at(&self) -> i64 {
        self.expires_at
    }

    /// How `now`, what the session would be granted now, compares with this, what it has.
    pub fn compare(&self, now: &Self) -> Compared {
        if self.account != now.account
            || self.rest != now.rest
            || now.expires_at < self.expires_at
            || self.queues != now.queues
            || !now.publish.give_all_of(&self.publish)
            || !now.subscribe.give_all_of(&self.subscribe)
        {
            Compared::Narrower
        } else if self.publish == now.publish && self.subscribe == now.subscribe {
            Compared::Same
        } else {
            Compared::Wider
        }
    }
}

impl Rules {
    /// Whether these allow all that `other` allows, and deny nothing beyond what it denies.
    fn give_all_of(&self, other: &Self) -> bool {
        contains(&self.allow, &other.allow) && contains(&other.deny, &self.deny)
    }
}

/// Whether the sorted `all` has all of `some`.
fn contains(all: &[u64], some: &[u64]) -> bool {
    some.iter().all(|one| all.binary_search(one).is_ok())
}

fn sorted(digests: impl Iterator<Item = u64>) -> Box<[u64]> {
    let mut digests: Vec<u64> = digests.collect();
    digests.sort_unstable();
    digests.dedup();
    digests.into()
}

fn digest(parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        // The length first, so that no two lists of parts read the same.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize()
        .first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(change: impl FnOnce(&mut v1::Grant, &mut v1::Permissions)) -> Entitlement {
        let mut grant = v1::Grant {
            account: "APP".into(),
            ..Default::default()
        };
        let mut permissions = v1::Permissions {
            publish_allow: vec!["a".into(), "b".into()],
            publish_deny: vec!["a.x".into()],
            subscribe_allow: vec![subscribe("c", ""), subscribe("d", "q")],
            ..Default::default()
        };
        change(&mut grant, &mut permissions);
        grant.permissions = Some(permissions);
        Entitlement::of(&grant, 100)
    }

    fn subscribe(subject: &str, queue: &str) -> v1::SubscribeSubject {
        v1::SubscribeSubject {
            subject: subject.into(),
            queue: queue.into(),
        }
    }

    #[test]
    fn order_does_not_matter_and_nothing_is_something_else() {
        let before = grant(|_, _| {});
        let turned = grant(|_, p| p.publish_allow.reverse());
        assert_eq!(before.compare(&turned), Compared::Same);
        let unbounded = grant(|g, _| g.limits = Some(v1::Limits::default()));
        assert_eq!(before.compare(&unbounded), Compared::Same);
    }

    #[test]
    fn more_is_wider_and_anything_less_is_narrower() {
        type Change = fn(&mut v1::Grant, &mut v1::Permissions);
        let before = grant(|_, _| {});
        let wider: [Change; 4] = [
            |_, p| p.publish_allow.push("e".into()),
            |_, p| p.publish_deny.clear(),
            |_, p| p.subscribe_allow.push(subscribe("e", "")),
            |_, p| {
                p.publish_deny.clear();
                p.publish_allow.push("e".into());
            },
        ];
        for change in wider {
            let after = grant(change);
            assert_eq!(before.compare(&after), Compared::Wider);
            assert_eq!(after.compare(&before), Compared::Narrower);
        }
        let narrower: [Change; 9] = [
            |_, p| drop(p.publish_allow.pop()),
            |_, p| p.publish_deny.push("b.x".into()),
            |_, p| drop(p.subscribe_allow.pop()),
            |_, p| p.subscribe_deny.push(subscribe("c", "")),
            // Once an entry with a queue group matches, plain ones do not count for it.
            |_, p| p.subscribe_allow.push(subscribe("c", "r")),
            |g, _| g.account = "OTHER".into(),
            |g, _| {
                g.limits = Some(v1::Limits {
                    payload: Some(1),
                    ..Default::default()
                });
            },
            |_, p| {
                p.responses = Some(v1::ResponsePermission {
                    max_messages: 1,
                    ttl: None,
                });
            },
            |_, p| {
                p.publish_allow = vec!["a".into(), "e".into()];
            },
        ];
        for (index, change) in narrower.into_iter().enumerate() {
            assert_eq!(before.compare(&grant(change)), Compared::Narrower, "{index}");
        }
    }

    #[test]
    fn what_is_written_in_the_account_is_the_same_or_less() {
        let used = |name: &str, values: &[&str]| {
            let tag = |value: &&str| v1::TemplateTag {
                name: "project".into(),
                value: (*value).into(),
            };
            let grant = v1::Grant {
                template: Some(v1::TemplateUse {
                    name: name.into(),
                    tags: values.iter().map(tag).collect(),
                }),
                ..Default::default()
            };
            Entitlement::of(&grant, 100)
        };
        let before = used("member", &["a", "b"]);
        assert_eq!(before.compare(&used("member", &["b", "a", "b"])), Compared::Same);
        let defaults = v1::Grant {
            account_defaults: true,
            ..Default::default()
        };
        for other in [
            used("member", &["a"]),
            used("member", &["a", "b", "c"]),
            used("owner", &["a", "b"]),
            Entitlement::of(&defaults, 100),
            Entitlement::of(&v1::Grant::default(), 100),
        ] {
            assert_eq!(before.compare(&other), Compared::Narrower);
            assert_eq!(other.compare(&before), Compared::Narrower);
        }
    }

    #[test]
    fn what_ends_sooner_is_less() {
        let grant = v1::Grant::default();
        let (long, short) = (Entitlement::of(&grant, 100), Entitlement::of(&grant, 99));
        assert_eq!(long.compare(&short), Compared::Narrower);
        assert_eq!(short.compare(&long), Compared::Same);
    }
}
