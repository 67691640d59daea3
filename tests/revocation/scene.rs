//! A site with a crowd in it.

use std::sync::Arc;
use std::time::Duration;

use natsgate_faults::{Client, Crowd, Persona, Program, Site, SiteOptions};
use tokio::sync::{Mutex, MutexGuard};

/// How many clients are in their callout at once. Enough to keep two cores busy; with more, each waits for the others, and where
/// there is much else to do none is answered in time.
const AT_ONCE: usize = 10;

/// One crowd at a time.
static TURN: Mutex<()> = Mutex::const_new(());

/// The longest a crowd may take to come in, or to go.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// So many seconds, for a request.
pub fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

pub struct Scene {
    pub site: Site,
    pub crowd: Crowd,
    joined: usize,
    _turn: MutexGuard<'static, ()>,
}

impl Scene {
    pub async fn new(options: SiteOptions) -> Self {
        let turn = TURN.lock().await;
        let site = Site::start(&Program::at(env!("CARGO_BIN_EXE_natsgate")), options).await;
        Self {
            crowd: site.crowd(AT_ONCE),
            site,
            joined: 0,
            _turn: turn,
        }
    }

    /// `count` clients of `subject`'s, at all servers in turn, who come back when they are closed. They may not be let in yet.
    pub fn join(&mut self, subject: &str, count: usize) -> Vec<Client> {
        let persona = Arc::new(Persona {
            name: subject.to_owned(),
            tokens: self.site.one_token(subject),
            comes_back: true,
        });
        let joined = (0..count).map(|_| {
            self.joined += 1;
            self.crowd.join(Arc::clone(&persona), self.joined)
        });
        joined.collect()
    }

    /// Waits until all of `clients` are connected.
    pub async fn all_in(&self, clients: &[Client]) {
        let in_time = self
            .crowd
            .until(PATIENCE, || clients.iter().all(Client::is_open))
            .await;
        let missing: Vec<_> = clients.iter().filter(|client| !client.is_open()).collect();
        assert!(
            in_time,
            "{} of {} are not let in: {:?}; {}",
            missing.len(),
            clients.len(),
            missing.first().map(|client| client.view()),
            self.site.shims[0]
                .logs()
                .lines()
                .rev()
                .take(20)
                .collect::<Vec<_>>()
                .join("\n"),
        );
    }
}
