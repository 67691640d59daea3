//! `natsgate demo`: plays the main job on real parts and tells what happens, with times. Succeeds only if all of it
//! held.
#![allow(clippy::print_stdout, reason = "a command that tells a story")]

mod changing;
mod leaving;

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use async_nats::{Client, ConnectErrorKind, Event};
use futures::StreamExt;
use natsgate_core::{Clock, SystemClock};
use natsgate_devkit::{DevProvider, DevProviderOptions, Signature, TokenSpec};
use secrecy::SecretString;
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::lifecycle;
use crate::stage::{Ports, Stage};

/// How long anything may take before it counts as not having happened.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often something is sent until it is seen: a subscription takes a moment to be known.
const AGAIN: Duration = Duration::from_millis(20);

/// Plays.
///
/// # Errors
/// What could not be started, or how much of the play did not hold.
pub fn run() -> anyhow::Result<()> {
    lifecycle::block_on(async {
        let stop = lifecycle::stop_signal()?;
        tokio::select! {
            played = play() => played,
            () = stop.cancelled() => bail!("interrupted"),
        }
    })
}

/// Counts what held and what did not.
#[derive(Default)]
struct Tally {
    held: usize,
    failed: usize,
}

impl Tally {
    /// Tells of one step that began at `begun` and ends now.
    fn step(&mut self, begun: Instant, what: &str, outcome: anyhow::Result<String>) {
        self.took(begun.elapsed(), what, outcome);
    }

    /// Tells of one step that took `time`.
    fn took(&mut self, time: Duration, what: &str, outcome: anyhow::Result<String>) {
        let time = time.as_secs_f64() * 1000.0;
        match outcome {
            Ok(how) => {
                self.held += 1;
                println!("  ok   {time:7.1} ms  {what}{how}");
            }
            Err(error) => {
                self.failed += 1;
                println!("  FAIL {time:7.1} ms  {what}: {error:#}");
            }
        }
    }
}

async fn play() -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut tally = Tally::default();
    println!("The set-up");
    let stage = Stage::start(Ports::default(), |started| {
        println!(
            "  ok   {:7.1} ms  {}",
            started.took.as_secs_f64() * 1000.0,
            started.what
        );
    })
    .await?;

    println!("Alice, a member of the projects apollo and hermes");
    alice(&stage, &mut tally).await?;
    println!("Mallory, with tokens that are not hers to have");
    mallory(&stage, &mut tally).await?;
    println!("Alice leaves apollo while she is connected");
    leaving::alice(&stage, &mut tally).await?;
    println!("What carol, a guest, may do changes while she is connected");
    changing::carol(&stage, &mut tally).await?;
    println!("Bob leaves the company");
    leaving::bob(&stage, &mut tally).await?;

    let took = begun.elapsed().as_secs_f64();
    if tally.failed > 0 {
        println!("\nnatsgate said:\n{}", stage.log());
        bail!(
            "{} of {} steps did not hold",
            tally.failed,
            tally.failed + tally.held
        );
    }
    println!(
        "All {} steps held, in {took:.1} s. To try it by hand: natsgate dev",
        tally.held
    );
    Ok(())
}

async fn alice(stage: &Stage, tally: &mut Tally) -> anyhow::Result<()> {
    let token = stage.provider.issue(TokenSpec::new("alice"))?;
    let (told, mut events) = tokio::sync::mpsc::unbounded_channel();
    let options = stage.options(&token).event_callback(move |event| {
        // The play may be over.
        let _ = told.send(event);
        async {}
    });
    let at = Instant::now();
    let connected = options.connect(stage.nats.client_url()).await;
    let client = match connected {
        Ok(client) => client,
        Err(error) => {
            tally.step(at, "connects with her token", Err(error.into()));
            return Ok(());
        }
    };
    tally.step(
        at,
        "connects with her token, through an ordinary NATS client",
        Ok(String::new()),
    );

    let watcher = watcher(stage).await?;

    for (subject, allowed) in [
        ("projects.apollo.in.telemetry", true),
        ("projects.gemini.in.telemetry", false),
    ] {
        let at = Instant::now();
        let mut seen = watcher.subscribe(subject).await?;
        let outcome = outcome(&mut seen, &client, subject, &mut events)
            .await
            .and_then(|got| expect(got, allowed));
        tally.step(at, &format!("publishes to {subject}"), outcome);
    }
    for (subject, allowed) in [
        ("projects.apollo.out.orders", true),
        ("projects.gemini.out.orders", false),
    ] {
        let at = Instant::now();
        let mut seen = client.subscribe(subject).await?;
        let outcome = outcome(&mut seen, &watcher, subject, &mut events)
            .await
            .and_then(|got| expect(got, allowed));
        tally.step(at, &format!("subscribes to {subject}"), outcome);
    }
    Ok(())
}

