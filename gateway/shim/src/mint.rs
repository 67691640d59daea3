//! From a grant to the user JWT, under the shim's ceilings.

use std::borrow::Cow;
use std::time::SystemTime;

use natsgate_accounts::ManagedAccount;
use natsgate_claims::{
    AuthorizationRequest, ClaimsToSign, EncodeError, KeyPair, UserBody, UserPermissionLimits, encode,
};
use natsgate_core::{Limits, NotAdmitted, Principal, Revision, Rights};
use natsgate_proto::v1;

use crate::ceilings::{self, Exceeded};
use crate::grant::{self, BadField};
use crate::name::SessionName;
use crate::settings::{Issuing, ShimSettings, TargetAccount, TargetSigner};
use crate::written::{self, NotWritten, Written};

/// Why there is no user JWT for a grant.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// It goes beyond the ceilings.
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
    /// It cannot be read.
    #[error("the grant's {0}")]
    Unreadable(#[from] BadField),
    /// It is for nobody.
    #[error("the grant names no principal, or one without issuer or subject")]
    NoPrincipal,
    /// Its limits keep the connection out.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// The account has no key to sign with.
    #[error("the account {0} has no signing key (shim.accounts)")]
    NoSigner(String),
    /// What it says to be written in the account's JWT is not, or not so that it could be used.
    #[error(transparent)]
    NotWritten(#[from] NotWritten),
    /// It could not be signed.
    #[error("signing the user JWT: {0}")]
    Sign(#[from] EncodeError),
}

impl MintError {
    /// Whether it may be otherwise in a moment, so that the client should come again rather than be denied. `account` is what the
    /// grant was to be minted from.
    pub fn may_pass(&self, account: Option<&ManagedAccount>, now: SystemTime) -> bool {
        let issued_at = account.and_then(ManagedAccount::issued_at);
        matches!(self, Self::NotWritten(why) if why.may_pass(issued_at, natsgate_core::clock::unix_seconds(now)))
    }
}

/// What a grant is made a user JWT of, beside itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Naming<'a> {
    /// The account's JWT that the asking server has in force, where the grant says that its rights stand there.
    pub account: Option<&'a ManagedAccount>,
    /// What its permissions are valid as of.
    pub as_of: Option<Revision>,
    /// The shim that mints it.
    pub shim: &'a str,
}

/// The user JWT that gives `grant` to the connection that `request` is about, if its limits, and those of the template it names, let
/// that connection in.
///
/// # Errors
/// [`MintError`]; the client is then denied.
pub fn for_request(
    grant: &v1::Grant,
    request: &AuthorizationRequest,
    settings: &ShimSettings,
    naming: Naming<'_>,
    now: SystemTime,
) -> Result<String, MintError> {
    let client = &request.client_info;
    let admit = |limits: &Limits| limits.admit(&client.host, &client.kind, &client.client_type);
    admit(&grant::limits(grant)?)?;
    let minting = prepare(grant, settings, naming, now)?;
    admit(&minting.bounds)?;
    minting.sign(&request.user_nkey, now)
}

/// The user JWT that gives `grant` to `user_nkey`. A nats-server that gets it from a callout does not hold all of its
/// limits: [`for_request`] does.
///
/// # Errors
/// [`MintError`].
pub fn user_jwt(
    grant: &v1::Grant,
    user_nkey: &str,
    settings: &ShimSettings,
    naming: Naming<'_>,
    now: SystemTime,
) -> Result<String, MintError> {
    prepare(grant, settings, naming, now)?.sign(user_nkey, now)
}

/// A user JWT that is ready to be signed, for whoever it is.
struct Minting<'a> {
    signer: Cow<'a, KeyPair>,
    body: UserBody,
    audience: Option<String>,
    name: String,
    expiry: i64,
    /// What bounds the session beside the grant, and is for the shim to hold.
    bounds: Limits,
}

impl Minting<'_> {
    fn sign(self, user_nkey: &str, now: SystemTime) -> Result<String, MintError> {
        let mut claims = ClaimsToSign::new(user_nkey, self.body);
        claims.audience = self.audience;
        claims.expires_at = Some(self.expiry);
        claims.name = Some(self.name);
        Ok(encode(
            claims,
            &self.signer,
            natsgate_core::clock::unix_seconds(now),
        )?)
    }
}

