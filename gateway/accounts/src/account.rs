//! An account JWT, and the part of it that is natsgate's.
//!
//! # What is natsgate's
//!
//! A scoped signing key whose role is `natsgate.TEMPLATE.GENERATION` ([`crate::naming`]) **and** whose public key is the
//! one that one of the account's root secrets makes for just that template and generation. Both: a role anybody can
//! write, and a key under another role was given another use. Everything else is foreign, also what only looks like
//! ours, and stays as it is. Default permissions, the revocation `*`, and the tag `natsgate-fence:N` of [`crate::writer`]
//! are the other places that are written.
//!
//! # Generations
//!
//! A signing key's scope is never changed in place: nats-server closes the connections of a key whose scope differs in
//! anything, its description included. A changed template gets a key of the next generation beside the old one; the
//! newest is the one to mint with; older ones stay until their sessions are gone and they are removed. So the JWT alone
//! says what is current, and a writer that dies half way is continued by another.
//!
//! A template is retired by a generation that allows nothing: whoever still mints with the newest, or does so by mistake,
//! gives nothing away. It can be removed last of all; a template of that name then begins at 1 again. That brings no old
//! session back: those of the first key were closed when it was removed, and a user JWT from a callout is of no use to
//! whoever does not have the user's key, which the server made and forgot.

mod error;
mod part;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use natsgate_claims::{
    AccountBody, ClaimsToSign, EncodeError, SigningKey, Unsigned, UserScope, decode, prepare,
};

pub use error::AccountError;
pub(crate) use part::fence_in;
pub use state::{Content, GenerationState, OlderKeys, TemplateState};

use crate::defaults::DefaultPermissions;
use crate::keys::{MadeBy, ScopedKeys};
use crate::naming::{Generation, ScopeRole, TemplateName};
use crate::template::{AccountFacts, NotOurs, Template, closed};

/// The entry of `revocations` that stands for every user.
const EVERYONE: &str = "*";

/// What became of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was not there; this is its first generation.
    New(Generation),
    /// It was there, and a generation was added.
    Next {
        /// The generation that was the newest.
        from: Generation,
        /// The one that is now.
        to: Generation,
    },
    /// It is as it should be.
    Unchanged(Generation),
}

/// An account JWT that natsgate writes into.
#[derive(Debug, Clone)]
pub struct ManagedAccount {
    claims: ClaimsToSign<AccountBody>,
    keys: Arc<ScopedKeys>,
    templates: BTreeMap<TemplateName, TemplateState>,
    size_when_read: Option<usize>,
    issued_at: Option<i64>,
}

impl ManagedAccount {
    /// A new account `name` of the key that `keys` are for: without limits, without JetStream, and without templates.
    pub fn create(name: impl Into<String>, keys: Arc<ScopedKeys>) -> Self {
        Self {
            claims: ClaimsToSign::new(keys.account(), AccountBody::default()).name(name),
            keys,
            templates: BTreeMap::new(),
            size_when_read: None,
            issued_at: None,
        }
    }

    /// Reads the account JWT `token`, which one of `operators` (public keys: the operator's and its signing keys) must
    /// have signed, at `now` (seconds since the Unix epoch).
    ///
    /// # Errors
    /// [`AccountError`]: it is no account JWT, not of this account, not of these operators, expired, or has a signing key
    /// or a generation twice.
    pub fn read(
        token: &str,
        keys: Arc<ScopedKeys>,
        operators: &[String],
        now: i64,
    ) -> Result<Self, AccountError> {
        let claims = decode::<AccountBody>(token, now)?;
        if claims.subject != keys.account() {
            return Err(AccountError::OtherAccount {
                expected: keys.account().to_owned(),
                found: claims.subject,
            });
        }
        if !operators.contains(&claims.issuer) {
            return Err(AccountError::UnknownOperator {
                issuer: claims.issuer,
            });
        }
        let issued_at = Some(claims.issued_at);
        let mut account = Self {
            claims: claims.into(),
            keys,
            templates: BTreeMap::new(),
            size_when_read: Some(token.len()),
            issued_at,
        };
        let mut seen = BTreeSet::new();
        for key in account
            .claims
            .body
            .signing_keys
            .iter()
            .filter_map(SigningKey::key)
        {
            if !seen.insert(key) {
                return Err(AccountError::KeyTwice { key: key.to_owned() });
            }
        }
        account.templates = account.find_templates()?;
        Ok(account)
    }

