//! What must be true of what is said of a token: the claims of a verified JWT (RFC 7519 section 4.1, RFC 9068 section 4),
//! or what the provider answered about a token (RFC 7662 section 2.2, OpenID Connect Core 1.0 section 5.3.2).
//!
//! Done here and not by the JWT crate, because that one reads the machine's clock, gives `exp` a leeway of a minute and
//! passes over claims that are absent.

use std::time::{Duration, SystemTime};

use natsgate_core::clock::from_unix_seconds;
use natsgate_core::{Denial, DenialReason, Evidence, Identity, Principal};
use serde_json::{Map, Value};

use crate::claim_path;
use crate::logout;
use crate::settings::oidc::OidcSettings;

/// The end of the year 9999: what lies beyond is not a time anybody meant.
const LATEST: i64 = 253_402_300_799;

/// The longest subject, in bytes. OpenID Connect Core 1.0 section 2 allows 255 ASCII characters; some are longer.
const MAX_SUBJECT_BYTES: usize = 1024;

pub(crate) fn missing(claim: &str) -> Denial {
    Denial::new(DenialReason::MissingClaim, format!("the token has no `{claim}`"))
}

pub(crate) fn bad(claim: &str, why: &str) -> Denial {
    Denial::new(DenialReason::BadClaim, format!("`{claim}` {why}"))
}

/// Checks the claims of a token whose signature is right, at the time `now`.
///
/// # Errors
/// The first thing that is wrong with them.
pub(crate) fn check(
    settings: &OidcSettings,
    claims: Map<String, Value>,
    now: SystemTime,
) -> Result<Identity, Denial> {
    check_issuer(settings, &claims)?;
    check_audience(settings, &claims)?;
    if logout::says_so(&claims) {
        return Err(Denial::new(
            DenialReason::WrongTokenType,
            "it is a logout token, which lets nobody in",
        ));
    }
    let times = check_times(settings, &claims, now)?;
    let expires_at = times.expires_at.ok_or_else(|| missing("exp"))?;
    identity(
        settings,
        claims,
        expires_at,
        times.issued_at,
        Evidence::SignedToken { key_id: None },
    )
}

/// Checks what introspection said of an active token that is known by nothing else, at the time `now`.
///
/// # Errors
/// The first thing that is wrong with it.
pub(crate) fn check_introspected(
    settings: &OidcSettings,
    claims: Map<String, Value>,
    now: SystemTime,
) -> Result<Identity, Denial> {
    check_answer(settings, &claims)?;
    let asked = settings.introspection.as_ref();
    if !claims.contains_key("aud") && asked.is_none_or(|asked| asked.require_audience) {
        return Err(Denial::new(
            DenialReason::MissingClaim,
            format!(
                "introspection names no audience (`aud`), which provider `{}` requires (`introspection.require_audience`)",
                settings.name
            ),
        ));
    }
    opaque(settings, claims, now)
}

/// Checks what userinfo said of the owner of a token that is known by nothing else, at the time `now`. Whom the token is
/// for it does not say; the settings say that this is accepted.
///
/// # Errors
/// The first thing that is wrong with it.
pub(crate) fn check_userinfo(
    settings: &OidcSettings,
    claims: Map<String, Value>,
    now: SystemTime,
) -> Result<Identity, Denial> {
    if claims.contains_key("iss") {
        check_issuer(settings, &claims)?;
    }
    opaque(settings, claims, now)
}

/// Checks what introspection said of any active token: what it says must fit.
///
/// # Errors
/// The first thing that does not.
pub(crate) fn check_answer(settings: &OidcSettings, claims: &Map<String, Value>) -> Result<(), Denial> {
    check_kind(settings, claims)?;
    if claims.contains_key("iss") {
        check_issuer(settings, claims)?;
    }
    if claims.contains_key("aud") {
        check_audience(settings, claims)?;
    }
    let clients = settings
        .introspection
        .as_ref()
        .map_or(&[][..], |asked| &asked.client_ids);
    let of_one = |id: &str| clients.iter().any(|client| client == id);
    match claims.get("client_id") {
        _ if clients.is_empty() => Ok(()),
        Some(Value::String(id)) if of_one(id) => Ok(()),
        Some(Value::String(_)) => Err(Denial::new(
            DenialReason::WrongAudience,
            format!(
                "the token's client is not one of provider `{}`'s `introspection.client_ids`",
                settings.name
            ),
        )),
        Some(_) => Err(bad("client_id", "is not a string")),
        None => Err(missing("client_id")),
    }
}

