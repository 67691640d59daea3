//! The decision itself: credential → identity → memberships → policy.
//!
//! Every step may deny, or find that it has no answer; nothing here turns the one into the other, and nothing turns
//! either into a grant.

use std::sync::Arc;

use futures::future::try_join_all;
use natsgate_core::{
    Clock, Connection, Credential, Deadline, Denial, DenialReason, Failure, Grant, Identity,
    IdentityProvider, Membership, MembershipSource, NotAdmitted, Principal,
};
use natsgate_policy::{Facts, Policy};
use natsgate_proto::v1::ConnectOptions;

use crate::credential::{self, CredentialSource};

/// Everything a decision needs. Cheap to share behind an `Arc`.
pub struct Pipeline {
    /// Verifies tokens.
    pub identities: Arc<dyn IdentityProvider>,
    /// Know what somebody belongs to; what they say is put together.
    pub memberships: Vec<Arc<dyn MembershipSource>>,
    /// The rules.
    pub policy: Policy,
    /// Where tokens are looked for, in order.
    pub credentials: Vec<CredentialSource>,
    /// The largest credential looked at, in bytes.
    pub max_token_bytes: usize,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// What came out, and for whom.
#[derive(Debug)]
pub struct Decision {
    /// Who asked, once that was known.
    pub principal: Option<Principal>,
    /// A grant, a denial, or no answer.
    pub outcome: Result<Grant, Failure>,
}

impl Pipeline {
    /// Decides about `connection`, whose client sent `connect`, before `deadline`.
    pub async fn decide(
        &self,
        connect: &ConnectOptions,
        connection: &Connection,
        deadline: Deadline,
    ) -> Decision {
        let identity = match self.identify(connect, deadline).await {
            Ok(identity) => identity,
            Err(failure) => {
                return Decision {
                    principal: None,
                    outcome: Err(failure),
                };
            }
        };
        let outcome = self.evaluate(&identity, connection, deadline).await;
        Decision {
            principal: Some(identity.principal),
            outcome,
        }
    }

    async fn identify(&self, connect: &ConnectOptions, deadline: Deadline) -> Result<Identity, Failure> {
        let token = credential::find(connect, &self.credentials, self.max_token_bytes)?;
        let credential = Credential::Token(token);
        bound(
            deadline,
            "verifying the token",
            self.identities.identify(&credential, deadline),
        )
        .await
    }

    async fn evaluate(
        &self,
        identity: &Identity,
        connection: &Connection,
        deadline: Deadline,
    ) -> Result<Grant, Failure> {
        let memberships = self.memberships_of(identity, deadline).await?;
        let facts = Facts {
            identity,
            memberships: &memberships,
            connection,
            now: self.clock.now(),
        };
        let grant = self.policy.evaluate(&facts).outcome?;
        admit(&grant, connection)?;
        Ok(grant)
    }

