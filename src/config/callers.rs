//! Who may call a gRPC API, and with what TLS: the same for every section that listens.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use natsgate_api::{CallerAuthenticator, CallerSettings, TlsMaterial};
use natsgate_core::{CacheTimes, Clock, Deadline, Failure, IdentityProvider, Lookup};
use natsgate_identity::{
    Identities, OidcParts, OidcProvider, OidcSettings, TokenAnswer, TokenLookup, TokenQuery, TokenSource,
};
use natsgate_store::SourceCacheSettings;
use schemars::JsonSchema;
use serde::Deserialize;

use super::problem::Problem;
use super::store::Stores;
use super::tls;

/// TLS of the gRPC API.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenTlsConfig {
    /// The server's certificate chain: a PEM file.
    pub cert_file: PathBuf,
    /// Its key: a PEM file.
    pub key_file: PathBuf,
    /// The authority of the callers' certificates: a PEM file. Callers without one are refused, unless some of `callers` prove
    /// themselves by tokens alone.
    pub client_ca_file: Option<PathBuf>,
}

/// Who may call the API of a section.
pub struct ApiAccess<'a> {
    /// The section.
    pub section: &'static str,
    /// Its `callers`.
    pub callers: &'a [CallerSettings],
    /// Its `caller_providers`.
    pub providers: &'a [OidcSettings],
    /// Its `tls`.
    pub tls: Option<&'a ListenTlsConfig>,
}

impl ApiAccess<'_> {
    fn at(&self, key: &str) -> String {
        format!("{}.{key}", self.section)
    }

    /// Where calls come from other machines they carry tokens, so they must be protected and their callers known.
    ///
    /// # Errors
    /// A [`Problem`] if they are not.
    pub fn check_exposure(&self, address: SocketAddr) -> Result<(), Problem> {
        let callers_are_known = self
            .tls
            .is_some_and(|tls| tls.client_ca_file.is_some() || !self.callers.is_empty());
        if address.ip().is_loopback() || callers_are_known {
            return Ok(());
        }
        let section = self.section;
        Err(Problem::new(
            self.at("listen"),
            format!(
                "{address} is reachable from other machines, whose calls carry tokens and are not authenticated; set \
                 {section}.tls with a client_ca_file or with {section}.callers, or listen on 127.0.0.1"
            ),
        ))
    }

    /// What finds out who calls. Asks no provider yet; paths start from `base`.
    ///
    /// # Errors
    /// A [`Problem`] for a setting that cannot be used.
    pub fn authenticator(
        &self,
        base: &Path,
        stores: &Stores,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<CallerAuthenticator>, Problem> {
        if self.callers.is_empty() && !self.providers.is_empty() {
            return Err(Problem::new(
                self.at("caller_providers"),
                format!(
                    "are of no use without {}: name the callers, or remove them",
                    self.at("callers")
                ),
            ));
        }
        let mut providers = Vec::new();
        for settings in self.providers {
            let list = (self.section, "caller_providers");
            providers.push(provider(list, settings, base, stores, clock)?);
        }
        let at = |error: natsgate_identity::SettingsError| {
            let key = error.key.replacen("providers", &self.at("caller_providers"), 1);
            Problem::new(key, error.problem)
        };
        let provider = match providers.is_empty() {
            true => None,
            false => {
                let names = self.providers.iter().map(|settings| settings.name.clone());
                let names = names.collect();
                let identities = Identities::new(providers, Vec::new()).map_err(at)?;
                Some((Arc::new(identities) as Arc<dyn IdentityProvider>, names))
            }
        };
        let by_certificate = |caller: &CallerSettings| caller.certificate.is_some();
        let authority = self.tls.is_some_and(|tls| tls.client_ca_file.is_some());
        if self.callers.iter().any(by_certificate) && !authority {
            return Err(Problem::new(
                self.at("tls.client_ca_file"),
                format!(
                    "is missing: some of {} prove themselves by certificates, which somebody must vouch for",
                    self.at("callers")
                ),
            ));
        }
        let callers = CallerAuthenticator::new(self.callers, provider, Arc::clone(clock))
            .map_err(|error| Problem::new(self.at(&error.key), error.problem))?;
        Ok(Arc::new(callers.with_freshness(stores.freshness())))
    }

    /// The TLS of the listener, if it has any; paths start from `base`.
    ///
    /// # Errors
    /// A [`Problem`] for a file that cannot be used.
    pub fn tls_material(&self, base: &Path) -> Result<Option<TlsMaterial>, Problem> {
        let Some(tls) = self.tls else { return Ok(None) };
        let (cert, cert_key) = (base.join(&tls.cert_file), base.join(&tls.key_file));
        let (certificate, key) = tls::identity(
            (&self.at("tls.cert_file"), &cert),
            (&self.at("tls.key_file"), &cert_key),
        )?;
        let client_ca = tls.client_ca_file.as_ref().map(|path| base.join(path));
        let client_ca = client_ca
            .map(|path| tls::authorities(&self.at("tls.client_ca_file"), &path))
            .transpose()?;
        Ok(Some(TlsMaterial {
            certificate,
            key: key.into(),
            client_ca,
            certificate_optional: self.callers.iter().any(|caller| caller.certificate.is_none()),
        }))
    }
}

/// The provider of `settings`, which stand in that list of that section.
///
/// # Errors
/// A [`Problem`] for a setting that cannot be used.
pub fn provider(
    (section, list): (&str, &str),
    settings: &OidcSettings,
    base: &Path,
    stores: &Stores,
    clock: &Arc<dyn Clock>,
) -> Result<OidcProvider, Problem> {
    let mut settings = settings.clone();
    settings.start_paths_from(base);
    let timeout = settings.fetch_timeout;
    let unusable = RefCell::new(None);
    let wrap = |source: TokenSource, times: CacheTimes| -> TokenLookup {
        match stores.tiers.cached(source, &kept_for(times, timeout)) {
            Ok(cached) => Arc::new(cached),
            Err(error) => {
                unusable.replace(Some(error));
                Arc::new(Unusable)
            }
        }
    };
    let parts = OidcParts {
        clock: Arc::clone(clock),
        cache: Arc::clone(&stores.documents),
        freshness: Some(stores.freshness()),
        wrap: &wrap,
    };
    let at = |key: &str| format!("{section}.{}", key.replacen("providers", list, 1));
    let made = OidcProvider::assemble(settings, parts)
        .map_err(|error| Problem::new(at(&error.key), error.problem))?;
    match unusable.take() {
        None => Ok(made),
        Some(error) => Err(Problem::new(at(&error.key), error.problem)),
    }
}

/// Stands for a source whose settings cannot be used, until that is reported.
struct Unusable;

#[async_trait::async_trait]
impl Lookup<TokenQuery, TokenAnswer> for Unusable {
    async fn look_up(&self, _: &TokenQuery, _: Deadline) -> Result<TokenAnswer, Failure> {
        Err(Failure::unavailable("the provider's settings cannot be used"))
    }
}

/// A source's answers kept for `times`, each fetched within `fetch_timeout`.
pub fn kept_for(times: CacheTimes, fetch_timeout: Duration) -> SourceCacheSettings {
    SourceCacheSettings {
        fresh: times.fresh,
        stale_if_error: times.stale_if_error,
        // "No" for longer than "yes" makes no sense: whoever shortens the one means the other too.
        negative: times.negative.min(times.fresh),
        fetch_timeout,
        refresh_ahead: true,
    }
}
