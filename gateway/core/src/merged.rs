//! Several sources of memberships as one, which remembers who said what.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::{join_all, try_join_all};
use serde_json::Map;

use crate::clock::Clock;
use crate::deadline::Deadline;
use crate::identity::{Evidence, Identity};
use crate::membership::{Membership, MembershipSource};
use crate::outcome::Failure;
use crate::principal::Principal;
use crate::pushed::{OtherGrants, OtherSources, SOURCE_NAME};

/// A source that grants a membership.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GrantedBy {
    /// Its name.
    pub source: String,
    /// Whether it read the membership out of the identity's own claims, so that it is as old as they are.
    pub from_claims: bool,
}

/// A membership, and every source that grants it: at least one, in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedMembership {
    /// What somebody belongs to.
    pub membership: Membership,
    /// Who says so.
    pub granted_by: Vec<GrantedBy>,
}

/// All sources of memberships there are. Cheap to share behind an `Arc`.
pub struct MergedMemberships {
    sources: Vec<Arc<dyn MembershipSource>>,
    /// The names of the configured providers, by issuer.
    providers: HashMap<String, String>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for MergedMemberships {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.sources.iter().map(|source| source.name()))
            .finish()
    }
}

impl MergedMemberships {
    /// All of `sources`. `providers` are the names of the configured providers by issuer, for sources that are asked
    /// about some providers' people only.
    pub fn new(
        sources: Vec<Arc<dyn MembershipSource>>,
        providers: HashMap<String, String>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            sources,
            providers,
            clock,
        }
    }

    /// The sources.
    pub fn sources(&self) -> &[Arc<dyn MembershipSource>] {
        &self.sources
    }

    /// What every source says of `identity`, all asked at once, each membership once, in order.
    ///
    /// # Errors
    /// The first source's that fails, or has not answered by `deadline`. One that cannot answer leaves no answer at all:
    /// what it would have said might have been what a rule takes something away for.
    pub async fn memberships(
        &self,
        identity: &Identity,
        deadline: Deadline,
    ) -> Result<Vec<MergedMembership>, Failure> {
        let asked = self.sources.iter().map(|source| async move {
            let answer = deadline.bound(source.memberships(identity, deadline)).await;
            let memberships = answer.unwrap_or_else(|_passed| {
                Err(Failure::unavailable(format!(
                    "asking the membership source {}: the request's deadline passed",
                    source.name()
                )))
            })?;
            let by = GrantedBy {
                source: source.name().to_owned(),
                from_claims: source.reads_claims(),
            };
            Ok::<_, Failure>((by, memberships))
        });
        let mut merged: BTreeMap<Membership, Vec<GrantedBy>> = BTreeMap::new();
        for (by, memberships) in try_join_all(asked).await? {
            for membership in memberships {
                merged.entry(membership).or_default().push(by.clone());
            }
        }
        let merged = merged.into_iter().map(|(membership, mut granted_by)| {
            granted_by.sort();
            granted_by.dedup();
            MergedMembership {
                membership,
                granted_by,
            }
        });
        Ok(merged.collect())
    }
}

