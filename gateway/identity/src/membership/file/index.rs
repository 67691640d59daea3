//! The content of a membership file, checked, by principal.
//!
//! Read with a YAML crate that keeps a plain scalar's text where a text is wanted. Others decide first what it looks
//! like, so that the id `007` arrives as `7`, `1e3` as `1000` and `1.10` as `1.1`: somebody else's project.

use std::collections::HashMap;
use std::str;

use natsgate_core::{Membership, Principal};
use serde::Deserialize;

/// Memberships by principal.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_principal: HashMap<Principal, Vec<Membership>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    memberships: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    issuer: String,
    subject: String,
    kind: String,
    id: String,
    role: Option<String>,
    roles: Option<Vec<String>>,
}

impl Index {
    /// Reads YAML, or JSON, which is YAML.
    ///
    /// # Errors
    /// What is wrong, with line or entry; no subject and no id.
    pub(super) fn parse(content: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(content).map_err(|error| {
            format!(
                "it is not UTF-8 text: the first wrong byte is at offset {}",
                error.valid_up_to()
            )
        })?;
        let document: Document = serde_saphyr::from_str_with_options(text, options())
            .map_err(|error| error.without_snippet().to_string())?;
        let mut index = Self::default();
        for (number, entry) in document.memberships.into_iter().enumerate() {
            index
                .add(entry)
                .map_err(|problem| format!("entry {} of `memberships` {problem}", number + 1))?;
        }
        Ok(index)
    }

    fn add(&mut self, entry: Entry) -> Result<(), String> {
        let roles = match (entry.role, entry.roles) {
            (Some(role), None) => vec![role],
            (None, Some(roles)) if !roles.is_empty() => roles,
            (None, Some(_)) => return Err("has an empty `roles`: name one, or remove the entry".to_owned()),
            (None, None) => return Err("has no `role`: name one, or several in `roles`".to_owned()),
            (Some(_), Some(_)) => return Err("has both `role` and `roles`: keep one of them".to_owned()),
        };
        for (field, value) in [
            ("issuer", &entry.issuer),
            ("subject", &entry.subject),
            ("kind", &entry.kind),
            ("id", &entry.id),
        ] {
            if value.is_empty() {
                return Err(format!("has an empty `{field}`"));
            }
        }
        if roles.iter().any(String::is_empty) {
            return Err("has an empty role".to_owned());
        }
        let memberships = self
            .by_principal
            .entry(Principal::new(entry.issuer, entry.subject))
            .or_default();
        for role in roles {
            let membership = Membership {
                kind: entry.kind.clone(),
                id: entry.id.clone(),
                role,
            };
            if !memberships.contains(&membership) {
                memberships.push(membership);
            }
        }
        Ok(())
    }

    /// The memberships of `principal`.
    pub(super) fn of(&self, principal: &Principal) -> Vec<Membership> {
        self.by_principal.get(principal).cloned().unwrap_or_default()
    }

    /// The number of principals.
    pub(super) fn len(&self) -> usize {
        self.by_principal.len()
    }
}

