//! What opens, what does not, and what gives nothing away.

use super::*;

fn secrets(current: &str, previous: &[&str]) -> Secrets {
    let secret = |letter: &str| SecretString::from(letter.repeat(MIN_SECRET_BYTES));
    let previous = previous.iter().map(|letter| secret(letter)).collect();
    Secrets::new(secret(current), previous).unwrap()
}

fn sealer(current: &str, previous: &[&str]) -> Sealer {
    secrets(current, previous).sealer("test").unwrap()
}

#[test]
fn what_was_sealed_opens_where_it_belongs_and_nowhere_else() {
    let sealer = sealer("a", &[]);
    for plaintext in [b"".as_slice(), b"x", &[7; 100_000]] {
        let sealed = sealer.seal(b"here", plaintext).unwrap();
        assert_eq!(sealed.len(), plaintext.len() + 33);
        assert_eq!(sealer.open(b"here", &sealed).unwrap().as_slice(), plaintext);
        for elsewhere in [b"".as_slice(), b"her", b"here ", b"there"] {
            assert_eq!(sealer.open(elsewhere, &sealed), Err(SealError::DoesNotOpen));
        }
    }
}

#[test]
fn no_byte_can_be_altered_removed_or_added() {
    let sealer = sealer("a", &[]);
    let sealed = sealer.seal(b"here", b"plaintext").unwrap();
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut altered = sealed.clone();
            altered[at] ^= 1 << bit;
            assert_eq!(
                sealer.open(b"here", &altered),
                Err(SealError::DoesNotOpen),
                "byte {at}"
            );
        }
        assert_eq!(sealer.open(b"here", &sealed[..at]), Err(SealError::DoesNotOpen));
    }
    let longer = [sealed.as_slice(), &[0]].concat();
    assert_eq!(sealer.open(b"here", &longer), Err(SealError::DoesNotOpen));
}

#[test]
fn the_same_text_never_looks_the_same() {
    let sealer = sealer("a", &[]);
    let sealed = |_| sealer.seal(b"here", b"plaintext").unwrap();
    let all: std::collections::BTreeSet<Vec<u8>> = (0..1000).map(sealed).collect();
    assert_eq!(all.len(), 1000);
    assert!(
        !all.iter()
            .any(|sealed| sealed.windows(5).any(|part| part == b"plain"))
    );
}

#[test]
fn every_configured_secret_opens_and_only_the_first_seals() {
    let old = sealer("a", &[]).seal(b"here", b"old").unwrap();
    let both = sealer("b", &["x", "a"]);
    assert_eq!(both.open(b"here", &old).unwrap().as_slice(), b"old");
    let new = both.seal(b"here", b"new").unwrap();
    assert_eq!(sealer("b", &[]).open(b"here", &new).unwrap().as_slice(), b"new");
    assert_eq!(sealer("a", &[]).open(b"here", &new), Err(SealError::DoesNotOpen));
    assert_eq!(sealer("b", &[]).open(b"here", &old), Err(SealError::DoesNotOpen));
}

#[test]
fn purposes_share_no_key() {
    let secrets = secrets("a", &[]);
    let sealed = secrets.sealer("cache").unwrap().seal(b"here", b"x").unwrap();
    let other = secrets.sealer("log").unwrap();
    assert_eq!(other.open(b"here", &sealed), Err(SealError::DoesNotOpen));
    // Also when it claims to be of the other's key.
    let mut relabelled = sealed;
    relabelled[1..5].copy_from_slice(&other.seal(b"", b"").unwrap()[1..5]);
    assert_eq!(other.open(b"here", &relabelled), Err(SealError::DoesNotOpen));
    let digest = |purpose| secrets.key_digests(purpose).unwrap().digest(&[b"x"]);
    assert_ne!(digest("cache"), digest("log"));
}

#[test]
fn a_digest_depends_on_the_secret_and_on_where_parts_end() {
    let digest =
        |secret: &str, parts: &[&[u8]]| secrets(secret, &[]).key_digests("cache").unwrap().digest(parts);
    assert_eq!(digest("a", &[b"ab", b"c"]), digest("a", &[b"ab", b"c"]));
    assert_ne!(digest("a", &[b"ab", b"c"]), digest("b", &[b"ab", b"c"]));
    assert_ne!(digest("a", &[b"ab", b"c"]), digest("a", &[b"a", b"bc"]));
    assert_ne!(digest("a", &[b"ab"]), digest("a", &[b"ab", b""]));
    let key = secrets("a", &[])
        .key_digests("cache")
        .unwrap()
        .cache_key("kind.1", &[b"ab"]);
    let hex = data_encoding::HEXLOWER.encode(&digest("a", &[b"ab"]));
    assert_eq!(key.as_str(), format!("kind.1:{hex}"));
}

/// What lies in stores must still open after an upgrade: keys and form are fixed.
#[test]
fn what_an_earlier_release_sealed_still_opens() {
    let sealed = data_encoding::HEXLOWER
        .decode(SEALED_BY_AN_EARLIER_RELEASE.as_bytes())
        .unwrap();
    assert_eq!(
        sealer("a", &[]).open(b"here", &sealed).unwrap().as_slice(),
        b"plaintext"
    );
}

/// "plaintext", sealed for "here" and the purpose "test" with a secret of 32 times "a".
const SEALED_BY_AN_EARLIER_RELEASE: &str =
    "01d7db156cbe57c26501007b804e07b0d88818904cfb1c83ac6770581dcad41d4fd36eb1f616a02c7241";

#[test]
fn short_secrets_are_refused_by_name_and_shown_nowhere() {
    let secret = |length| SecretString::from("s".repeat(length));
    let error = Secrets::new(secret(31), vec![]).unwrap_err();
    assert_eq!(error.key, "secret");
    let error = Secrets::new(secret(32), vec![secret(32), secret(31)]).unwrap_err();
    assert_eq!(error.key, "previous_secrets[1]");
    let secrets = secrets("s", &["s"]);
    let shown = format!(
        "{error} {secrets:?} {:?} {:?}",
        sealer("s", &["s"]),
        secrets.key_digests("x").unwrap()
    );
    assert!(!shown.contains("sss"), "{shown}");
}
