//! All sessions of a project at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Client as Nats;
use futures::StreamExt;
use natsgate_faults::{Client, Crowd, Persona, Site, selector};
use natsgate_proto::v1;

use crate::percentile;

/// The longest a step may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Sessions of one person.
const EACH: usize = 20;

/// A pause after everybody is in, so that what their coming leads to is over.
const CALM: Duration = Duration::from_secs(2);

/// Measures, prints, and gives the ratio of the medians.
pub(crate) async fn measure(site: &Site, sessions: usize, rounds: usize) -> f64 {
    let crowd = site.crowd(10);
    let (mut by_natsgate, mut by_hand) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        for turn in [round % 2, (round + 1) % 2] {
            let project = format!("round-{round}-{turn}");
            let clients = come_in(site, &crowd, &project, sessions).await;
            let took = if turn == 0 {
                site.members.remove_all(&project);
                let request = v1::RevokeRequest {
                    idempotency_key: project.clone(),
                    selector: Some(selector::resource("project", &project)),
                    reason: "a bench".to_owned(),
                    ..Default::default()
                };
                let call = site.api.call(request, PATIENCE);
                let mut client = site.api.revocations(round);
                let begun = Instant::now();
                client.revoke(call).await.unwrap();
                closed(&crowd, &clients).await - begun
            } else {
                let connections: Vec<(String, u64)> = clients
                    .iter()
                    .map(|client| {
                        client.look(|view| {
                            let life = view.open().expect("it is connected");
                            (life.server_id.to_string(), life.client_id)
                        })
                    })
                    .collect();
                let begun = Instant::now();
                let (last, ()) = tokio::join!(
                    closed(&crowd, &clients),
                    kick_all(&site.system.client, &connections)
                );
                last - begun
            };
            if turn == 0 { &mut by_natsgate } else { &mut by_hand }.push(took);
        }
    }
    println!("from the call to the last closed socket, {sessions} sessions, {rounds} rounds of each:");
    let by_hand = report("raw kicks", by_hand);
    let natsgate = report("natsgate", by_natsgate);
    natsgate.as_secs_f64() / by_hand.as_secs_f64()
}

/// New clients, members of `project`, all connected.
async fn come_in(site: &Site, crowd: &Crowd, project: &str, sessions: usize) -> Vec<Client> {
    let mut clients = Vec::with_capacity(sessions);
    for number in 0..sessions.div_ceil(EACH) {
        let subject = format!("{project}-{number}");
        site.members.add(&subject, project);
        let persona = Arc::new(Persona {
            name: subject.clone(),
            tokens: site.one_token(&subject),
            // Those who come back would take part in what is measured, by each in another way.
            comes_back: false,
        });
        for place in 0..EACH.min(sessions - number * EACH) {
            clients.push(crowd.join(Arc::clone(&persona), number * EACH + place));
        }
    }
    let settled = || {
        clients
            .iter()
            .all(|client| client.look(|view| view.ended || view.open().is_some()))
    };
    assert!(crowd.until(PATIENCE, settled).await, "not all are let in");
    let missing = clients.iter().filter(|client| !client.is_open()).count();
    assert_eq!(missing, 0, "some were not let in");
    tokio::time::sleep(CALM).await;
    clients
}

/// When the last of them was closed.
async fn closed(crowd: &Crowd, clients: &[Client]) -> Instant {
    assert!(
        crowd
            .until(PATIENCE, || !clients.iter().any(Client::is_open))
            .await,
        "not all were closed"
    );
    let ends = clients
        .iter()
        .filter_map(|client| client.look(|view| view.lives.last()?.closed.as_ref().map(|end| end.0)));
    ends.max().expect("there are clients")
}

/// Kicks all, one request after the other, and hears all answers.
async fn kick_all(nats: &Nats, connections: &[(String, u64)]) {
    let inbox = nats.new_inbox();
    let mut answers = nats.subscribe(inbox.clone()).await.unwrap();
    for (server, client) in connections {
        let subject = format!("$SYS.REQ.SERVER.{server}.KICK");
        let body = format!("{{\"cid\":{client}}}");
        nats.publish_with_reply(subject, inbox.clone(), body.into())
            .await
            .unwrap();
    }
    for _ in connections {
        answers.next().await.unwrap();
    }
}

/// Prints a line and gives the median.
fn report(name: &str, mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    println!(
        "{name:>20}: median {:>8.2?}  ({:.2?} to {:.2?})",
        percentile(&times, 50),
        percentile(&times, 0),
        percentile(&times, 100)
    );
    percentile(&times, 50)
}
