//! Memberships that an HTTP API gives.
//!
//! What the API gives is taken whole or not at all: a page that does not come, an entry that cannot be read, one too many
//! mean that the source is broken, and that is no answer. Refusals (401, 403) are of natsgate itself, not of the person.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use natsgate_core::{Deadline, Failure, Identity, Membership, MembershipSource, Unavailable};
use sha2::{Digest, Sha256};
use url::Url;
use zeroize::Zeroizing;

use super::placeholder;
use crate::settings::SettingsError;
use crate::settings::membership::http::HttpMembershipSettings;
use client::Client;
use pages::Pages;
use url_template::UrlTemplate;

mod client;
mod entries;
mod link;
mod pages;
mod url_template;

/// Memberships that an HTTP API gives.
pub struct HttpMemberships {
    settings: HttpMembershipSettings,
    name: String,
    url: UrlTemplate,
    client: Client,
}

impl fmt::Debug for HttpMemberships {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpMemberships").field(&self.name).finish()
    }
}

impl HttpMemberships {
    /// The source of `settings`. Reads the files they name; asks nobody yet.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub fn new(settings: &HttpMembershipSettings) -> Result<Self, SettingsError> {
        settings.validate()?;
        let url = UrlTemplate::parse(&settings.url, settings.allow_http)
            .map_err(|problem| SettingsError::new(settings.key("url"), problem))?;
        if let Some(parameter) = pages::parameter(settings)
            && url.base().query_pairs().any(|(name, _)| name == parameter)
        {
            return Err(SettingsError::new(
                settings.key("url"),
                "has the parameter that `pagination` sets: remove it here",
            ));
        }
        Ok(Self {
            name: format!("http {}", settings.name),
            client: Client::new(settings, url.base())?,
            settings: settings.clone(),
            url,
        })
    }

    async fn ask(&self, first: Url) -> Result<Vec<Membership>, String> {
        let mut pages = Pages::new(&self.settings, first);
        let mut memberships = Vec::new();
        let mut bytes = self.settings.max_bytes;
        while let Some(url) = pages.next()? {
            let answer = self.client.get(&url, &mut bytes).await?;
            let Some(document) = pages.document(&answer)? else {
                break;
            };
            let list = entries::list(&self.settings, &document)?;
            for entry in list {
                entries::read(&self.settings, entry, &mut memberships)?;
            }
            if memberships.len() > self.settings.max_entries {
                return Err(format!(
                    "one person has more than {} memberships: is the URL right? If it is, raise `max_entries`",
                    self.settings.max_entries
                ));
            }
            pages.turn(&answer, &document, list)?;
        }
        memberships.sort();
        memberships.dedup();
        Ok(memberships)
    }

    fn applies(&self, identity: &Identity) -> bool {
        self.settings.providers.is_empty() || self.settings.providers.contains(&identity.provider)
    }

    fn broken(&self, problem: impl fmt::Display) -> Unavailable {
        Unavailable::new(format!(
            "membership source `{}` ({}): {problem}",
            self.name,
            self.url.shown()
        ))
    }
}

#[async_trait]
impl MembershipSource for HttpMemberships {
    fn name(&self) -> &str {
        &self.name
    }

    async fn memberships(&self, identity: &Identity, deadline: Deadline) -> Result<Vec<Membership>, Failure> {
        if !self.applies(identity) {
            return Ok(Vec::new());
        }
        let url = self.url.fill(identity)?;
        let bound = deadline.or_sooner(self.settings.timeout);
        let asked = bound.bound(self.ask(url)).await;
        let asked = asked.map_err(|_passed| {
            self.broken(if deadline.passed() {
                "no whole answer before the request's deadline"
            } else {
                "no whole answer within `timeout`"
            })
        })?;
        Ok(asked.map_err(|problem| self.broken(problem))?)
    }

    fn cache_key(&self, identity: &Identity) -> Option<Zeroizing<Vec<u8>>> {
        if !self.applies(identity) {
            return None;
        }
        // What was asked, and what is made of the answer: with other settings an older answer does not count.
        let settings = &self.settings;
        let mapping = format!(
            "{:?}",
            (
                (
                    &settings.url,
                    &settings.list,
                    &settings.id_field,
                    &settings.numeric_ids
                ),
                (
                    &settings.kind,
                    &settings.kind_field,
                    &settings.role,
                    &settings.role_field
                ),
                (&settings.not_found, &settings.pagination),
            )
        );
        let mut key = placeholder::cache_key(identity, self.url.placeholders());
        key.extend_from_slice(&Sha256::digest(mapping.as_bytes()));
        Some(key)
    }

    fn lag(&self) -> Duration {
        self.settings.lag
    }
}

#[cfg(test)]
mod tests;
