//! Where the client's credential is: in its CONNECT, or its TLS certificate.
//!
//! NATS clients have no field called "access token", so it travels as the token, as the password, or inside a JSON
//! object in either of them. Which of these count, and in which order, is configured.

use natsgate_core::{CertificateChain, Credential, Denial, DenialReason};
use natsgate_proto::v1::ConnectOptions;
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// A place in CONNECT that may hold the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CredentialSource {
    /// `auth_token`, as it is.
    AuthToken,
    /// `pass`, as it is; the user name is ignored.
    Password,
    /// A JSON object in `auth_token` or `pass`, with the token in `token` or `access_token`.
    Json,
    /// The client's TLS certificate, if the nats-server has verified it.
    Certificate,
}

impl CredentialSource {
    /// What counts unless configured otherwise: every way a token may come.
    pub const DEFAULT: [Self; 3] = [Self::Json, Self::AuthToken, Self::Password];
}

/// The JSON credential. Unknown fields are left alone: clients may put more into it.
#[derive(Deserialize)]
struct JsonCredential {
    token: Option<SecretString>,
    access_token: Option<SecretString>,
}

/// Finds the credential in `connect` and `certificates`, trying `sources` in order.
///
/// # Errors
/// A [`Denial`]: nothing there that could be one, a JSON credential that is not one, or one larger than `max_bytes`.
pub fn find(
    connect: &ConnectOptions,
    certificates: &[CertificateChain],
    sources: &[CredentialSource],
    max_bytes: usize,
) -> Result<Credential, Denial> {
    for field in [&connect.auth_token, &connect.pass] {
        if field.len() > max_bytes {
            return Err(Denial::new(
                DenialReason::CredentialTooLarge,
                format!(
                    "the credential has {} bytes, {max_bytes} are accepted (max_token_bytes)",
                    field.len()
                ),
            ));
        }
    }
    for source in sources {
        let found = match source {
            CredentialSource::AuthToken => plain(&connect.auth_token),
            CredentialSource::Password => plain(&connect.pass),
            CredentialSource::Json => json(&connect.auth_token)?.or(json(&connect.pass)?),
            CredentialSource::Certificate => match certificates {
                [] => None,
                // A server that trusts several authorities may verify one certificate in several ways: the leaf is one.
                [chain, ..] => return Ok(Credential::Certificate(chain.clone())),
            },
        };
        if let Some(token) = found {
            return Ok(Credential::Token(token));
        }
    }
    Err(Denial::new(
        DenialReason::NoCredentials,
        "the client sent no credential of those configured (see decision.credentials)",
    ))
}

fn plain(field: &str) -> Option<SecretString> {
    (!field.is_empty() && !looks_like_json(field)).then(|| SecretString::from(field))
}

fn json(field: &str) -> Result<Option<SecretString>, Denial> {
    if !looks_like_json(field) {
        return Ok(None);
    }
    // The parser's own message may quote what it read.
    let credential: JsonCredential = serde_json::from_str(field)
        .map_err(|_| Denial::new(DenialReason::MalformedToken, "the JSON credential cannot be read"))?;
    match (credential.token, credential.access_token) {
        (Some(token), None) | (None, Some(token)) if !token.expose_secret().is_empty() => Ok(Some(token)),
        (Some(_), Some(_)) => Err(Denial::new(
            DenialReason::MalformedToken,
            "the JSON credential has both `token` and `access_token`",
        )),
        _ => Err(Denial::new(
            DenialReason::NoCredentials,
            "the JSON credential has neither `token` nor `access_token`",
        )),
    }
}

/// No JWT and no opaque token (RFC 6750's `b64token`) begins with a brace.
fn looks_like_json(field: &str) -> bool {
    field.trim_start().starts_with('{')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::field_reassign_with_default, reason = "the message has a Drop")]
    fn connect(auth_token: &str, pass: &str) -> ConnectOptions {
        let mut connect = ConnectOptions::default();
        connect.auth_token = auth_token.to_owned();
        connect.pass = pass.to_owned();
        connect
    }

    fn found(connect: &ConnectOptions, sources: &[CredentialSource]) -> Result<String, DenialReason> {
        match find(connect, &[], sources, 64) {
            Ok(Credential::Token(token)) => Ok(token.expose_secret().to_owned()),
            Ok(Credential::Certificate(_)) => panic!("no certificate was presented"),
            Err(denial) => Err(denial.reason),
        }
    }

    #[test]
    fn the_token_is_found_where_it_is_configured_to_be() {
        let all = CredentialSource::DEFAULT;
        assert_eq!(found(&connect("aaa", ""), &all), Ok("aaa".into()));
        assert_eq!(found(&connect("", "bbb"), &all), Ok("bbb".into()));
        assert_eq!(found(&connect("aaa", "bbb"), &all), Ok("aaa".into()));
        assert_eq!(found(&connect("", r#"{"token":"ccc"}"#), &all), Ok("ccc".into()));
        assert_eq!(
            found(&connect(r#" {"access_token":"ddd","x":1}"#, ""), &all),
            Ok("ddd".into())
        );
        assert_eq!(
            found(&connect("aaa", "bbb"), &[CredentialSource::Password]),
            Ok("bbb".into())
        );
    }

    #[test]
    fn what_is_not_there_or_not_configured_is_no_credential() {
        let none = Err(DenialReason::NoCredentials);
        assert_eq!(found(&connect("", ""), &CredentialSource::DEFAULT), none);
        assert_eq!(found(&connect("aaa", ""), &[CredentialSource::Password]), none);
        assert_eq!(
            found(&connect(r#"{"token":""}"#, ""), &CredentialSource::DEFAULT),
            none
        );
        assert_eq!(
            found(&connect(r#"{"token":"a"}"#, ""), &[CredentialSource::AuthToken]),
            none
        );
    }

    #[test]
    fn a_certificate_counts_only_where_configured_and_in_its_order() {
        let chain = CertificateChain(vec!["leaf".to_owned()]);
        let chains = std::slice::from_ref(&chain);
        let with = |connect: &ConnectOptions, sources: &[CredentialSource]| {
            find(connect, chains, sources, 64).map_err(|denial| denial.reason)
        };
        use CredentialSource::{AuthToken, Certificate};
        let nothing = connect("", "");
        assert!(
            matches!(with(&nothing, &[Certificate]), Ok(Credential::Certificate(found)) if found == chain)
        );
        assert_eq!(
            with(&nothing, &CredentialSource::DEFAULT).err(),
            Some(DenialReason::NoCredentials)
        );
        let token = connect("aaa", "");
        assert!(matches!(
            with(&token, &[Certificate, AuthToken]),
            Ok(Credential::Certificate(_))
        ));
        assert!(matches!(
            with(&token, &[AuthToken, Certificate]),
            Ok(Credential::Token(_))
        ));
    }

    #[test]
    fn a_broken_or_ambiguous_json_credential_is_malformed() {
        for bad in [
            r#"{"token":"#,
            r#"{"token":1}"#,
            r#"{"token":"a","access_token":"b"}"#,
        ] {
            assert_eq!(
                found(&connect(bad, ""), &CredentialSource::DEFAULT),
                Err(DenialReason::MalformedToken)
            );
        }
    }

    #[test]
    fn a_credential_over_the_bound_is_refused_unread() {
        let large = "x".repeat(65);
        assert_eq!(
            found(&connect("", &large), &[CredentialSource::AuthToken]),
            Err(DenialReason::CredentialTooLarge)
        );
    }
}
