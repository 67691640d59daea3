//! Finds out who calls.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use natsgate_core::{
    ClaimsStanding, Clock, Credential, Deadline, Evidence, Failure, Freshness, Identity, IdentityProvider,
};
use secrecy::SecretString;
use tonic::metadata::MetadataMap;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::{Code, Extensions, Status};
use tracing::warn;

use super::scope::Scope;
use super::settings::{CallerSettings, CallerSettingsError, Known, known};
use super::{Caller, Kind, Local, certificate, token};
use crate::audit;
use crate::refusal::refusal;

/// Knows the configured callers.
pub struct CallerAuthenticator {
    callers: Vec<Arc<Known>>,
    provider: Option<Arc<dyn IdentityProvider>>,
    freshness: Option<Arc<dyn Freshness>>,
    clock: Arc<dyn Clock>,
    unauthenticated: AtomicU64,
    denied: AtomicU64,
    unavailable: AtomicU64,
}

/// How many calls were refused for who made them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refusals {
    /// Without credentials, or with such as are not known or not good.
    pub unauthenticated: u64,
    /// By a known caller who may not.
    pub denied: u64,
    /// Because a token could not be verified.
    pub unavailable: u64,
}

/// Why somebody is not let in.
struct Refused {
    code: Code,
    reason: &'static str,
    /// For the caller.
    message: String,
    /// For the audit: more exact. Holds no token.
    detail: String,
}

impl Refused {
    fn unauthenticated(detail: impl Into<String>) -> Self {
        Self {
            code: Code::Unauthenticated,
            reason: "CALLER_NOT_AUTHENTICATED",
            message: "the caller is not known here: call with a client certificate or an access token of one of the \
                      configured `callers`"
                .to_owned(),
            detail: detail.into(),
        }
    }

    fn ambiguous(one: &Known, other: &Known) -> Self {
        let text = format!(
            "these credentials are those of both callers `{}` and `{}`: make their entries exclude one another",
            one.name, other.name
        );
        Self {
            code: Code::PermissionDenied,
            reason: "CALLER_AMBIGUOUS",
            message: text.clone(),
            detail: text,
        }
    }
}

impl CallerAuthenticator {
    /// Knows the callers of `settings`. Tokens are verified by `provider`, which was made for the API's own audience and
    /// stands for the providers of these names. Without any callers, everybody who reaches the API may have decisions
    /// made, and nothing else.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub fn new(
        settings: &[CallerSettings],
        provider: Option<(Arc<dyn IdentityProvider>, Vec<String>)>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CallerSettingsError> {
        let (provider, names) = provider.map_or((None, Vec::new()), |(one, names)| (Some(one), names));
        Ok(Self {
            callers: known(settings, &names)?.into_iter().map(Arc::new).collect(),
            provider,
            freshness: None,
            clock,
            unauthenticated: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            unavailable: AtomicU64::new(0),
        })
    }

    /// The same, for which a token counts only as far as nothing that concerns it was revoked since it was issued. What was
    /// is asked for at the provider anew. While `freshness` cannot tell, and the provider cannot be asked, a caller with a
    /// token may still have decisions made, and nothing else.
    #[must_use]
    pub fn with_freshness(mut self, freshness: Arc<dyn Freshness>) -> Self {
        self.freshness = Some(freshness);
        self
    }

    /// Whether any callers are configured. Without, the API must be reachable from this machine only.
    pub fn has_callers(&self) -> bool {
        !self.callers.is_empty()
    }

    /// How many calls were refused so far.
    pub fn refusals(&self) -> Refusals {
        Refusals {
            unauthenticated: self.unauthenticated.load(Ordering::Relaxed),
            denied: self.denied.load(Ordering::Relaxed),
            unavailable: self.unavailable.load(Ordering::Relaxed),
        }
    }

