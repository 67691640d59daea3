//! Rights that are written in the account's JWT: a template and its scoped signing key, or the account's default permissions.
//!
//! nats-server checks little of that for users that come by a callout, so everything is held against the JWT that the very server
//! has in force: that the template is there and is natsgate's, that tags stay in their tokens, that there are default permissions
//! at all. Without any, a user that brings none may do everything.

use natsgate_accounts::keys::KeysError;
use natsgate_accounts::template::{NotOurs, TagsError};
use natsgate_accounts::{ManagedAccount, ScopedKeys, TemplateName};
use natsgate_claims::{KeyPair, UserBody, UserPermissionLimits};
use natsgate_core::{Limits, Permissions, TemplateUse};

use crate::settings::TargetSigner;

/// Why what a grant says to be written in the account's JWT is not given.
#[derive(Debug, thiserror::Error)]
pub enum NotWritten {
    /// Nothing is known of the account's JWT.
    #[error(
        "the grant says that its permissions are written in the account's JWT, which this shim does not read; that takes \
         shim.operator_mode with its operators, and shim.system"
    )]
    NoAccountJwt,
    /// The template is not there.
    #[error(
        "the account has no template {template} that its root secrets (shim.accounts[].root_secrets) make a key for; push it"
    )]
    NoTemplate {
        /// Its name.
        template: TemplateName,
    },
    /// The template has a newer generation, of a key that this shim cannot make.
    #[error(
        "the template {template} has a newer generation whose key none of this shim's root secrets makes; give it the secret that the \
         account writer has (shim.accounts[].root_secrets), first of all to every shim"
    )]
    NewerUnknown {
        /// Its name.
        template: TemplateName,
    },
    /// The template is retired.
    #[error("the template {template} is retired; have the policy name another")]
    Retired {
        /// Its name.
        template: TemplateName,
    },
    /// Somebody edited the template.
    #[error(
        "the template {template} was edited by hand, so that it is not known what it gives; put it again"
    )]
    Edited {
        /// Its name.
        template: TemplateName,
    },
    /// The template cannot be used with the grant's tags.
    #[error(transparent)]
    Tags(#[from] TagsError),
    /// The template's key could not be made.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The grant bounds what a nats-server takes from the template alone.
    #[error(
        "the grant limits {what} beside a template; nats-server takes that from the template alone: write it there"
    )]
    Limited {
        /// What.
        what: &'static str,
    },
    /// The account has no default permissions.
    #[error(
        "the account has no default permissions, so the session could do everything; push some, or write subjects into the policy"
    )]
    NoDefaults,
    /// The account's default permissions are not natsgate's.
    #[error("the account's default permissions: {0}; put them again")]
    ForeignDefaults(NotOurs),
    /// The shim's signing key has a template of its own, or is not the account's.
    #[error(
        "the key of shim.accounts[].signing_seed is not one of the account's plain signing keys, so its users would not get the \
         default permissions; use one"
    )]
    SignerNotPlain,
}

/// How long after an account JWT was issued another may be on its way.
const CHANGING_FOR: i64 = 60;

impl NotWritten {
    /// Whether it may be otherwise in a moment, since the account, whose JWT was issued at `issued_at`, is being changed at `now` (in
    /// seconds since the Unix epoch). Then the client should come again; later it would do so for ever.
    pub fn may_pass(&self, issued_at: Option<i64>, now: i64) -> bool {
        let changing = issued_at.is_some_and(|at| now.saturating_sub(at) < CHANGING_FOR);
        match self {
            Self::NoTemplate { .. } | Self::NoDefaults => changing,
            Self::NewerUnknown { .. } => true,
            _ => false,
        }
    }
}

/// A user JWT to be: who signs it, what it says, and what the shim holds for the server.
pub struct Written {
    /// The key that signs.
    pub signer: KeyPair,
    /// What it says of rights.
    pub body: UserBody,
    /// What bounds the session beside the grant.
    pub bounds: Limits,
}

/// The user of `used`, a template of `account`, of a grant with `limits`.
///
/// # Errors
/// [`NotWritten`].
pub fn by_template(
    used: &TemplateUse,
    limits: &Limits,
    account: &ManagedAccount,
    keys: &ScopedKeys,
) -> Result<Written, NotWritten> {
    if let Some(what) = limits.only_in_template() {
        return Err(NotWritten::Limited { what });
    }
    let template = used.template.clone();
    let Some(state) = account.template(&used.template) else {
        return Err(NotWritten::NoTemplate { template });
    };
    // What it gives is not known, and may be less.
    if account.has_unknown_newer(&used.template, state.newest().generation()) {
        return Err(NotWritten::NewerUnknown { template });
    }
    if state.is_retired() {
        return Err(NotWritten::Retired { template });
    }
    let Some(current) = state.current() else {
        return Err(NotWritten::Edited { template });
    };
    let newest = state.newest();
    let tags = current.tags(&used.tags, account.facts())?;
    let found = keys.find(&used.template, newest.generation(), newest.public_key())?;
    let Some((signer, _)) = found else {
        return Err(NotWritten::NoTemplate { template });
    };
    Ok(Written {
        signer,
        body: UserBody::scoped(account.account()).tagged(tags),
        bounds: current.limits().clone(),
    })
}

/// The user who gets the default permissions of `account`, within `limits`.
///
/// # Errors
/// [`NotWritten`].
pub fn by_defaults(
    limits: &Limits,
    account: &ManagedAccount,
    signer: &TargetSigner,
) -> Result<Written, NotWritten> {
    match account.defaults() {
        Ok(Some(_)) => {}
        Ok(None) => return Err(NotWritten::NoDefaults),
        Err(why) => return Err(NotWritten::ForeignDefaults(why)),
    }
    if !account.is_plain_key(signer.key.public_key()) {
        return Err(NotWritten::SignerNotPlain);
    }
    let own = UserPermissionLimits::granting(&Permissions::default(), limits);
    let mut body = UserBody::with(UserPermissionLimits {
        publish: natsgate_claims::Permission::default(),
        subscribe: natsgate_claims::Permission::default(),
        ..own
    });
    if signer.key.public_key() != signer.account {
        body.issuer_account = Some(signer.account.clone());
    }
    Ok(Written {
        signer: signer.key.clone(),
        body,
        bounds: Limits::default(),
    })
}

#[cfg(test)]
mod tests;