fn prepare<'a>(
    grant: &v1::Grant,
    settings: &'a ShimSettings,
    naming: Naming<'_>,
    now: SystemTime,
) -> Result<Minting<'a>, MintError> {
    let account = ceilings::account(grant, &settings.accounts)?;
    let expiry = ceilings::expiry(grant, settings.max_session, now)?;
    let rights = grant::rights(grant)?;
    let limits = grant::limits(grant)?;
    let principal = grant.principal.as_ref().ok_or(MintError::NoPrincipal)?;
    if principal.issuer.is_empty() || principal.subject.is_empty() {
        return Err(MintError::NoPrincipal);
    }
    let principal = Principal::new(&principal.issuer, &principal.subject);
    let name = SessionName::new(&principal, naming.as_of, naming.shim).to_string();

    let written = match rights {
        Rights::Own(permissions) => {
            let (signer, audience, issuer_account) = signing(&settings.issuing, account)?;
            let mut body = UserBody::with(UserPermissionLimits::granting(&permissions, &limits));
            body.issuer_account = issuer_account;
            return Ok(Minting {
                signer: Cow::Borrowed(signer),
                body,
                audience,
                name,
                expiry,
                bounds: Limits::default(),
            });
        }
        Rights::Template(used) => {
            let (jwt, target) = account_jwt(account, naming)?;
            written::by_template(&used, &limits, jwt, &target.scoped)?
        }
        Rights::AccountDefaults => {
            let (jwt, target) = account_jwt(account, naming)?;
            written::by_defaults(&limits, jwt, target)?
        }
    };
    let Written { signer, body, bounds } = written;
    Ok(Minting {
        signer: Cow::Owned(signer),
        body,
        audience: None,
        name,
        expiry,
        bounds,
    })
}

/// The account's JWT, if it was read and is this account's.
fn account_jwt<'a, 'b>(
    account: &'a TargetAccount,
    naming: Naming<'b>,
) -> Result<(&'b ManagedAccount, &'a TargetSigner), NotWritten> {
    let target = account.signer.as_ref().ok_or(NotWritten::NoAccountJwt)?;
    let jwt = naming.account.filter(|jwt| jwt.account() == target.account);
    Ok((jwt.ok_or(NotWritten::NoAccountJwt)?, target))
}