    /// Who makes the call of these `extensions` and `metadata`.
    ///
    /// A call with both a certificate and a token must have known ones of both; the caller is the token's, with the
    /// token's scopes.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, `PERMISSION_DENIED` (credentials of several callers), `UNAVAILABLE` (the token could not be
    /// verified), with details. Refusals are counted and audited.
    pub async fn authenticate(
        &self,
        extensions: &Extensions,
        metadata: &MetadataMap,
        deadline: Deadline,
    ) -> Result<Caller, Status> {
        self.find(extensions, metadata, deadline)
            .await
            .map_err(|refused| self.refuse(extensions, None, refused))
    }

    /// Who makes the call, if they may call the methods of `scope`. To be called at the head of every method.
    ///
    /// # Errors
    /// As for [`Self::authenticate`]; `PERMISSION_DENIED` without the scope.
    pub async fn authorize(
        &self,
        scope: Scope,
        extensions: &Extensions,
        metadata: &MetadataMap,
        deadline: Deadline,
    ) -> Result<Caller, Status> {
        let caller = self.authenticate(extensions, metadata, deadline).await?;
        match caller.lack(scope) {
            None => Ok(caller),
            Some(lack) => {
                let refused = Refused {
                    code: lack.code(),
                    reason: lack.reason(),
                    message: lack.message(&caller, scope),
                    detail: format!("scope {scope}: {lack:?}"),
                };
                Err(self.refuse(extensions, Some(&caller), refused))
            }
        }
    }

    /// Notes that `caller`, who is known, was refused something beyond its scopes, and why.
    pub fn note_denied(&self, extensions: &Extensions, caller: &Caller, detail: &str) {
        self.denied.fetch_add(1, Ordering::Relaxed);
        tell(extensions, Some(caller), "OUT_OF_REACH", detail);
    }

    fn refuse(&self, extensions: &Extensions, caller: Option<&Caller>, refused: Refused) -> Status {
        let count = match refused.code {
            Code::Unauthenticated => &self.unauthenticated,
            Code::Unavailable => &self.unavailable,
            _ => &self.denied,
        };
        count.fetch_add(1, Ordering::Relaxed);
        tell(extensions, caller, refused.reason, &refused.detail);
        refusal(refused.code, refused.reason, refused.message)
    }

    async fn find(
        &self,
        extensions: &Extensions,
        metadata: &MetadataMap,
        deadline: Deadline,
    ) -> Result<Caller, Refused> {
        if extensions.get::<Local>().is_some() {
            return Ok(Caller(Kind::Local));
        }
        if self.callers.is_empty() {
            return Ok(Caller(Kind::Anyone));
        }
        let by_certificate = self.by_certificate(extensions)?;
        let token = token::bearer(metadata).map_err(Refused::unauthenticated)?;
        match (by_certificate, token) {
            (_, Some(token)) => self.by_token(token, deadline).await,
            (Some(known), None) => Ok(Caller(Kind::Named {
                scopes: known.scopes.clone(),
                known,
                until: None,
                in_doubt: false,
            })),
            (None, None) => Err(Refused::unauthenticated(
                "neither a client certificate nor a token",
            )),
        }
    }

    /// The caller that the connection's certificate names, if it has one.
    fn by_certificate(&self, extensions: &Extensions) -> Result<Option<Arc<Known>>, Refused> {
        let chain = extensions
            .get::<TlsConnectInfo<TcpConnectInfo>>()
            .and_then(TlsConnectInfo::peer_certs);
        let Some(leaf) = chain.as_ref().and_then(|chain| chain.first()) else {
            return Ok(None);
        };
        let names = certificate::names(leaf, self.clock.now()).map_err(Refused::unauthenticated)?;
        let known = self.only(|known| known.certificate.as_ref().is_some_and(|name| names.have(name)))?;
        known.map(Some).ok_or_else(|| {
            Refused::unauthenticated(format!("no caller has a certificate with these names: {names:?}"))
        })
    }

