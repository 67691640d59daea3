//! Memberships in a claim of the token itself.

use std::collections::HashSet;

use async_trait::async_trait;
use natsgate_core::{Deadline, Denial, DenialReason, Failure, Identity, Membership, MembershipSource};
use serde_json::{Map, Value};

use crate::claim_path;
use crate::settings::SettingsError;
use crate::settings::membership::ClaimMembershipSettings;

/// Reads memberships out of one claim. A form it does not know is a denial, never an empty list.
#[derive(Debug)]
pub struct ClaimMemberships {
    settings: ClaimMembershipSettings,
    name: String,
}

impl ClaimMemberships {
    /// Memberships in the claim of `settings`.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub fn new(settings: ClaimMembershipSettings) -> Result<Self, SettingsError> {
        let key = |field: &str| format!("memberships.claim[{}].{field}", settings.name.escape_debug());
        for (field, value) in [
            ("name", Some(&settings.name)),
            ("kind", Some(&settings.kind)),
            ("role", settings.role.as_ref()),
            ("id_field", Some(&settings.id_field)),
            ("role_field", Some(&settings.role_field)),
        ] {
            if value.is_some_and(|value| value.trim().is_empty()) {
                return Err(SettingsError::new(key(field), "must not be empty"));
            }
        }
        let name = format!("claim {}", settings.name);
        Ok(Self { settings, name })
    }

    fn read(&self, claim: &Value) -> Result<Vec<Membership>, Denial> {
        let mut found = Found::default();
        match claim {
            Value::Array(entries) => {
                for entry in entries {
                    self.read_entry(entry, &mut found)?;
                }
            }
            Value::Object(entries) => {
                for (id, roles) in entries {
                    for role in self.roles(Some(roles))? {
                        found.add(self.membership(id, role)?);
                    }
                }
            }
            _ => return Err(self.bad("is neither a list nor an object")),
        }
        Ok(found.memberships)
    }

    fn read_entry(&self, entry: &Value, found: &mut Found) -> Result<(), Denial> {
        let (id, roles) = match entry {
            Value::String(id) => (id.as_str(), self.roles(None)?),
            Value::Object(fields) => (
                self.id(fields)?,
                self.roles(fields.get(&self.settings.role_field))?,
            ),
            _ => return Err(self.bad("has an entry that is neither a string nor an object")),
        };
        for role in roles {
            found.add(self.membership(id, role)?);
        }
        Ok(())
    }

    fn id<'a>(&self, fields: &'a Map<String, Value>) -> Result<&'a str, Denial> {
        let field = &self.settings.id_field;
        match fields.get(field) {
            Some(Value::String(id)) => Ok(id),
            Some(_) => Err(self.bad(&format!("has an entry whose `{field}` is not a string"))),
            None => Err(self.bad(&format!("has an entry without `{field}`"))),
        }
    }

    /// The role or roles a value names; the configured one if there is no value.
    fn roles<'a>(&'a self, value: Option<&'a Value>) -> Result<Vec<&'a str>, Denial> {
        match value {
            None => match &self.settings.role {
                Some(role) => Ok(vec![role]),
                None => Err(self.bad("has an entry without a role, and no `role` is configured for it")),
            },
            Some(Value::String(role)) => Ok(vec![role]),
            Some(Value::Array(roles)) => roles
                .iter()
                .map(|role| {
                    role.as_str()
                        .ok_or_else(|| self.bad("has a role that is not a string"))
                })
                .collect(),
            Some(_) => Err(self.bad("has a role that is neither a string nor a list of strings")),
        }
    }

    fn membership(&self, id: &str, role: &str) -> Result<Membership, Denial> {
        if id.is_empty() || role.is_empty() {
            return Err(self.bad("has an empty id or role"));
        }
        Ok(Membership {
            kind: self.settings.kind.clone(),
            id: id.to_owned(),
            role: role.to_owned(),
        })
    }

    fn bad(&self, why: &str) -> Denial {
        Denial::new(
            DenialReason::BadClaim,
            format!("the claim `{}` {why}", self.settings.name),
        )
    }
}

/// Memberships in their order, each once.
#[derive(Default)]
struct Found {
    memberships: Vec<Membership>,
    seen: HashSet<Membership>,
}

impl Found {
    fn add(&mut self, membership: Membership) {
        if self.seen.insert(membership.clone()) {
            self.memberships.push(membership);
        }
    }
}

#[async_trait]
impl MembershipSource for ClaimMemberships {
    fn name(&self) -> &str {
        &self.name
    }

    fn reads_claims(&self) -> bool {
        true
    }

