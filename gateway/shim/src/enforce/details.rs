//! What another shim has to know of a session to look after it: its facts, as text for the board.

use std::sync::Arc;

use data_encoding::BASE64;
use natsgate_core::Concern;
use serde::{Deserialize, Serialize};

use crate::entitlement::Entitlement;
use crate::sessions::Facts;

#[derive(Serialize, Deserialize)]
struct Details {
    /// 16 bytes each, one after the other; `None` if not known.
    concerns: Option<String>,
    basis: String,
    entitlement: Entitlement,
}

/// `facts` as text.
pub(crate) fn write(facts: &Facts) -> String {
    let concerns = facts.concerns.as_ref().map(|concerns| {
        let bytes: Vec<u8> = concerns.iter().flat_map(|concern| *concern.as_bytes()).collect();
        BASE64.encode(&bytes)
    });
    let details = Details {
        concerns,
        basis: BASE64.encode(&facts.basis),
        entitlement: facts.entitlement.clone(),
    };
    // Plain numbers and texts: that cannot fail, and if it did the session would be one of which nothing is known.
    serde_json::to_string(&details).unwrap_or_default()
}

/// The facts of such a text; `None` if it is none.
pub(super) fn read(text: &str) -> Option<Facts> {
    let details: Details = serde_json::from_str(text).ok()?;
    let concerns = match details.concerns {
        None => None,
        Some(text) => {
            let bytes = BASE64.decode(text.as_bytes()).ok()?;
            let (whole, rest) = bytes.as_chunks::<16>();
            if !rest.is_empty() {
                return None;
            }
            Some(
                whole
                    .iter()
                    .map(|bytes| Concern::from_bytes(*bytes))
                    .collect::<Arc<[_]>>(),
            )
        }
    };
    Some(Facts {
        concerns,
        basis: BASE64.decode(details.basis.as_bytes()).ok()?,
        entitlement: details.entitlement,
    })
}

#[cfg(test)]
mod tests {
    use natsgate_proto::v1;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for concerns in [vec![], vec![vec![7; 16], vec![8; 16]]] {
            let grant = v1::Grant {
                account: "APP".into(),
                concerns,
                basis: vec![1, 2, 3],
                ..Default::default()
            };
            let facts = Facts::of(&grant, 100);
            let again = read(&write(&facts)).unwrap();
            assert_eq!(again.concerns, facts.concerns);
            assert_eq!((again.basis, again.entitlement), (facts.basis, facts.entitlement));
        }
        assert!(read("").is_none() && read("{}").is_none());
    }
}
