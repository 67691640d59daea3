//! NATS JWT claims, nkeys and xkey sealing: everything a nats-server signs or reads.
//!
//! Here live the claims of operator, account and user JWTs, of authorization requests and responses (NATS ADR-14 and
//! ADR-26, `github.com/nats-io/jwt/v2`), signing and verifying them, keys with checked roles, sealing, and
//! credentials files. What does not live here: deciding anything, talking to a server, and whether a key that signed
//! something is one to trust: [`decode`] says who signed, the caller must know them.
//!
//! The `nats-jwt` crate encodes user and account JWTs with plain permissions and limits; tests hold ours against it,
//! and fixtures use it. It does not decode, nor does it cover: operator JWTs, authorization requests and responses;
//! `aud`, `nbf` and tags; response permissions, source networks, times and connection types; scoped signing keys and
//! the users they sign; an account's authorization, revocations, imports, exports and mappings; fields it does not
//! know. Hence the structs here.

mod body;
mod claims;
mod credentials;
mod decode;
mod encode;
mod nkey;
mod role;
mod xkey;

pub use body::account::{AccountBody, ExternalAuthorization, Limits, SigningKey, UserScope};
pub use body::authorization::{
    AUTHORIZATION_REQUEST_AUDIENCE, AuthorizationRequest, AuthorizationResponse, ClientInfo, ClientTls,
    ConnectOptions, ServerId,
};
pub use body::operator::OperatorBody;
pub use body::permissions::{
    NO_LIMIT, Permission, Permissions, ResponsePermission, TimeRange, UserPermissionLimits,
};
pub use body::unknown::Unknown;
pub use body::user::{UserBody, UserRights};
pub use claims::{Claims, ClaimsBody, ClaimsToSign, Envelope, Inconsistency, MAX_TOKEN_BYTES};
pub use credentials::{Credentials, CredentialsError};
pub use decode::{DecodeError, decode};
pub use encode::{EncodeError, Unsigned, encode, prepare};
pub use nkey::{KeyError, KeyForm, KeyPair, check_public_key};
pub use role::Role;
pub use xkey::{XKeyError, XKeyPair};
