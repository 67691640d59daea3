use super::*;

fn pair() -> (XKeyPair, XKeyPair) {
    (XKeyPair::generate().unwrap(), XKeyPair::generate().unwrap())
}

#[test]
fn what_one_seals_only_the_other_opens() {
    let (one, other) = pair();
    let third = XKeyPair::generate().unwrap();
    let sealed = one.seal(b"plain", other.public_key()).unwrap();
    assert_eq!(
        other.open(&sealed, one.public_key()).unwrap().as_slice(),
        b"plain"
    );
    assert_eq!(third.open(&sealed, one.public_key()), Err(XKeyError::CannotOpen));
    // The right recipient, but not from whom it is said to be.
    assert_eq!(
        other.open(&sealed, third.public_key()),
        Err(XKeyError::CannotOpen)
    );
}

#[test]
fn nkeys_opens_what_we_seal_and_seals_what_we_open() {
    let ours = XKeyPair::generate().unwrap();
    let theirs = nkeys::XKey::new();
    let us = nkeys::XKey::from_public_key(ours.public_key()).unwrap();
    let sealed = ours.seal(b"hello", &theirs.public_key()).unwrap();
    assert_eq!(theirs.open(&sealed, &us).unwrap(), b"hello");
    let sealed = theirs.seal(b"hello", &us).unwrap();
    assert_eq!(
        ours.open(&sealed, &theirs.public_key()).unwrap().as_slice(),
        b"hello"
    );
}

#[test]
fn no_nonce_is_used_twice() {
    let (one, other) = pair();
    let (first, second) = (
        one.seal(b"same", other.public_key()).unwrap(),
        one.seal(b"same", other.public_key()).unwrap(),
    );
    assert_ne!(first[4..28], second[4..28]);
}

#[test]
fn a_changed_byte_anywhere_does_not_open() {
    let (one, other) = pair();
    let sealed = one.seal(b"plain", other.public_key()).unwrap();
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        let expected = if at < 4 {
            XKeyError::NotXkv1
        } else {
            XKeyError::CannotOpen
        };
        assert_eq!(other.open(&changed, one.public_key()), Err(expected), "byte {at}");
    }
}

#[test]
fn a_message_cut_off_is_told_from_one_that_was_never_sealed() {
    let (one, other) = pair();
    let sealed = one.seal(b"", other.public_key()).unwrap();
    assert_eq!(other.open(&sealed, one.public_key()).unwrap().as_slice(), b"");
    for end in 0..sealed.len() {
        assert_eq!(
            other.open(&sealed[..end], one.public_key()),
            Err(XKeyError::Truncated),
            "{end} bytes"
        );
    }
    assert_eq!(
        other.open(b"eyJ0eXAiOiJKV1QifQ.e30.x", one.public_key()),
        Err(XKeyError::NotXkv1)
    );
}

#[test]
fn a_peer_that_is_no_xkey_is_refused() {
    let (one, other) = pair();
    let sealed = one.seal(b"plain", other.public_key()).unwrap();
    let user = crate::KeyPair::generate(Role::User).unwrap();
    let zero = nkey::encode_public(Role::Curve, &[0; 32]);
    for peer in ["", "X", user.public_key(), zero.as_str()] {
        assert!(
            matches!(other.open(&sealed, peer), Err(XKeyError::Peer(_))),
            "{peer:?}"
        );
        assert!(
            matches!(one.seal(b"plain", peer), Err(XKeyError::Peer(_))),
            "{peer:?}"
        );
    }
    assert!(
        one.peers
            .lock()
            .unwrap()
            .iter()
            .all(|(peer, _)| peer == other.public_key())
    );
}

#[test]
fn a_seed_of_another_role_is_refused() {
    let account = crate::KeyPair::generate(Role::Account).unwrap();
    let error = XKeyPair::from_seed(&account.seed().unwrap()).unwrap_err();
    assert!(
        error.to_string().starts_with("this is an account seed (SA…)"),
        "{error}"
    );
}

#[test]
fn one_secret_is_kept_for_each_peer_and_no_more_than_the_bound() {
    let ours = XKeyPair::generate().unwrap();
    let peers: Vec<_> = (0..PEERS + 5).map(|_| XKeyPair::generate().unwrap()).collect();
    let first = peers[0].public_key();
    ours.seal(b"x", first).unwrap();
    let shared = ours.kept(first).unwrap();
    for peer in &peers {
        ours.seal(b"x", peer.public_key()).unwrap();
        // In use all along, so it stays; and is not made anew.
        assert!(Arc::ptr_eq(&ours.shared_with(first).unwrap(), &shared));
    }
    assert_eq!(ours.peers.lock().unwrap().len(), PEERS);
    assert!(
        ours.kept(peers[1].public_key()).is_none(),
        "the least recently used goes first"
    );
    // What is gone is made again.
    let sealed = peers[1].seal(b"again", ours.public_key()).unwrap();
    assert_eq!(
        ours.open(&sealed, peers[1].public_key()).unwrap().as_slice(),
        b"again"
    );
}

#[test]
fn debug_shows_the_public_key_only() {
    let key = XKeyPair::generate().unwrap();
    assert_eq!(format!("{key:?}"), format!("XKeyPair({:?})", key.public_key()));
}
