//! The text form of nkeys: base32 without padding over prefix, 32 bytes and a CRC-16 (NATS ADR-14). A seed's prefix
//! has two parts: that it is a seed, and its role. Every buffer that holds a seed is wiped.

use data_encoding::BASE32_NOPAD;
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::error::{KeyError, KeyForm};
use crate::role::Role;

/// Characters of a public key's text.
pub(super) const PUBLIC_CHARACTERS: usize = 56;
/// Characters of a seed's text.
pub(super) const SEED_CHARACTERS: usize = 58;

/// The first five bits of a seed: the letter `S`.
const SEED_PREFIX: u8 = 18 << 3;
/// Bytes under a seed's text: two of prefix, the key, two of checksum.
const SEED_BYTES: usize = 36;

/// The text of the public key `raw` of `role`.
pub(crate) fn encode_public(role: Role, raw: &[u8; 32]) -> String {
    let mut bytes = Vec::with_capacity(35);
    bytes.push(role.prefix());
    bytes.extend_from_slice(raw);
    let checksum = crc16(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    BASE32_NOPAD.encode(&bytes)
}

/// The text of the seed `raw` of `role`.
pub(crate) fn encode_seed(role: Role, raw: &[u8; 32]) -> SecretString {
    let mut bytes = Zeroizing::new(Vec::with_capacity(SEED_BYTES));
    bytes.push(SEED_PREFIX | role.prefix() >> 5);
    bytes.push((role.prefix() & 31) << 3);
    bytes.extend_from_slice(raw);
    let checksum = crc16(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    SecretString::from(BASE32_NOPAD.encode(&bytes))
}

/// The 32 bytes of the public key `text`, which must be of `role`.
pub(super) fn decode_public(text: &str, role: Role) -> Result<[u8; 32], KeyError> {
    match nkeys::from_public_key(text) {
        Ok((prefix, raw)) if prefix == role.prefix() => Ok(raw),
        _ => Err(explain(text, role, KeyForm::PublicKey)),
    }
}

/// The 32 bytes of the seed `text`, which must be of `role`.
pub(crate) fn decode_seed(text: &str, role: Role) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    match read_seed(text) {
        Some((found, raw)) if found == role => Ok(raw),
        _ => Err(explain(text, role, KeyForm::Seed)),
    }
}

fn read_seed(text: &str) -> Option<(Role, Zeroizing<[u8; 32]>)> {
    if text.len() != SEED_CHARACTERS {
        return None;
    }
    let mut bytes = Zeroizing::new([0; SEED_BYTES]);
    BASE32_NOPAD
        .decode_mut(text.as_bytes(), bytes.as_mut_slice())
        .ok()?;
    let (body, checksum) = bytes.split_last_chunk::<2>()?;
    let ([first, second], raw) = body.split_first_chunk::<2>()?;
    if crc16(body).to_le_bytes() != *checksum || first & 0xf8 != SEED_PREFIX {
        return None;
    }
    let role = Role::of_prefix((first & 7) << 5 | second >> 3)?;
    Some((role, Zeroizing::new(raw.try_into().ok()?)))
}

/// What `text` is, since it is not what it should be.
fn explain(text: &str, expected: Role, form: KeyForm) -> KeyError {
    let public = || Some((super::role_of(text)?, KeyForm::PublicKey));
    let seed = || Some((read_seed(text)?.0, KeyForm::Seed));
    if let Some((found, found_form)) = public().or_else(seed) {
        return KeyError::WrongRole {
            found,
            found_form,
            expected,
            expected_form: form,
        };
    }
    let base32 = text.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'));
    let begins_right = match form {
        KeyForm::PublicKey => text.starts_with(expected.letter()),
        KeyForm::Seed => text
            .strip_prefix('S')
            .is_some_and(|rest| rest.starts_with(expected.letter())),
    };
    if base32 && begins_right && text.len() == form.characters() {
        KeyError::Checksum
    } else {
        KeyError::NotAKey { expected, form }
    }
}

/// CRC-16/XMODEM: polynomial 0x1021, no reflection, initially zero.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc: u16, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    })
}
