//! A write to the store of pushed memberships: what it may hold, checked once, so that every store can rely on it.

use std::collections::HashMap;
use std::time::SystemTime;

use super::MembershipKey;
use crate::clock::whole_micros;
use crate::revocation_log::Idempotency;

/// What is done to one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteAct {
    /// The membership is given.
    Put,
    /// The membership is taken.
    Delete,
}

/// One item of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteItem {
    /// Which record.
    pub key: MembershipKey,
    /// What is done to it.
    pub act: WriteAct,
    /// The version the record must have: 0 for none or a tombstone, a tombstone's own version for just that one. `None`
    /// takes any.
    pub expected_version: Option<u64>,
}

/// Why a write is not one: the field, and the mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field: `items[3].membership.id`.
    pub field: String,
    /// What is wrong, and what it must be. Holds no value.
    pub problem: String,
}

/// A write that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(|one| format!("{}: {}", one.field, one.problem)).collect::<Vec<_>>().join("; "))]
pub struct InvalidWrite(pub Vec<Violation>);

/// A write to the store, fit to be done. `Debug` shows no person.
#[derive(Clone, PartialEq, Eq)]
pub struct MembershipWrite {
    items: Vec<WriteItem>,
    by: String,
    reason: String,
    at: SystemTime,
    idempotency: Idempotency,
}

impl MembershipWrite {
    /// The most items of one write.
    pub const MAX_ITEMS: usize = 500;
    /// The longest kind, id and role, in bytes.
    pub const MAX_NAME: usize = 256;
    /// The longest issuer, in bytes.
    pub const MAX_ISSUER: usize = 512;
    /// The longest subject, in bytes (OpenID Connect Core section 2 allows 255 characters).
    pub const MAX_SUBJECT: usize = 512;
    /// The longest reason, in bytes.
    pub const MAX_REASON: usize = 1024;
    /// No more than this many violations are told.
    const MAX_TOLD: usize = 20;

    /// `items`, written by the caller named `by` for `reason` (may be empty) at the time `at`, once for `idempotency`.
    ///
    /// # Errors
    /// What is wrong with the items or the reason.
    pub fn new(
        items: Vec<WriteItem>,
        by: impl Into<String>,
        reason: impl Into<String>,
        at: SystemTime,
        idempotency: Idempotency,
    ) -> Result<Self, InvalidWrite> {
        let reason = reason.into();
        let mut wrong = Wrong(Vec::new());
        if items.is_empty() {
            wrong.say("items", "there are none");
        }
        if items.len() > Self::MAX_ITEMS {
            wrong.say("items", format!("{} at most in one call", Self::MAX_ITEMS));
            return Err(InvalidWrite(wrong.0));
        }
        if !reason.is_empty() {
            wrong.text("reason", &reason, Self::MAX_REASON);
        }
        let mut seen = HashMap::new();
        for (index, item) in items.iter().enumerate() {
            let MembershipKey {
                principal,
                membership,
            } = &item.key;
            for (part, text, longest) in [
                ("principal.issuer", &principal.issuer, Self::MAX_ISSUER),
                ("principal.subject", &principal.subject, Self::MAX_SUBJECT),
                ("membership.kind", &membership.kind, Self::MAX_NAME),
                ("membership.id", &membership.id, Self::MAX_NAME),
                ("membership.role", &membership.role, Self::MAX_NAME),
            ] {
                wrong.text(&format!("items[{index}].{part}"), text, longest);
            }
            if let Some(first) = seen.insert(&item.key, index) {
                wrong.say(
                    format!("items[{index}]"),
                    format!("the same membership as items[{first}]: name it once"),
                );
            }
            if wrong.0.len() >= Self::MAX_TOLD {
                break;
            }
        }
        if !wrong.0.is_empty() {
            return Err(InvalidWrite(wrong.0));
        }
        Ok(Self {
            items,
            by: by.into(),
            reason,
            at: whole_micros(at),
            idempotency,
        })
    }

    /// The items: at least one, no two about the same record.
    pub fn items(&self) -> &[WriteItem] {
        &self.items
    }

