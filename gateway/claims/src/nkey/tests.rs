use super::*;

/// The point of order four that 32 zero bytes are; and the identity.
fn weak_points() -> [[u8; 32]; 2] {
    let mut identity = [0; 32];
    identity[0] = 1;
    [[0; 32], identity]
}

#[test]
fn a_seed_gives_its_key_back() {
    for role in [
        Role::Operator,
        Role::Account,
        Role::User,
        Role::Server,
        Role::Cluster,
    ] {
        let key = KeyPair::generate(role).unwrap();
        let again = KeyPair::from_seed(&key.seed().unwrap(), role).unwrap();
        assert_eq!(again.public_key(), key.public_key());
        assert_eq!(again.role(), role);
        assert!(key.public_key().starts_with(role.letter()));
        assert_eq!(check_public_key(key.public_key(), role), Ok(()));
    }
    assert_eq!(KeyPair::generate(Role::Curve).unwrap_err(), KeyError::CannotSign);
}

#[test]
fn generated_keys_differ() {
    let (one, other) = (
        KeyPair::generate(Role::User).unwrap(),
        KeyPair::generate(Role::User).unwrap(),
    );
    assert_ne!(one.public_key(), other.public_key());
}

#[test]
fn a_seed_of_another_role_is_named_and_not_shown() {
    let account = KeyPair::generate(Role::Account).unwrap();
    let seed = account.seed().unwrap();
    let error = KeyPair::from_seed(&seed, Role::User).unwrap_err();
    let message = error.to_string();
    assert_eq!(
        message,
        "this is an account seed (SA…), where a user seed (SU…) belongs"
    );
    for shown in [message, format!("{error:?}")] {
        assert!(!shown.contains(seed.expose_secret()));
    }
}

#[test]
fn a_seed_and_a_public_key_are_not_taken_for_one_another() {
    let user = KeyPair::generate(Role::User).unwrap();
    let seed = user.seed().unwrap();
    let error = check_public_key(seed.expose_secret(), Role::User).unwrap_err();
    assert_eq!(
        error.to_string(),
        "this is a user seed (SU…), where a user public key (U…) belongs"
    );
    let error = KeyPair::from_seed(&user.public_key().into(), Role::User).unwrap_err();
    assert_eq!(
        error.to_string(),
        "this is a user public key (U…), where a user seed (SU…) belongs"
    );
}

#[test]
fn a_public_key_of_another_role_is_refused() {
    for role in Role::ALL {
        for other in Role::ALL.into_iter().filter(|other| *other != role) {
            // A point that every role takes.
            let raw = KeyPair::generate(Role::User)
                .unwrap()
                .key
                .verifying_key()
                .to_bytes();
            let error = check_public_key(&encode_public(role, &raw), other).unwrap_err();
            assert!(
                matches!(error, KeyError::WrongRole { found, expected, .. } if (found, expected) == (role, other))
            );
        }
    }
}

#[test]
fn a_changed_character_is_a_wrong_checksum() {
    let key = KeyPair::generate(Role::Account).unwrap();
    let flip = |text: &str| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[20] = if bytes[20] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!(
        check_public_key(&flip(key.public_key()), Role::Account),
        Err(KeyError::Checksum)
    );
    let seed = flip(key.seed().unwrap().expose_secret());
    assert_eq!(
        KeyPair::from_seed(&seed.into(), Role::Account).unwrap_err(),
        KeyError::Checksum
    );
}

#[test]
fn what_is_no_nkey_is_refused() {
    let user = KeyPair::generate(Role::User).unwrap();
    let public = user.public_key();
    let shorter = public.strip_prefix('U').unwrap();
    let lower = public.to_ascii_lowercase();
    let (longer, spaced) = (format!("{public}A"), format!("{public} "));
    for text in [
        "",
        "U",
        "password",
        shorter,
        &longer,
        &spaced,
        &lower,
        "é",
        "U=======",
        &"U".repeat(10_000),
    ] {
        assert!(
            matches!(check_public_key(text, Role::User), Err(KeyError::NotAKey { .. })),
            "{text:?}"
        );
        assert!(KeyPair::from_seed(&text.into(), Role::User).is_err(), "{text:?}");
    }
    let mut stray = public.to_owned();
    stray.replace_range(3..4, "1");
    assert!(matches!(
        check_public_key(&stray, Role::User),
        Err(KeyError::NotAKey { .. })
    ));
}

#[test]
fn points_of_small_order_are_no_keys() {
    for role in Role::ALL {
        for raw in weak_points() {
            let error = check_public_key(&encode_public(role, &raw), role).unwrap_err();
            assert_eq!(error, KeyError::Weak { role });
        }
    }
}

#[test]
fn a_signature_holds_for_its_message_and_key_only() {
    let key = KeyPair::generate(Role::Server).unwrap();
    let other = KeyPair::generate(Role::Server).unwrap();
    let signature = key.sign(b"message").unwrap();
    assert_eq!(
        verify(key.public_key(), Role::Server, b"message", &signature),
        Ok(true)
    );
    assert_eq!(
        verify(key.public_key(), Role::Server, b"messagE", &signature),
        Ok(false)
    );
    assert_eq!(
        verify(other.public_key(), Role::Server, b"message", &signature),
        Ok(false)
    );
    assert_eq!(
        verify(key.public_key(), Role::Server, b"message", &signature[1..]),
        Ok(false)
    );
    assert_eq!(verify(key.public_key(), Role::Server, b"message", b""), Ok(false));
    assert!(verify(key.public_key(), Role::User, b"message", &signature).is_err());
}

#[test]
fn a_signature_that_implementations_judge_differently_does_not_hold() {
    use curve25519_dalek::Scalar;
    use sha2::{Digest, Sha512};

    // With the identity for R, the lax rule of RFC 8032 takes it, the strict one does not.
    let key = KeyPair::generate(Role::Account).unwrap();
    let identity = weak_points()[1];
    let verifying = key.key.verifying_key();
    let hash = Sha512::new()
        .chain_update(identity)
        .chain_update(verifying.as_bytes())
        .chain_update(b"message");
    let s = Scalar::from_bytes_mod_order_wide(&hash.finalize().into()) * key.key.to_scalar();
    let signature = [identity, s.to_bytes()].concat();
    let lax = ed25519_dalek::Verifier::verify(
        &verifying,
        b"message",
        &Signature::from_slice(&signature).unwrap(),
    );
    assert!(lax.is_ok());
    assert_eq!(
        verify(key.public_key(), Role::Account, b"message", &signature),
        Ok(false)
    );
}

#[test]
fn debug_shows_the_public_key_only() {
    let key = KeyPair::generate(Role::User).unwrap();
    assert_eq!(format!("{key:?}"), format!("KeyPair({:?})", key.public_key()));
}

#[test]
fn a_raw_seed_makes_the_key_its_text_makes() {
    let raw = Zeroizing::new([7; 32]);
    let key = KeyPair::from_raw_seed(&raw, Role::Account).unwrap();
    let again = KeyPair::from_seed(&key.seed().unwrap(), Role::Account).unwrap();
    assert_eq!(key.public_key(), again.public_key());
    assert_eq!(
        KeyPair::from_raw_seed(&raw, Role::Curve).unwrap_err(),
        KeyError::CannotSign
    );
}
