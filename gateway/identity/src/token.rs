//! Taking a token apart: a JWS in compact form (RFC 7515 section 3.1) whose payload is a claims set (RFC 7519).
//! Nothing here is verified yet; nothing here is believed, except to choose who verifies it.

use data_encoding::BASE64URL_NOPAD;
use natsgate_core::{Denial, DenialReason};
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;

/// A token in its parts. Has no `Debug`: everything in it is somebody's.
pub(crate) struct Token<'a> {
    /// The algorithm in the header; never `none`, never an HMAC.
    pub(crate) algorithm: Algorithm,
    /// The key's id in the header.
    pub(crate) kid: Option<String>,
    /// The type in the header.
    pub(crate) typ: Option<String>,
    /// The payload, not verified.
    pub(crate) claims: Map<String, Value>,
    /// What the signature is over.
    pub(crate) signing_input: &'a str,
    /// The signature.
    pub(crate) signature: Vec<u8>,
}

fn malformed(detail: &'static str) -> Denial {
    Denial::new(DenialReason::MalformedToken, detail)
}

impl<'a> Token<'a> {
    /// Takes `text` apart.
    ///
    /// # Errors
    /// [`DenialReason::NoCredentials`] for nothing at all, [`DenialReason::MalformedToken`] for what is not such a
    /// token, [`DenialReason::AlgorithmNotAllowed`] for an algorithm that no provider may use.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Denial> {
        if text.is_empty() {
            return Err(Denial::new(DenialReason::NoCredentials, "the token is empty"));
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !text.bytes().all(allowed) {
            return Err(malformed("it has characters outside base64url and '.'"));
        }
        let (signing_input, signature) = text
            .rsplit_once('.')
            .ok_or_else(|| malformed("it is not three parts joined by '.'"))?;
        let (header, payload) = signing_input
            .split_once('.')
            .ok_or_else(|| malformed("it is not three parts joined by '.'"))?;
        if payload.contains('.') {
            return Err(malformed(
                "it has more than three parts (five would be an encrypted token: have the provider sign it instead)",
            ));
        }

        let header = object(header)
            .ok_or_else(|| malformed("its header is not a JSON object in base64url without padding"))?;
        let algorithm = algorithm(&header)?;
        if header.contains_key("crit") {
            return Err(malformed(
                "its header has `crit`: extensions natsgate does not know must not be passed over (RFC 7515 section \
                 4.1.11)",
            ));
        }
        let kid = text_header(&header, "kid", "its header's `kid` is not a string")?;
        let typ = text_header(&header, "typ", "its header's `typ` is not a string")?;

        let claims = object(payload)
            .ok_or_else(|| malformed("its payload is not a JSON object in base64url without padding"))?;
        let signature = BASE64URL_NOPAD
            .decode(signature.as_bytes())
            .ok()
            .filter(|bytes| !bytes.is_empty())
            .ok_or_else(|| malformed("its signature is empty or not base64url without padding"))?;
        Ok(Self {
            algorithm,
            kid,
            typ,
            claims,
            signing_input,
            signature,
        })
    }

    /// The issuer the token claims to be from.
    ///
    /// # Errors
    /// [`DenialReason::MissingClaim`] or [`DenialReason::BadClaim`].
    pub(crate) fn issuer(&self) -> Result<&str, Denial> {
        match self.claims.get("iss") {
            Some(Value::String(issuer)) => Ok(issuer),
            Some(_) => Err(Denial::new(DenialReason::BadClaim, "`iss` is not a string")),
            None => Err(Denial::new(DenialReason::MissingClaim, "the token has no `iss`")),
        }
    }
}

/// Whether `text` is a JWT, good or bad, and not an opaque token: it has dots, and a JWS header between them. Such a token
/// is only ever treated as a JWT, so that one which is refused is not passed off as something else: some providers pass
/// over empty parts, and would say of `header.payload.signature.` that it is in force. An encrypted token (RFC 7516: five
/// parts, `enc`) is opaque to all but its provider.
pub(crate) fn is_jwt_shaped(text: &str) -> bool {
    if !text.contains('.') {
        return false;
    }
    let header = text
        .split('.')
        .find_map(|part| object(part).filter(|header| header.contains_key("alg")));
    header.is_some_and(|header| !(header.contains_key("enc") && text.split('.').count() == 5))
}

/// Checks that `text` can be an opaque token: printable ASCII without spaces, which travels safely in a header (RFC 6750
/// section 2.1 allows less, RFC 6749 appendix A.12 a space more).
///
/// # Errors
/// [`DenialReason::NoCredentials`] or [`DenialReason::MalformedToken`].
pub(crate) fn check_opaque(text: &str) -> Result<(), Denial> {
    if text.is_empty() {
        return Err(Denial::new(DenialReason::NoCredentials, "the token is empty"));
    }
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(malformed("it has characters that no token has"))
}

/// The JSON object that `part` is in base64url. If a name occurs twice, the last one counts (RFC 7515 section 4).
fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = BASE64URL_NOPAD.decode(part.as_bytes()).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn algorithm(header: &Map<String, Value>) -> Result<Algorithm, Denial> {
    let refused = |detail: String| Denial::new(DenialReason::AlgorithmNotAllowed, detail);
    match header.get("alg") {
        Some(Value::String(name)) => {
            Algorithm::from_name(name).map_err(|why| refused(format!("its header's `alg`: {why}")))
        }
        Some(_) => Err(malformed("its header's `alg` is not a string")),
        None => Err(malformed("its header has no `alg`")),
    }
}

