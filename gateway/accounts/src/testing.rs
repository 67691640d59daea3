//! What the tests of this crate have in common.

use natsgate_claims::{KeyPair, Role};
use natsgate_core::{Limits, Permissions, Subject, SubscribeSubject};
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::keys::{RootSecret, ScopedKeys};
use crate::naming::{Generation, TemplateName};
use crate::template::Template;

pub(crate) const NOW: i64 = 1_800_000_000;

pub(crate) const OLD_SECRET: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const NEW_SECRET: &str = "fedcba9876543210fedcba9876543210";

pub(crate) fn key(role: Role, seed: u8) -> KeyPair {
    KeyPair::from_raw_seed(&Zeroizing::new([seed; 32]), role).unwrap()
}

pub(crate) fn operator() -> KeyPair {
    key(Role::Operator, 100)
}

pub(crate) fn account_key() -> String {
    key(Role::Account, 1).public_key().to_owned()
}

pub(crate) fn secret(text: &str) -> RootSecret {
    RootSecret::new(SecretString::from(text)).unwrap()
}

pub(crate) fn keys() -> ScopedKeys {
    ScopedKeys::new(account_key(), secret(OLD_SECRET), vec![]).unwrap()
}

/// Those of [`keys`], after the secret was exchanged.
pub(crate) fn rotated_keys() -> ScopedKeys {
    ScopedKeys::new(account_key(), secret(NEW_SECRET), vec![secret(OLD_SECRET)]).unwrap()
}

pub(crate) fn name(text: &str) -> TemplateName {
    text.parse().unwrap()
}

pub(crate) fn generation(number: u32) -> Generation {
    Generation::new(number).unwrap()
}

pub(crate) fn subject(text: &str) -> Subject {
    Subject::parse(text).unwrap()
}

/// Permissions to publish and to subscribe.
pub(crate) fn permissions(publish: &[&str], subscribe: &[&str]) -> Permissions {
    let mut permissions = Permissions::default();
    permissions.publish.allow = publish.iter().map(|text| subject(text)).collect();
    permissions.subscribe.allow = subscribe
        .iter()
        .map(|text| SubscribeSubject {
            subject: subject(text),
            queue: None,
        })
        .collect();
    permissions
}

pub(crate) fn template(text: &str, publish: &[&str], subscribe: &[&str]) -> Template {
    Template::new(name(text), permissions(publish, subscribe), Limits::default()).unwrap()
}