    async fn memberships(
        &self,
        identity: &Identity,
        _deadline: Deadline,
    ) -> Result<Vec<Membership>, Failure> {
        let providers = &self.settings.providers;
        if !providers.is_empty() && !providers.contains(&identity.provider) {
            return Ok(Vec::new());
        }
        match claim_path::find(&identity.claims, &self.settings.name) {
            Some(claim) => Ok(self.read(claim)?),
            None if self.settings.required => Err(Failure::denied(
                DenialReason::MissingClaim,
                format!("the token has no `{}`", self.settings.name),
            )),
            None => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::testing::identity;

    async fn read(settings: &ClaimMembershipSettings, claims: Value) -> Result<Vec<String>, DenialReason> {
        let source = ClaimMemberships::new(settings.clone()).unwrap();
        let mut identity = identity("https://idp.example", "alice");
        identity.claims = claims.as_object().unwrap().clone();
        match source
            .memberships(&identity, Deadline::after(Duration::from_secs(1)))
            .await
        {
            Ok(found) => Ok(found
                .into_iter()
                .map(|m| format!("{}/{}/{}", m.kind, m.id, m.role))
                .collect()),
            Err(Failure::Denied(denial)) => {
                assert!(!denial.detail.contains("hidden"), "{denial}");
                Err(denial.reason)
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn projects() -> ClaimMembershipSettings {
        let mut settings = ClaimMembershipSettings::new("projects", "project");
        settings.role = Some("member".to_owned());
        settings
    }

    #[tokio::test]
    async fn lists_objects_and_maps_are_read() {
        for (claim, expected) in [
            (
                json!(["apollo", "gemini"]),
                vec!["project/apollo/member", "project/gemini/member"],
            ),
            (json!(["apollo", "apollo"]), vec!["project/apollo/member"]),
            (
                json!([{"id": "apollo", "role": "owner"}]),
                vec!["project/apollo/owner"],
            ),
            (
                json!([{"id": "apollo", "role": ["a", "b"]}]),
                vec!["project/apollo/a", "project/apollo/b"],
            ),
            (json!([{"id": "apollo"}]), vec!["project/apollo/member"]),
            (
                json!({"apollo": "owner", "gemini": []}),
                vec!["project/apollo/owner"],
            ),
            (
                json!({"apollo": ["a", "b"]}),
                vec!["project/apollo/a", "project/apollo/b"],
            ),
            (json!([]), vec![]),
            (json!({}), vec![]),
            (json!(null), vec![]),
            // What may become part of a subject is for policy to judge.
            (
                json!(["*", "a.b"]),
                vec!["project/*/member", "project/a.b/member"],
            ),
        ] {
            let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(
                read(&projects(), json!({"projects": claim})).await,
                Ok(expected),
                "{claim}"
            );
        }
    }

    #[tokio::test]
    async fn any_other_form_is_a_denial_not_an_empty_list() {
        for claim in [
            json!("hidden"),
            json!(7),
            json!(true),
            json!([1]),
            json!(["apollo", null]),
            json!([["hidden"]]),
            json!([{"role": "hidden"}]),
            json!([{"id": 7}]),
            json!([{"id": "hidden", "role": 1}]),
            json!([{"id": "hidden", "role": null}]),
            json!([{"id": "hidden", "role": ["a", 1]}]),
            json!({"hidden": 1}),
            json!({"hidden": null}),
            json!({"hidden": {"role": "x"}}),
            json!([""]),
            json!({"": "hidden"}),
            json!({"hidden": ""}),
        ] {
            let outcome = read(&projects(), json!({"projects": claim})).await;
            assert_eq!(outcome, Err(DenialReason::BadClaim), "{claim}");
        }
    }

    #[tokio::test]
    async fn an_entry_without_any_role_is_refused() {
        let settings = ClaimMembershipSettings::new("projects", "project");
        for claim in [json!(["hidden"]), json!([{"id": "hidden"}])] {
            assert_eq!(
                read(&settings, json!({"projects": claim})).await,
                Err(DenialReason::BadClaim)
            );
        }
    }

    #[tokio::test]
    async fn paths_fields_and_absence_are_as_configured() {
        let mut settings = projects();
        settings.name = "realm.teams".to_owned();
        settings.id_field = "slug".to_owned();
        settings.role_field = "as".to_owned();
        let claims = json!({"realm": {"teams": [{"slug": "apollo", "as": "owner", "id": "x"}]}});
        assert_eq!(read(&settings, claims).await.unwrap(), ["project/apollo/owner"]);
        assert_eq!(read(&settings, json!({})).await.unwrap(), [""; 0]);
        settings.required = true;
        assert_eq!(read(&settings, json!({})).await, Err(DenialReason::MissingClaim));
    }

    #[tokio::test]
    async fn a_claim_counts_only_from_the_providers_it_is_read_from() {
        let mut settings = projects();
        settings.providers = vec!["elsewhere".to_owned()];
        assert_eq!(
            read(&settings, json!({"projects": ["apollo"]})).await.unwrap(),
            [""; 0]
        );
        settings.providers.push("corp".to_owned());
        assert_eq!(
            read(&settings, json!({"projects": ["apollo"]})).await.unwrap(),
            ["project/apollo/member"]
        );
    }

    #[test]
    fn empty_settings_are_refused() {
        let mut settings = projects();
        settings.kind = String::new();
        let error = ClaimMemberships::new(settings).unwrap_err();
        assert_eq!(error.key, "memberships.claim[projects].kind");
    }
}
