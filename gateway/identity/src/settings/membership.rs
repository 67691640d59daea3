//! Where memberships are known: a claim of the token, a file, an HTTP API or a database.

pub mod http;
pub mod postgres;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use natsgate_core::{CacheTimes, MembershipSource};
use schemars::JsonSchema;
use serde::Deserialize;

use self::http::{HttpAuthenticationSettings, HttpMembershipSettings};
use self::postgres::PostgresMembershipSettings;
use super::SettingsError;
use crate::membership::claim::ClaimMemberships;
use crate::membership::file::FileMemberships;
use crate::membership::http::HttpMemberships;
use crate::membership::postgres::PostgresMemberships;

/// One source of memberships.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum MembershipSettings {
    /// A claim of the token.
    Claim(ClaimMembershipSettings),
    /// A YAML or JSON file.
    File(FileMembershipSettings),
    /// An HTTP API that answers with JSON.
    Http(Box<HttpMembershipSettings>),
    /// A query to PostgreSQL.
    Postgres(Box<PostgresMembershipSettings>),
}

impl MembershipSettings {
    /// Checks what can be checked before any source is made: that no two of `all` share a name.
    ///
    /// # Errors
    /// The name that two share.
    pub fn validate_names(all: &[Self]) -> Result<(), SettingsError> {
        let mut seen = HashSet::new();
        for settings in all {
            let (name, key) = match settings {
                Self::Http(http) => (&http.name, http.key("name")),
                Self::Postgres(postgres) => (&postgres.name, postgres.key("name")),
                Self::Claim(_) | Self::File(_) => continue,
            };
            if !seen.insert(name) {
                return Err(SettingsError::new(
                    key,
                    "another source of memberships has this name: rename one",
                ));
            }
        }
        Ok(())
    }

    /// Makes every path in it start from `base`, unless it is absolute.
    pub fn start_paths_from(&mut self, base: &Path) {
        let start = |path: &mut PathBuf| *path = base.join(&*path);
        let start_any = |paths: [&mut Option<PathBuf>; 3]| paths.into_iter().flatten().for_each(start);
        match self {
            Self::Claim(_) => {}
            Self::File(file) => start(&mut file.path),
            Self::Http(http) => {
                http.ca_file.iter_mut().for_each(start);
                if let HttpAuthenticationSettings::BearerFile(path) = &mut http.authentication {
                    start(path);
                }
                if let Some(files) = &mut http.client_certificate {
                    start(&mut files.certificate_file);
                    start(&mut files.key_file);
                }
            }
            Self::Postgres(postgres) => {
                let tls = &mut postgres.database.tls;
                start_any([&mut tls.ca_file, &mut tls.cert_file, &mut tls.key_file]);
            }
        }
    }

    /// The names of the providers whose people it is for; empty for all.
    pub fn providers(&self) -> &[String] {
        match self {
            Self::Claim(settings) => &settings.providers,
            Self::File(_) => &[],
            Self::Http(settings) => &settings.providers,
            Self::Postgres(settings) => &settings.providers,
        }
    }

    /// How long answers are kept; `None` for a source that has them at hand.
    pub fn cache_times(&self) -> Option<CacheTimes> {
        match self {
            Self::Claim(_) | Self::File(_) => None,
            Self::Http(settings) => Some(settings.cache_times()),
            Self::Postgres(settings) => Some(settings.cache_times()),
        }
    }

    /// Makes the source. A file is read, and watched from then on; a query is checked as soon as its database is there. So
    /// this must run within a Tokio runtime.
    ///
    /// # Errors
    /// The setting that cannot be used, or what is wrong with the file.
    pub async fn open(&self) -> Result<Arc<dyn MembershipSource>, SettingsError> {
        match self {
            Self::Claim(settings) => Ok(Arc::new(ClaimMemberships::new(settings.clone())?)),
            Self::File(settings) => Ok(FileMemberships::open(settings.clone()).await?),
            Self::Http(settings) => Ok(Arc::new(HttpMemberships::new(settings)?)),
            Self::Postgres(settings) => Ok(PostgresMemberships::open(settings)?),
        }
    }
}

