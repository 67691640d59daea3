//! What is kept of a session to look at it again: who it is for, by what they were known, and the connection. Sealed, and
//! kept by the shim together with the session.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use natsgate_core::{Concern, Connection, Epoch, Evidence, Identity, Principal, Revision};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::error;

use super::{Known, Pipeline};

/// The form that this release writes. Another release's is not read: the client comes again.
const FORM: u8 = 1;

/// What a session was granted by.
pub(super) struct Basis {
    pub(super) identity: Identity,
    /// What the identity and the credential behind it are about.
    pub(super) about: Vec<Concern>,
    pub(super) connection: Connection,
    /// What all that was valid as of.
    pub(super) as_of: Revision,
}

/// A basis as it is written: a list without names, as there are as many as sessions.
#[derive(Serialize, Deserialize)]
struct Written<Text, Claims>(u8, Person<Text, Claims>, Place<Text>, [u8; 16], u64);

/// Issuer, subject, provider, claims, issued at, expires at, evidence, and what the first credential was about beside.
#[derive(Serialize, Deserialize)]
struct Person<Text, Claims>(
    Text,
    Text,
    Text,
    Claims,
    Option<u64>,
    u64,
    Proof<Text>,
    Vec<[u8; 16]>,
);

#[derive(Serialize, Deserialize)]
enum Proof<Text> {
    #[serde(rename = "t")]
    Token(Option<Text>),
    #[serde(rename = "o")]
    Online,
    #[serde(rename = "c")]
    Certificate,
}

/// Cluster, server (id, name, version, tags), client (id, host, name, kind, type, MQTT id, nkey).
#[derive(Serialize, Deserialize)]
struct Place<Text>(
    Text,
    Text,
    Text,
    Text,
    Vec<Text>,
    u64,
    Text,
    Text,
    Text,
    Text,
    Text,
    Text,
);

impl Pipeline {
    /// What is to be kept of a session that is granted to `known` on `connection`. Nothing, if it cannot be sealed: then the
    /// session cannot be rechecked.
    pub(super) fn basis(&self, known: &Known, connection: &Connection, as_of: Revision) -> Vec<u8> {
        // What cannot be written or sealed is a session that has to come again, no less.
        let Ok(text) = serde_json::to_vec(&written(&known.identity, &known.about, connection, as_of)) else {
            return Vec::new();
        };
        let text = zeroize::Zeroizing::new(text);
        self.sealing.seal(&text).unwrap_or_else(|error| {
            error!(%error, "a session cannot be looked at again later");
            Vec::new()
        })
    }

    /// What was kept of a session; `None` if it was not sealed by us, or by another release.
    pub(super) fn open_basis(&self, sealed: &[u8]) -> Option<Basis> {
        let text = self.sealing.open(sealed)?;
        let written: Written<String, Map<String, Value>> = serde_json::from_slice(&text).ok()?;
        read(written)
    }
}

fn written<'a>(
    identity: &'a Identity,
    about: &[Concern],
    connection: &'a Connection,
    as_of: Revision,
) -> Written<&'a str, &'a Map<String, Value>> {
    let own = identity.concerns();
    let beside = about.iter().filter(|concern| !own.contains(concern));
    let person = Person(
        identity.principal.issuer.as_str(),
        identity.principal.subject.as_str(),
        identity.provider.as_str(),
        &identity.claims,
        identity.issued_at.map(micros),
        micros(identity.expires_at),
        match &identity.evidence {
            Evidence::SignedToken { key_id } => Proof::Token(key_id.as_deref()),
            Evidence::Online => Proof::Online,
            Evidence::Certificate => Proof::Certificate,
        },
        beside.map(|concern| *concern.as_bytes()).collect(),
    );
    let place = Place(
        connection.cluster.as_str(),
        connection.server_id.as_str(),
        connection.server_name.as_str(),
        connection.server_version.as_str(),
        connection.server_tags.iter().map(String::as_str).collect(),
        connection.client_id,
        connection.client_host.as_str(),
        connection.client_name.as_str(),
        connection.client_kind.as_str(),
        connection.client_type.as_str(),
        connection.mqtt_id.as_str(),
        connection.user_nkey.as_str(),
    );
    Written(FORM, person, place, *as_of.epoch.as_bytes(), as_of.sequence)
}

fn read(written: Written<String, Map<String, Value>>) -> Option<Basis> {
    let Written(FORM, person, place, epoch, sequence) = written else {
        return None;
    };
    let Person(issuer, subject, provider, claims, issued_at, expires_at, proof, beside) = person;
    let identity = Identity {
        principal: Principal { issuer, subject },
        provider,
        claims,
        // A time that the clock cannot hold is none, and none is older than everything.
        issued_at: issued_at.and_then(time),
        expires_at: time(expires_at)?,
        evidence: match proof {
            Proof::Token(key_id) => Evidence::SignedToken { key_id },
            Proof::Online => Evidence::Online,
            Proof::Certificate => Evidence::Certificate,
        },
    };
    let mut about = identity.concerns();
    about.extend(beside.into_iter().map(Concern::from_bytes));
    about.sort_unstable();
    about.dedup();
    let Place(
        cluster,
        server_id,
        server_name,
        server_version,
        server_tags,
        client_id,
        client_host,
        client_name,
        client_kind,
        client_type,
        mqtt_id,
        user_nkey,
    ) = place;
    Some(Basis {
        identity,
        about,
        connection: Connection {
            cluster,
            server_id,
            server_name,
            server_version,
            server_tags,
            client_id,
            client_host,
            client_name,
            client_kind,
            client_type,
            mqtt_id,
            user_nkey,
        },
        as_of: Revision::new(Epoch::from_bytes(epoch), sequence),
    })
}

/// Whole microseconds, rounded down: older, and sooner over.
fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn time(micros: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_micros(micros))
}
