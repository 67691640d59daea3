//! From a grant to the signed user JWT.

use criterion::{BenchmarkId, Criterion};
use natsgate_benches::authorization::Callout;
use natsgate_benches::rules;
use natsgate_core::{Clock, Connection, SystemClock};
use natsgate_decision::convert::{self, Beside};
use natsgate_policy::Facts;
use natsgate_shim::mint::{self, Naming};

pub(crate) fn benches(criterion: &mut Criterion) {
    let callout = Callout::new();
    let (policy, identity, connection) = (rules::policy(), rules::identity(), Connection::default());
    let mut group = criterion.benchmark_group("shim/mint");
    for count in [1, 10, 100] {
        let memberships = rules::memberships(count);
        let now = SystemClock.now();
        let facts = Facts {
            identity: &identity,
            memberships: &memberships,
            connection: &connection,
            now,
        };
        let grant = convert::grant(policy.evaluate(&facts).outcome.unwrap(), Beside::default());
        group.bench_with_input(
            BenchmarkId::new("memberships", count),
            &grant,
            |bencher, grant| {
                bencher.iter(|| {
                    mint::user_jwt(
                        grant,
                        &callout.user_nkey,
                        &callout.settings,
                        Naming::default(),
                        now,
                    )
                    .unwrap()
                });
            },
        );
    }
    group.finish();
}
