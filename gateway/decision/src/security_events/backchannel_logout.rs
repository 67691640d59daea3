//! `POST /backchannel-logout`: a provider says that somebody logged out (OpenID Connect Back-Channel Logout 1.0, section 2.5).

use hyper::HeaderMap;
use natsgate_core::{Deadline, Failure, Idempotency};
use secrecy::SecretString;

use super::entry::{append, digest, selector_digest};
use super::refusal::{Refusal, Refused};
use super::{Done, Shared, is_of_type};

/// Why, in the log and the audit.
const REASON: &str = "logged out at the provider";

pub(super) async fn carry_out(
    shared: &Shared,
    headers: &HeaderMap,
    body: &[u8],
    deadline: Deadline,
) -> Result<Done, Refused> {
    let Some((verifier, _)) = &shared.logouts else {
        return Err(Refused::new(Refusal::NotFound, "no logout tokens are accepted"));
    };
    if !is_of_type(headers, "application/x-www-form-urlencoded") {
        return Err(Refused::new(Refusal::ContentType, "the body is no form"));
    }
    let token = token(body)?;
    // What is left is for the log.
    let check_by = deadline.or_sooner(deadline.remaining() / 2);
    let checked = check_by.bound(verifier.verify(&token, check_by)).await;
    let logout = match checked {
        Ok(Ok(logout)) => logout,
        Ok(Err(Failure::Denied(denial))) => return Err(denial.into()),
        Ok(Err(Failure::Unavailable(why))) => return Err(why.into()),
        Err(passed) => {
            return Err(Refused::new(
                Refusal::Unavailable,
                format!("checking a logout token: {passed}"),
            ));
        }
    };
    let idempotency = Idempotency {
        key: digest(
            "natsgate back-channel logout",
            &[logout.issuer.as_bytes(), logout.token_id.as_bytes()],
        ),
        body: selector_digest(&logout.selector)?,
    };
    let actor = format!("backchannel-logout:{}", logout.provider);
    let appended = append(shared, &logout.selector, REASON, &actor, idempotency, deadline).await?;
    if appended.repeated {
        return Err(Refused::new(
            Refusal::Replayed,
            format!("a logout token of provider `{}` was used before", logout.provider),
        ));
    }
    Ok(Done::Revoked(1))
}

/// The one token in a form. What else is in there is passed over (section 2.5).
fn token(body: &[u8]) -> Result<SecretString, Refused> {
    let mut found = url::form_urlencoded::parse(body).filter(|(name, _)| name == "logout_token");
    match (found.next(), found.next()) {
        (Some((_, token)), None) => Ok(SecretString::from(token.into_owned())),
        (None, _) => Err(Refused::new(Refusal::Malformed, "the form has no `logout_token`")),
        (Some(_), Some(_)) => Err(Refused::new(
            Refusal::Malformed,
            "the form has more than one `logout_token`",
        )),
    }
}
