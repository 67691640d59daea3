//! How it lies in Redis: under keyed digests of names, sealed for exactly that place.

use natsgate_core::{Acknowledgement, EntryId, SessionEvent, SessionKey, SessionRecord, ShimPresence};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::seal::{KeyDigests, SealError, Sealer, Secrets};

/// The length of a digest, which stands for a name.
const DIGEST: usize = 32;

/// A digest of a name.
pub(super) type Digest = [u8; DIGEST];

/// What a session's record begins with in the index: whether it is known whom it is for, so that the script can tell. The
/// same byte tells the kinds of published events apart.
const KNOWN: u8 = b'k';
const UNKNOWN: u8 = b'u';
const GONE: u8 = b'g';

/// Keys and channels, and what seals what lies there.
pub(super) struct Form {
    sealer: Sealer,
    digests: KeyDigests,
    /// Which shim was there when: digests by the server's time.
    pub(super) here: String,
    /// Its presence, by digest.
    pub(super) presences: String,
    /// Which cluster was told of when.
    pub(super) clusters: String,
    /// Its name, by digest.
    pub(super) names: String,
    /// The channel that tells of acknowledgements.
    pub(super) bell: String,
    /// The channel of events.
    pub(super) events: String,
    prefix: String,
}

/// A cluster, as it is named in Redis.
pub(super) struct ClusterKeys {
    /// Its name's digest.
    pub(super) digest: Digest,
    /// Its sessions, by digest.
    pub(super) sessions: String,
    /// Those that are gone, by the server's time.
    pub(super) gone: String,
}

/// What is sealed of the end of a session.
#[derive(Serialize, Deserialize)]
struct Ended {
    cluster: String,
    key: SessionKey,
    reason: String,
}

/// What a script is told of one event.
pub(super) struct Told {
    /// What happened.
    pub(super) kind: u8,
    /// The session's digest.
    pub(super) field: Digest,
    /// What is sealed of it.
    pub(super) sealed: Vec<u8>,
}

impl Form {
    /// Under `namespace`.
    pub(super) fn new(namespace: &str, secrets: &Secrets) -> Result<Self, SealError> {
        let prefix = format!("{{{namespace}}}:shim:");
        Ok(Self {
            sealer: secrets.sealer("board")?,
            digests: secrets.key_digests("board")?,
            here: format!("{prefix}here"),
            presences: format!("{prefix}presences"),
            clusters: format!("{prefix}clusters"),
            names: format!("{prefix}names"),
            bell: format!("{prefix}bell"),
            events: format!("{prefix}events"),
            prefix,
        })
    }

    /// A shim's digest.
    pub(super) fn shim(&self, shim: &str) -> Digest {
        self.digests.digest(&[b"shim", shim.as_bytes()])
    }

    /// A cluster's keys.
    pub(super) fn cluster(&self, cluster: &str) -> ClusterKeys {
        let digest = self.digests.digest(&[b"cluster", cluster.as_bytes()]);
        let name = data_encoding::HEXLOWER.encode(&digest);
        ClusterKeys {
            digest,
            sessions: format!("{}sessions:{name}", self.prefix),
            gone: format!("{}gone:{name}", self.prefix),
        }
    }

    /// Where what was done for an entry lies, by shim.
    pub(super) fn done(&self, entry: EntryId) -> String {
        format!("{}done:{entry}", self.prefix)
    }

    /// A session's field in the index of its cluster.
    pub(super) fn session(&self, cluster: &Digest, key: &SessionKey) -> Digest {
        let client = key.client_id.to_be_bytes();
        self.digests
            .digest(&[b"session", cluster, key.server_id.as_bytes(), &client])
    }

    /// `what` is sealed for `place`: a key and a field, say.
    fn seal<T: Serialize>(&self, what: &T, place: [&[u8]; 2]) -> Result<Vec<u8>, SealError> {
        let text = serde_json::to_vec(what).map_err(|_| SealError::CannotSeal)?;
        let text = zeroize::Zeroizing::new(text);
        self.sealer.seal(&bound(place), &text)
    }

