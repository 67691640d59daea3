//! An authorization request: opened, verified, and turned into what the decision service is asked.

use std::time::{Duration, SystemTime};

use natsgate_claims::{AuthorizationRequest, Claims, DecodeError, XKeyError, XKeyPair, decode};
use natsgate_core::clock::from_unix_seconds;
use natsgate_core::{Principal, Revision, SessionKey, SessionRecord};
use natsgate_proto::v1;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::name::SessionName;

/// The header in which a server names its public xkey.
pub const XKEY_HEADER: &str = "Nats-Server-Xkey";

/// Why a request was refused. Holds nothing a client sent.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// It is sealed, and no xkey is configured.
    #[error(
        "the request is sealed, but no xkey is configured: set shim.xkey_seed to the seed of the callout's xkey"
    )]
    UnexpectedSeal,
    /// An xkey is configured and the request is not sealed.
    #[error(
        "the request is not sealed: set the xkey in the server's auth callout too, or remove shim.xkey_seed"
    )]
    NotSealed,
    /// It cannot be opened.
    #[error("the request cannot be opened: {0}")]
    Open(XKeyError),
    /// It is not text.
    #[error("the request is not a JWT")]
    NotText,
    /// It is not an authorization request that a server signed.
    #[error("the request cannot be verified: {0}")]
    Decode(DecodeError),
    /// The xkey it names is not the one it was sealed with.
    #[error("the request names another xkey than it was sealed with")]
    ForeignXkey,
    /// It is meant for somebody else.
    #[error(
        "the request is not for this callout: its subject is another account or issuer than that of shim.operator_mode or shim.config_mode"
    )]
    NotForUs,
    /// It has no expiry, so no deadline.
    #[error("the request has no expiry")]
    NoExpiry,
    /// Nobody would hear the answer.
    #[error("the request has no reply subject")]
    NoReply,
    /// Its expiry has passed.
    #[error("the request expired {} ms ago: it was played again, this shim is overloaded, or the clocks of server and shim differ", .0.as_millis())]
    Expired(Duration),
    /// It came before.
    #[error("the request was seen before: it was played again")]
    Replayed,
    /// It is signed by nobody the system account knows.
    #[error("the request is signed by a server the system account does not know")]
    UnknownServer,
}

/// A verified request.
pub struct OpenedRequest {
    /// Its claims. Hold credentials.
    pub body: AuthorizationRequest,
    /// Time left until it expires, when it was opened.
    pub time_left: Duration,
    /// How long ago it expired, if it has. It is verified all the same.
    pub late_by: Option<Duration>,
    /// The server's public xkey, if it wants the response sealed.
    pub xkey: Option<String>,
}

impl OpenedRequest {
    /// Whether it has not expired longer than `late_at_most` ago.
    pub fn is_timely(&self, late_at_most: Duration) -> bool {
        self.late_by.is_none_or(|late_by| late_by <= late_at_most)
    }
}

/// Opens and verifies what a server sent. Its expiry is told, not judged: whoever is late is still owed the truth that
/// this is no denial.
///
/// `recipient` is who requests are addressed to: the callout account in operator mode, the issuer in config mode.
///
/// # Errors
/// [`RequestError`]; nothing of the request is to be used then.
pub fn open(
    payload: &[u8],
    xkey_header: Option<&str>,
    xkey: Option<&XKeyPair>,
    recipient: &str,
    now: SystemTime,
) -> Result<OpenedRequest, RequestError> {
    let opened = match (xkey, xkey_header) {
        (Some(xkey), Some(sender)) => xkey.open(payload, sender).map_err(RequestError::Open)?,
        (Some(_), None) => return Err(RequestError::NotSealed),
        (None, Some(_)) => return Err(RequestError::UnexpectedSeal),
        (None, None) => Zeroizing::new(payload.to_vec()),
    };
    let token = std::str::from_utf8(&opened).map_err(|_| RequestError::NotText)?;
    // At time zero nothing has expired: that is looked at below, to the millisecond.
    let claims: Claims<AuthorizationRequest> = decode(token, 0).map_err(RequestError::Decode)?;

    // That it is signed by the server it names, for callouts, and about a user, is part of decoding it.
    if claims.subject != recipient {
        return Err(RequestError::NotForUs);
    }
    if claims.body.server_id.xkey.as_deref() != xkey_header {
        return Err(RequestError::ForeignXkey);
    }
    let expires_at = claims.expires_at.ok_or(RequestError::NoExpiry)?;
    let (time_left, late_by) = time_left(expires_at, claims.issued_at, now)?;
    Ok(OpenedRequest {
        xkey: xkey_header.map(str::to_owned),
        time_left,
        late_by,
        body: claims.body,
    })
}

/// The time until `expires_at`, or how long ago that was. Never more than the server gave the request when it issued it:
/// a clock that is behind the server's does not make it wait longer.
fn time_left(
    expires_at: i64,
    issued_at: i64,
    now: SystemTime,
) -> Result<(Duration, Option<Duration>), RequestError> {
    let expiry = natsgate_core::clock::from_unix_seconds(expires_at).ok_or(RequestError::NoExpiry)?;
    let given = u64::try_from(expires_at.saturating_sub(issued_at)).unwrap_or(0);
    match expiry.duration_since(now) {
        Ok(left) if !left.is_zero() => Ok((left.min(Duration::from_secs(given)), None)),
        Ok(_) => Ok((Duration::ZERO, Some(Duration::ZERO))),
        Err(late) => Ok((Duration::ZERO, Some(late.duration()))),
    }
}