/// Somebody who sees everything in the account: the user for the day natsgate is down.
async fn watcher(stage: &Stage) -> anyhow::Result<Client> {
    async_nats::ConnectOptions::with_credentials(&stage.keys.break_glass_user.credentials.format())?
        .connect(stage.nats.client_url())
        .await
        .context("connecting the break-glass user")
}

/// What became of something tried.
enum Got {
    /// A message was seen.
    Message,
    /// The server said no to alice.
    Refusal(String),
}

/// Publishes to `subject` until a message is seen or the server says no.
async fn outcome(
    seen: &mut async_nats::Subscriber,
    publisher: &Client,
    subject: &'static str,
    events: &mut UnboundedReceiver<Event>,
) -> anyhow::Result<Got> {
    let publishing = async {
        loop {
            publisher.publish(subject, "hello".into()).await?;
            tokio::time::sleep(AGAIN).await;
        }
    };
    let refusal = async {
        while let Some(event) = events.recv().await {
            if let Event::ServerError(error) = event {
                return error.to_string();
            }
        }
        "the connection was closed".to_owned()
    };
    let waiting = async {
        tokio::select! {
            message = seen.next() => match message {
                Some(_) => Ok(Got::Message),
                None => bail!("the subscription ended"),
            },
            refusal = refusal => Ok(Got::Refusal(refusal)),
            failed = publishing => failed,
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .context("neither a message nor a refusal came")?
}

fn expect(got: Got, allowed: bool) -> anyhow::Result<String> {
    match (got, allowed) {
        (Got::Message, true) => Ok(": allowed".to_owned()),
        (Got::Refusal(word), false) => Ok(format!(": refused ({word})")),
        (Got::Message, false) => bail!("a message came through"),
        (Got::Refusal(word), true) => bail!("the server refused it ({word})"),
    }
}

async fn mallory(stage: &Stage, tally: &mut Tally) -> anyhow::Result<()> {
    let as_alice = || TokenSpec::new("alice");
    let elsewhere = DevProvider::start(DevProviderOptions::default()).await?;
    let expired = as_alice().claim("exp", SystemClock.unix_seconds() - 60);
    let issue = |spec| stage.provider.issue(spec);
    for (what, token) in [
        (
            "forged: alice's claims, signed with another key",
            issue(as_alice().signature(Signature::Forged))?,
        ),
        (
            "forged: alice's claims, not signed at all",
            issue(as_alice().signature(Signature::None))?,
        ),
        (
            "forged: signed with the public key as a password",
            issue(as_alice().signature(Signature::HmacWithPublicKey))?,
        ),
        ("expired: one of alice's, a minute old", issue(expired)?),
        ("foreign: from another provider", elsewhere.issue(as_alice())?),
        (
            "foreign: meant for another service",
            issue(as_alice().audience("another-service"))?,
        ),
        (
            "foreign: a project called \">\"",
            issue(TokenSpec::new("mallory").claim("projects", json!([">"])))?,
        ),
        ("no token, just words", SecretString::from("let me in")),
    ] {
        let at = Instant::now();
        let before = denials(stage).len();
        let outcome = match stage.connect(&token).await {
            Ok(_) => Err(anyhow::anyhow!("SHE GOT IN")),
            Err(error) if error.kind() == ConnectErrorKind::AuthorizationViolation => {
                let reason = denials(stage).get(before).cloned();
                reason
                    .map(|reason| format!(": refused ({reason})"))
                    .context("the audit has no word of it")
            }
            Err(error) => Err(error.into()),
        };
        tally.step(at, what, outcome);
    }
    Ok(())
}

/// The reasons in the audit so far.
fn denials(stage: &Stage) -> Vec<String> {
    let log = stage.log();
    let reasons = log
        .lines()
        .filter(|line| line.contains("natsgate::audit: denied"));
    reasons
        .filter_map(|line| {
            line.split("reason=\"")
                .nth(1)?
                .split('"')
                .next()
                .map(str::to_owned)
        })
        .collect()
}
