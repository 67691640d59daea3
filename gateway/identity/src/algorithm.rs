//! The signature algorithms a provider may use. There is no variant for `none` or for an HMAC, so no setting and no
//! token can name one (RFC 8725 section 3.1).

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

/// An asymmetric JWS algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1).
///
/// ES512 (P-521) and ES256K (secp256k1) are not supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, JsonSchema)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// EdDSA, on Ed25519 only.
    EdDSA,
}

/// Why a name is not an [`Algorithm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// `none`: no signature at all.
    #[error("`none` is no signature and is never accepted")]
    Unsigned,
    /// An HMAC: whoever can verify could also sign.
    #[error("an HMAC (HS256, HS384, HS512) is never accepted: whoever can verify one can also make one")]
    Hmac,
    /// An algorithm that exists and is not supported.
    #[error("ES512 and ES256K are not supported; use ES256, ES384 or EdDSA")]
    Unsupported,
    /// Something else.
    #[error("not one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA")]
    Unknown,
}

impl Algorithm {
    /// Every algorithm there is here.
    pub const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// The name in a token's `alg` header.
    pub fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// The algorithm of that name. Names are case-sensitive (RFC 7515 section 4.1.1).
    ///
    /// # Errors
    /// [`NotAllowed`] says which kind of other name it is, without repeating it.
    pub fn from_name(name: &str) -> Result<Self, NotAllowed> {
        if let Some(found) = Self::ALL.into_iter().find(|known| known.name() == name) {
            return Ok(found);
        }
        Err(match name {
            // The case of `none` varies among those who try it.
            _ if name.eq_ignore_ascii_case("none") => NotAllowed::Unsigned,
            _ if name.get(..2).is_some_and(|head| head.eq_ignore_ascii_case("HS")) => NotAllowed::Hmac,
            "ES512" | "ES256K" => NotAllowed::Unsupported,
            _ => NotAllowed::Unknown,
        })
    }

    /// The same in the words of the crate that checks signatures.
    pub(crate) fn to_jsonwebtoken(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::RS256 => jsonwebtoken::Algorithm::RS256,
            Self::RS384 => jsonwebtoken::Algorithm::RS384,
            Self::RS512 => jsonwebtoken::Algorithm::RS512,
            Self::PS256 => jsonwebtoken::Algorithm::PS256,
            Self::PS384 => jsonwebtoken::Algorithm::PS384,
            Self::PS512 => jsonwebtoken::Algorithm::PS512,
            Self::ES256 => jsonwebtoken::Algorithm::ES256,
            Self::ES384 => jsonwebtoken::Algorithm::ES384,
            Self::EdDSA => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Algorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::from_name(&name).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_to_a_symmetric_or_absent_signature() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_name(algorithm.name()), Ok(algorithm));
        }
        for (name, why) in [
            ("none", NotAllowed::Unsigned),
            ("None", NotAllowed::Unsigned),
            ("NONE", NotAllowed::Unsigned),
            ("HS256", NotAllowed::Hmac),
            ("HS384", NotAllowed::Hmac),
            ("HS512", NotAllowed::Hmac),
            ("hs256", NotAllowed::Hmac),
            ("ES512", NotAllowed::Unsupported),
            ("ES256K", NotAllowed::Unsupported),
            ("rs256", NotAllowed::Unknown),
            ("", NotAllowed::Unknown),
            ("é", NotAllowed::Unknown),
        ] {
            assert_eq!(Algorithm::from_name(name), Err(why), "{name:?}");
        }
    }

    #[test]
    fn a_setting_that_names_an_hmac_says_why_not() {
        let error = serde_json::from_str::<Algorithm>("\"HS256\"")
            .unwrap_err()
            .to_string();
        assert!(error.contains("HMAC"), "{error}");
        assert_eq!(
            serde_json::from_str::<Algorithm>("\"EdDSA\"").unwrap(),
            Algorithm::EdDSA
        );
    }
}
