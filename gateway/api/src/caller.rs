//! Who calls the gRPC API, and what they may do.
//!
//! A caller proves who it is with a client certificate, with an OAuth access token, or both; what it may do is in the
//! configuration ([`CallerSettings`]): scopes (methods), and what it may speak for. [`CallerAuthenticator`] finds out who
//! calls. What a call does is not here.

mod authenticator;
mod certificate;
mod scope;
mod settings;
mod token;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use natsgate_core::{Membership, Principal, Reach};
use tonic::{Code, Extensions, Status};

use crate::refusal::refusal;

pub use authenticator::{CallerAuthenticator, Refusals};
pub use scope::Scope;
pub use settings::{CallerSettings, CallerSettingsError, CertificateBinding, TokenBinding};

/// Somebody who calls. Made by [`CallerAuthenticator`] alone.
#[derive(Debug, Clone)]
pub struct Caller(Kind);

#[derive(Debug, Clone)]
enum Kind {
    /// A part of this process.
    Local,
    /// Whoever reaches us, where no callers are configured.
    Anyone,
    /// A configured caller, with the scopes it has this time.
    Named {
        known: Arc<settings::Known>,
        scopes: BTreeSet<Scope>,
        /// When its token ends, if it came with one.
        until: Option<SystemTime>,
        /// Whether its token was revoked is not known, so it may do no more than it must be able to.
        in_doubt: bool,
    },
}

/// Marks a request as made within this process. No request from the network has it.
#[derive(Clone)]
struct Local;

/// Marks a request, by its extensions, as made by a part of this process: a shim that calls the service directly. Such a
/// caller may have decisions made and nothing else.
pub fn mark_local(extensions: &mut Extensions) {
    extensions.insert(Local);
}

impl Caller {
    /// Its configured name; `local` for a part of this process, `anyone` where no callers are configured.
    pub fn name(&self) -> &str {
        match &self.0 {
            Kind::Local => settings::LOCAL,
            Kind::Anyone => settings::ANYONE,
            Kind::Named { known, .. } => &known.name,
        }
    }

    /// When its credentials end, as far as that matters to a call that goes on for long.
    pub fn until(&self) -> Option<SystemTime> {
        match &self.0 {
            Kind::Local | Kind::Anyone => None,
            Kind::Named { until, .. } => *until,
        }
    }

    /// Whether it may call the methods of `scope`.
    pub fn may(&self, scope: Scope) -> bool {
        self.lack(scope).is_none()
    }

    /// What stands between it and the methods of `scope`.
    fn lack(&self, scope: Scope) -> Option<Lack> {
        let may = match &self.0 {
            Kind::Local | Kind::Anyone => scope == Scope::Authorize,
            Kind::Named { scopes, .. } => scopes.contains(&scope),
        };
        match &self.0 {
            _ if !may => Some(Lack::Scope),
            Kind::Named { in_doubt: true, .. } if scope != Scope::Authorize => Some(Lack::Certainty),
            _ => None,
        }
    }

    /// What it may speak for.
    pub fn reach(&self) -> Reach {
        match &self.0 {
            Kind::Local | Kind::Anyone => Reach::nothing(),
            Kind::Named { known, .. } => known.reach.clone(),
        }
    }

    /// Whether it may give `membership` to `principal`, or take it.
    pub fn may_write(&self, principal: &Principal, membership: &Membership) -> bool {
        match &self.0 {
            Kind::Local | Kind::Anyone => false,
            Kind::Named { known, .. } => {
                self.may(Scope::MembershipsWrite) && known.reach.covers(principal, membership)
            }
        }
    }

    /// Whether it may see and change the account of this configured name, as far as its scopes go.
    pub fn may_account(&self, name: &str) -> bool {
        match &self.0 {
            Kind::Local | Kind::Anyone => false,
            Kind::Named { known, .. } => known.accounts.contain(name),
        }
    }

    /// Whether it may lend the system connection of the cluster of this name.
    pub fn may_link(&self, cluster: &str) -> bool {
        match &self.0 {
            Kind::Local | Kind::Anyone => false,
            Kind::Named { known, .. } => self.may(Scope::AccountsLink) && known.clusters.contain(cluster),
        }
    }

    /// An error unless it may call the methods of `scope`.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`; `UNAVAILABLE` while it is not known whether its token was revoked.
    pub fn require(&self, scope: Scope) -> Result<(), Status> {
        match self.lack(scope) {
            None => Ok(()),
            Some(lack) => Err(refusal(lack.code(), lack.reason(), lack.message(self, scope))),
        }
    }
}

/// Why a known caller may not.
#[derive(Debug, Clone, Copy)]
enum Lack {
    Scope,
    Certainty,
}

impl Lack {
    fn code(self) -> Code {
        match self {
            Self::Scope => Code::PermissionDenied,
            Self::Certainty => Code::Unavailable,
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Scope => "SCOPE_MISSING",
            Self::Certainty => "STANDING_UNKNOWN",
        }
    }

    fn message(self, caller: &Caller, scope: Scope) -> String {
        let name = caller.name();
        match self {
            Self::Scope => format!(
                "caller `{name}` has not the scope `{scope}`: it must be in its entry of `callers`, and, if it calls with a \
                 token, in the token"
            ),
            Self::Certainty => format!(
                "whether the token of caller `{name}` was revoked is not known: it is older than the revocation log, so come with a \
                 newer one; or the log is out of reach, so call again after a while"
            ),
        }
    }
}
