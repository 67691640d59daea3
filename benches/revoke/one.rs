//! One session at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use natsgate_faults::{Client, Persona, Site, selector};
use natsgate_proto::v1;

use crate::bare::Bare;
use crate::percentile;

/// How many people are closed in turn.
const PEOPLE: usize = 20;

/// Runs before counting: connections are made, code is paged in.
const UNCOUNTED: usize = 5;

/// The longest a step may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pause after everybody is back, so that what a kick leads to is over before the next one.
const CALM: Duration = Duration::from_millis(30);

/// Measures, prints, and gives the ratio of the 99th percentiles.
pub(crate) async fn measure(site: &Site, runs: usize, others: usize) -> f64 {
    let bare = Bare::start(site).await;
    let crowd = site.crowd(10);
    let mut joined = 0;
    let mut join = |subject: &str| {
        site.members.add(subject, "apollo");
        joined += 1;
        let persona = Persona {
            name: subject.to_owned(),
            tokens: site.one_token(subject),
            comes_back: true,
        };
        crowd.join(Arc::new(persona), joined)
    };
    let others: Vec<Client> = (0..others)
        .map(|number| join(&format!("other{}", number / 10)))
        .collect();
    let victims: Vec<Client> = (0..PEOPLE)
        .map(|number| join(&format!("victim{number}")))
        .collect();
    let all_in = || others.iter().chain(&victims).all(Client::is_open);
    assert!(crowd.until(PATIENCE, all_in).await, "not all are let in");

    let (mut by_natsgate, mut by_bare) = (Vec::new(), Vec::new());
    for run in 0..runs + UNCOUNTED {
        let victim = &victims[run % victims.len()];
        // Who goes first takes turns too.
        for turn in [run % 2, (run + 1) % 2] {
            let life = victim.look(|view| view.open().cloned()).expect("it is connected");
            let lives = victim.look(|view| view.lives.len());
            let session = selector::session(&life.server_id, life.client_id);
            let mut request = v1::RevokeRequest {
                idempotency_key: format!("run {run}"),
                selector: Some(session),
                reason: "a bench".to_owned(),
                ..Default::default()
            };
            let begun;
            if turn == 0 {
                request.selector = Some(selector::principal(site.api.principal(victim.name())));
                let call = site.api.call(request, PATIENCE);
                let mut client = site.api.revocations(run);
                begun = Instant::now();
                client.revoke(call).await.unwrap();
            } else {
                begun = Instant::now();
                bare.revoke(request).await;
            }
            let closed = || victim.look(|view| view.lives[lives - 1].closed.clone());
            assert!(
                crowd.until(PATIENCE, || closed().is_some()).await,
                "it was not closed"
            );
            let took = closed().expect("it was closed").0 - begun;
            if run >= UNCOUNTED {
                if turn == 0 { &mut by_natsgate } else { &mut by_bare }.push(took);
            }
            assert!(
                crowd.until(PATIENCE, || victim.is_open()).await,
                "it did not come back"
            );
            tokio::time::sleep(CALM).await;
        }
    }
    println!(
        "from the call to the closed socket, one of {} sessions, {runs} runs of each:",
        others.len() + victims.len()
    );
    let bare = report("gRPC, PUBLISH, KICK", by_bare);
    let natsgate = report("natsgate", by_natsgate);
    natsgate.as_secs_f64() / bare.as_secs_f64()
}

/// Prints a line and gives the 99th percentile.
fn report(name: &str, mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let at = |percent| percentile(&times, percent);
    println!(
        "{name:>20}: p50 {:>8.2?}  p90 {:>8.2?}  p99 {:>8.2?}  longest {:>8.2?}",
        at(50),
        at(90),
        at(99),
        at(100)
    );
    at(99)
}
