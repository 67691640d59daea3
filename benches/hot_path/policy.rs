//! Evaluating a policy for somebody with few and with many memberships.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use natsgate_benches::rules;
use natsgate_core::{Clock, Connection, SystemClock};
use natsgate_policy::Facts;

pub(crate) fn benches(criterion: &mut Criterion) {
    let (policy, identity, connection) = (rules::policy(), rules::identity(), Connection::default());
    let mut group = criterion.benchmark_group("policy/evaluate");
    for count in [1, 10, 100] {
        let memberships = rules::memberships(count);
        let facts = Facts {
            identity: &identity,
            memberships: &memberships,
            connection: &connection,
            now: SystemClock.now(),
        };
        group.bench_with_input(
            BenchmarkId::new("memberships", count),
            &facts,
            |bencher, facts| {
                bencher.iter(|| policy.evaluate(black_box(facts)).outcome.unwrap());
            },
        );
    }
    group.finish();
}