/// What the decision service is asked about `request`: everything the server said.
pub fn to_message(cluster: &str, request: &AuthorizationRequest) -> v1::AuthorizeRequest {
    let server = &request.server_id;
    let client = &request.client_info;
    let connect = &request.connect_opts;
    let mut options = v1::ConnectOptions::default();
    options.jwt = exposed(connect.jwt.as_ref());
    options.nkey.clone_from(&connect.nkey);
    options.sig = exposed(connect.signature.as_ref());
    options.auth_token = exposed(connect.auth_token.as_ref());
    options.user.clone_from(&connect.user);
    options.pass = exposed(connect.password.as_ref());
    options.name.clone_from(&connect.name);
    options.lang.clone_from(&connect.lang);
    options.version.clone_from(&connect.version);
    options.protocol = i32::try_from(connect.protocol).unwrap_or_default();
    v1::AuthorizeRequest {
        cluster: cluster.to_owned(),
        server: Some(v1::Server {
            id: server.id.clone(),
            name: server.name.clone(),
            host: server.host.clone(),
            version: server.version.clone(),
            cluster: server.cluster.clone(),
            tags: server.tags.clone(),
        }),
        user_nkey: request.user_nkey.clone(),
        client: Some(v1::Client {
            host: client.host.clone(),
            id: client.id,
            user: exposed(client.user.as_ref()),
            name: client.name.clone(),
            tags: client.tags.clone(),
            name_tag: client.name_tag.clone(),
            kind: client.kind.clone(),
            r#type: client.client_type.clone(),
            mqtt_id: client.mqtt_id.clone(),
            nonce: client.nonce.clone(),
        }),
        connect_options: Some(options),
        client_tls: request.client_tls.as_ref().map(|tls| v1::ClientTls {
            version: tls.version.clone(),
            cipher: tls.cipher.clone(),
            certs: tls.certs.clone(),
            verified_chains: tls
                .verified_chains
                .iter()
                .map(|chain| v1::CertificateChain { certs: chain.clone() })
                .collect(),
        }),
        min_revision: String::new(),
    }
}

/// The session that a request is about, as far as the request tells.
pub fn record(cluster: &str, request: &AuthorizationRequest) -> SessionRecord {
    let (server, client) = (&request.server_id, &request.client_info);
    SessionRecord {
        key: SessionKey {
            server_id: server.id.clone(),
            client_id: client.id,
        },
        cluster: cluster.to_owned(),
        server_name: server.name.clone(),
        account: String::new(),
        principal: None,
        name: String::new(),
        principal_digest: String::new(),
        shim: String::new(),
        as_of: None,
        policy_generation: 0,
        connected_at: None,
        expires_at: None,
        client_host: client.host.clone(),
        client_name: client.name.clone(),
        client_kind: client.kind.clone(),
        client_type: client.client_type.clone(),
        details: String::new(),
    }
}

/// The session as `grant` makes it, valid as of `as_of`, until `expiry` (seconds since the Unix epoch).
pub fn granted(
    record: SessionRecord,
    grant: &v1::Grant,
    as_of: Option<Revision>,
    expiry: i64,
) -> SessionRecord {
    let principal = grant
        .principal
        .as_ref()
        .map(|principal| Principal::new(&principal.issuer, &principal.subject));
    let name = principal
        .as_ref()
        .map(|principal| SessionName::new(principal, as_of, ""));
    SessionRecord {
        account: grant.account.clone(),
        name: name
            .as_ref()
            .map(|name| name.readable.clone())
            .unwrap_or_default(),
        principal_digest: name.map(|name| name.principal_digest).unwrap_or_default(),
        principal,
        as_of,
        policy_generation: grant.policy_generation,
        expires_at: from_unix_seconds(expiry),
        ..record
    }
}

/// The message wipes its copy.
fn exposed(secret: Option<&SecretString>) -> String {
    secret
        .map(|secret| secret.expose_secret().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const GIVEN: i64 = 2;
    const EXPIRY: i64 = 1_700_000_002;

    fn left(now_millis: u64) -> (Duration, Option<Duration>) {
        time_left(
            EXPIRY,
            EXPIRY - GIVEN,
            UNIX_EPOCH + Duration::from_millis(now_millis),
        )
        .unwrap()
    }

    #[test]
    fn the_time_left_is_the_requests_own() {
        assert_eq!(left(1_700_000_000_500), (Duration::from_millis(1500), None));
        assert_eq!(left(1_700_000_002_000), (Duration::ZERO, Some(Duration::ZERO)));
        assert_eq!(
            left(1_700_000_004_500),
            (Duration::ZERO, Some(Duration::from_millis(2500)))
        );
    }

    #[test]
    fn a_clock_behind_the_servers_gives_no_more_than_the_server_did() {
        assert_eq!(left(1_699_999_990_000), (Duration::from_secs(2), None));
    }

    #[test]
    fn a_request_that_expires_before_it_was_issued_has_no_time() {
        assert_eq!(time_left(5, 6, UNIX_EPOCH).unwrap().0, Duration::ZERO);
        assert!(time_left(-1, -3, UNIX_EPOCH).is_err());
    }
}