/// Providers say of refresh and id tokens too that they are in force; where they say what they are, these are refused.
fn check_kind(settings: &OidcSettings, claims: &Map<String, Value>) -> Result<(), Denial> {
    const OTHERS: [&str; 6] = ["refresh", "refresh_token", "offline", "id", "id_token", "logout"];
    let of_another = |claim: &str| {
        let kind = claims.get(claim).and_then(Value::as_str).unwrap_or_default();
        OTHERS.contains(&kind.to_ascii_lowercase().as_str())
    };
    if ["token_use", "token_type", "typ"].into_iter().any(of_another) {
        return Err(Denial::new(
            DenialReason::WrongTokenType,
            format!("provider `{}` says that it is no access token", settings.name),
        ));
    }
    Ok(())
}

/// Checks that `claims`, which the provider now makes about the token that `identity` was found by, are of the same person
/// and in force at the time `now`. Returns when they end, if they say so.
///
/// # Errors
/// The first thing that is wrong with them.
pub(crate) fn check_same(
    settings: &OidcSettings,
    identity: &Identity,
    claims: &Map<String, Value>,
    now: SystemTime,
) -> Result<Option<SystemTime>, Denial> {
    let other = |claim: &str| {
        Denial::new(
            DenialReason::BadClaim,
            format!(
                "the `{claim}` that provider `{}` answers is not the token's own",
                settings.name
            ),
        )
    };
    // OpenID Connect Core 1.0 section 5.3.2: or else another's claims could be had for one's own.
    let stated = claims.get("sub");
    match identity.claims.get("sub") {
        Some(own) if stated.is_some_and(|stated| stated != own) => return Err(other("sub")),
        Some(_) if stated.is_some() => {}
        _ => {
            if subject(settings, claims)? != identity.principal.subject {
                return Err(other(&settings.subject_claim));
            }
        }
    }
    Ok(check_times(settings, claims, now)?.expires_at)
}

/// Checks that every required claim is there.
///
/// # Errors
/// The first that is not.
pub(crate) fn check_required(settings: &OidcSettings, claims: &Map<String, Value>) -> Result<(), Denial> {
    for claim in &settings.required_claims {
        claim_path::find(claims, claim).ok_or_else(|| missing(claim))?;
    }
    Ok(())
}

fn opaque(settings: &OidcSettings, claims: Map<String, Value>, now: SystemTime) -> Result<Identity, Denial> {
    let times = check_times(settings, &claims, now)?;
    let stand_in = || settings.max_opaque_life.and_then(|life| now.checked_add(life));
    let expires_at = times.expires_at.or_else(stand_in).ok_or_else(|| {
        Denial::new(
            DenialReason::MissingClaim,
            format!(
                "provider `{}` does not say until when the token is in force (`exp`), and no `max_opaque_life` is set for \
                 it",
                settings.name
            ),
        )
    })?;
    identity(settings, claims, expires_at, times.issued_at, Evidence::Online)
}

fn identity(
    settings: &OidcSettings,
    claims: Map<String, Value>,
    expires_at: SystemTime,
    issued_at: Option<SystemTime>,
    evidence: Evidence,
) -> Result<Identity, Denial> {
    let subject = subject(settings, &claims)?;
    check_required(settings, &claims)?;
    Ok(Identity {
        principal: Principal::new(settings.issuer.clone(), subject),
        provider: settings.name.clone(),
        claims,
        issued_at,
        expires_at,
        evidence,
    })
}

struct Times {
    expires_at: Option<SystemTime>,
    issued_at: Option<SystemTime>,
}

