//! `shim.accounts_service`: the account writer to which a shim lends its connection into the system account.

use std::path::{Path, PathBuf};

use natsgate_shim::{Link, LinkSettings, NatsSettings};
use schemars::JsonSchema;
use serde::Deserialize;

use super::nats::NatsConfig;
use super::problem::{Problem, Problems};
use super::shim::{EndpointTlsConfig, is_tls};

/// The account writer. The shim calls it with its certificate, its token, or both.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountsServiceConfig {
    /// Its URL: `https://host:7223`, or `http://` on this machine.
    pub url: String,
    /// TLS, for `https://`.
    pub tls: Option<EndpointTlsConfig>,
    /// A file with the access token to call with. It is read whenever the writer is called, so whoever renews it puts a new one there.
    pub token_file: Option<PathBuf>,
    /// A connection into the system account that may push account JWTs, where `shim.system` may only read them.
    pub system: Option<NatsConfig>,
}

/// The key it stands at.
const KEY: &str = "shim.accounts_service";

impl AccountsServiceConfig {
    /// The link to it, and the connection that is lent, if it has one of its own; paths start from `base`.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn link(&self, base: &Path) -> Result<(Link, Option<NatsSettings>), Problems> {
        let at = |name: &str| format!("{KEY}.{name}");
        let tls = match (&self.tls, is_tls(&at("url"), &self.url)?) {
            (Some(tls), true) => Some(tls.material(&at("tls"), base)?),
            (None, true) => {
                let what = "is missing, and the URL is https; set its ca_file";
                return Err(Problem::new(at("tls"), what).into());
            }
            (_, false) => None,
        };
        let shows_certificate = tls.as_ref().is_some_and(|tls| tls.identity.is_some());
        if self.token_file.is_none() && !shows_certificate {
            let what =
                "has neither a token_file nor a tls.cert_file; the writer takes nobody whom it does not know";
            return Err(Problem::new(KEY, what).into());
        }
        let system = match &self.system {
            Some(system) => Some(system.settings(&at("system"), base)?),
            None => None,
        };
        let settings = LinkSettings {
            url: self.url.clone(),
            tls,
            token_file: self.token_file.as_ref().map(|path| base.join(path)),
        };
        let link = Link::new(settings).map_err(|error| Problem::new(at("url"), error))?;
        Ok((link, system))
    }
}
