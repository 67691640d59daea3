//! The demo's last acts: what was given is taken while people are connected.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, Subscriber};
use natsgate_devkit::TokenSpec;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::mpsc::UnboundedReceiver;

use super::{PATIENCE, Tally, denials, expect, outcome, watcher};
use crate::client::words;
use crate::stage::Stage;

/// Alice loses one of her two projects.
///
/// # Errors
/// What keeps the play from going on.
pub async fn alice(stage: &Stage, tally: &mut Tally) -> anyhow::Result<()> {
    let token = stage.provider.issue(TokenSpec::new("alice"))?;
    let watcher = watcher(stage).await?;
    let at = Instant::now();
    let (client, mut events) = connect(stage, &token).await.context("alice was refused")?;
    tally.step(
        at,
        "connects again, with a client that does what clients do",
        Ok(String::new()),
    );
    try_publish(
        &client,
        &watcher,
        &mut events,
        "projects.apollo.in.x",
        true,
        tally,
    )
    .await?;
    try_publish(
        &client,
        &watcher,
        &mut events,
        "projects.hermes.in.x",
        true,
        tally,
    )
    .await?;

    let backend = stage.backend()?;
    let at = Instant::now();
    let taking = timed(at, backend.delete("alice", "apollo"));
    let watching = async {
        let closed = timed(
            at,
            wait_for(&mut events, |event| matches!(event, Event::Disconnected)),
        )
        .await;
        let back = timed(
            at,
            wait_for(&mut events, |event| matches!(event, Event::Connected)),
        )
        .await;
        (closed, back)
    };
    let ((took, taken), ((until_closed, closed), (until_back, back))) = tokio::join!(taking, watching);
    let how = taken.map(|taken| format!(" (revision {})", number(&taken.revision)));
    tally.took(took, "the backend takes apollo from her, over the API", how);
    tally.took(
        until_closed,
        "her connection is closed, counted from that call on",
        closed,
    );
    tally.took(
        until_back,
        "her client is back by itself, with the token it had",
        back,
    );
    try_publish(
        &client,
        &watcher,
        &mut events,
        "projects.apollo.in.x",
        false,
        tally,
    )
    .await?;
    try_publish(
        &client,
        &watcher,
        &mut events,
        "projects.hermes.in.x",
        true,
        tally,
    )
    .await
}

/// Bob is revoked altogether.
///
/// # Errors
/// What keeps the play from going on.
pub async fn bob(stage: &Stage, tally: &mut Tally) -> anyhow::Result<()> {
    let spec = || TokenSpec::new("bob").claim("projects", vec!["gemini".to_owned()]);
    let token = stage.provider.issue(spec())?;
    let at = Instant::now();
    let (_client, mut events) = connect(stage, &token).await.context("bob was refused")?;
    tally.step(at, "bob connects", Ok(String::new()));

    let backend = stage.backend()?;
    let at = Instant::now();
    let revoking = timed(at, backend.revoke("bob", PATIENCE));
    let closing = timed(
        at,
        wait_for(&mut events, |event| matches!(event, Event::Disconnected)),
    );
    let ((took, revoked), (until_closed, closed)) = tokio::join!(revoking, closing);
    let how = revoked.and_then(|answer| {
        let told = words::clusters(&answer.clusters).join("\n            ");
        let closed: u64 = answer.clusters.iter().map(|cluster| cluster.closed).sum();
        ensure!(
            answer.complete && closed == 1,
            "not one session was closed:\n{told}"
        );
        Ok(format!("; they report:\n            {told}"))
    });
    tally.took(
        until_closed,
        "is revoked, over the API: his connection is closed",
        closed,
    );
    tally.took(took, "the API has heard from every shim that it is done", how);

    let at = Instant::now();
    let before = denials(stage).len();
    let outcome = match stage.connect(&token).await {
        Ok(_) => Err(anyhow::anyhow!("HE GOT IN")),
        Err(error) if error.kind() == ConnectErrorKind::AuthorizationViolation => denials(stage)
            .get(before)
            .map(|reason| format!(": refused ({reason})"))
            .context("the audit has no word of it"),
        Err(error) => Err(error.into()),
    };
    tally.step(at, "his token, good until it was revoked", outcome);
    Ok(())
}

/// What `doing` comes to, and when, counted from `begun`.
async fn timed<T>(begun: Instant, doing: impl Future<Output = T>) -> (Duration, T) {
    let outcome = doing.await;
    (begun.elapsed(), outcome)
}

/// An ordinary client, and what it is told.
pub async fn connect(
    stage: &Stage,
    token: &SecretString,
) -> Result<(Client, UnboundedReceiver<Event>), async_nats::ConnectError> {
    let (told, mut events) = tokio::sync::mpsc::unbounded_channel();
    let client = ConnectOptions::with_token(token.expose_secret().to_owned())
        .event_callback(move |event| {
            // The play may be over.
            let _ = told.send(event);
            async {}
        })
        .connect(stage.nats.client_url())
        .await?;
    // That it is connected is told once, and is no news here.
    while let Some(event) = events.recv().await {
        if matches!(event, Event::Connected) {
            break;
        }
    }
    Ok((client, events))
}

async fn wait_for(
    events: &mut UnboundedReceiver<Event>,
    wanted: impl Fn(&Event) -> bool,
) -> anyhow::Result<String> {
    let waiting = async {
        while let Some(event) = events.recv().await {
            if wanted(&event) {
                return Ok(String::new());
            }
        }
        bail!("the client ended")
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .context("it did not happen")?
}

async fn try_publish(
    client: &Client,
    watcher: &Client,
    events: &mut UnboundedReceiver<Event>,
    subject: &'static str,
    allowed: bool,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let at = Instant::now();
    let mut seen: Subscriber = watcher.subscribe(subject).await?;
    let outcome = outcome(&mut seen, client, subject, events)
        .await
        .and_then(|got| expect(got, allowed));
    tally.step(at, &format!("publishes to {subject}"), outcome);
    Ok(())
}

/// The number of a revision, without its epoch.
fn number(revision: &str) -> &str {
    revision.rsplit('.').next().unwrap_or(revision)
}