/// Checks `exp`, `nbf` and `iat`, and the life between.
fn check_times(
    settings: &OidcSettings,
    claims: &Map<String, Value>,
    now: SystemTime,
) -> Result<Times, Denial> {
    let expires_at = numeric_date(claims, "exp")?;
    if expires_at.is_some_and(|time| time <= now) {
        return Err(Denial::new(DenialReason::Expired, "the token's `exp` has passed"));
    }
    not_before(settings, claims, "nbf", now)?;
    let issued_at = not_before(settings, claims, "iat", now)?;
    if let Some(expires_at) = expires_at {
        // The provider wrote both times by one clock. Without `iat` ours stands in, which may be behind.
        let (since, limit) = match issued_at {
            Some(issued_at) => (issued_at, settings.max_token_life),
            None => (now, settings.max_token_life.saturating_add(settings.leeway)),
        };
        if expires_at.duration_since(since).is_ok_and(|life| life > limit) {
            return Err(Denial::new(
                DenialReason::LifeTooLong,
                format!(
                    "the token lives longer than provider `{}`'s `max_token_life`",
                    settings.name
                ),
            ));
        }
    }
    Ok(Times {
        expires_at,
        issued_at,
    })
}

/// Checks that the token is the provider's.
///
/// # Errors
/// If `iss` is missing or another's.
pub(crate) fn check_issuer(settings: &OidcSettings, claims: &Map<String, Value>) -> Result<(), Denial> {
    match claims.get("iss") {
        Some(Value::String(issuer)) if *issuer == settings.issuer => Ok(()),
        Some(Value::String(_)) => Err(Denial::new(
            DenialReason::UnknownIssuer,
            format!(
                "the token's `iss` is not the issuer of provider `{}`",
                settings.name
            ),
        )),
        Some(_) => Err(bad("iss", "is not a string")),
        None => Err(missing("iss")),
    }
}

/// Whether the token is for one of `accepted`.
///
/// # Errors
/// If `aud` is missing, or neither a string nor a list of strings.
pub(crate) fn is_for(accepted: &[String], claims: &Map<String, Value>) -> Result<bool, Denial> {
    let one_of = |audience: &str| accepted.iter().any(|accepted| accepted == audience);
    match claims.get("aud") {
        Some(Value::String(audience)) => Ok(one_of(audience)),
        Some(Value::Array(audiences)) => {
            let mut found = false;
            for audience in audiences {
                let audience = audience
                    .as_str()
                    .ok_or_else(|| bad("aud", "is a list of more than strings"))?;
                found |= one_of(audience);
            }
            Ok(found)
        }
        Some(_) => Err(bad("aud", "is neither a string nor a list of strings")),
        None => Err(missing("aud")),
    }
}

fn check_audience(settings: &OidcSettings, claims: &Map<String, Value>) -> Result<(), Denial> {
    if is_for(&settings.audiences, claims)? {
        return Ok(());
    }
    Err(Denial::new(
        DenialReason::WrongAudience,
        format!(
            "none of the token's audiences is one of provider `{}`'s `audiences`",
            settings.name
        ),
    ))
}

/// Checks that the time in `claim`, if there is one, is not further ahead than the leeway.
///
/// # Errors
/// If it is, or is no time.
pub(crate) fn not_before(
    settings: &OidcSettings,
    claims: &Map<String, Value>,
    claim: &str,
    now: SystemTime,
) -> Result<Option<SystemTime>, Denial> {
    let time = numeric_date(claims, claim)?;
    let ahead = time
        .and_then(|time| time.duration_since(now).ok())
        .unwrap_or(Duration::ZERO);
    if ahead > settings.leeway {
        return Err(Denial::new(
            DenialReason::NotYetValid,
            format!("the token's `{claim}` lies further ahead than the leeway"),
        ));
    }
    Ok(time)
}

/// A `NumericDate` (RFC 7519 section 2): seconds since the epoch, perhaps with a fraction, which is cut off.
///
/// # Errors
/// If it is no time.
pub(crate) fn numeric_date(claims: &Map<String, Value>, claim: &str) -> Result<Option<SystemTime>, Denial> {
    let number = match claims.get(claim) {
        None => return Ok(None),
        Some(Value::Number(number)) => number,
        Some(_) => return Err(bad(claim, "is not a number")),
    };
    let seconds = match (number.as_i64(), number.as_f64()) {
        (Some(seconds), _) => seconds,
        #[allow(clippy::cast_possible_truncation, reason = "the range is checked before")]
        (None, Some(seconds)) if (0.0..=253_402_300_799.0).contains(&seconds) => seconds.floor() as i64,
        _ => return Err(bad(claim, "is not a time")),
    };
    if !(0..=LATEST).contains(&seconds) {
        return Err(bad(claim, "is not a time"));
    }
    from_unix_seconds(seconds)
        .map(Some)
        .ok_or_else(|| bad(claim, "is not a time"))
}

