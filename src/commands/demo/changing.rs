//! The demo's act in which permissions change under an open connection: they stand in the account's JWT.

use std::time::Instant;

use anyhow::{Context, bail, ensure};
use async_nats::{Client, Event};
use natsgate_devkit::TokenSpec;
use tokio::sync::mpsc::UnboundedReceiver;

use super::leaving::connect;
use super::{AGAIN, PATIENCE, Tally, expect, outcome, watcher};
use crate::stage::Stage;

/// What guests may read, as a file of changes.
fn defaults(subjects: &str) -> String {
    format!("version: 1\ndefault_permissions:\n  subscribe: {{ allow: [{subjects}] }}\n")
}

/// What guests may do is widened, and narrowed again.
///
/// # Errors
/// What keeps the play from going on.
pub async fn carol(stage: &Stage, tally: &mut Tally) -> anyhow::Result<()> {
    let news = defaults("'news.>'");
    push(stage, tally, "guests may read news.>", &news).await;
    let token = stage.provider.issue(TokenSpec::new("carol"))?;
    let at = Instant::now();
    let connecting = async {
        // The push is on its way to the shim, too.
        loop {
            match connect(stage, &token).await {
                Ok(connected) => return connected,
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    };
    let connected = tokio::time::timeout(PATIENCE, connecting).await;
    let (client, mut events) = connected.context("carol was not let in")?;
    let connection = client.server_info().client_id;
    tally.step(
        at,
        &format!("carol connects (connection {connection})"),
        Ok(String::new()),
    );

    let watcher = watcher(stage).await?;
    for (subject, allowed) in [("news.today", true), ("alerts.fire", false)] {
        may_read(tally, &client, &watcher, &mut events, subject, allowed).await?;
    }
    let wider = defaults("'news.>', 'alerts.>'");
    push(stage, tally, "guests may read alerts.>, too", &wider).await;
    for (subject, allowed) in [("alerts.flood", true), ("news.tonight", true)] {
        may_read(tally, &client, &watcher, &mut events, subject, allowed).await?;
    }
    push(stage, tally, "guests may read news.> only", &news).await;
    for (subject, allowed) in [("alerts.storm", false), ("news.tomorrow", true)] {
        may_read(tally, &client, &watcher, &mut events, subject, allowed).await?;
    }
    let at = Instant::now();
    let outcome = same(&client, &mut events, connection);
    tally.step(
        at,
        "all of it on the connection she had from the beginning",
        outcome,
    );
    Ok(())
}

async fn push(stage: &Stage, tally: &mut Tally, what: &str, changes: &str) {
    let at = Instant::now();
    let outcome = stage.push_account(changes).await.map(|_| String::new());
    tally.step(at, &format!("natsgate account push: {what}"), outcome);
}

async fn may_read(
    tally: &mut Tally,
    client: &Client,
    watcher: &Client,
    events: &mut UnboundedReceiver<Event>,
    subject: &'static str,
    allowed: bool,
) -> anyhow::Result<()> {
    let at = Instant::now();
    let mut seen = client.subscribe(subject).await?;
    let outcome = outcome(&mut seen, watcher, subject, events)
        .await
        .and_then(|got| expect(got, allowed));
    tally.step(at, &format!("subscribes to {subject}"), outcome);
    Ok(())
}

/// Whether the client still has the connection it had.
fn same(client: &Client, events: &mut UnboundedReceiver<Event>, connection: u64) -> anyhow::Result<String> {
    while let Ok(event) = events.try_recv() {
        if matches!(event, Event::Disconnected | Event::Connected | Event::Closed) {
            bail!("the client was told: {event}");
        }
    }
    let now = client.server_info().client_id;
    ensure!(now == connection, "it is connection {now} now");
    Ok(format!(" (connection {now})"))
}
