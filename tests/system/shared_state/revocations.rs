//! What is revoked is looked up anew, whatever it was known from: a token's claims, the provider's answer in a cache, a
//! source's answer in a cache.

use std::sync::Arc;
use std::time::Duration;

use natsgate_core::{Change, Clock, Deadline, EntryId, NewEntry, Principal, Revision, Selector, SystemClock};
use natsgate_devkit::{DevProvider, INTROSPECTION_CLIENT, Person, RedisServer, TokenSpec};
use natsgate_store::{
    Follower, FollowerSettings, LogSettings, RedisConnection, RedisLog, RedisSettings, Secrets,
};
use secrecy::SecretString;
use serde_json::json;

use super::members::Members;
use super::scene::{Instance, SECRET, publishes};
use crate::harness::provider;

/// Whoever revokes: another instance, as far as the log goes.
struct Revoker(Arc<Follower>);

impl Revoker {
    fn at(redis: &RedisServer) -> Self {
        let connection = RedisConnection::new(&RedisSettings::url(redis.url())).unwrap();
        let secrets = Secrets::new(SecretString::from(SECRET), Vec::new()).unwrap();
        let clock = Arc::new(SystemClock);
        let log = RedisLog::new(&connection, &secrets, &LogSettings::default(), clock.clone()).unwrap();
        Self(Follower::start(Arc::new(log), FollowerSettings::default(), clock))
    }

    async fn revoke(&self, selector: Selector) -> Revision {
        let entry = NewEntry {
            id: EntryId(rand::random()),
            at: SystemClock.now(),
            change: Change::revoked(selector, "a test", "a test"),
            idempotency: None,
        };
        let deadline = Deadline::after(Duration::from_secs(10));
        self.0.append(entry, deadline).await.unwrap().revision
    }
}

fn selectors(issuer: &str, project: &str) -> Vec<Selector> {
    let (kind, id) = ("project".to_owned(), project.to_owned());
    let principal = Principal::new(issuer, "alice");
    vec![
        Selector::Principal {
            principal: principal.clone(),
        },
        Selector::Membership {
            principal,
            kind: kind.clone(),
            id: id.clone(),
        },
        Selector::Resource {
            kind: kind.clone(),
            id,
        },
        Selector::Role {
            kind,
            role: "member".into(),
        },
        Selector::Provider {
            issuer: issuer.to_owned(),
        },
    ]
}

/// Makes `project` all that alice is a member of, wherever that is known.
fn truth(provider: &DevProvider, members: &Members, project: &str) {
    provider.set_people(vec![Person::new("alice").claim("projects", json!([project]))]);
    members.set("alice", &[project]);
}

#[tokio::test]
async fn whatever_it_was_known_from() {
    let redis = RedisServer::start().await.unwrap();
    let provider = provider().await;
    let members = Members::start(&[]).await;
    let (client, secret) = INTROSPECTION_CLIENT;
    let claims = "    - claim: { name: projects, kind: project, role: member }\n";
    let config = |source: &str| {
        super::scene::decision(provider.issuer(), &redis.url(), source).replace(
            "      leeway: 1s\n",
            &format!(
                "      leeway: 1s\n      verify: [jwt, introspection]\n      introspection:\n        client_id: {client}\n        \
                 authentication: {{ client_secret_post: {{ secret: '{secret}' }} }}\n"
            ),
        )
    };
    let revoker = Revoker::at(&redis);
    let by_claims = Instance::start(&config(claims)).await;
    let by_source = Instance::start(&config(&members.source())).await;

    let mut round = 0;
    for selector in 0..selectors(provider.issuer(), "").len() {
        truth(&provider, &members, "before");
        // What is looked up for the first time in this round is not older than it.
        let begun = revoker
            .revoke(Selector::Principal {
                principal: Principal::new(provider.issuer(), "alice"),
            })
            .await
            .to_string();
        let spec = TokenSpec::new("alice").claim("projects", json!(["before"]));
        let tokens = [
            (
                "a JWT's claims",
                &by_claims,
                provider.issue(spec.clone()).unwrap(),
            ),
            (
                "an introspected token's claims",
                &by_claims,
                provider.issue_opaque(spec),
            ),
            (
                "a source",
                &by_source,
                provider.issue(TokenSpec::new("alice")).unwrap(),
            ),
        ];
        for (what, instance, token) in &tokens {
            for _twice in 0..2 {
                let grant = instance.authorize(token, &begun).await.unwrap().expect(what);
                assert_eq!(publishes(&grant), ["projects.before.in.>"], "{what}");
            }
        }
        truth(&provider, &members, "after");
        let selector = selectors(provider.issuer(), "before").swap_remove(selector);
        let revision = revoker.revoke(selector.clone()).await.to_string();
        for (what, instance, token) in &tokens {
            let of_the_identity = matches!(selector, Selector::Provider { .. });
            if *what == "a source" && of_the_identity {
                // A source's word is not the provider's.
                continue;
            }
            let grant = instance.authorize(token, &revision).await.unwrap().expect(what);
            assert_eq!(publishes(&grant), ["projects.after.in.>"], "{what}, {selector:?}");
            round += 1;
        }
    }
    assert_eq!(round, 14);
}
