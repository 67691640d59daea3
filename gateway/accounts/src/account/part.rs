//! What the writer does to an account beside what it is asked: natsgate's part put back as it was last
//! pushed, and the tag that says which writer wrote.

use std::collections::BTreeMap;

use natsgate_claims::SigningKey;

use super::ManagedAccount;
use crate::naming::ScopeRole;

/// What the account tag begins with that holds the fencing token. In lower case, as nats' own tools write
/// tags.
const FENCE_TAG: &str = "natsgate-fence:";

impl ManagedAccount {
    /// Puts natsgate's signing keys of `last` in the place of those that are here: what is missing comes back
    /// under the same key and generation, what was edited is as it was, and what `last` does not have goes.
    /// Returns the roles that were missing or edited.
    ///
    /// # Errors
    /// The role of a generation here that is newer than the newest that `last` has of its template: `last` is
    /// not the last, for nobody but natsgate can make the key of a generation.
    pub(crate) fn put_back(&mut self, last: &Self) -> Result<Vec<ScopeRole>, ScopeRole> {
        for state in self.templates() {
            let newest = state.newest().generation();
            let known = last.template(state.name()).map(|last| last.newest().generation());
            if known.is_some_and(|known| newest > known) {
                return Err(ScopeRole {
                    template: state.name().clone(),
                    generation: newest,
                });
            }
        }
        let mut ours: BTreeMap<&str, (ScopeRole, &SigningKey)> = BTreeMap::new();
        for (role, key) in last.own_keys() {
            if let Some(entry) = last.claims.body.signing_key(key) {
                ours.insert(key, (role, entry));
            }
        }
        let gone: Vec<String> = self
            .own_keys()
            .map(|(_, key)| key.to_owned())
            .filter(|key| !ours.contains_key(key.as_str()))
            .collect();
        let mut restored = Vec::new();
        let keys = &mut self.claims.body.signing_keys;
        keys.retain(|entry| !entry.key().is_some_and(|key| gone.iter().any(|gone| gone == key)));
        for entry in keys.iter_mut() {
            let Some((role, was)) = entry.key().and_then(|key| ours.remove(key)) else {
                continue;
            };
            if *entry != *was {
                *entry = was.clone();
                restored.push(role);
            }
        }
        for (role, was) in ours.into_values() {
            keys.push(was.clone());
            restored.push(role);
        }
        self.templates = last.templates.clone();
        restored.sort();
        Ok(restored)
    }

    /// Writes the fencing token `fence` into the account's tags, in the place of any that is there.
    pub(crate) fn set_fence(&mut self, fence: u64) {
        let tags = &mut self.claims.body.tags;
        tags.retain(|tag| fence_text(tag).is_none());
        tags.push(format!("{FENCE_TAG}{fence}"));
    }

    /// The roles of natsgate's signing keys, and the keys.
    fn own_keys(&self) -> impl Iterator<Item = (ScopeRole, &str)> {
        self.templates().flat_map(|state| {
            state.generations().map(|found| {
                let role = ScopeRole {
                    template: state.name().clone(),
                    generation: found.generation(),
                };
                (role, found.public_key())
            })
        })
    }
}

/// The highest fencing token in `tags`; `None` without one that can be read.
pub(crate) fn fence_in(tags: &[String]) -> Option<u64> {
    let tokens = tags.iter().filter_map(|tag| fence_text(tag)?.parse().ok());
    tokens.max()
}

fn fence_text(tag: &str) -> Option<&str> {
    let (start, rest) = tag.trim().split_at_checked(FENCE_TAG.len())?;
    start.eq_ignore_ascii_case(FENCE_TAG).then_some(rest)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::{generation, keys, name, template};

    fn account() -> ManagedAccount {
        ManagedAccount::create("APP", Arc::new(keys()))
    }

    #[test]
    fn there_is_one_fence_and_other_tags_stay() {
        let mut account = account();
        for tag in [
            "region:eu",
            "NATSGATE-FENCE:4",
            "natsgate-fence:x",
            "natsgate-fenced:1",
        ] {
            account.claims.body.tags.push(tag.to_owned());
        }
        assert_eq!(fence_in(&account.claims.body.tags), Some(4));
        account.set_fence(7);
        assert_eq!(
            account.claims.body.tags,
            ["region:eu", "natsgate-fenced:1", "natsgate-fence:7"]
        );
        account.set_fence(8);
        assert_eq!(fence_in(&account.claims.body.tags), Some(8));
        assert_eq!(fence_in(&["a".to_owned(), "é".to_owned()]), None);
    }

    #[test]
    fn what_was_dropped_comes_back_with_its_generation_and_key() {
        let mut last = account();
        last.put_template(&template("member", &["a"], &[])).unwrap();
        last.put_template(&template("member", &["b"], &[])).unwrap();
        let mut here = account();
        here.claims.body.description = Some("somebody's".to_owned());
        let restored = here.put_back(&last).unwrap();
        let role = |number| ScopeRole {
            template: name("member"),
            generation: generation(number),
        };
        assert_eq!(restored, [role(1), role(2)]);
        let sorted = |account: &ManagedAccount| {
            let mut keys = account.claims.body.signing_keys.clone();
            keys.sort_by_key(|entry| entry.key().map(str::to_owned));
            keys
        };
        assert_eq!(sorted(&here), sorted(&last));
        assert_eq!(here.template(&name("member")), last.template(&name("member")));
        assert_eq!(here.claims.body.description.as_deref(), Some("somebody's"));
        assert_eq!(here.put_back(&last).unwrap(), []);
    }

    #[test]
    fn what_was_removed_stays_removed_and_what_was_edited_is_put_right() {
        let mut old = account();
        old.put_template(&template("member", &["a"], &[])).unwrap();
        old.put_template(&template("gone", &["a"], &[])).unwrap();
        let mut last = old.clone();
        last.retire_template(&name("gone")).unwrap();
        for number in [1, 2] {
            last.remove_generation(&name("gone"), generation(number)).unwrap();
        }
        let key = old
            .template(&name("member"))
            .unwrap()
            .newest()
            .public_key()
            .to_owned();
        let entries = &mut old.claims.body.signing_keys;
        let edited = entries
            .iter_mut()
            .find(|entry| entry.key() == Some(&*key))
            .unwrap();
        *edited = SigningKey::Plain(key);
        let restored = old.put_back(&last).unwrap();
        assert_eq!(restored.len(), 1);
        assert_eq!(old.claims.body.signing_keys, last.claims.body.signing_keys);
        assert!(old.template(&name("gone")).is_none());
    }

    #[test]
    fn a_generation_that_last_does_not_know_shows_that_it_is_not_the_last() {
        let mut last = account();
        last.put_template(&template("member", &["a"], &[])).unwrap();
        let mut newer = last.clone();
        newer.put_template(&template("member", &["b"], &[])).unwrap();
        let role = newer.put_back(&last).unwrap_err();
        assert_eq!(role.generation, generation(2));
    }
}