    /// The caller's name.
    pub fn by(&self) -> &str {
        &self.by
    }

    /// Why, in the caller's words; may be empty.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// When, in whole microseconds, since not every store keeps more.
    pub fn at(&self) -> SystemTime {
        self.at
    }

    /// What makes it happen once.
    pub fn idempotency(&self) -> &Idempotency {
        &self.idempotency
    }
}

impl std::fmt::Debug for MembershipWrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MembershipWrite")
            .field("items", &self.items.len())
            .field("by", &self.by)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

struct Wrong(Vec<Violation>);

impl Wrong {
    fn say(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Violation {
            field: field.into(),
            problem: problem.into(),
        });
    }

    fn text(&mut self, field: &str, text: &str, longest: usize) {
        if let Some(problem) = text_problem(text, longest) {
            self.say(field, problem);
        }
    }
}

/// What is wrong with `text`, which must be something, at most `longest` bytes, and free of control characters.
pub fn text_problem(text: &str, longest: usize) -> Option<String> {
    if text.is_empty() {
        Some("must not be empty".to_owned())
    } else if text.len() > longest {
        Some(format!("must have {longest} bytes at most"))
    } else if text.chars().any(char::is_control) {
        Some("must have no control characters".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::membership::Membership;
    use crate::principal::Principal;

    fn item(id: &str) -> WriteItem {
        WriteItem {
            key: MembershipKey {
                principal: Principal::new("https://idp.example", "alice"),
                membership: Membership {
                    kind: "project".into(),
                    id: id.into(),
                    role: "member".into(),
                },
            },
            act: WriteAct::Put,
            expected_version: None,
        }
    }

    fn write(items: Vec<WriteItem>, reason: &str) -> Result<MembershipWrite, InvalidWrite> {
        let idempotency = Idempotency {
            key: [1; 32],
            body: [2; 32],
        };
        let at = UNIX_EPOCH + Duration::from_nanos(1_234_567_891);
        MembershipWrite::new(items, "crm", reason, at, idempotency)
    }

    fn fields(result: Result<MembershipWrite, InvalidWrite>) -> Vec<String> {
        let told = result.expect_err("refused").0;
        told.into_iter().map(|one| one.field).collect()
    }

    #[test]
    fn a_write_of_good_items_is_one_and_keeps_whole_microseconds() {
        let write = write(vec![item("apollo"), item("zeus")], "").unwrap();
        assert_eq!(write.items().len(), 2);
        assert_eq!(write.at(), UNIX_EPOCH + Duration::from_micros(1_234_567));
        assert!(!format!("{write:?}").contains("alice"));
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        assert_eq!(fields(write(vec![], "")), ["items"]);
        let many = |count: usize| (0..count).map(|n| item(&n.to_string())).collect::<Vec<_>>();
        assert!(write(many(MembershipWrite::MAX_ITEMS), "").is_ok());
        assert_eq!(fields(write(many(MembershipWrite::MAX_ITEMS + 1), "")), ["items"]);
    }

    #[test]
    fn every_text_is_checked() {
        let longest = "x".repeat(256);
        assert!(write(vec![item(&longest)], "why not").is_ok());
        for bad in ["", "a\0b", "a\nb", "a\u{85}b", &"x".repeat(257)] {
            let id = fields(write(vec![item("a"), item(bad)], ""));
            assert_eq!(id, ["items[1].membership.id"], "{bad:?}");
            let mut other = item("a");
            other.key.principal.subject = bad.repeat(4);
            other.key.principal.issuer = bad.repeat(4);
            other.key.membership.kind = bad.into();
            other.key.membership.role = bad.into();
            assert_eq!(fields(write(vec![other], "")).len(), 4, "{bad:?}");
        }
        assert_eq!(fields(write(vec![item("a")], "a\nb")), ["reason"]);
    }

    #[test]
    fn a_record_is_named_once() {
        let mut same = item("a");
        same.act = WriteAct::Delete;
        assert_eq!(fields(write(vec![item("a"), item("b"), same], "")), ["items[2]"]);
    }
}