/// How long answers are kept that had to be asked for.
fn default_times() -> CacheTimes {
    CacheTimes {
        fresh: Duration::from_secs(30),
        stale_if_error: Duration::from_secs(5 * 60),
        negative: Duration::from_secs(10),
    }
}

fn not_empty(key: &dyn Fn(&str) -> String, field: &str, value: Option<&String>) -> Result<(), SettingsError> {
    match value {
        Some(value) if value.trim().is_empty() => Err(SettingsError::new(key(field), "must not be empty")),
        _ => Ok(()),
    }
}

fn no_longer_than_an_hour(
    key: &dyn Fn(&str) -> String,
    field: &str,
    time: Duration,
) -> Result<(), SettingsError> {
    if time > Duration::from_secs(60 * 60) {
        return Err(SettingsError::new(key(field), "must be 1h at most"));
    }
    Ok(())
}

/// Memberships in a claim of the token. The claim may be a list of ids (`["apollo"]`), a list of objects
/// (`[{"id": "apollo", "role": "owner"}]`) or an object of id → role or roles (`{"apollo": ["owner"]}`). Any other form
/// is refused; no claim means no memberships.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimMembershipSettings {
    /// The claim: its name, or a path into objects like `realm_access.projects`.
    pub name: String,
    /// The kind of resource these memberships are of: `project`, `device`.
    pub kind: String,
    /// The role of entries that name none themselves. Without it such an entry is refused.
    #[serde(default)]
    pub role: Option<String>,
    /// In a list of objects: the field with the resource's id.
    #[serde(default = "default_id_field")]
    pub id_field: String,
    /// In a list of objects: the field with the role, or a list of roles.
    #[serde(default = "default_role_field")]
    pub role_field: String,
    /// Whether a token without the claim is refused.
    #[serde(default)]
    pub required: bool,
    /// The providers (by name) whose tokens are read; empty for all. Name them where another provider lets people choose
    /// their own claims.
    #[serde(default)]
    pub providers: Vec<String>,
}

/// Memberships in a YAML or JSON file: `memberships: [{issuer, subject, kind, id, role}]`, or `roles` for several. Replace
/// it by renaming a finished file over it: a half-written or broken one stops decisions until it is mended.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileMembershipSettings {
    /// The file.
    pub path: PathBuf,
    /// How often the file is looked at for changes.
    #[serde(default = "default_check_every", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub check_every: Duration,
}

fn default_id_field() -> String {
    "id".to_owned()
}

fn default_role_field() -> String {
    "role".to_owned()
}

fn default_check_every() -> Duration {
    Duration::from_secs(2)
}

impl ClaimMembershipSettings {
    /// Settings with nothing but defaults beside what has none.
    pub fn new(name: impl Into<String>, kind: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: kind.into(),
            role: None,
            id_field: default_id_field(),
            role_field: default_role_field(),
            required: false,
            providers: Vec::new(),
        }
    }
}

impl FileMembershipSettings {
    /// The file at `path`, looked at as often as by default.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            check_every: default_check_every(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Section {
        memberships: Vec<MembershipSettings>,
    }

    #[test]
    fn sources_are_read_from_yaml_in_their_order() {
        let yaml = "memberships:\n  - claim: {name: projects, kind: project, role: member}\n  - file: {path: members.yaml}\n";
        let section: Section = serde_saphyr::from_str(yaml).unwrap();
        let mut claim = ClaimMembershipSettings::new("projects", "project");
        claim.role = Some("member".to_owned());
        assert_eq!(
            section.memberships,
            [
                MembershipSettings::Claim(claim),
                MembershipSettings::File(FileMembershipSettings::new("members.yaml")),
            ]
        );
    }

    fn read(yaml: &str) -> Result<MembershipSettings, String> {
        serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
    }

    const HTTP: &str = "
http:
  name: api
  url: https://api.example/users/{principal.subject}/projects
  authentication: {bearer: hidden}
  headers: {X-Key: hidden}
  client_certificate: {certificate_file: c.pem, key_file: k.pem}
  ca_file: /etc/ca.pem
  list: data.items
  kind: project
  role_field: role
  not_found: nothing
  pagination: {cursor: {field: meta.next, parameter: after}}
  timeout: 2s
  lag: 1s
  cache: {fresh: 1m}
