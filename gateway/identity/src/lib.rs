//! Who somebody is, and what they belong to: OpenID Connect discovery, key sets (JWKS), verification of JWT access
//! tokens, and memberships from a token's claims or from a file.
//!
//! The ports implemented here are [`natsgate_core::IdentityProvider`] and [`natsgate_core::MembershipSource`]. What
//! does not live here: what anybody may do (policy), and anything that NATS itself signs or reads (claims).
//!
//! Every refusal is a denial with its own reason; everything that could not be found out is
//! [`natsgate_core::Unavailable`], never a denial. No token and no claim's value reaches an error or a log.

mod algorithm;
mod claim_path;
mod claims;
mod discovery;
mod fetch;
mod key_source;
mod keys;
pub mod membership;
mod oidc;
mod providers;
pub mod settings;
mod token;

#[cfg(test)]
mod testing;

pub use algorithm::{Algorithm, NotAllowed};
pub use membership::claim::ClaimMemberships;
pub use membership::file::FileMemberships;
pub use oidc::OidcProvider;
pub use providers::Providers;
pub use settings::SettingsError;
pub use settings::membership::{ClaimMembershipSettings, FileMembershipSettings, MembershipSettings};
pub use settings::oidc::OidcSettings;
