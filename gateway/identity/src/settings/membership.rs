//! Where memberships are known: a claim of the token, or a file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use natsgate_core::MembershipSource;
use schemars::JsonSchema;
use serde::Deserialize;

use super::SettingsError;
use crate::membership::claim::ClaimMemberships;
use crate::membership::file::FileMemberships;

/// One source of memberships.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum MembershipSettings {
    /// A claim of the token.
    Claim(ClaimMembershipSettings),
    /// A YAML or JSON file.
    File(FileMembershipSettings),
}

impl MembershipSettings {
    /// Makes the source. A file is read, and watched from then on, so this must run within a Tokio runtime.
    ///
    /// # Errors
    /// The setting that cannot be used, or what is wrong with the file.
    pub async fn open(&self) -> Result<Arc<dyn MembershipSource>, SettingsError> {
        match self {
            Self::Claim(settings) => Ok(Arc::new(ClaimMemberships::new(settings.clone())?)),
            Self::File(settings) => Ok(FileMemberships::open(settings.clone()).await?),
        }
    }
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
}