/// Who signs for `account`, and what the JWT says about that: in config mode the issuer, with the account's name as
/// audience; in operator mode the account's key, or a signing key that names its account.
fn signing<'a>(
    issuing: &'a Issuing,
    account: &'a TargetAccount,
) -> Result<(&'a KeyPair, Option<String>, Option<String>), MintError> {
    match issuing {
        Issuing::Config { issuer } => Ok((issuer, Some(account.name.clone()), None)),
        Issuing::Operator { .. } => {
            let target = account
                .signer
                .as_ref()
                .ok_or_else(|| MintError::NoSigner(account.name.clone()))?;
            let by_signing_key = target.key.public_key() != target.account;
            Ok((&target.key, None, by_signing_key.then(|| target.account.clone())))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, UNIX_EPOCH};

    use natsgate_accounts::{RootSecret, ScopedKeys, Template};
    use natsgate_claims::{Claims, ClientInfo, ConnectOptions, Role, ServerId, UserRights, decode};
    use natsgate_core::{ConnectionType, Permissions, Subject};
    use secrecy::SecretString;

    use super::*;
    use crate::enforce::EnforcementSettings;
    use crate::nats::{NatsCredentials, NatsSettings};
    use crate::settings::{Bounds, TargetSigner};

    const NOW: i64 = 1_700_000_000;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW.unsigned_abs())
    }

    fn key() -> KeyPair {
        KeyPair::generate(Role::Account).unwrap()
    }

    fn settings(issuing: Issuing, accounts: Vec<TargetAccount>) -> ShimSettings {
        ShimSettings {
            cluster: "test".into(),
            issuing,
            xkey: None,
            accounts,
            operators: Vec::new(),
            max_session: Duration::from_secs(600),
            bounds: Bounds {
                max_in_flight: 1,
                max_waiting: 1,
                answer_margin: Duration::from_millis(100),
            },
            callout: NatsSettings {
                servers: vec![],
                credentials: NatsCredentials::None,
                require_tls: false,
                ca_file: None,
                client_certificate: None,
            },
            system_account: None,
            system: None,
            eviction: None,
            enforcement: EnforcementSettings::default(),
        }
    }

    fn config_mode() -> ShimSettings {
        settings(
            Issuing::Config { issuer: key() },
            vec![TargetAccount {
                name: "APP".into(),
                signer: None,
            }],
        )
    }

    fn grant() -> v1::Grant {
        v1::Grant {
            account: "APP".into(),
            principal: Some(v1::Principal {
                issuer: "https://login.example".into(),
                subject: "ali ce".into(),
            }),
            permissions: Some(v1::Permissions {
                publish_allow: vec!["a.>".into()],
                ..Default::default()
            }),
            limits: None,
            expires_at: Some(prost_types::Timestamp {
                seconds: NOW + 300,
                nanos: 999,
            }),
            ..Default::default()
        }
    }

    fn mint(grant: &v1::Grant, settings: &ShimSettings) -> Result<Claims<UserBody>, MintError> {
        mint_from(grant, settings, None)
    }

    fn mint_from(
        grant: &v1::Grant,
        settings: &ShimSettings,
        account: Option<&ManagedAccount>,
    ) -> Result<Claims<UserBody>, MintError> {
        let user = KeyPair::generate(Role::User).unwrap();
        let request = AuthorizationRequest {
            server_id: ServerId::default(),
            user_nkey: user.public_key().to_owned(),
            client_info: ClientInfo {
                host: "192.0.2.7".into(),
                kind: "Client".into(),
                client_type: "nats".into(),
                ..ClientInfo::default()
            },
            connect_opts: ConnectOptions::default(),
            client_tls: None,
            request_nonce: None,
        };
        let naming = Naming {
            account,
            shim: "here",
            ..Naming::default()
        };
        let jwt = for_request(grant, &request, settings, naming, now())?;
        let claims: Claims<UserBody> = decode(&jwt, NOW).unwrap();
        assert_eq!(claims.subject, user.public_key());
        Ok(claims)
    }

    fn rights(claims: &Claims<UserBody>) -> UserPermissionLimits {
        match &claims.body.rights {
            UserRights::Own(rights) => (**rights).clone(),
            UserRights::Scoped => panic!("scoped"),
        }
    }

    #[test]
    fn config_mode_names_the_account_in_the_audience() {
        let settings = config_mode();
        let claims = mint(&grant(), &settings).unwrap();
        assert_eq!(claims.audience.as_deref(), Some("APP"));
        assert_eq!(claims.body.issuer_account, None);
        assert_eq!(claims.expires_at, Some(NOW + 300));
        let name = claims.name.unwrap();
        let named = SessionName::parse(&name).unwrap();
        assert_eq!(
            (named.readable.as_str(), named.shim.as_deref()),
            ("ali_ce", Some("here"))
        );
    }

    #[test]
    fn operator_mode_signs_with_the_accounts_own_key() {
        let (callout, account, signing) = (key(), key(), key());
        let by = |signer: KeyPair| {
            let target = TargetSigner {
                account: account.public_key().to_owned(),
                key: signer,
                scoped: Arc::new(ScopedKeys::without_secrets(account.public_key()).unwrap()),
            };
            let issuing = Issuing::Operator {
                callout_account: callout.public_key().into(),
                signer: callout.clone(),
            };
            settings(
                issuing,
                vec![TargetAccount {
                    name: "APP".into(),
                    signer: Some(target),
                }],
            )
        };
        let own = mint(&grant(), &by(account.clone())).unwrap();
        assert_eq!(
            (own.issuer.as_str(), own.body.issuer_account),
            (account.public_key(), None)
        );
        let delegated = mint(&grant(), &by(signing.clone())).unwrap();
        assert_eq!(delegated.issuer, signing.public_key());
        assert_eq!(
            delegated.body.issuer_account.as_deref(),
            Some(account.public_key())
        );
        assert_eq!(delegated.audience, None);
    }

    #[test]
    fn a_templates_own_limits_are_held_here_and_the_jwt_must_be_the_accounts() {
        let (account, signing) = (key(), key());
        let secret = RootSecret::new(SecretString::from("only for this test, 32 bytes at least")).unwrap();
        let keys = Arc::new(ScopedKeys::new(account.public_key(), secret, Vec::new()).unwrap());
        let target = TargetSigner {
            account: account.public_key().to_owned(),
            key: signing,
            scoped: Arc::clone(&keys),
        };
        let issuing = Issuing::Operator {
            callout_account: key().public_key().into(),
            signer: key(),
        };
        let target = TargetAccount {
            name: "APP".into(),
            signer: Some(target),
        };
        let settings = settings(issuing, vec![target]);
        let by_template = v1::Grant {
            permissions: None,
            template: Some(v1::TemplateUse {
                name: "member".into(),
                tags: Vec::new(),
            }),
            ..grant()
        };
        let mut permissions = Permissions::default();
        permissions.publish.allow = vec![Subject::parse("a").unwrap()];
        let with = |kind: ConnectionType| {
            let limits = Limits {
                connection_types: Some(vec![kind]),
                ..Limits::default()
            };
            let template = Template::new("member".parse().unwrap(), permissions.clone(), limits).unwrap();
            let mut jwt = ManagedAccount::create("APP", Arc::clone(&keys));
            jwt.put_template(&template).unwrap();
            jwt
        };
        let claims = mint_from(&by_template, &settings, Some(&with(ConnectionType::Standard))).unwrap();
        assert_eq!(claims.body.rights, UserRights::Scoped);
        assert_eq!(claims.body.issuer_account.as_deref(), Some(account.public_key()));
        assert_eq!(claims.expires_at, Some(NOW + 300));
        // The client is an ordinary one.
        let refused = mint_from(&by_template, &settings, Some(&with(ConnectionType::Websocket)));
        assert!(matches!(refused, Err(MintError::NotAdmitted(_))));
        for other in [
            None,
            Some(ManagedAccount::create(
                "APP",
                Arc::new(ScopedKeys::without_secrets(key().public_key()).unwrap()),
            )),
        ] {
            let refused = mint_from(&by_template, &settings, other.as_ref());
            assert!(matches!(
                refused,
                Err(MintError::NotWritten(NotWritten::NoAccountJwt))
            ));
        }
    }

    #[test]
    fn what_is_not_granted_is_denied_in_the_jwt() {
        let claims = mint(&grant(), &config_mode()).unwrap();
        let rights = rights(&claims);
        assert_eq!(rights.publish.allow, ["a.>"]);
        assert_eq!(
            (rights.subscribe.allow.len(), rights.subscribe.deny),
            (0, vec![">".to_owned()])
        );
        assert!(!rights.bearer_token);
        assert_eq!((rights.subs, rights.data, rights.payload), (-1, -1, -1));
    }

    #[test]
    fn the_ceilings_hold() {
        let mut longer = grant();
        longer.expires_at = Some(prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        });
        assert_eq!(mint(&longer, &config_mode()).unwrap().expires_at, Some(NOW + 600));

        for account in ["SYS", "$SYS", "AUTH", ""] {
            let mut foreign = grant();
            foreign.account = account.into();
            let refused = mint(&foreign, &config_mode());
            assert!(
                matches!(refused, Err(MintError::Exceeded(Exceeded::Account(_)))),
                "{account}"
            );
        }
        let mut nobody = grant();
        nobody.principal = None;
        assert!(matches!(
            mint(&nobody, &config_mode()),
            Err(MintError::NoPrincipal)
        ));
        nobody.principal = Some(v1::Principal {
            issuer: "https://login.example".into(),
            subject: String::new(),
        });
        assert!(matches!(
            mint(&nobody, &config_mode()),
            Err(MintError::NoPrincipal)
        ));
    }

    #[test]
    fn limits_that_the_server_does_not_hold_are_held_here() {
        let limited = |change: fn(&mut v1::Limits)| {
            let mut limits = v1::Limits::default();
            change(&mut limits);
            v1::Grant {
                limits: Some(limits),
                ..grant()
            }
        };
        for (change, admitted) in [
            (
                (|l| l.source_networks.push("192.0.2.0/24".into())) as fn(&mut v1::Limits),
                true,
            ),
            (|l| l.source_networks.push("10.0.0.0/8".into()), false),
            (|l| l.connection_types.push("STANDARD".into()), true),
            (|l| l.connection_types.push("WEBSOCKET".into()), false),
        ] {
            assert_eq!(mint(&limited(change), &config_mode()).is_ok(), admitted);
        }
    }
}