    fn open<T: DeserializeOwned>(&self, sealed: &[u8], place: [&[u8]; 2]) -> Option<T> {
        let text = self.sealer.open(&bound(place), sealed).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// A presence, for the shim's field.
    pub(super) fn seal_presence(&self, presence: &ShimPresence) -> Result<(Digest, Vec<u8>), SealError> {
        let field = self.shim(&presence.shim);
        let sealed = self.seal(presence, [self.presences.as_bytes(), &field])?;
        Ok((field, sealed))
    }

    /// The presence that lies under `field`, if it is one.
    pub(super) fn open_presence(&self, field: &[u8], sealed: &[u8]) -> Option<ShimPresence> {
        self.open(sealed, [self.presences.as_bytes(), field])
    }

    /// A cluster's name, for its field.
    pub(super) fn seal_name(&self, name: &str, field: &Digest) -> Result<Vec<u8>, SealError> {
        self.seal(&name, [self.names.as_bytes(), field])
    }

    /// The name that lies under `field`, if it is one.
    pub(super) fn open_name(&self, field: &[u8], sealed: &[u8]) -> Option<String> {
        self.open(sealed, [self.names.as_bytes(), field])
    }

    /// An acknowledgement, for the shim's field under `key`.
    pub(super) fn seal_done(
        &self,
        key: &str,
        done: &Acknowledgement,
    ) -> Result<(Digest, Vec<u8>), SealError> {
        let field = self.shim(&done.shim);
        let sealed = self.seal(done, [key.as_bytes(), &field])?;
        Ok((field, sealed))
    }

    /// The acknowledgement that lies under `field` of `key`, if it is one.
    pub(super) fn open_done(&self, key: &str, field: &[u8], sealed: &[u8]) -> Option<Acknowledgement> {
        self.open(sealed, [key.as_bytes(), field])
    }

    /// An event, for the index and for whoever listens.
    pub(super) fn seal_event(&self, cluster: &ClusterKeys, event: &SessionEvent) -> Result<Told, SealError> {
        match event {
            SessionEvent::Connected(record) => {
                let field = self.session(&cluster.digest, &record.key);
                Ok(Told {
                    kind: if super::knows_whom(record) { KNOWN } else { UNKNOWN },
                    field,
                    sealed: self.seal(&**record, [cluster.sessions.as_bytes(), &field])?,
                })
            }
            SessionEvent::Disconnected {
                cluster: name,
                key,
                reason,
            } => {
                let field = self.session(&cluster.digest, key);
                let ended = Ended {
                    cluster: name.clone(),
                    key: key.clone(),
                    reason: reason.clone(),
                };
                Ok(Told {
                    kind: GONE,
                    field,
                    sealed: self.seal(&ended, [cluster.gone.as_bytes(), &field])?,
                })
            }
        }
    }

    /// The record that lies under `field` in the index, if it is one. In front of it stands what kind it is.
    pub(super) fn open_session(
        &self,
        cluster: &ClusterKeys,
        field: &[u8],
        bytes: &[u8],
    ) -> Option<SessionRecord> {
        let (_kind, sealed) = bytes.split_first()?;
        self.open(sealed, [cluster.sessions.as_bytes(), field])
    }

    /// The event in a message: the cluster's digest, the session's, the kind, and what is sealed.
    pub(super) fn open_event(&self, message: &[u8]) -> Option<SessionEvent> {
        let (cluster, rest) = message.split_first_chunk::<DIGEST>()?;
        let (field, rest) = rest.split_first_chunk::<DIGEST>()?;
        let (kind, sealed) = rest.split_first()?;
        let name = data_encoding::HEXLOWER.encode(cluster);
        if *kind == GONE {
            let key = format!("{}gone:{name}", self.prefix);
            let ended: Ended = self.open(sealed, [key.as_bytes(), field])?;
            return Some(SessionEvent::Disconnected {
                cluster: ended.cluster,
                key: ended.key,
                reason: ended.reason,
            });
        }
        let key = format!("{}sessions:{name}", self.prefix);
        let record = self.open(sealed, [key.as_bytes(), field])?;
        Some(SessionEvent::Connected(Box::new(record)))
    }
}

/// The associated data of a place.
fn bound(place: [&[u8]; 2]) -> Vec<u8> {
    let mut bound = Vec::new();
    for part in place {
        bound.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        bound.extend_from_slice(part);
    }
    bound
}
