//! The following itself: when the log is looked at, and what a look does.
//!
//! A *round* asks for the log's end by a tick and reads up to it; it alone confirms a position, and it alone begins to
//! follow another epoch. A *glance* only reads what comes after what is applied, and leaves everything else to a round.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use natsgate_core::{Deadline, Head, LogEntry, LogError, LogPage};
use tokio::time::{Instant, MissedTickBehavior};

use super::Shared;
use super::view::View;

/// How many entries are read at once.
const BATCH: usize = 512;

/// How often a round begins anew because the log changed under it.
const ATTEMPTS: usize = 4;

/// How long nothing is asked after a round that failed, whoever rings.
const REST: Duration = Duration::from_millis(50);

/// How long the following rests after it panicked.
const LONG_REST: Duration = Duration::from_secs(1);

/// Why the log is looked at.
enum Cause {
    Tick,
    Bell,
    Asked,
}

/// What was read does not fit what was known: ask for the log's end again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Again;

/// Follows for ever. Should the following panic, it begins again: without it the instance would be degraded for good.
pub(super) async fn follow(shared: Arc<Shared>) {
    loop {
        let mut following = tokio::task::JoinSet::new();
        following.spawn(run(shared.clone()));
        let ended = following.join_next().await;
        tracing::error!(
            ?ended,
            "following the revocation log broke off, and begins again: please report this"
        );
        tokio::time::sleep(LONG_REST).await;
    }
}

