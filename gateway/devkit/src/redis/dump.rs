//! Everything that lies in a server, and whether any of it can be read.

use ::redis::aio::MultiplexedConnection;
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};

use super::raw::{bytes_of, send, words_of};
use crate::error::DevkitError;

/// Every key of a server with all the bytes of its value, fields and scores included.
pub type RedisDump = Vec<(String, Vec<u8>)>;

/// Reads every key and value of all kinds there are.
pub(super) async fn dump(connection: &mut MultiplexedConnection) -> Result<RedisDump, DevkitError> {
    let mut keys = words_of(&send(connection, &["KEYS", "*"]).await?);
    keys.sort();
    let mut dump = Vec::with_capacity(keys.len());
    for key in keys {
        let kind = words_of(&send(connection, &["TYPE", &key]).await?).concat();
        let read: &[&str] = match kind.as_str() {
            "string" => &["GET", &key],
            "hash" => &["HGETALL", &key],
            "stream" => &["XRANGE", &key, "-", "+"],
            "list" => &["LRANGE", &key, "0", "-1"],
            "set" => &["SMEMBERS", &key],
            "zset" => &["ZRANGE", &key, "0", "-1", "WITHSCORES"],
            // Gone in between.
            "none" => continue,
            other => {
                return Err(DevkitError::Unreadable {
                    what: format!("the key {key}"),
                    detail: format!("a {other} cannot be dumped"),
                });
            }
        };
        let value = bytes_of(&send(connection, read).await?);
        dump.push((key, value));
    }
    Ok(dump)
}

/// Where one of `needles` stands in `dump` in a form that anybody can read or test a guess against: as it is, in any case
/// of letters, in hex, in base64, or as a plain SHA-256.
pub fn in_the_clear(dump: &[(String, Vec<u8>)], needles: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for needle in needles {
        for (form, bytes) in readable_forms(needle) {
            for (key, value) in dump {
                for (place, text) in [("key", key.as_bytes()), ("value", value.as_slice())] {
                    let text = text.to_ascii_lowercase();
                    if text.windows(bytes.len()).any(|part| part == bytes) {
                        found.push(format!("{needle}, {form}, in the {place} of {key}"));
                    }
                }
            }
        }
    }
    found
}

/// Fails the test if any of `needles` can be read in `dump`; see [`in_the_clear`].
pub fn assert_nothing_in_the_clear(dump: &[(String, Vec<u8>)], needles: &[&str]) {
    let found = in_the_clear(dump, needles);
    assert!(found.is_empty(), "in the clear: {found:#?}");
}

/// The forms of `needle` that count as readable, in lower case, with their names.
fn readable_forms(needle: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = needle.as_bytes();
    let digest = Sha256::digest(bytes);
    let mut forms = vec![
        ("as it is", bytes.to_vec()),
        ("in hex", HEXLOWER.encode(bytes).into_bytes()),
        ("as a plain digest", digest.to_vec()),
        ("as a plain digest in hex", HEXLOWER.encode(&digest).into_bytes()),
    ];
    // Within a longer text that is base64 as a whole, a needle looks different at each of three offsets; what depends on its
    // neighbours is left out.
    for offset in 0..3 {
        for (name, encoded) in [
            ("in base64", BASE64.encode(&[&vec![0; offset], bytes].concat())),
            (
                "in base64url",
                BASE64URL_NOPAD.encode(&[&vec![0; offset], bytes].concat()),
            ),
        ] {
            let encoded = encoded.trim_end_matches('=');
            let first = if offset == 0 { 0 } else { offset + 1 };
            let last = (offset + bytes.len()) * 8 / 6;
            if let Some(inner) = encoded.get(first..last) {
                forms.push((name, inner.as_bytes().to_vec()));
            }
        }
    }
    forms.retain(|(_, bytes)| !bytes.is_empty());
    for (_, bytes) in &mut forms {
        bytes.make_ascii_lowercase();
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(key: &str, value: &[u8]) -> RedisDump {
        vec![(key.to_owned(), value.to_vec())]
    }

    #[test]
    fn every_readable_form_is_found() {
        let email = "alice@example.com";
        for value in [
            format!("{{\"email\":\"{email}\"}}").into_bytes(),
            b"ALICE@example.com".to_vec(),
            HEXLOWER.encode(email.as_bytes()).into_bytes(),
            Sha256::digest(email).to_vec(),
            HEXLOWER.encode(&Sha256::digest(email)).into_bytes(),
            BASE64.encode(email.as_bytes()).into_bytes(),
            BASE64.encode(format!("x{email}yz").as_bytes()).into_bytes(),
            BASE64URL_NOPAD
                .encode(format!("xy{email}z").as_bytes())
                .into_bytes(),
            BASE64URL_NOPAD
                .encode(format!("xyz{email}").as_bytes())
                .into_bytes(),
        ] {
            assert!(
                !in_the_clear(&dump("k", &value), &[email]).is_empty(),
                "{}",
                String::from_utf8_lossy(&value)
            );
        }
        assert!(!in_the_clear(&dump("m:alice@example.com", b""), &[email]).is_empty());
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let found = in_the_clear(
            &dump("natsgate:c:x:00ff", b"bob@example.com"),
            &["alice@example.com"],
        );
        assert_eq!(found, Vec::<String>::new());
    }
}