/// The subject, as it is configured to be named.
///
/// # Errors
/// If it is missing or cannot be anybody's name.
pub(crate) fn subject(settings: &OidcSettings, claims: &Map<String, Value>) -> Result<String, Denial> {
    let claim = &settings.subject_claim;
    let subject = match claim_path::find(claims, claim) {
        Some(Value::String(subject)) => subject,
        Some(_) => return Err(bad(claim, "is not a string")),
        None => return Err(missing(claim)),
    };
    check_subject(subject).map_err(|problem| bad(claim, problem))?;
    Ok(subject.clone())
}

/// Checks that `subject` can be somebody's name.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_subject(subject: &str) -> Result<(), &'static str> {
    if subject.is_empty() {
        return Err("is empty");
    }
    if subject.len() > MAX_SUBJECT_BYTES {
        return Err("is longer than 1024 bytes");
    }
    if subject.chars().any(char::is_control) {
        return Err("has control characters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn settings() -> OidcSettings {
        OidcSettings::new(
            "corp",
            "https://idp.example",
            vec!["nats".to_owned(), "nats2".to_owned()],
        )
    }

    fn good() -> Map<String, Value> {
        let claims = json!({
            "iss": "https://idp.example", "aud": "nats", "sub": "alice", "exp": NOW + 600, "iat": NOW, "nbf": NOW,
        });
        claims.as_object().unwrap().clone()
    }

    fn outcome(settings: &OidcSettings, claims: Map<String, Value>) -> Result<Identity, DenialReason> {
        check(settings, claims, from_unix_seconds(NOW).unwrap()).map_err(|denial| {
            for value in ["hidden", "alice", "other.example"] {
                assert!(!denial.to_string().contains(value), "{denial}");
            }
            denial.reason
        })
    }

    fn with(claim: &str, value: Value) -> Result<Identity, DenialReason> {
        let mut claims = good();
        claims.insert(claim.to_owned(), value);
        outcome(&settings(), claims)
    }

    #[test]
    fn good_claims_make_an_identity() {
        let identity = outcome(&settings(), good()).unwrap();
        assert_eq!(identity.principal, Principal::new("https://idp.example", "alice"));
        assert_eq!(identity.provider, "corp");
        assert_eq!(identity.expires_at, from_unix_seconds(NOW + 600).unwrap());
        assert_eq!(identity.issued_at, from_unix_seconds(NOW));
        assert_eq!(identity.claims, good());
    }

    #[test]
    fn every_claim_that_is_needed_is_missed() {
        for claim in ["iss", "aud", "exp", "sub"] {
            let mut claims = good();
            claims.remove(claim);
            assert_eq!(
                outcome(&settings(), claims),
                Err(DenialReason::MissingClaim),
                "{claim}"
            );
        }
        for claim in ["iat", "nbf"] {
            let mut claims = good();
            claims.remove(claim);
            assert!(outcome(&settings(), claims).is_ok(), "{claim}");
        }
    }

    #[test]
    fn claims_of_the_wrong_type_are_refused() {
        for (claim, value) in [
            ("iss", json!(["https://idp.example"])),
            ("aud", json!({"nats": true})),
            ("aud", json!(["nats", 1])),
            ("aud", json!(null)),
            ("aud", json!(true)),
            ("exp", json!((NOW + 600).to_string())),
            ("exp", json!(-1)),
            ("exp", json!(-1.5)),
            ("exp", json!(u64::MAX)),
            ("exp", json!(i64::MAX)),
            ("exp", json!(1e300)),
            ("exp", json!(LATEST + 1)),
            ("exp", json!(null)),
            ("exp", json!([NOW + 600])),
            ("nbf", json!("0")),
            ("iat", json!({})),
            ("sub", json!(7)),
            ("sub", json!("")),
            ("sub", json!(["alice"])),
            ("sub", json!("ali\0ce")),
            ("sub", json!("alice\r\n")),
            ("sub", json!("x".repeat(1025))),
        ] {
            assert_eq!(
                with(claim, value.clone()),
                Err(DenialReason::BadClaim),
                "{claim}: {value}"
            );
        }
    }

    #[test]
    fn a_token_of_another_issuer_or_for_another_audience_is_denied() {
        assert_eq!(
            with("iss", json!("https://other.example")),
            Err(DenialReason::UnknownIssuer)
        );
        assert_eq!(
            with("iss", json!("https://idp.example/")),
            Err(DenialReason::UnknownIssuer)
        );
        for aud in [json!("hidden"), json!(["hidden", "NATS"]), json!([]), json!("")] {
            assert_eq!(
                with("aud", aud.clone()),
                Err(DenialReason::WrongAudience),
                "{aud}"
            );
        }
        assert!(with("aud", json!(["hidden", "nats2"])).is_ok());
        assert!(with("aud", json!(["nats2", "hidden"])).is_ok());
    }

    #[test]
    fn a_logout_token_lets_nobody_in() {
        let event = "http://schemas.openid.net/event/backchannel-logout";
        let outcome = with("events", json!({ event: {} }));
        assert_eq!(outcome, Err(DenialReason::WrongTokenType));
        assert!(with("events", json!(["launch"])).is_ok());
    }

    #[test]
    fn leeway_never_extends_a_token() {
        assert_eq!(with("exp", json!(NOW)), Err(DenialReason::Expired));
        assert_eq!(with("exp", json!(NOW - 1)), Err(DenialReason::Expired));
        assert_eq!(with("exp", json!(0)), Err(DenialReason::Expired));
        assert!(with("exp", json!(NOW + 1)).is_ok());
        let identity = with("exp", json!(NOW as f64 + 1.9)).unwrap();
        assert_eq!(identity.expires_at, from_unix_seconds(NOW + 1).unwrap());
    }

    #[test]
    fn times_ahead_are_accepted_up_to_the_leeway() {
        for claim in ["nbf", "iat"] {
            assert!(with(claim, json!(NOW + 30)).is_ok(), "{claim}");
            assert_eq!(
                with(claim, json!(NOW + 31)),
                Err(DenialReason::NotYetValid),
                "{claim}"
            );
        }
    }

    #[test]
    fn a_token_lives_no_longer_than_configured() {
        let day = 24 * 60 * 60;
        let life = |iat: Option<i64>, exp: i64| {
            let mut claims = good();
            claims.remove("nbf");
            claims.remove("iat");
            claims.extend(iat.map(|iat| ("iat".to_owned(), json!(iat))));
            claims.insert("exp".to_owned(), json!(exp));
            outcome(&settings(), claims).map(|_| ())
        };
        assert_eq!(life(Some(NOW), NOW + day), Ok(()));
        assert_eq!(life(Some(NOW), NOW + day + 1), Err(DenialReason::LifeTooLong));
        // An old token with a long life is refused to its end.
        assert_eq!(life(Some(NOW - day), NOW + 1), Err(DenialReason::LifeTooLong));
        assert_eq!(life(None, NOW + day + 30), Ok(()));
        assert_eq!(life(None, NOW + day + 31), Err(DenialReason::LifeTooLong));
        let mut settings = settings();
        settings.max_token_life = Duration::from_secs(599);
        assert_eq!(outcome(&settings, good()), Err(DenialReason::LifeTooLong));
    }

    #[test]
    fn required_claims_and_another_subject_claim_are_as_configured() {
        let mut settings = settings();
        settings.required_claims = vec!["azp".to_owned(), "realm.name".to_owned()];
        assert_eq!(outcome(&settings, good()), Err(DenialReason::MissingClaim));
        let mut claims = good();
        claims.insert("azp".to_owned(), json!("app"));
        claims.insert("realm".to_owned(), json!({"name": null}));
        assert_eq!(
            outcome(&settings, claims.clone()),
            Err(DenialReason::MissingClaim)
        );
        claims.insert("realm".to_owned(), json!({"name": "x", "user": "bob"}));
        settings.subject_claim = "realm.user".to_owned();
        assert_eq!(outcome(&settings, claims).unwrap().principal.subject, "bob");
    }
}