/// Who else grants a membership, when nobody is there whose token could be read: sources that read the claims, or ask by
/// them, cannot be checked then. The source over what was pushed is not another one.
#[async_trait]
impl OtherSources for MergedMemberships {
    async fn granting(
        &self,
        principal: &Principal,
        membership: &Membership,
        deadline: Deadline,
    ) -> OtherGrants {
        let somebody = Identity {
            principal: principal.clone(),
            provider: self.providers.get(&principal.issuer).cloned().unwrap_or_default(),
            claims: Map::new(),
            issued_at: None,
            expires_at: self.clock.now(),
            evidence: Evidence::Online,
        };
        let asked = self.sources.iter().map(|source| async {
            if source.reads_claims() {
                return None;
            }
            match deadline.bound(source.memberships(&somebody, deadline)).await {
                Ok(Ok(found)) => Some(found.contains(membership)),
                // Denied too: the source wants a claim.
                Ok(Err(_)) | Err(_) => None,
            }
        });
        let mut others = OtherGrants::default();
        for (source, grants) in self.sources.iter().zip(join_all(asked).await) {
            let name = source.name();
            match grants {
                _ if name == SOURCE_NAME => {}
                Some(true) => others.granted_by.push(name.to_owned()),
                Some(false) => {}
                None => others.not_checked.push(name.to_owned()),
            }
        }
        for names in [&mut others.granted_by, &mut others.not_checked] {
            names.sort();
            names.dedup();
        }
        others
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use serde_json::json;

    use super::*;
    use crate::clock::SystemClock;
    use crate::outcome::DenialReason;

    type Answer = dyn Fn(&Identity) -> Result<Vec<Membership>, Failure> + Send + Sync;

    struct Known {
        name: &'static str,
        from_claims: bool,
        /// `None`: never answers.
        answer: Option<Box<Answer>>,
    }

    #[async_trait]
    impl MembershipSource for Known {
        fn name(&self) -> &str {
            self.name
        }

        fn reads_claims(&self) -> bool {
            self.from_claims
        }

        async fn memberships(&self, identity: &Identity, _: Deadline) -> Result<Vec<Membership>, Failure> {
            match &self.answer {
                Some(answer) => answer(identity),
                None => std::future::pending().await,
            }
        }
    }

    fn member(id: &str) -> Membership {
        Membership {
            kind: "project".into(),
            id: id.into(),
            role: "member".into(),
        }
    }

    fn source(
        name: &'static str,
        answer: impl Fn(&Identity) -> Result<Vec<Membership>, Failure> + Send + Sync + 'static,
    ) -> Known {
        Known {
            name,
            from_claims: false,
            answer: Some(Box::new(answer)),
        }
    }

    fn says(name: &'static str, ids: &'static [&str]) -> Known {
        source(name, |_| Ok(ids.iter().map(|id| member(id)).collect()))
    }

    fn merged(sources: Vec<Known>) -> MergedMemberships {
        let sources = sources
            .into_iter()
            .map(|s| Arc::new(s) as Arc<dyn MembershipSource>)
            .collect();
        let providers = HashMap::from([("https://idp".to_owned(), "corp".to_owned())]);
        MergedMemberships::new(sources, providers, Arc::new(SystemClock))
    }

    fn alice() -> Identity {
        Identity {
            principal: Principal::new("https://idp", "alice"),
            provider: "corp".into(),
            claims: Map::from_iter([("tenant".to_owned(), json!("t"))]),
            issued_at: None,
            expires_at: SystemTime::UNIX_EPOCH,
            evidence: Evidence::Online,
        }
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(5))
    }

    #[tokio::test]
    async fn every_membership_comes_once_with_everybody_who_grants_it() {
        let mut claim = says("claim", &["b"]);
        claim.from_claims = true;
        let merged = merged(vec![says("file", &["b", "a", "b"]), claim, says("empty", &[])]);
        let found = merged.memberships(&alice(), soon()).await.unwrap();
        let by = |source: &str, from_claims| GrantedBy {
            source: source.into(),
            from_claims,
        };
        assert_eq!(
            found,
            [
                MergedMembership {
                    membership: member("a"),
                    granted_by: vec![by("file", false)]
                },
                MergedMembership {
                    membership: member("b"),
                    granted_by: vec![by("claim", true), by("file", false)]
                },
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_source_that_fails_or_hangs_leaves_no_answer() {
        let down = || source("down", |_| Err(Failure::unavailable("it is down")));
        let stuck = || Known {
            name: "stuck",
            from_claims: false,
            answer: None,
        };
        for (broken, words) in [
            (down(), "it is down"),
            (stuck(), "stuck: the request's deadline passed"),
        ] {
            let merged = merged(vec![says("file", &["a"]), broken]);
            match merged.memberships(&alice(), soon()).await {
                Err(Failure::Unavailable(why)) => assert!(why.0.contains(words), "{why}"),
                other => panic!("{other:?}"),
            }
        }
        // All at once: the first does not have to answer for the second to be heard.
        let merged = merged(vec![stuck(), down()]);
        match merged.memberships(&alice(), soon()).await {
            Err(Failure::Unavailable(why)) => assert!(why.0.contains("it is down"), "{why}"),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_else_grants_a_membership_is_found_out_without_claims() {
        let mut claim = says("claim projects", &[]);
        claim.from_claims = true;
        let by_tenant = source("http tenants", |identity| {
            if identity.claims.contains_key("tenant") {
                return Ok(vec![member("a")]);
            }
            Err(Failure::denied(
                DenialReason::MissingClaim,
                "there is no claim `tenant`",
            ))
        });
        let of_corp = source("postgres corp", |identity| {
            Ok(if identity.provider == "corp" {
                vec![member("a")]
            } else {
                Vec::new()
            })
        });
        let stuck = Known {
            name: "http slow",
            from_claims: false,
            answer: None,
        };
        let others = vec![
            says("file x", &["b"]),
            claim,
            by_tenant,
            of_corp,
            stuck,
            says(SOURCE_NAME, &["a"]),
            source("http down", |_| Err(Failure::unavailable("down"))),
        ];
        let merged = merged(others);
        let found = merged
            .granting(&Principal::new("https://idp", "alice"), &member("a"), soon())
            .await;
        assert_eq!(found.granted_by, ["postgres corp"]);
        assert_eq!(
            found.not_checked,
            ["claim projects", "http down", "http slow", "http tenants"]
        );

        let stranger = Principal::new("https://elsewhere", "alice");
        let found = merged.granting(&stranger, &member("a"), soon()).await;
        assert_eq!(found.granted_by, [""; 0]);
    }
}