    async fn by_token(&self, token: SecretString, deadline: Deadline) -> Result<Caller, Refused> {
        let Some(provider) = &self.provider else {
            return Err(Refused::unauthenticated(
                "tokens are not accepted: no provider is configured for them",
            ));
        };
        let credential = Credential::Token(token);
        let verified = deadline.bound(provider.identify(&credential, deadline)).await;
        let identity = match verified {
            Ok(Ok(identity)) => identity,
            Ok(Err(Failure::Denied(denial))) => {
                return Err(Refused::unauthenticated(format!(
                    "the token was refused: {denial}"
                )));
            }
            Ok(Err(Failure::Unavailable(unavailable))) => return Err(cannot_verify(unavailable.to_string())),
            Err(passed) => return Err(cannot_verify(passed.to_string())),
        };
        let bound = self.only(|known| {
            known
                .token
                .as_ref()
                .is_some_and(|binding| token::is_bound(&identity, binding))
        })?;
        let known = bound.ok_or_else(|| {
            Refused::unauthenticated(format!(
                "no caller is bound to the token of {}",
                identity.principal
            ))
        })?;
        let (identity, in_doubt) = self.standing(provider, &credential, identity, deadline).await?;
        let named = token::scopes(&identity.claims);
        let scopes: BTreeSet<Scope> = known.scopes.intersection(&named).copied().collect();
        Ok(Caller(Kind::Named {
            known,
            scopes,
            until: Some(identity.expires_at),
            in_doubt,
        }))
    }

    /// What is left of `identity` after what was revoked since its token was issued, and whether that is in doubt.
    async fn standing(
        &self,
        provider: &Arc<dyn IdentityProvider>,
        credential: &Credential,
        identity: Identity,
        deadline: Deadline,
    ) -> Result<(Identity, bool), Refused> {
        let (Some(freshness), Evidence::SignedToken { .. }) = (&self.freshness, &identity.evidence) else {
            return Ok((identity, false));
        };
        let standing = freshness.claims(identity.issued_at, &identity.concerns());
        if standing == ClaimsStanding::Current {
            return Ok((identity, false));
        }
        let asked = deadline
            .bound(provider.confirm(credential, &identity, deadline))
            .await;
        match asked
            .map_err(|passed| Failure::unavailable(passed.to_string()))
            .flatten()
        {
            Ok(Some(confirmed)) if confirmed.principal == identity.principal => Ok((confirmed, false)),
            Ok(Some(_)) => Err(Refused::unauthenticated(
                "the provider says that the token is somebody else's",
            )),
            Err(Failure::Denied(denial)) => Err(Refused::unauthenticated(format!(
                "the provider refused the token: {denial}"
            ))),
            Ok(None) if standing == ClaimsStanding::Superseded => Err(Refused::unauthenticated(
                "something that concerns the token was revoked after it was issued: call with a new one",
            )),
            Err(Failure::Unavailable(unavailable)) if standing == ClaimsStanding::Superseded => {
                Err(cannot_verify(unavailable.to_string()))
            }
            Ok(None) | Err(Failure::Unavailable(_)) => Ok((identity, true)),
        }
    }

    /// The one caller that `is` says; none, if it says so of none.
    fn only(&self, is: impl Fn(&Known) -> bool) -> Result<Option<Arc<Known>>, Refused> {
        let mut found = self.callers.iter().filter(|known| is(known));
        match (found.next(), found.next()) {
            (Some(one), Some(other)) => Err(Refused::ambiguous(one, other)),
            (one, _) => Ok(one.cloned()),
        }
    }
}

fn cannot_verify(detail: String) -> Refused {
    Refused {
        code: Code::Unavailable,
        reason: "PROVIDER_UNAVAILABLE",
        message: "the access token could not be verified: its provider cannot be asked at present".to_owned(),
        detail,
    }
}

/// Writes a refusal to the audit.
fn tell(extensions: &Extensions, caller: Option<&Caller>, reason: &str, detail: &str) {
    let tls = extensions.get::<TlsConnectInfo<TcpConnectInfo>>();
    let peer = tls
        .map(TlsConnectInfo::get_ref)
        .or_else(|| extensions.get::<TcpConnectInfo>())
        .and_then(TcpConnectInfo::remote_addr);
    warn!(
        target: audit::TARGET,
        outcome = "caller_refused",
        reason,
        detail = audit::short(detail),
        caller = caller.map(Caller::name),
        peer = peer.map(|peer| peer.to_string()),
        "a call was refused",
    );
}
