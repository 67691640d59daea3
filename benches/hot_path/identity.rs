//! Verifying an access token, its provider's keys at hand.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use natsgate_core::{Credential, Deadline, IdentityProvider, SystemClock};
use natsgate_devkit::{DevProvider, DevProviderOptions, SigningAlgorithm, TokenSpec};
use natsgate_identity::{OidcProvider, OidcSettings, Providers};
use natsgate_store::InProcessCache;
use tokio::runtime::Runtime;

/// Longer than anything here takes.
pub(crate) fn later() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

/// A development provider with a key of every algorithm, and what verifies its tokens.
pub(crate) async fn provider() -> (DevProvider, Providers) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let options = DevProviderOptions {
        algorithms: SigningAlgorithm::ALL.to_vec(),
        ttl: Duration::from_secs(3600),
        ..DevProviderOptions::default()
    };
    let provider = DevProvider::start(options).await.unwrap();
    let settings = OidcSettings::new("corp", provider.issuer(), vec!["nats".into()]);
    let cache = Arc::new(InProcessCache::new(1 << 20, Arc::new(SystemClock)));
    let verifier = OidcProvider::new(settings, Arc::new(SystemClock), cache).unwrap();
    verifier.load_keys(later()).await.unwrap();
    (provider, Providers::new(vec![verifier]).unwrap())
}

pub(crate) fn benches(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let (provider, providers) = runtime.block_on(provider());
    let mut group = criterion.benchmark_group("identity/verify");
    for algorithm in [
        SigningAlgorithm::Rs256,
        SigningAlgorithm::Es256,
        SigningAlgorithm::EdDsa,
    ] {
        let token = provider
            .issue(TokenSpec::new("alice").algorithm(algorithm))
            .unwrap();
        let token = Credential::Token(token);
        group.bench_with_input(
            BenchmarkId::from_parameter(algorithm),
            &token,
            |bencher, token| {
                bencher
                    .to_async(&runtime)
                    .iter(async || providers.identify(token, later()).await.unwrap());
            },
        );
    }
    group.finish();
}
