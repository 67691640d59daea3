//! Memberships that an HTTP API gives.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use natsgate_core::CacheTimes;
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{default_times, no_longer_than_an_hour, not_empty};
use crate::settings::SettingsError;
use crate::settings::cache_times::CacheTimesSettings;
use crate::settings::introspection::ClientCertificateSettings;

/// Memberships that an HTTP API gives, as a list somewhere in a JSON document, asked for by GET.
///
/// Only a 200 is an answer. Redirects are not followed.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpMembershipSettings {
    /// A short name of your choice, for logs, errors and answers. No two sources may share it.
    pub name: String,
    /// The URL to ask. `{principal.subject}`, `{principal.issuer}`, `{principal.digest}` and `{claims.NAME}` may stand in a
    /// segment of the path or in a value of the query, and are percent-encoded there. In the path, somebody whose value
    /// holds `/` or `\`, or makes `.` or `..` of its segment, is refused: ask by the query or the digest where that is to
    /// be expected. Example: `https://api.example.com/users/{principal.subject}/projects`.
    pub url: String,
    /// How natsgate proves itself there.
    #[serde(default)]
    pub authentication: HttpAuthenticationSettings,
    /// The certificate that natsgate shows to whoever asks for one.
    #[serde(default)]
    pub client_certificate: Option<ClientCertificateSettings>,
    /// A PEM file of certificate authorities to trust here, beside the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Whether plain http is spoken to other hosts than this one. Whoever can change what travels there can make
    /// memberships.
    #[serde(default)]
    pub allow_http: bool,
    /// More headers to send. Their values are kept secret.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub headers: BTreeMap<String, SecretString>,
    /// Where in the document the list is: a path into objects like `data.projects`. Default: the document is the list.
    #[serde(default)]
    pub list: Option<String>,
    /// The field of an entry with the resource's id. A path like `project.id` goes into objects. An entry may also be the
    /// id alone, where `kind` and `role` are set.
    #[serde(default = "default_id_field")]
    pub id_field: String,
    /// The kind of resource of every entry. Set either this or `kind_field`.
    #[serde(default)]
    pub kind: Option<String>,
    /// The field of an entry with the kind of resource.
    #[serde(default)]
    pub kind_field: Option<String>,
    /// The role of every entry. Set either this or `role_field`.
    #[serde(default)]
    pub role: Option<String>,
    /// The field of an entry with the role, or a list of roles.
    #[serde(default)]
    pub role_field: Option<String>,
    /// Whether ids may be whole numbers.
    #[serde(default)]
    pub numeric_ids: bool,
    /// What a 404 to the first request means.
    #[serde(default)]
    pub not_found: NotFoundSettings,
    /// How the list goes on.
    #[serde(default)]
    pub pagination: PaginationSettings,
    /// The most pages for one person. More are no answer at all, rather than some of them.
    #[serde(default = "default_max_pages")]
    pub max_pages: usize,
    /// The most bytes for one person, all pages together.
    #[serde(default = "default_max_bytes")]
    pub max_bytes: usize,
    /// The most memberships for one person.
    #[serde(default = "default_max_entries")]
    pub max_entries: usize,
    /// The longest that asking may take, all pages together. A request's deadline may be sooner.
    #[serde(default = "default_timeout", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// How far the API may be behind the truth, if it has caches or replicas of its own: an answer counts only if nothing
    /// was revoked within that time before it.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "String")]
    pub lag: Duration,
    /// How long answers are kept. Default: fresh for 30s, 5m beyond while the API cannot be asked, "nothing" for 10s.
    #[serde(default)]
    pub cache: CacheTimesSettings,
    /// The providers (by name) whose people are asked about; empty for all. Others have no memberships here.
    #[serde(default)]
    pub providers: Vec<String>,
}

/// How natsgate proves itself to an API, beside a client certificate.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum HttpAuthenticationSettings {
    /// Not at all.
    #[default]
    None,
    /// By a token that does not change while natsgate runs.
    Bearer(#[schemars(with = "String")] SecretString),
    /// By the token in a file, which is read anew for every request: one that something else keeps fresh.
    BearerFile(PathBuf),
}

/// What "not found" means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotFoundSettings {
    /// No answer: the URL may be wrong.
    #[default]
    Unavailable,
    /// That this person has no memberships.
    Nothing,
}

/// How a list goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PaginationSettings {
    /// It does not: one document holds all of it.
    #[default]
    None,
    /// At the URL of the `Link` header with `rel="next"` (RFC 8288), which must be of the same scheme, host and port.
    Link,
    /// By a cursor out of the document.
    Cursor(CursorSettings),
    /// By page numbers, until a page is empty.
    Page(PageSettings),
}

/// A cursor.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CursorSettings {
    /// Where in the document the next cursor is: a path like `meta.next_cursor`. The last page says `null`, `false` or
    /// the empty text there.
    pub field: String,
    /// The parameter of the query that it is sent in.
    pub parameter: String,
    /// Whether the last page may also lack the field. Off, so that a mistyped field does not make every list end early.
    #[serde(default)]
    pub may_be_absent: bool,
}

/// Page numbers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PageSettings {
    /// The parameter of the query with the page's number.
    pub parameter: String,
    /// The number of the first page.
    #[serde(default = "one")]
    pub first: u32,
}

fn default_id_field() -> String {
    "id".to_owned()
}