/// The file is bounded by its size already; the crate's default of 250,000 nodes would be some 20,000 entries.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: 50_000_000,
            max_events: 100_000_000,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> Principal {
        Principal::new("https://idp.example", "alice")
    }

    fn with(id: &str) -> String {
        format!(
            "memberships:\n  - issuer: https://idp.example\n    subject: alice\n    kind: project\n    id: {id}\n    role: member\n"
        )
    }

    #[test]
    fn ids_keep_their_text_whatever_they_look_like() {
        for id in [
            "007",
            "1e3",
            "yes",
            "no",
            "on",
            "true",
            "True",
            "0x1A",
            "0o17",
            "1_000",
            "1.10",
            "1.0",
            "+5",
            ".5",
            ".inf",
            "12345678901234567890123",
            "2024-01-01",
            "0.1e-7",
            "Apollo",
        ] {
            let index = Index::parse(with(id).as_bytes()).unwrap();
            assert_eq!(index.of(&alice())[0].id, id);
            let quoted = Index::parse(with(&format!("\"{id}\"")).as_bytes()).unwrap();
            assert_eq!(quoted.of(&alice())[0].id, id);
        }
        let roles = "memberships: [{issuer: i, subject: 007, kind: k, id: x, roles: [1e3, yes]}, {issuer: i, subject: 7, kind: k, id: y, role: 010}]";
        let index = Index::parse(roles.as_bytes()).unwrap();
        let found = index.of(&Principal::new("i", "007"));
        assert_eq!(
            found.iter().map(|m| m.role.as_str()).collect::<Vec<_>>(),
            ["1e3", "yes"]
        );
        assert_eq!(index.of(&Principal::new("i", "7"))[0].role, "010");
    }

    #[test]
    fn json_is_read_too_and_principals_are_kept_apart() {
        let json = r#"{"memberships": [
            {"issuer": "https://idp.example", "subject": "alice", "kind": "project", "id": "apollo", "roles": ["a", "b", "a"]},
            {"issuer": "https://idp.example", "subject": "alice", "kind": "project", "id": "apollo", "role": "b"},
            {"issuer": "https://other.example", "subject": "alice", "kind": "project", "id": "gemini", "role": "a"}
        ]}"#;
        let index = Index::parse(json.as_bytes()).unwrap();
        assert_eq!(index.len(), 2);
        let found = index.of(&alice());
        assert_eq!(
            found
                .iter()
                .map(|m| (m.id.as_str(), m.role.as_str()))
                .collect::<Vec<_>>(),
            [("apollo", "a"), ("apollo", "b")]
        );
        assert_eq!(index.of(&Principal::new("https://idp.example", "Alice")), []);
    }

    #[test]
    fn what_is_wrong_is_named_by_line_or_entry_without_the_person() {
        let entry =
            |fields: &str| format!("memberships:\n  - {{issuer: i, subject: hidden, kind: k, {fields}}}\n");
        for (content, hint) in [
            ("".to_owned(), "line"),
            ("memberships: [".to_owned(), "line 1"),
            ("members: []".to_owned(), "members"),
            (entry("id: x"), "entry 1"),
            (entry("id: x, role: a, roles: [b]"), "both"),
            (entry("id: x, roles: []"), "empty `roles`"),
            (entry("id: x, roles: ['']"), "empty role"),
            (entry("id: '', role: a"), "empty `id`"),
            (entry("id: ~, role: a"), "line 2"),
            (entry("id: [x], role: a"), "line 2"),
            (entry("id: x, role: a, until: tomorrow"), "until"),
            (entry("id: x, id: y, role: a"), "duplicate"),
            (entry("id: x, role: {a: hidden}"), "line 2"),
            ("memberships: []\n---\nmemberships: []\n".to_owned(), "multiple"),
            ("memberships: hidden".to_owned(), "line 1"),
        ] {
            let error = Index::parse(content.as_bytes()).unwrap_err();
            assert!(error.contains(hint), "{content}: {error}");
            assert!(!error.contains("hidden"), "{content}: {error}");
        }
        assert!(
            Index::parse(b"memberships: [\xff]")
                .unwrap_err()
                .contains("UTF-8")
        );
    }

    #[test]
    fn many_entries_fit_and_a_bomb_does_not() {
        let mut text = "memberships:\n".to_owned();
        for number in 0..30_000 {
            text.push_str(&format!(
                "- {{issuer: i, subject: s{number}, kind: k, id: x, role: r}}\n"
            ));
        }
        assert_eq!(Index::parse(text.as_bytes()).unwrap().len(), 30_000);

        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for number in 1..12 {
            let before = format!("*a{}", number - 1);
            bomb.push_str(&format!(
                "a{number}: &a{number} [{}]\n",
                vec![before; 10].join(",")
            ));
        }
        bomb.push_str("memberships: []\n");
        assert!(Index::parse(bomb.as_bytes()).is_err());
    }
}
