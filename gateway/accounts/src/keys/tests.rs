use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn secret(text: &str) -> RootSecret {
    RootSecret::new(SecretString::from(text)).unwrap()
}

fn account(seed: u8) -> String {
    let key = KeyPair::from_raw_seed(&Zeroizing::new([seed; 32]), Role::Account).unwrap();
    key.public_key().to_owned()
}

fn keys(current: &str, older: &[&str]) -> ScopedKeys {
    ScopedKeys::new(
        account(1),
        secret(current),
        older.iter().map(|text| secret(text)).collect(),
    )
    .unwrap()
}

fn name(text: &str) -> TemplateName {
    text.parse().unwrap()
}

fn generation(number: u32) -> Generation {
    Generation::new(number).unwrap()
}

const OLD: &str = "0123456789abcdef0123456789abcdef";
const NEW: &str = "fedcba9876543210fedcba9876543210";

/// Computed apart from this crate, by RFC 5869 over HMAC-SHA-256 and RFC 8032.
#[test]
fn the_derivation_stays_what_it_is() {
    let keys = keys(OLD, &[]);
    for (template, number, expected) in [
        (
            "member",
            1,
            "AADHF4ENI5LNTPMWASBCMYHJMGGPJOSTWWBA3LOZN3GAUG4E33KLM65M",
        ),
        (
            "member",
            2,
            "ADFTHXFHWQEJ7BQDG33L7MHLFOWSTFWRSQIQZ2ERNCKMBDY43NTTAB6N",
        ),
        (
            "owner",
            1,
            "AA4HLAMKB4KEJ5VI23ZNMJ67ULJLQVORMZI4DBCKWZVC4TGAIFDDLBLG",
        ),
        (
            "a-_Z",
            u32::MAX,
            "ADEDJFVL44GZ3SUOGJXKUCIZYMCG5USPY54WXEUK75M23XYXDWEWUDTD",
        ),
    ] {
        let key = keys.derive(&name(template), generation(number)).unwrap();
        assert_eq!(key.public_key(), expected, "{template} {number}");
        assert_eq!(key.role(), Role::Account);
    }
}

#[test]
fn every_account_secret_template_and_generation_has_its_own_key() {
    let mut seen = BTreeSet::new();
    for account in [account(1), account(2)] {
        for text in [OLD, NEW] {
            let keys = ScopedKeys::new(account.clone(), secret(text), vec![]).unwrap();
            for template in ["a", "b", "aa"] {
                for number in [1, 2, 11, 256] {
                    let key = keys.derive(&name(template), generation(number)).unwrap();
                    assert!(seen.insert(key.public_key().to_owned()));
                }
            }
        }
    }
}

#[test]
fn a_key_tells_which_secret_made_it() {
    let before = keys(OLD, &[]);
    let (template, first) = (name("member"), Generation::FIRST);
    let old = before.derive(&template, first).unwrap();
    let after = keys(NEW, &["another secret of more than 32 bytes", OLD]);
    let new = after.derive(&template, first).unwrap();
    assert_ne!(old.public_key(), new.public_key());

    let (found, made_by) = after.find(&template, first, old.public_key()).unwrap().unwrap();
    assert_eq!(
        (found.public_key(), made_by),
        (old.public_key(), MadeBy::Older(1))
    );
    let (_, made_by) = after.find(&template, first, new.public_key()).unwrap().unwrap();
    assert_eq!(made_by, MadeBy::Current);
    assert!(before.find(&template, first, new.public_key()).unwrap().is_none());
    assert!(
        after
            .find(&template, generation(2), old.public_key())
            .unwrap()
            .is_none()
    );
}

#[test]
fn secrets_that_are_weak_or_ambiguous_are_refused() {
    let refused = |text: &str| RootSecret::new(SecretString::from(text)).unwrap_err();
    assert_eq!(refused(""), KeysError::TooShort);
    assert_eq!(refused(&"x".repeat(31)), KeysError::TooShort);
    assert_eq!(refused(&format!("{OLD}\n")), KeysError::WhiteSpace);
    for (current, older) in [(OLD, vec![OLD]), (OLD, vec![NEW, NEW]), (OLD, vec![NEW, OLD])] {
        let older = older.into_iter().map(secret).collect();
        let twice = ScopedKeys::new(account(1), secret(current), older).unwrap_err();
        assert_eq!(twice, KeysError::Twice);
    }
}

#[test]
fn an_account_is_named_by_its_public_key() {
    let user = KeyPair::generate(Role::User).unwrap();
    for other in ["", "APP", user.public_key()] {
        let error = ScopedKeys::new(other, secret(OLD), vec![]).unwrap_err();
        assert!(matches!(error, KeysError::Account(_)), "{other}: {error:?}");
    }
}

#[test]
fn nothing_shows_a_secret() {
    let keys = keys(OLD, &[NEW]);
    let shown = format!("{keys:?} {:?}", secret(OLD));
    assert!(!shown.contains(OLD) && !shown.contains(NEW), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_derived_is_found(template in "[A-Za-z0-9_-]{1,64}", number in 1u32..) {
        let keys = keys(OLD, &[NEW]);
        let (template, generation) = (name(&template), generation(number));
        let key = keys.derive(&template, generation).unwrap();
        let found = keys.find(&template, generation, key.public_key()).unwrap();
        prop_assert_eq!(found.map(|(_, made_by)| made_by), Some(MadeBy::Current));
    }
}