fn default_max_pages() -> usize {
    20
}

fn default_max_bytes() -> usize {
    4 * 1024 * 1024
}

fn default_max_entries() -> usize {
    10_000
}

fn default_timeout() -> Duration {
    Duration::from_secs(5)
}

fn one() -> u32 {
    1
}

impl HttpMembershipSettings {
    /// Settings with nothing but defaults beside what has none. `kind` and `role`, or their fields, are still to be set.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            url: url.into(),
            authentication: HttpAuthenticationSettings::None,
            client_certificate: None,
            ca_file: None,
            allow_http: false,
            headers: BTreeMap::new(),
            list: None,
            id_field: default_id_field(),
            kind: None,
            kind_field: None,
            role: None,
            role_field: None,
            numeric_ids: false,
            not_found: NotFoundSettings::default(),
            pagination: PaginationSettings::default(),
            max_pages: default_max_pages(),
            max_bytes: default_max_bytes(),
            max_entries: default_max_entries(),
            timeout: default_timeout(),
            lag: Duration::ZERO,
            cache: CacheTimesSettings::default(),
            providers: Vec::new(),
        }
    }

    /// How long answers are kept.
    pub fn cache_times(&self) -> CacheTimes {
        self.cache.or(default_times())
    }

    pub(crate) fn key(&self, field: &str) -> String {
        format!("memberships.http[{}].{field}", self.name.escape_debug())
    }

    /// Checks what types alone do not. The URL, headers and files are read where the source is made.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let key = |field: &str| self.key(field);
        let wrong = |field: &str, problem: &str| Err(SettingsError::new(key(field), problem));
        for (field, value) in [
            ("name", Some(&self.name)),
            ("list", self.list.as_ref()),
            ("id_field", Some(&self.id_field)),
            ("kind", self.kind.as_ref()),
            ("kind_field", self.kind_field.as_ref()),
            ("role", self.role.as_ref()),
            ("role_field", self.role_field.as_ref()),
        ] {
            not_empty(&key, field, value)?;
        }
        for (field, fixed, from_field) in [
            ("kind", &self.kind, &self.kind_field),
            ("role", &self.role, &self.role_field),
        ] {
            if fixed.is_some() == from_field.is_some() {
                return wrong(
                    field,
                    &format!("set either `{field}` or `{field}_field`, and not both"),
                );
            }
        }
        for (field, bound) in [
            ("max_pages", self.max_pages),
            ("max_bytes", self.max_bytes),
            ("max_entries", self.max_entries),
        ] {
            if !(1..=256 * 1024 * 1024).contains(&bound) {
                return wrong(field, "must be between 1 and 268435456");
            }
        }
        match &self.pagination {
            PaginationSettings::Cursor(cursor) => {
                not_empty(&key, "pagination.cursor.field", Some(&cursor.field))?;
                not_empty(&key, "pagination.cursor.parameter", Some(&cursor.parameter))?;
            }
            PaginationSettings::Page(page) => {
                not_empty(&key, "pagination.page.parameter", Some(&page.parameter))?
            }
            PaginationSettings::None | PaginationSettings::Link => {}
        }
        if let HttpAuthenticationSettings::Bearer(token) = &self.authentication
            && token.expose_secret().trim().is_empty()
        {
            return wrong("authentication.bearer", "is empty: set the token");
        }
        if self.timeout.is_zero() || self.timeout > Duration::from_secs(60) {
            return wrong("timeout", "must be longer than 0s and 1m at most");
        }
        no_longer_than_an_hour(&key, "lag", self.lag)?;
        self.cache.validate(&key("cache"))
    }
}

impl fmt::Debug for HttpMembershipSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpMembershipSettings")
            .field("name", &self.name)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl PartialEq for HttpMembershipSettings {
    fn eq(&self, other: &Self) -> bool {
        let whole = |settings: &Self| {
            let headers: Vec<_> = settings
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), value.expose_secret().to_owned()))
                .collect();
            let url = (settings.name.clone(), settings.url.clone(), settings.allow_http);
            let files = (settings.client_certificate.clone(), settings.ca_file.clone());
            let entries = (
                (
                    settings.list.clone(),
                    settings.id_field.clone(),
                    settings.numeric_ids,
                ),
                (settings.kind.clone(), settings.kind_field.clone()),
                (settings.role.clone(), settings.role_field.clone()),
            );
            let pages = (settings.not_found, settings.pagination.clone());
            let bounds = (settings.max_pages, settings.max_bytes, settings.max_entries);
            let times = (settings.timeout, settings.lag, settings.cache);
            (
                url,
                files,
                headers,
                entries,
                pages,
                bounds,
                times,
                settings.providers.clone(),
            )
        };
        whole(self) == whole(other) && self.authentication == other.authentication
    }
}

impl Eq for HttpMembershipSettings {}

impl fmt::Debug for HttpAuthenticationSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bearer(_) => f.write_str("Bearer"),
            Self::BearerFile(path) => f.debug_tuple("BearerFile").field(path).finish(),
        }
    }
}

impl PartialEq for HttpAuthenticationSettings {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Bearer(one), Self::Bearer(other)) => one.expose_secret() == other.expose_secret(),
            (Self::BearerFile(one), Self::BearerFile(other)) => one == other,
            _ => false,
        }
    }
}

impl Eq for HttpAuthenticationSettings {}
