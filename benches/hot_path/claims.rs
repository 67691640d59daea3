//! Reading a request, signing an answer, opening and sealing.

use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use natsgate_benches::authorization::Callout;
use natsgate_claims::{AuthorizationRequest, XKeyPair, decode};
use natsgate_core::{Clock, SystemClock};
use natsgate_shim::request;
use natsgate_shim::response::{Recipient, Verdict, encode_response};

/// A token of the size of an everyday access token.
const TOKEN_BYTES: usize = 900;

pub(crate) fn benches(criterion: &mut Criterion) {
    let callout = Callout::new();
    let token = callout.request(&"t".repeat(TOKEN_BYTES));
    let now = SystemClock.unix_seconds();
    let unsealed = callout.unsealed_request(&"t".repeat(TOKEN_BYTES));
    for (name, token) in [
        ("claims/decode request", &unsealed),
        ("claims/decode request with an xkey", &token),
    ] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| decode::<AuthorizationRequest>(black_box(token), now).unwrap());
        });
    }
    sealing(criterion, &callout, token.as_bytes());
    response(criterion, &callout, now);
}

fn sealing(criterion: &mut Criterion, callout: &Callout, token: &[u8]) {
    let server = &callout.server_xkey;
    let (own, peer) = (callout.xkey(), server.public_key());
    let sealed = server.seal(token, own.public_key()).unwrap();
    // The first call with a peer makes and keeps the shared secret; a shim does that once for each server.
    let anew = || XKeyPair::from_seed(&own.seed()).unwrap();
    criterion.bench_function("claims/open, server known", |bencher| {
        bencher.iter(|| own.open(black_box(&sealed), peer).unwrap());
    });
    criterion.bench_function("claims/open, server new", |bencher| {
        bencher.iter_batched(
            anew,
            |own| own.open(black_box(&sealed), peer).unwrap(),
            BatchSize::SmallInput,
        );
    });
    criterion.bench_function("claims/seal, server known", |bencher| {
        bencher.iter(|| own.seal(black_box(token), peer).unwrap());
    });
    criterion.bench_function("claims/seal, server new", |bencher| {
        bencher.iter_batched(
            anew,
            |own| own.seal(black_box(token), peer).unwrap(),
            BatchSize::SmallInput,
        );
    });
    let about = callout.issuer().public_key();
    criterion.bench_function("shim/open and verify a sealed request", |bencher| {
        bencher.iter(|| {
            request::open(
                black_box(&sealed),
                Some(peer),
                Some(own),
                about,
                SystemClock.now(),
            )
            .unwrap()
        });
    });
}

fn response(criterion: &mut Criterion, callout: &Callout, now: i64) {
    let jwt = callout.request("a user JWT of some length stands here");
    let settings = &callout.settings;
    let bench = |criterion: &mut Criterion, name: &str, xkey: Option<&str>| {
        let recipient = Recipient {
            server_id: callout.server.public_key(),
            user_nkey: &callout.user_nkey,
            xkey,
        };
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let verdict = Verdict::Granted(jwt.clone());
                encode_response(
                    verdict,
                    &recipient,
                    &settings.issuing,
                    settings.xkey.as_ref(),
                    now,
                )
                .unwrap()
            });
        });
    };
    bench(criterion, "shim/encode response", None);
    bench(
        criterion,
        "shim/encode response, sealed",
        Some(callout.server_xkey.public_key()),
    );
}
