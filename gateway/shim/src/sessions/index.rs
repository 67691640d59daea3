//! Sessions by what they are about, so that an entry of the log finds the few it concerns among the many there are.

use std::collections::{HashMap, HashSet};

use natsgate_core::Concern;

/// A session's number within the registry.
pub(super) type Id = u64;

/// Sessions by concern.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_concern: HashMap<Concern, HashSet<Id>>,
    /// Those of which it is not known what they are about.
    unknown: HashSet<Id>,
}

impl Index {
    /// Takes in a session that is about `concerns`, or nobody knows what.
    pub(super) fn add(&mut self, id: Id, concerns: Option<&[Concern]>) {
        match concerns {
            Some(concerns) => {
                for concern in concerns {
                    self.by_concern.entry(*concern).or_default().insert(id);
                }
            }
            None => {
                self.unknown.insert(id);
            }
        }
    }

    /// Forgets it; `concerns` are those it was taken in with.
    pub(super) fn remove(&mut self, id: Id, concerns: Option<&[Concern]>) {
        match concerns {
            Some(concerns) => {
                for concern in concerns {
                    if let Some(ids) = self.by_concern.get_mut(concern) {
                        ids.remove(&id);
                        if ids.is_empty() {
                            self.by_concern.remove(concern);
                        }
                    }
                }
            }
            None => {
                self.unknown.remove(&id);
            }
        }
    }

    /// Those about `concern`.
    pub(super) fn about(&self, concern: &Concern) -> impl Iterator<Item = Id> + '_ {
        self.by_concern.get(concern).into_iter().flatten().copied()
    }

    /// Those of which it is not known what they are about.
    pub(super) fn unknown(&self) -> impl Iterator<Item = Id> + '_ {
        self.unknown.iter().copied()
    }

    /// How many concerns and unknown sessions it holds.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.by_concern.len(), self.unknown.len())
    }
}