async fn run(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(shared.settings.tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut bell = shared.log.doorbell();
    let mut bell_works = true;
    let mut failing_since: Option<Instant> = None;
    loop {
        let cause = tokio::select! {
            _ = ticks.tick() => Cause::Tick,
            rung = bell.changed(), if bell_works => {
                // Whoever rings is gone: what is left are the ticks.
                bell_works = rung.is_ok();
                Cause::Bell
            }
            () = shared.ring.notified() => Cause::Asked,
        };
        let looked = look(&shared, &cause).await;
        let ended_well = match looked {
            Ok(()) => {
                if let Some(since) = failing_since.take() {
                    let after = since.elapsed();
                    tracing::info!(?after, "the revocation log is followed again");
                }
                super::again::append_again(&shared).await
            }
            Err(error) => {
                if failing_since.is_none() {
                    tracing::warn!(%error, "the revocation log cannot be followed: no cached facts are used until it can");
                    failing_since = Some(Instant::now());
                }
                if matches!(error, LogError::Damaged(_)) {
                    shared.void();
                }
                false
            }
        };
        shared.announce();
        if !ended_well {
            tokio::time::sleep(REST).await;
        }
    }
}

async fn look(shared: &Shared, cause: &Cause) -> Result<(), LogError> {
    let confirm = shared.confirmation_wanted.swap(false, Ordering::SeqCst);
    let wanted = shared.wanted.swap(0, Ordering::SeqCst);
    if matches!(cause, Cause::Tick) || confirm || !glance(shared).await? {
        return round(shared).await;
    }
    let reached = shared
        .read()
        .as_ref()
        .is_some_and(|view| view.applied.sequence >= wanted);
    if reached { Ok(()) } else { round(shared).await }
}

/// Reads on from what is applied. False if a round is needed: nothing was read yet, another epoch, a gap.
async fn glance(shared: &Shared) -> Result<bool, LogError> {
    loop {
        let Some(applied) = shared
            .read()
            .as_ref()
            .filter(|view| !view.void)
            .map(|view| view.applied)
        else {
            return Ok(false);
        };
        let page = read(shared, applied.sequence).await?;
        let batch = page.entries;
        let more = batch.len() >= BATCH;
        let foreign = |entry: &LogEntry| entry.revision.epoch != applied.epoch;
        if page.epoch != applied.epoch || batch.iter().any(foreign) {
            return Ok(false);
        }
        let fits = match shared.write().as_mut() {
            Some(view) => take(view, batch),
            None => Err(Again),
        };
        progress(shared, None);
        if fits.is_err() {
            return Ok(false);
        }
        if !more {
            return Ok(true);
        }
    }
}

/// Asks for the log's end and reads up to it.
pub(super) async fn round(shared: &Shared) -> Result<(), LogError> {
    let mut reached = false;
    for _attempt in 0..ATTEMPTS {
        let number = shared
            .ticks_begun
            .fetch_add(1, Ordering::SeqCst)
            .saturating_add(1);
        // Before the question is asked: the answer may have been true only then.
        let began = Instant::now();
        let (witness, telling) = match shared.read().as_ref() {
            Some(view) => (Some(view.witness()), view.has_more_to_tell()),
            None => (None, false),
        };
        let deadline = Deadline::after(shared.settings.timeout);
        let head = deadline
            .bound(shared.log.tick(witness.as_ref(), deadline))
            .await
            .map_err(|_passed| too_late("asking for the revocation log's end"))??;
        let tick = Tick { head, number, began };
        if reach(shared, &tick).await?.is_err() {
            continue;
        }
        reached = true;
        progress(shared, Some(number));
        let mut view = shared.write();
        let Some(view) = view.as_mut() else { continue };
        if let Some(witness) = witness.filter(|_witness| telling) {
            view.heard(&witness);
        }
        // A new epoch that lacks nothing hears so at once: until then no token of before counts by itself.
        if !view.has_more_to_tell() {
            return Ok(());
        }
    }
    if reached {
        return Ok(());
    }
    Err(LogError::Damaged(
        "it does not hold the entries that it says it holds; if nobody writes to it but natsgate, please report this"
            .to_owned(),
    ))
}

/// A tick that was answered.
struct Tick {
    head: Head,
    number: u64,
    began: Instant,
}

impl Tick {
    /// The log was read up to what this tick told of. To be called with the view locked.
    fn confirms(&self, shared: &Shared, view: &mut View) {
        if self.number > shared.confirms_nothing.load(Ordering::SeqCst) {
            view.confirmed_at = Some(self.began);
        }
    }
}

/// Reads up to what `tick` told of.
async fn reach(shared: &Shared, tick: &Tick) -> Result<Result<(), Again>, LogError> {
    let head = &tick.head;
    let known = shared.read().as_ref().map(|view| (view.applied, view.void));
    let Some((applied, void)) = known else {
        return replace(shared, tick).await;
    };
    if void || !head.revision.includes(&applied) {
        if !void {
            tracing::warn!(
                applied = %applied,
                end = %head.revision,
                "the revocation log is another one now, or lost its end: nothing cached from before counts"
            );
        }
        shared.void();
        return replace(shared, tick).await;
    }
    loop {
        let Some(applied) = shared.read().as_ref().map(|view| view.applied) else {
            return Ok(Err(Again));
        };
        if applied.sequence >= head.revision.sequence {
            break;
        }
        let page = read(shared, applied.sequence).await?;
        let fits = shared
            .write()
            .as_mut()
            .map_or(Err(Again), |view| fit(view, page, head, 0));
        progress(shared, None);
        if fits.is_err() {
            return Ok(Err(Again));
        }
    }
    if let Some(view) = shared.write().as_mut() {
        view.learn(head, shared.clock.now());
        tick.confirms(shared, view);
    }
    Ok(Ok(()))
}

/// Reads all the log holds into a new view, which replaces the old one when it is complete.
async fn replace(shared: &Shared, tick: &Tick) -> Result<Result<(), Again>, LogError> {
    let head = &tick.head;
    let mut view = View::before(head);
    while view.applied.sequence < head.revision.sequence {
        let page = read(shared, view.applied.sequence).await?;
        if fit(&mut view, page, head, head.revision.sequence).is_err() {
            return Ok(Err(Again));
        }
    }
    view.learn(head, shared.clock.now());
    view.begin_history(Instant::now());
    let mut known = shared.write();
    tick.confirms(shared, &mut view);
    if let Some(before) = known.take() {
        if before.applied.epoch == view.applied.epoch {
            view.forget_stamps(before.applied.sequence);
        }
        view.take_over(before);
    }
    *known = Some(view);
    Ok(Ok(()))
}

async fn read(shared: &Shared, after: u64) -> Result<LogPage, LogError> {
    let deadline = Deadline::after(shared.settings.timeout);
    deadline
        .bound(shared.log.read(after, BATCH, deadline))
        .await
        .map_err(|_passed| too_late("reading the revocation log"))?
}

/// Takes in a page that was read up to `head`. Up to `taken_over` there may be entries that the epoch took over from those
/// before; an entry of another epoch behind it means that the epoch has changed since the tick. So does a page of another
/// epoch's log: tick and read may have been answered by two servers, one of which was cut off.
fn fit(view: &mut View, page: LogPage, head: &Head, taken_over: u64) -> Result<(), Again> {
    if page.epoch != head.revision.epoch {
        return Err(Again);
    }
    let batch = page.entries;
    let done = batch.len() < BATCH;
    let foreign = |entry: &LogEntry| {
        entry.revision.sequence > taken_over && entry.revision.epoch != head.revision.epoch
    };
    if batch.iter().any(foreign) {
        return Err(Again);
    }
    // What was trimmed before it was read will never be had.
    if head.oldest.saturating_sub(1) > view.applied.sequence {
        view.skip_to(head.oldest.saturating_sub(1));
    }
    take(view, batch)?;
    if done && view.applied.sequence < head.revision.sequence {
        return Err(Again);
    }
    Ok(())
}

fn take(view: &mut View, batch: Vec<LogEntry>) -> Result<(), Again> {
    if batch.is_empty() {
        return Ok(());
    }
    let before = view.applied;
    let mut fits = Ok(());
    for entry in batch {
        if view.apply(entry).is_err() {
            fits = Err(Again);
            break;
        }
    }
    if view.applied != before {
        view.note(Instant::now());
    }
    fits
}

/// Tells those who wait how far it is applied, and up to which tick.
fn progress(shared: &Shared, confirmed_tick: Option<u64>) {
    let applied = shared
        .read()
        .as_ref()
        .filter(|view| !view.void)
        .map(|view| view.applied);
    shared.progress.send_modify(|progress| {
        progress.applied = applied;
        if let Some(tick) = confirmed_tick {
            progress.confirmed_tick = tick;
        }
    });
    shared.announce();
}

fn too_late(doing: &str) -> LogError {
    LogError::Unavailable {
        doing: doing.to_owned(),
        cause: "no answer within `timeout`; look at what the log runs on".to_owned(),
    }
}