";

    const POSTGRES: &str = "
postgres:
  name: db
  database: {host: db.example, database: app, user: natsgate, password: hidden, tls: {ca_file: ca.pem}}
  query: SELECT id, role FROM members WHERE who = {principal.subject}
  kind: project
";

    #[test]
    fn apis_and_databases_are_read_from_yaml() {
        let seconds = Duration::from_secs;
        let MembershipSettings::Http(http) = read(HTTP).unwrap() else {
            panic!()
        };
        assert_eq!(http.validate(), Ok(()));
        assert_eq!((http.timeout, http.lag), (seconds(2), seconds(1)));
        let times = |fresh, stale_if_error, negative| CacheTimes {
            fresh: seconds(fresh),
            stale_if_error: seconds(stale_if_error),
            negative: seconds(negative),
        };
        assert_eq!(read(HTTP).unwrap().cache_times(), Some(times(60, 300, 10)));
        let MembershipSettings::Postgres(postgres) = read(POSTGRES).unwrap() else {
            panic!()
        };
        assert_eq!(postgres.validate(), Ok(()));
        assert_eq!((postgres.max_rows, postgres.lag), (10_000, Duration::ZERO));
        assert_eq!(read(POSTGRES).unwrap().cache_times(), Some(times(30, 300, 10)));

        for yaml in [HTTP, POSTGRES] {
            assert!(!format!("{:?}", read(yaml)).contains("hidden"), "{yaml}");
            assert_eq!(read(yaml), read(yaml));
            assert_ne!(read(yaml), read(&yaml.replace("hidden", "other")));
            assert!(read(&yaml.replace("name:", "nam:")).is_err());
        }
        assert!(read(&HTTP.replace("cursor", "cursors")).is_err());
        assert!(read(&HTTP.replace("nothing", "nobody")).is_err());
    }

    #[test]
    fn every_path_starts_from_the_base_unless_it_is_absolute() {
        let shown = |yaml: &str| {
            let mut settings = read(yaml).unwrap();
            settings.start_paths_from(Path::new("/base"));
            let MembershipSettings::Http(http) = settings else {
                return format!("{settings:?}");
            };
            format!(
                "{:?} {:?} {:?}",
                http.ca_file, http.client_certificate, http.authentication
            )
        };
        let http = shown(&HTTP.replace("{bearer: hidden}", "{bearer_file: token}"));
        for path in ["/base/c.pem", "/base/k.pem", "\"/etc/ca.pem\"", "/base/token"] {
            assert!(http.contains(path), "{http}");
        }
        assert!(shown(POSTGRES).contains("/base/ca.pem"));
        assert!(shown("file: {path: members.yaml}").contains("/base/members.yaml"));
    }

    #[test]
    fn no_two_sources_that_are_asked_share_a_name() {
        let [http, postgres] = [read(HTTP).unwrap(), read(POSTGRES).unwrap()];
        let claim = read("claim: {name: api, kind: project}").unwrap();
        let different = [http.clone(), postgres, claim.clone(), claim];
        assert_eq!(MembershipSettings::validate_names(&different), Ok(()));
        let same = read(&POSTGRES.replace("name: db", "name: api")).unwrap();
        let error = MembershipSettings::validate_names(&[http, same]).unwrap_err();
        assert_eq!(error.key, "memberships.postgres[api].name");
    }

    #[test]
    fn every_setting_is_described_in_the_schema() {
        for schema in [
            schemars::schema_for!(HttpMembershipSettings),
            schemars::schema_for!(PostgresMembershipSettings),
            schemars::schema_for!(http::CursorSettings),
            schemars::schema_for!(http::PageSettings),
        ] {
            let schema = serde_json::to_value(schema).unwrap();
            for (name, property) in schema["properties"].as_object().unwrap() {
                assert!(property["description"].is_string(), "{name} has no description");
            }
            assert_eq!(schema["additionalProperties"], false);
        }
    }
}
