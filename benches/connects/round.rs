//! One round of connects, and what all rounds say.

use std::time::{Duration, Instant};

use async_nats::ConnectOptions;
use futures::{StreamExt, stream};
use secrecy::{ExposeSecret, SecretString};

use crate::contender::Contender;

/// So many connections, so many at once, each with this token.
pub(crate) struct Round {
    pub(crate) connects: usize,
    pub(crate) at_once: usize,
    pub(crate) token: SecretString,
}

/// How one went.
pub(crate) struct Went {
    per_second: f64,
    latencies: Vec<Duration>,
}

impl Round {
    /// Connects, and closes everything again once all are connected.
    pub(crate) async fn run(&self, to: &Contender) -> Went {
        let url = to.nats.client_url();
        let begun = Instant::now();
        let connecting = stream::iter(0..self.connects).map(async |_| {
            let begun = Instant::now();
            let options = ConnectOptions::with_token(self.token.expose_secret().to_owned());
            match options.connect(url).await {
                Ok(client) => (client, begun.elapsed()),
                Err(error) => panic!("a client was not let in: {error}"),
            }
        });
        let connected: Vec<_> = connecting.buffer_unordered(self.at_once).collect().await;
        let per_second = self.connects as f64 / begun.elapsed().as_secs_f64();
        let mut latencies = Vec::with_capacity(connected.len());
        for (client, latency) in connected {
            latencies.push(latency);
            let _ = client.drain().await;
        }
        Went {
            per_second,
            latencies,
        }
    }
}

/// Prints what the rounds say, and gives the median of connects per second.
pub(crate) fn report(name: &str, rounds: Vec<Went>) -> f64 {
    let mut per_second: Vec<f64> = rounds.iter().map(|round| round.per_second).collect();
    per_second.sort_by(f64::total_cmp);
    let mut latencies: Vec<Duration> = rounds.into_iter().flat_map(|round| round.latencies).collect();
    latencies.sort_unstable();
    let at = |percent: usize| {
        latencies
            .get(latencies.len() * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    let median = per_second.get(per_second.len() / 2).copied().unwrap_or_default();
    let (least, most) = (per_second.first(), per_second.last());
    println!(
        "{name:>16}: {median:.0} connects/s ({:.0} to {:.0}); a connect takes {:.1?}, 99 % at most {:.1?}",
        least.copied().unwrap_or_default(),
        most.copied().unwrap_or_default(),
        at(50),
        at(99),
    );
    median
}