    /// The account's public key.
    pub fn account(&self) -> &str {
        self.keys.account()
    }

    /// The account's claims, to be signed by its operator.
    pub fn claims(&self) -> &ClaimsToSign<AccountBody> {
        &self.claims
    }

    /// How many bytes the JWT had that was read; `None` for an account that is new.
    pub fn size_when_read(&self) -> Option<usize> {
        self.size_when_read
    }

    /// When the JWT that was read was issued, in seconds since the Unix epoch; `None` for an account that is new.
    pub fn issued_at(&self) -> Option<i64> {
        self.issued_at
    }

    /// The account JWT as `operator` (a public key) would sign it at `now`: its size, and what to sign.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn prepare(&self, operator: &str, now: i64) -> Result<Unsigned, EncodeError> {
        prepare(&self.claims, operator, now)
    }

    /// Whether users signed by `key` bring their own permissions or get the default ones: it is the account's own key, or
    /// a signing key without a template.
    pub fn is_plain_key(&self, key: &str) -> bool {
        let plain = |found: &SigningKey| matches!(found, SigningKey::Plain(_));
        key == self.account() || self.claims.body.signing_key(key).is_some_and(plain)
    }

    /// Up to when everyone is revoked, in seconds since the Unix epoch.
    pub fn revoked_up_to(&self) -> Option<i64> {
        self.claims.body.revocations.get(EVERYONE).copied()
    }

    /// What templates may take from the account.
    pub fn facts(&self) -> AccountFacts<'_> {
        AccountFacts {
            name: self.claims.name.as_deref().unwrap_or_default(),
            tags: &self.claims.body.tags,
        }
    }

    /// natsgate's templates, retired ones too, by name.
    pub fn templates(&self) -> impl Iterator<Item = &TemplateState> {
        self.templates.values()
    }

    /// The template `name`, if it is there.
    pub fn template(&self, name: &TemplateName) -> Option<&TemplateState> {
        self.templates.get(name)
    }

    /// Whether there is a newer generation of `template` than `newest` under a key that none of the root secrets makes: another
    /// natsgate's, which has a newer secret, say.
    pub fn has_unknown_newer(&self, template: &TemplateName, newest: Generation) -> bool {
        self.scopes()
            .filter_map(|scope| ScopeRole::parse(&scope.role))
            .any(|role| role.template == *template && role.generation > newest)
    }

    /// Roles in natsgate's form on keys that none of the root secrets makes: somebody else's, or a secret is missing.
    pub fn lookalikes(&self) -> Vec<String> {
        let ours: BTreeSet<&str> = self
            .templates()
            .flat_map(TemplateState::generations)
            .map(|generation| generation.public_key())
            .collect();
        self.scopes()
            .filter(|scope| ScopeRole::parse(&scope.role).is_some() && !ours.contains(scope.key.as_str()))
            .map(|scope| scope.role.clone())
            .collect()
    }

    /// Puts `template` there: a new one as generation 1, a changed one as the next generation beside what is there.
    ///
    /// # Errors
    /// [`AccountError::Facts`] if it takes from the account what is not there or not safe; [`AccountError::Keys`];
    /// [`AccountError::NoMoreGenerations`].
    pub fn put_template(&mut self, template: &Template) -> Result<Outcome, AccountError> {
        template.check_account(self.facts())?;
        let content = Content::Template(Box::new(template.clone()));
        self.put(template.name(), content)
    }

    /// Retires the template `name`: a generation that allows nothing becomes the newest. Older ones stay, for their
    /// sessions to be drained.
    ///
    /// # Errors
    /// [`AccountError::NoTemplate`], and as [`Self::put_template`].
    pub fn retire_template(&mut self, name: &TemplateName) -> Result<Outcome, AccountError> {
        if !self.templates.contains_key(name) {
            return Err(AccountError::NoTemplate {
                template: name.clone(),
            });
        }
        self.put(name, Content::Closed)
    }

    /// Gives every template a generation whose key the current root secret makes, retired ones too, where the newest
    /// generation is an older secret's. What is in it stays as it is. Returns the generations added.
    ///
    /// # Errors
    /// [`AccountError::CannotRotate`] if somebody edited a newest generation by hand; as [`Self::put_template`].
    pub fn rotate(&mut self) -> Result<Vec<ScopeRole>, AccountError> {
        let newest = |state: &TemplateState| (state.name().clone(), state.newest().clone());
        let newest: Vec<_> = self.templates().map(newest).collect();
        let mut added = Vec::new();
        for (template, newest) in newest {
            if newest.made_by() == MadeBy::Current {
                continue;
            }
            if let Content::Other(why) = newest.content() {
                return Err(AccountError::CannotRotate { template, why: *why });
            }
            let generation = self.add(&template, newest.content().clone())?;
            added.push(ScopeRole { template, generation });
        }
        Ok(added)
    }

    /// Takes the key of `generation` of `template` out. nats-server closes what connections it still has.
    ///
    /// # Errors
    /// [`AccountError::NoGeneration`]; [`AccountError::InUse`] for the one to mint with, unless the template is retired
    /// and this is all that is left of it.
    pub fn remove_generation(
        &mut self,
        template: &TemplateName,
        generation: Generation,
    ) -> Result<(), AccountError> {
        let role = ScopeRole {
            template: template.clone(),
            generation,
        };
        let state = self.templates.get_mut(template);
        let Some(state) = state.filter(|state| state.generation(generation).is_some()) else {
            return Err(AccountError::NoGeneration { role });
        };
        let last = state.is_retired() && state.older().next().is_none();
        if state.newest().generation() == generation && !last {
            return Err(AccountError::InUse { role });
        }
        let Some(public_key) = state
            .generation(generation)
            .map(|found| found.public_key().to_owned())
        else {
            return Err(AccountError::NoGeneration { role });
        };
        if last {
            self.templates.remove(template);
        } else {
            state.remove(generation);
        }
        let keys = &mut self.claims.body.signing_keys;
        keys.retain(|key| key.key() != Some(public_key.as_str()));
        Ok(())
    }

    /// The account's default permissions; `None` if it has none, which lets users that bring none do everything.
    ///
    /// # Errors
    /// [`NotOurs`] if natsgate would not have written them so.
    pub fn defaults(&self) -> Result<Option<DefaultPermissions>, NotOurs> {
        DefaultPermissions::read(&self.claims.body.default_permissions)
    }

    /// Puts `defaults` in the place of the account's default permissions. Returns whether that changes anything.
    pub fn set_defaults(&mut self, defaults: &DefaultPermissions) -> bool {
        let before = self.claims.body.default_permissions.clone();
        if self.defaults() == Ok(Some(defaults.clone())) {
            return false;
        }
        defaults.write(&mut self.claims.body.default_permissions);
        self.claims.body.default_permissions != before
    }

    /// Takes the account's default permissions away: **users that bring none of their own may then do everything**,
    /// live connections included. Returns whether there were any.
    pub fn clear_defaults(&mut self) -> bool {
        let before = self.claims.body.default_permissions.clone();
        DefaultPermissions::clear(&mut self.claims.body.default_permissions);
        self.claims.body.default_permissions != before
    }

    /// Revokes every user JWT of the account issued up to `at` (seconds since the Unix epoch), that second included. A
    /// later revocation of everyone that is there stays. Returns whether that changes anything.
    ///
    /// # Errors
    /// [`AccountError::RevocationAhead`] if `at` lies after `now`: nobody could connect until then.
    pub fn revoke_everyone(&mut self, at: i64, now: i64) -> Result<bool, AccountError> {
        if at > now {
            return Err(AccountError::RevocationAhead { at, now });
        }
        let revocations = &mut self.claims.body.revocations;
        if revocations.get(EVERYONE).is_some_and(|there| *there >= at) {
            return Ok(false);
        }
        revocations.insert(EVERYONE.to_owned(), at);
        Ok(true)
    }

    fn put(&mut self, name: &TemplateName, content: Content) -> Result<Outcome, AccountError> {
        let newest = self.templates.get(name).map(TemplateState::newest);
        let from = match newest {
            Some(newest) if *newest.content() == content => {
                return Ok(Outcome::Unchanged(newest.generation()));
            }
            newest => newest.map(GenerationState::generation),
        };
        let to = self.add(name, content)?;
        Ok(match from {
            Some(from) => Outcome::Next { from, to },
            None => Outcome::New(to),
        })
    }

    /// Adds a key for `content` as the newest generation of the template `name`.
    fn add(&mut self, name: &TemplateName, content: Content) -> Result<Generation, AccountError> {
        let exhausted = || AccountError::NoMoreGenerations {
            template: name.clone(),
        };
        let mut generation = match self.templates.get(name) {
            Some(state) => state.newest().generation().next().ok_or_else(exhausted)?,
            None => Generation::FIRST,
        };
        let mut key = self.keys.derive(name, generation)?;
        while self.is_taken(name, generation, key.public_key()) {
            generation = generation.next().ok_or_else(exhausted)?;
            key = self.keys.derive(name, generation)?;
        }
        let entry = match &content {
            Content::Template(template) => template.to_signing_key(key.public_key(), generation),
            Content::Closed => closed(key.public_key(), name, generation),
            Content::Other(why) => {
                let template = name.clone();
                return Err(AccountError::CannotRotate { template, why: *why });
            }
        };
        self.claims.body.signing_keys.push(entry);
        let public_key = key.public_key().to_owned();
        let added = GenerationState::new(generation, public_key, MadeBy::Current, content);
        match self.templates.get_mut(name) {
            Some(state) => state.insert(added),
            None => {
                let state = TemplateState::new(name.clone(), added);
                self.templates.insert(name.clone(), state);
            }
        }
        Ok(generation)
    }

    /// Whether somebody gave our key another role, and with it another use, or our role to another key, which a root
    /// secret that is not configured now may have made.
    fn is_taken(&self, template: &TemplateName, generation: Generation, public_key: &str) -> bool {
        let role = ScopeRole {
            template: template.clone(),
            generation,
        };
        let role = role.to_string();
        self.claims.body.signing_key(public_key).is_some() || self.scopes().any(|scope| scope.role == role)
    }

    fn scopes(&self) -> impl Iterator<Item = &UserScope> {
        let keys = self.claims.body.signing_keys.iter();
        keys.filter_map(|key| match key {
            SigningKey::Scoped(scope) => Some(&**scope),
            SigningKey::Plain(_) | SigningKey::Unknown(_) => None,
        })
    }

    fn find_templates(&self) -> Result<BTreeMap<TemplateName, TemplateState>, AccountError> {
        let mut templates: BTreeMap<TemplateName, TemplateState> = BTreeMap::new();
        for scope in self.scopes() {
            let Some(ScopeRole { template, generation }) = ScopeRole::parse(&scope.role) else {
                continue;
            };
            let Some((_, made_by)) = self.keys.find(&template, generation, &scope.key)? else {
                continue;
            };
            let known = templates.get(&template);
            if known.is_some_and(|state| state.generation(generation).is_some()) {
                let role = ScopeRole { template, generation };
                return Err(AccountError::RoleTwice { role });
            }
            let content = Content::read(&template, scope);
            let found = GenerationState::new(generation, scope.key.clone(), made_by, content);
            match templates.get_mut(&template) {
                Some(state) => state.insert(found),
                None => {
                    templates.insert(template.clone(), TemplateState::new(template, found));
                }
            }
        }
        Ok(templates)
    }
}

#[cfg(test)]
mod tests;
