//! Looking who holds what.

use std::time::{Duration, Instant};

use super::{BOUND, LOOK_EVERY, Play, Played, WORKS_WITHIN, takes_requests_and_is_silent};
use crate::crowd::{Client, Life, held_by};
use crate::ledger::Ledger;
use crate::schedule::PEOPLE;

/// How long a server may take to say what somebody may do.
const SAYS_WITHIN: Duration = Duration::from_secs(5);

impl Play<'_> {
    /// Looks again and again until nobody holds what he must not hold; how long that took.
    pub(super) async fn settle(&mut self, before: Option<&Played>) -> Result<Duration, Vec<String>> {
        let begun = Instant::now();
        loop {
            let looked = Instant::now();
            let mut wrong = judge(&self.ledger, &self.clients, "").await;
            if wrong.is_empty() {
                if let Some(before) = before {
                    // Their time was over long ago.
                    let of = format!("of seed {}, played before: ", before.seed);
                    wrong = judge(&before.ledger, &before.clients, &of).await;
                    if !wrong.is_empty() {
                        return Err(wrong);
                    }
                }
                let settled = looked - begun;
                self.diary
                    .note(format!("nobody holds what he must not hold, after {settled:?}"));
                return Ok(settled);
            }
            if looked - begun > BOUND {
                return Err(wrong);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Everybody who may come is let in, with all that they belong to, and nothing else.
    pub(super) async fn lets_in(&mut self) -> Result<(), Vec<String>> {
        if takes_requests_and_is_silent(self.schedule) {
            // Every other connect is asked of it.
            return Ok(());
        }
        let first = self.clients.len();
        for person in 0..PEOPLE {
            if self.ledger.may_come(person) {
                self.join(person, person, true);
            }
        }
        let newcomers = self.clients.get(first..).unwrap_or_default();
        let all_in = || newcomers.iter().all(|(_, client)| client.is_open());
        if !self.crowd.until(WORKS_WITHIN, all_in).await {
            let missing = newcomers.iter().filter(|(_, client)| !client.is_open());
            return Err(missing
                .map(|(_, client)| format!("{} is not let in: {:?}", client.name(), client.view()))
                .collect());
        }
        let rights = self.ledger.rights();
        let held = held_by(newcomers.iter().map(|(_, client)| client), &rights, SAYS_WITHIN).await;
        let mut wrong = Vec::new();
        for ((person, client), held) in newcomers.iter().zip(held) {
            // One that was closed again at once is not looked at: it will be next time.
            let Some(held) = held else { continue };
            let holds: Vec<bool> = (0..rights.len()).map(|index| held.all(index)).collect();
            let belongs = self.ledger.belongs(*person);
            if holds != belongs {
                wrong.push(format!(
                    "{} came in anew, belongs to {belongs:?}, and holds {holds:?}",
                    client.name()
                ));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

/// What is wrong with the connections of `clients`.
async fn judge(ledger: &Ledger, clients: &[(usize, Client)], of: &str) -> Vec<String> {
    let rights = ledger.rights();
    let before: Vec<Option<Life>> = clients
        .iter()
        .map(|(_, client)| client.look(|view| view.open().cloned()))
        .collect();
    let held = held_by(clients.iter().map(|(_, client)| client), &rights, SAYS_WITHIN).await;
    let mut wrong = Vec::new();
    for (((person, client), held), before) in clients.iter().zip(held).zip(before) {
        let Some(life) = client.look(|view| view.open().cloned()) else {
            continue;
        };
        let same = |server: &str, id: u64| *life.server_id == *server && life.client_id == id;
        let Some(held) = held else {
            // One that was closed and came back meanwhile is looked at the next time.
            if before.is_some_and(|before| same(&before.server_id, before.client_id)) {
                wrong.push(format!(
                    "{of}{}: its server does not say what it may do",
                    client.name()
                ));
            }
            continue;
        };
        let (server, id) = &held.connection;
        if !same(server, *id) {
            continue;
        }
        for what in ledger.against(*person, &life, &held) {
            wrong.push(format!(
                "{of}{} (server {}, client {}, open for {:?}) {what}",
                client.name(),
                life.server_id,
                life.client_id,
                life.opened.elapsed()
            ));
        }
    }
    wrong
}
