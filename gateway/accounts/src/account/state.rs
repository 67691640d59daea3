//! What an account JWT says of natsgate's templates.

use std::collections::{BTreeMap, BTreeSet};

use natsgate_claims::UserScope;
use natsgate_core::Permissions;

use crate::account::ManagedAccount;
use crate::keys::MadeBy;
use crate::naming::{Generation, TemplateName};
use crate::subjects::Difference;
use crate::template::{NotOurs, Template, is_closed};

/// What the scope of one of natsgate's keys holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A template.
    Template(Box<Template>),
    /// Nothing is allowed: the template is retired.
    Closed,
    /// Something that natsgate does not write: it was edited by hand.
    Other(NotOurs),
}

impl Content {
    pub(super) fn read(name: &TemplateName, scope: &UserScope) -> Self {
        if is_closed(scope) {
            return Self::Closed;
        }
        match Template::from_scope(name.clone(), scope) {
            Ok(template) => Self::Template(Box::new(template)),
            Err(why) => Self::Other(why),
        }
    }

    /// The template, if it is one.
    pub fn template(&self) -> Option<&Template> {
        match self {
            Self::Template(template) => Some(template),
            Self::Closed | Self::Other(_) => None,
        }
    }

    /// How `after` differs from this.
    pub fn difference(&self, after: &Self) -> Difference {
        let nothing = Permissions::default();
        match (self, after) {
            (Self::Template(before), Self::Template(after)) => before.difference(after),
            (Self::Closed, Self::Template(after)) => {
                Difference::between(&nothing, after.permissions(), false)
            }
            (Self::Template(before), Self::Closed) => {
                Difference::between(before.permissions(), &nothing, false)
            }
            (Self::Closed, Self::Closed) => Difference::default(),
            (Self::Other(_), _) | (_, Self::Other(_)) => Difference::unknown(),
        }
    }
}

/// One generation of a template: a signing key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationState {
    generation: Generation,
    public_key: String,
    made_by: MadeBy,
    content: Content,
}

impl GenerationState {
    pub(super) fn new(generation: Generation, public_key: String, made_by: MadeBy, content: Content) -> Self {
        Self {
            generation,
            public_key,
            made_by,
            content,
        }
    }

    /// Which one it is.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The signing key: what monitoring shows of a session as its issuer.
    pub fn public_key(&self) -> &str {
        &self.public_key
    }

    /// The root secret that makes the key.
    pub fn made_by(&self) -> MadeBy {
        self.made_by
    }

    /// What its users may do.
    pub fn content(&self) -> &Content {
        &self.content
    }
}

/// A template: at least one generation of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateState {
    name: TemplateName,
    newest: GenerationState,
    older: BTreeMap<Generation, GenerationState>,
}

impl TemplateState {
    pub(super) fn new(name: TemplateName, only: GenerationState) -> Self {
        Self {
            name,
            newest: only,
            older: BTreeMap::new(),
        }
    }

    pub(super) fn insert(&mut self, generation: GenerationState) {
        let older = if generation.generation > self.newest.generation {
            std::mem::replace(&mut self.newest, generation)
        } else {
            generation
        };
        self.older.insert(older.generation, older);
    }

    pub(super) fn remove(&mut self, older: Generation) {
        self.older.remove(&older);
    }

    /// Its name.
    pub fn name(&self) -> &TemplateName {
        &self.name
    }

    /// The generation to mint with.
    pub fn newest(&self) -> &GenerationState {
        &self.newest
    }

    /// The generations whose sessions are to be drained, oldest first.
    pub fn older(&self) -> impl Iterator<Item = &GenerationState> {
        self.older.values()
    }

    /// All generations, oldest first.
    pub fn generations(&self) -> impl Iterator<Item = &GenerationState> {
        self.older().chain(std::iter::once(&self.newest))
    }

    /// `generation`, if it is there.
    pub fn generation(&self, generation: Generation) -> Option<&GenerationState> {
        self.generations().find(|state| state.generation == generation)
    }

    /// Whether nobody should be minted with it any more.
    pub fn is_retired(&self) -> bool {
        self.newest.content == Content::Closed
    }

    /// The template to mint with, if there is one: neither retired nor edited by hand.
    pub fn current(&self) -> Option<&Template> {
        self.newest.content.template()
    }
}

/// The keys of older generations, by what moving to the newest means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OlderKeys {
    /// Of those whose sessions lose something, or of which it cannot be told that they do not.
    pub losing: BTreeSet<String>,
    /// Of the others.
    pub keeping: BTreeSet<String>,
}

impl ManagedAccount {
    /// The keys of older generations of all templates.
    pub fn older_keys(&self) -> OlderKeys {
        let mut older = OlderKeys::default();
        for state in self.templates() {
            let newest = state.newest().content();
            for generation in state.older() {
                let loses = generation.content().difference(newest).narrows();
                let keys = if loses {
                    &mut older.losing
                } else {
                    &mut older.keeping
                };
                keys.insert(generation.public_key().to_owned());
            }
        }
        older
    }
}
