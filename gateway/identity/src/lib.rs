//! Who somebody is, and what they belong to: OpenID Connect discovery, key sets (JWKS), verification of access tokens (JWTs
//! by their signature, opaque ones by introspection or userinfo), client certificates; and the sources of memberships.
//!
//! The ports implemented here are [`natsgate_core::IdentityProvider`] and [`natsgate_core::MembershipSource`]. What
//! does not live here: what anybody may do (policy), and anything that NATS itself signs or reads (claims).
//!
//! Every refusal is a denial with its own reason; everything that could not be found out is
//! [`natsgate_core::Unavailable`], never a denial. No token and no claim's value reaches an error or a log.

mod algorithm;
mod certificate;
mod claim_path;
mod claims;
mod discovery;
mod documents;
mod fetch;
mod identities;
mod key_source;
mod keys;
mod logout;
pub mod membership;
mod oidc;
mod online;
mod providers;
pub mod settings;
mod token;

#[cfg(test)]
mod testing;

pub use algorithm::{Algorithm, NotAllowed};
pub use certificate::CertificateProvider;
pub use identities::Identities;
pub use logout::LogoutTokens;
pub use membership::claim::ClaimMemberships;
pub use membership::file::FileMemberships;
pub use membership::http::HttpMemberships;
pub use membership::postgres::PostgresMemberships;
pub use oidc::{OidcParts, OidcProvider};
pub use online::{TokenAnswer, TokenLookup, TokenQuery, TokenSource, Uncached, WrapSource, uncached};
pub use providers::Providers;
pub use settings::SettingsError;
pub use settings::certificate::CertificateSettings;
pub use settings::logout::{LogoutSettings, LogoutTarget};
pub use settings::membership::http::HttpMembershipSettings;
pub use settings::membership::postgres::PostgresMembershipSettings;
pub use settings::membership::{ClaimMembershipSettings, FileMembershipSettings, MembershipSettings};
pub use settings::oidc::OidcSettings;
