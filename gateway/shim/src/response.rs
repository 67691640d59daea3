//! The authorization response: signed, and sealed to the server if it wants that.

use natsgate_claims::{AuthorizationResponse, ClaimsToSign, EncodeError, XKeyError, XKeyPair, encode};

use crate::settings::Issuing;

/// Why a response could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// It could not be signed.
    #[error("signing the authorization response: {0}")]
    Sign(#[from] EncodeError),
    /// It could not be sealed.
    #[error("sealing the authorization response: {0}")]
    Seal(#[from] XKeyError),
}

/// To whom a response goes.
pub struct Recipient<'a> {
    /// The server that asked.
    pub server_id: &'a str,
    /// The user nkey it asked about.
    pub user_nkey: &'a str,
    /// Its public xkey, if the request was sealed.
    pub xkey: Option<&'a str>,
}

/// What is answered: a user JWT, or a text for the server's log. (The client learns of neither: an error becomes
/// "Authorization Violation".)
pub enum Verdict {
    /// Let it in as this user.
    Granted(String),
    /// Do not.
    Denied(String),
}

/// The response's bytes.
///
/// # Errors
/// [`ResponseError`]; there is nothing to send then.
pub fn encode_response(
    verdict: Verdict,
    recipient: &Recipient<'_>,
    issuing: &Issuing,
    xkey: Option<&XKeyPair>,
    now: i64,
) -> Result<Vec<u8>, ResponseError> {
    let (signer, issuer_account) = match issuing {
        Issuing::Config { issuer } => (issuer, None),
        // Only a signing key has to say for whom it signs.
        Issuing::Operator {
            callout_account,
            signer,
        } => (
            signer,
            (signer.public_key() != callout_account).then(|| callout_account.clone()),
        ),
    };
    let mut body = match verdict {
        Verdict::Granted(jwt) => AuthorizationResponse::granted(jwt),
        Verdict::Denied(error) => AuthorizationResponse::denied(error),
    };
    body.issuer_account = issuer_account;
    let claims = ClaimsToSign::new(recipient.user_nkey, body).audience(recipient.server_id);
    let token = encode(claims, signer, now)?;
    match (recipient.xkey, xkey) {
        (Some(server), Some(own)) => Ok(own.seal(token.as_bytes(), server)?),
        _ => Ok(token.into_bytes()),
    }
}