    /// What every source says, all asked at once. One that cannot answer leaves no answer at all: what it would have
    /// said might have been what a rule takes something away for.
    async fn memberships_of(
        &self,
        identity: &Identity,
        deadline: Deadline,
    ) -> Result<Vec<Membership>, Failure> {
        let asked = self.memberships.iter().map(|source| async move {
            let doing = format!("asking the membership source {}", source.name());
            bound(deadline, &doing, source.memberships(identity, deadline)).await
        });
        let mut all: Vec<Membership> = try_join_all(asked).await?.into_iter().flatten().collect();
        all.sort();
        all.dedup();
        Ok(all)
    }
}

/// Holds against the connection what the server will not.
fn admit(grant: &Grant, connection: &Connection) -> Result<(), Denial> {
    let admitted = grant.limits.admit(
        &connection.client_host,
        &connection.client_kind,
        &connection.client_type,
    );
    admitted.map_err(|refused| {
        let reason = match refused {
            NotAdmitted::SourceNetwork => DenialReason::SourceNotAllowed,
            NotAdmitted::ConnectionType => DenialReason::ConnectionTypeNotAllowed,
        };
        Denial::new(reason, refused.to_string())
    })
}

async fn bound<T>(
    deadline: Deadline,
    doing: &str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    deadline.bound(work).await.unwrap_or_else(|_| {
        Err(Failure::unavailable(format!(
            "{doing}: the request's deadline passed"
        )))
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use async_trait::async_trait;
    use natsgate_core::SystemClock;
    use serde_json::json;

    use super::*;

    /// Anybody is alice, for an hour.
    struct Alice;

    #[async_trait]
    impl IdentityProvider for Alice {
        async fn identify(&self, _: &Credential, _: Deadline) -> Result<Identity, Failure> {
            Ok(Identity {
                principal: Principal::new("https://login.example", "alice"),
                provider: "corp".into(),
                claims: serde_json::Map::new(),
                issued_at: None,
                expires_at: SystemClock.now() + Duration::from_secs(3600),
                evidence: natsgate_core::Evidence::SignedToken { key_id: None },
            })
        }
    }

    enum Source {
        Member(&'static str),
        Down,
        Stuck,
    }

    #[async_trait]
    impl MembershipSource for Source {
        fn name(&self) -> &str {
            "test"
        }

        async fn memberships(&self, _: &Identity, _: Deadline) -> Result<Vec<Membership>, Failure> {
            match self {
                Self::Member(id) => Ok(vec![Membership {
                    kind: "project".into(),
                    id: (*id).into(),
                    role: "member".into(),
                }]),
                Self::Down => Err(Failure::unavailable("the test source is down")),
                Self::Stuck => std::future::pending().await,
            }
        }
    }

    fn pipeline(sources: Vec<Source>) -> Pipeline {
        let policy = serde_json::from_value(json!({
            "version": 1,
            "account": "APP",
            "rules": [{
                "name": "members",
                "for_each": { "membership": { "kind": "project", "role": "member" } },
                "publish": { "allow": ["projects.{membership.id}.in.>"] },
            }],
        }))
        .unwrap();
        Pipeline {
            identities: Arc::new(Alice),
            memberships: sources
                .into_iter()
                .map(|s| Arc::new(s) as Arc<dyn MembershipSource>)
                .collect(),
            policy: Policy::compile(&policy).unwrap(),
            credentials: CredentialSource::DEFAULT.to_vec(),
            max_token_bytes: 16_384,
            clock: Arc::new(SystemClock),
        }
    }

    async fn decide(sources: Vec<Source>) -> Result<Vec<String>, Failure> {
        let mut connect = ConnectOptions::default();
        connect.auth_token.push('t');
        let deadline = Deadline::after(Duration::from_secs(1));
        let decision = pipeline(sources)
            .decide(&connect, &Connection::default(), deadline)
            .await;
        let grant = decision.outcome?;
        assert!(grant.expires_at > SystemTime::UNIX_EPOCH);
        Ok(grant
            .permissions
            .publish
            .allow
            .iter()
            .map(ToString::to_string)
            .collect())
    }

    #[tokio::test]
    async fn what_the_sources_say_is_put_together() {
        let allowed = decide(vec![
            Source::Member("b"),
            Source::Member("a"),
            Source::Member("b"),
        ])
        .await;
        assert_eq!(allowed.unwrap(), ["projects.a.in.>", "projects.b.in.>"]);
    }

    #[tokio::test]
    async fn one_source_that_is_down_leaves_no_answer() {
        let outcome = decide(vec![Source::Member("a"), Source::Down]).await;
        assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_hangs_is_left_at_the_deadline() {
        let outcome = decide(vec![Source::Member("a"), Source::Stuck]).await;
        assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
    }

    #[tokio::test]
    async fn no_membership_matches_no_rule() {
        match decide(vec![]).await {
            Err(Failure::Denied(denial)) => assert_eq!(denial.reason, DenialReason::NoRuleMatched),
            other => panic!("{other:?}"),
        }
    }
}
