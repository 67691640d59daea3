//! An authorization request: opened, verified, and turned into what the decision service is asked.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use natsgate_claims::{AuthorizationRequest, Claims, DecodeError, XKeyError, XKeyPair, decode};
use natsgate_proto::v1;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// The header in which a server names its public xkey.
pub const XKEY_HEADER: &str = "Nats-Server-Xkey";

/// Why a request was refused. Holds nothing a client sent.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// It is sealed, and no xkey is configured.
    #[error(
        "the request is sealed, but no xkey is configured: set shim.xkey to the seed of the callout's xkey"
    )]
    UnexpectedSeal,
    /// An xkey is configured and the request is not sealed.
    #[error("the request is not sealed: set the xkey in the server's auth callout too, or remove shim.xkey")]
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
        "the request is not for this callout: its subject is another account or issuer than the one configured"
    )]
    NotForUs,
    /// It has no expiry, so no deadline.
    #[error("the request has no expiry")]
    NoExpiry,
    /// Its expiry has passed.
    #[error("the request expired {} ms ago: this shim is overloaded, or the clocks of server and shim differ", .0.as_millis())]
    Expired(Duration),
    /// It is already known who did not sign it: nobody the system account knows.
    #[error("the request is signed by a server the system account does not know")]
    UnknownServer,
    /// It could not be found out whether the system account knows the server.
    #[error("the server could not be looked up in the system account: {0}")]
    ServerLookup(String),
}

/// A verified request.
pub struct OpenedRequest {
    /// Its claims. Hold credentials.
    pub body: AuthorizationRequest,
    /// Time left until it expires, when it was opened.
    pub time_left: Duration,
    /// The server's public xkey, if it wants the response sealed.
    pub xkey: Option<String>,
}

/// Opens and verifies what a server sent.
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
    let seconds = natsgate_core::clock::unix_seconds(now);
    let claims: Claims<AuthorizationRequest> = decode(token, seconds).map_err(|error| match error {
        DecodeError::Expired { expired_at, .. } => RequestError::Expired(since(now, expired_at)),
        other => RequestError::Decode(other),
    })?;

    // That it is signed by the server it names, for callouts, and about a user, is part of decoding it.
    if claims.subject != recipient {
        return Err(RequestError::NotForUs);
    }
    if claims.body.server_id.xkey.as_deref() != xkey_header {
        return Err(RequestError::ForeignXkey);
    }
    let expires_at = claims.expires_at.ok_or(RequestError::NoExpiry)?;
    let expiry = natsgate_core::clock::from_unix_seconds(expires_at).ok_or(RequestError::NoExpiry)?;
    let time_left = expiry
        .duration_since(now)
        .map_err(|error| RequestError::Expired(error.duration()))?;
    if time_left.is_zero() {
        return Err(RequestError::Expired(Duration::ZERO));
    }
    Ok(OpenedRequest {
        xkey: xkey_header.map(str::to_owned),
        time_left,
        body: claims.body,
    })
}

fn since(now: SystemTime, seconds: i64) -> Duration {
    let then = natsgate_core::clock::from_unix_seconds(seconds).unwrap_or(UNIX_EPOCH);
    now.duration_since(then).unwrap_or_default()
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
    }
}

/// The message wipes its copy.
fn exposed(secret: Option<&SecretString>) -> String {
    secret
        .map(|secret| secret.expose_secret().to_owned())
        .unwrap_or_default()
}
