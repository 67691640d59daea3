//! A whole decision in this process: token, memberships from its claims, policy.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use natsgate_api::CallerAuthenticator;
use natsgate_benches::authorization::Callout;
use natsgate_benches::rules;
use natsgate_claims::{AuthorizationRequest, decode};
use natsgate_core::{Clock, MergedMemberships, Sealing, SystemClock};
use natsgate_decision::{CredentialSource, Decider, DeciderLimits, MAX_BASES, Pipeline};
use natsgate_devkit::TokenSpec;
use natsgate_identity::{ClaimMembershipSettings, ClaimMemberships};
use natsgate_proto::v1::decision_service_server::DecisionService;
use natsgate_proto::v1::{RecheckRequest, RecheckResult, authorize_response, recheck_result};
use natsgate_shim::request;
use natsgate_store::{Follower, FollowerSettings, InProcessLog, LogSettings, Secrets};
use tokio::runtime::Runtime;
use tonic::Request;

pub(crate) fn benches(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let (provider, providers) = runtime.block_on(crate::identity::provider());
    // The log's follower runs in it.
    let _entered = runtime.enter();
    let mut memberships = ClaimMembershipSettings::new("projects", "project");
    memberships.role = Some("member".into());
    let log = InProcessLog::new(&LogSettings::default(), None, Arc::new(SystemClock));
    let follower = Follower::start(Arc::new(log), FollowerSettings::default(), Arc::new(SystemClock));
    let mut positions = follower.positions();
    let read = positions.wait_for(|position| position.revision().is_some());
    drop(runtime.block_on(read).unwrap());
    let pipeline = Pipeline {
        identities: Arc::new(providers),
        memberships: Arc::new(MergedMemberships::new(
            vec![Arc::new(ClaimMemberships::new(memberships).unwrap())],
            HashMap::new(),
            Arc::new(SystemClock),
        )),
        policy: rules::policy(),
        credentials: CredentialSource::DEFAULT.to_vec(),
        max_token_bytes: 16_384,
        freshness: follower,
        bans: None,
        sealing: sealing(),
        degraded_grant_life: Duration::from_secs(300),
        clock: Arc::new(SystemClock),
    };
    let limits = DeciderLimits {
        max_in_flight: 16,
        max_decision_time: Duration::from_secs(5),
    };
    let callers = CallerAuthenticator::new(&[], None, Arc::new(SystemClock)).unwrap();
    let decider = Decider::new(Arc::new(pipeline), limits, Arc::new(callers));
    let callout = Callout::new();
    let mut group = criterion.benchmark_group("decision/authorize, ES256");
    for count in [1, 10, 100] {
        let projects: Vec<String> = (0..count).map(|number| format!("project-{number}")).collect();
        let token = TokenSpec::new("alice").algorithm(natsgate_devkit::SigningAlgorithm::Es256);
        let token = provider.issue(token.claim("projects", projects)).unwrap();
        let token = callout.request(secrecy::ExposeSecret::expose_secret(&token));
        let claims = decode::<AuthorizationRequest>(&token, SystemClock.unix_seconds()).unwrap();
        let question = request::to_message("bench", &claims.body);
        group.bench_with_input(
            BenchmarkId::new("memberships", count),
            &question,
            |bencher, question| {
                bencher.to_async(&runtime).iter(async || {
                    let answer = decider
                        .authorize(Request::new(question.clone()))
                        .await
                        .unwrap()
                        .into_inner();
                    assert!(matches!(
                        answer.result,
                        Some(natsgate_proto::v1::authorize_response::Result::Grant(_))
                    ));
                });
            },
        );
    }
    group.finish();

    // What a change of the policy costs: every session there is, in calls of as many as may be.
    let mut group = criterion.benchmark_group("decision/recheck, 5,000 sessions");
    for count in [1, 10] {
        let projects: Vec<String> = (0..count).map(|number| format!("project-{number}")).collect();
        let token = provider
            .issue(TokenSpec::new("alice").claim("projects", projects))
            .unwrap();
        let token = callout.request(secrecy::ExposeSecret::expose_secret(&token));
        let claims = decode::<AuthorizationRequest>(&token, SystemClock.unix_seconds()).unwrap();
        let question = request::to_message("bench", &claims.body);
        let answer = runtime
            .block_on(decider.authorize(Request::new(question)))
            .unwrap();
        let Some(authorize_response::Result::Grant(grant)) = answer.into_inner().result else {
            continue;
        };
        let bases = vec![grant.basis; MAX_BASES];
        group.bench_with_input(
            BenchmarkId::new("memberships", count),
            &bases,
            |bencher, bases| {
                bencher.to_async(&runtime).iter(async || {
                    for _ in 0..5_000 / MAX_BASES {
                        let request = RecheckRequest {
                            bases: bases.clone(),
                            ..Default::default()
                        };
                        let answer = decider.recheck(Request::new(request)).await.unwrap().into_inner();
                        let granted = |one: &RecheckResult| {
                            matches!(one.result, Some(recheck_result::Result::Grant(_)))
                        };
                        assert!(answer.results.iter().all(granted));
                    }
                });
            },
        );
    }
    group.finish();
}

fn sealing() -> Arc<dyn Sealing> {
    let secret = "as many bytes as a secret must have".to_owned();
    let secrets = Secrets::new(secret.into(), Vec::new()).unwrap();
    Arc::new(secrets.sealer("recheck basis").unwrap())
}