fn text_header(
    header: &Map<String, Value>,
    name: &str,
    wrong: &'static str,
) -> Result<Option<String>, Denial> {
    match header.get(name) {
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(malformed(wrong)),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(json: &str) -> String {
        BASE64URL_NOPAD.encode(json.as_bytes())
    }

    fn reason(text: &str) -> DenialReason {
        Token::parse(text).err().expect("refused").reason
    }

    #[test]
    fn a_token_is_taken_apart() {
        let text = format!(
            "{}.{}.{}",
            part(r#"{"alg":"RS256","kid":"k"}"#),
            part(r#"{"iss":"x"}"#),
            part("sig")
        );
        let token = Token::parse(&text).unwrap();
        assert_eq!(token.algorithm, Algorithm::RS256);
        assert_eq!(token.kid.as_deref(), Some("k"));
        assert_eq!(token.issuer().unwrap(), "x");
        assert_eq!(token.signature, b"sig");
        assert!(text.starts_with(token.signing_input));
    }

    #[test]
    fn what_is_not_a_token_is_malformed() {
        let header = part(r#"{"alg":"RS256"}"#);
        let good = format!("{header}.{}.{}", part("{}"), part("sig"));
        assert!(Token::parse(&good).is_ok());
        assert_eq!(reason(""), DenialReason::NoCredentials);
        for bad in [
            "x".to_owned(),
            "a.b".to_owned(),
            "a.b.c".to_owned(),
            "..".to_owned(),
            format!("{good}\0"),
            format!(" {good}"),
            format!("{good}\n"),
            format!("{good}="),
            format!("{good}é"),
            format!("{good}.x"),
            format!("{good}.x.y"),
            format!("{header}.{}.", part("{}")),
            format!("{}.{}.{}", part("[]"), part("{}"), part("sig")),
            format!("{}.{}.{}", part("{}"), part("{}"), part("sig")),
            format!("{}.{}.{}", part(r#"{"alg":1}"#), part("{}"), part("sig")),
            format!(
                "{}.{}.{}",
                part(r#"{"alg":"RS256","kid":7}"#),
                part("{}"),
                part("sig")
            ),
            format!(
                "{}.{}.{}",
                part(r#"{"alg":"RS256","typ":[]}"#),
                part("{}"),
                part("sig")
            ),
            format!(
                "{}.{}.{}",
                part(r#"{"alg":"RS256","crit":["b64"],"b64":false}"#),
                part("{}"),
                part("sig")
            ),
            format!("{header}.{}.{}", part("not json"), part("sig")),
            format!("{header}.{}.{}", part("\"text\""), part("sig")),
            format!("{header}.{}.{}", part(&"[".repeat(10_000)), part("sig")),
        ] {
            assert_eq!(reason(&bad), DenialReason::MalformedToken, "{bad}");
        }
    }

    #[test]
    fn a_jwt_is_told_from_an_opaque_token_by_its_header() {
        let header = part(r#"{"alg":"none"}"#);
        for jwt in [
            format!("{header}.x.y"),
            format!("{header}.."),
            format!("{header}. .é"),
            // Providers that pass over empty parts would take these for the token between.
            format!("{header}.x"),
            format!("{header}.x.y."),
            format!(".{header}.x.y"),
            format!("{header}.x.y.z.w"),
        ] {
            assert!(is_jwt_shaped(&jwt), "{jwt}");
        }
        for opaque in [
            "",
            "x",
            "a.b.c",
            "..",
            &header,
            &format!("{}.x.y.z.w", part(r#"{"alg":"dir","enc":"A256GCM"}"#)),
        ] {
            assert!(!is_jwt_shaped(opaque), "{opaque}");
        }
        assert_eq!(check_opaque("ghp_~+/=a.b"), Ok(()));
        for bad in ["a b", "a\n", "a\0", "é"] {
            assert_eq!(
                check_opaque(bad).unwrap_err().reason,
                DenialReason::MalformedToken,
                "{bad:?}"
            );
        }
        assert_eq!(check_opaque("").unwrap_err().reason, DenialReason::NoCredentials);
    }

    #[test]
    fn unsigned_and_symmetric_tokens_are_refused_before_anything_else_is_read() {
        for alg in ["none", "None", "HS256", "HS384", "HS512", "ES512", "secret"] {
            let text = format!("{}.{}.", part(&format!(r#"{{"alg":"{alg}"}}"#)), part("{}"));
            let denial = Token::parse(&text).err().unwrap();
            assert_eq!(denial.reason, DenialReason::AlgorithmNotAllowed, "{alg}");
            assert!(!denial.detail.contains("secret"), "{denial}");
        }
    }

    #[test]
    fn an_issuer_must_be_a_string() {
        for (claims, reason) in [
            ("{}", DenialReason::MissingClaim),
            (r#"{"iss":["x"]}"#, DenialReason::BadClaim),
            (r#"{"iss":null}"#, DenialReason::BadClaim),
        ] {
            let text = format!("{}.{}.{}", part(r#"{"alg":"RS256"}"#), part(claims), part("sig"));
            assert_eq!(
                Token::parse(&text).unwrap().issuer().unwrap_err().reason,
                reason,
                "{claims}"
            );
        }
    }
}
