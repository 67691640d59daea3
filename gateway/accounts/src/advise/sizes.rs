//! How large JWTs are, by encoding them. No key here is anybody's, and nothing here is ever signed.

use natsgate_claims::{
    AccountBody, ClaimsBody, ClaimsToSign, EncodeError, KeyPair, NO_LIMIT, Permission, Role, SigningKey,
    UserBody, UserPermissionLimits, prepare,
};
use zeroize::Zeroizing;

use super::{AdviseError, Workload};
use crate::naming::Generation;

/// When the JWTs would be issued and expire; ten digits, as for the next two hundred years.
const NOW: i64 = 1_800_000_000;

/// Characters of what a template's name, a membership's id and a user's name have in these JWTs.
const NAME: usize = 12;

/// A user JWT's name: readable part, digest, revision, shim.
const USER_NAME: usize = 110;

/// The sizes of JWTs, in bytes.
pub(super) struct Sizes {
    /// An account with nothing but a plain signing key.
    pub(super) plain_account: usize,
    /// One with a scoped key for every template.
    pub(super) scoped_account: usize,
    /// The same with two generations of those in change.
    pub(super) scoped_account_in_change: usize,
    /// One with default permissions.
    pub(super) live_account: usize,
    /// A user that brings all its subjects.
    pub(super) user_with_subjects: usize,
    /// A user with a tag for every membership.
    pub(super) scoped_user: usize,
    /// A user with neither.
    pub(super) plain_user: usize,
}

/// Keys to write into JWTs.
struct Keys {
    operator: String,
    account: String,
    user: String,
}

impl Sizes {
    pub(super) fn of(workload: &Workload) -> Result<Self, AdviseError> {
        let keys = Keys::new()?;
        let subjects = workload.subjects_per_template;
        let plain = AccountBody {
            signing_keys: vec![SigningKey::Plain(keys.account.clone())],
            ..AccountBody::default()
        };
        let function = workload.memberships_per_user > 0;
        let template = limits(subjects, workload.subject_bytes, function);
        let scoped = |keys_in_all: u64| {
            let mut body = plain.clone();
            for number in 0..keys_in_all {
                let role = format!("natsgate.{number:0NAME$}.{}", Generation::FIRST);
                let key = SigningKey::scoped(keys.account.clone(), role, template.clone());
                body.signing_keys.push(key);
            }
            keys.account_size(body)
        };
        let mut live = plain.clone();
        let UserPermissionLimits {
            publish, subscribe, ..
        } = limits(subjects, workload.subject_bytes, false);
        live.default_permissions.publish = publish;
        live.default_permissions.subscribe = subscribe;

        let expanded = limits(workload.subjects_per_user(), workload.subject_bytes, false);
        let account = &keys.account;
        let tags = (0..workload.memberships_per_user).map(|number| format!("project:{number:0NAME$}"));
        Ok(Self {
            plain_account: keys.account_size(plain.clone())?,
            scoped_account: scoped(workload.templates)?,
            scoped_account_in_change: scoped(workload.templates.saturating_add(workload.in_change()))?,
            live_account: keys.account_size(live)?,
            user_with_subjects: keys.user_size(UserBody::with(expanded).of_account(account))?,
            scoped_user: keys.user_size(UserBody::scoped(account).tagged(tags))?,
            plain_user: keys.user_size(UserBody::unlimited().of_account(account))?,
        })
    }
}

impl Keys {
    fn new() -> Result<Self, AdviseError> {
        let seed = Zeroizing::new([1; 32]);
        let public = |role| {
            let key = KeyPair::from_raw_seed(&seed, role).map_err(|cause| EncodeError::Signing {
                kind: AccountBody::TYPE,
                cause,
            })?;
            Ok::<_, AdviseError>(key.public_key().to_owned())
        };
        Ok(Self {
            operator: public(Role::Operator)?,
            account: public(Role::Account)?,
            user: public(Role::User)?,
        })
    }

    fn account_size(&self, body: AccountBody) -> Result<usize, AdviseError> {
        let claims = ClaimsToSign::new(&self.account, body).name("x".repeat(NAME));
        size(&claims, &self.operator)
    }

    fn user_size(&self, body: UserBody) -> Result<usize, AdviseError> {
        let claims = ClaimsToSign::new(&self.user, body)
            .name("x".repeat(USER_NAME))
            .expires_at(NOW);
        size(&claims, &self.account)
    }
}

/// The size of a token, also of one that is too large.
fn size<B: ClaimsBody>(claims: &ClaimsToSign<B>, issuer: &str) -> Result<usize, AdviseError> {
    match prepare(claims, issuer, NOW) {
        Ok(unsigned) => Ok(unsigned.size()),
        Err(EncodeError::TooLarge { size, .. }) => Ok(size),
        Err(other) => Err(other.into()),
    }
}

/// `subjects` of `bytes` each, half of them to publish to and half to subscribe to.
fn limits(subjects: u64, bytes: usize, function: bool) -> UserPermissionLimits {
    let text = |number: u64| {
        let text = if function {
            format!("{{{{tag(project)}}}}.{number}.")
        } else {
            format!("{number}.")
        };
        format!("{text:x<bytes$}")
    };
    let list = |from: u64, to: u64| {
        let allow: Vec<String> = (from..to).map(text).collect();
        // As natsgate writes a list that allows nothing.
        let deny = if allow.is_empty() {
            vec![">".to_owned()]
        } else {
            Vec::new()
        };
        Permission { allow, deny }
    };
    let half = subjects.div_ceil(2);
    UserPermissionLimits {
        publish: list(0, half),
        subscribe: list(half, subjects),
        subs: NO_LIMIT,
        data: NO_LIMIT,
        payload: NO_LIMIT,
        ..UserPermissionLimits::default()
    }
}
