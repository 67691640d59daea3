//! Many schedules, on several sites at once.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use super::{Finding, Played, play};
use crate::program::Program;
use crate::schedule::Schedule;
use crate::site::{Site, SiteOptions};

/// What came of them.
#[derive(Debug, Default)]
pub struct Report {
    /// The seeds that failed, with what was found.
    pub failed: Vec<(u64, String)>,
    /// How long each took to settle.
    pub settled: Vec<Duration>,
    /// How many connections were looked at in the end of all.
    pub judged: usize,
    /// How long it all took.
    pub took: Duration,
}

struct Common {
    program: Program,
    next: AtomicU64,
    end: u64,
    keep: PathBuf,
    report: Mutex<Report>,
    tell: Box<dyn Fn(&str) + Send + Sync>,
}

/// Plays `count` schedules from the seed `first` on, on `sites` sites at once. `tell` is told of each. What is to be known of one
/// that fails is kept in the folder `keep`.
pub async fn play_all(
    program: &Program,
    (first, count): (u64, u64),
    sites: usize,
    keep: &Path,
    tell: impl Fn(&str) + Send + Sync + 'static,
) -> Report {
    let begun = Instant::now();
    let common = Arc::new(Common {
        program: program.clone(),
        next: AtomicU64::new(first),
        end: first.saturating_add(count),
        keep: keep.to_owned(),
        report: Mutex::default(),
        tell: Box::new(tell),
    });
    let mut playing = JoinSet::new();
    for _ in 0..sites.max(1) {
        let common = Arc::clone(&common);
        playing.spawn(async move { common.play_in_turn().await });
    }
    while let Some(played) = playing.join_next().await {
        played.unwrap();
    }
    let mut report = std::mem::take(&mut *common.report());
    report.took = begun.elapsed();
    report.failed.sort();
    report.settled.sort();
    report
}

impl Common {
    fn report(&self) -> std::sync::MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plays one schedule after the other on one site, and goes on with another site after one that failed.
    async fn play_in_turn(self: Arc<Self>) {
        let mut kept: Option<(Site, Option<Played>)> = None;
        loop {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.end {
                return;
            }
            let (mut site, before) = match kept.take() {
                Some(kept) => kept,
                None => (site(self.program.clone()).await, None),
            };
            let schedule = Schedule::draw(
                seed,
                site.shims.len(),
                site.decisions.len(),
                site.nats.servers.len(),
            );
            let begun = Instant::now();
            // A task, so that one that panics is a finding too, and what is to be known of it is kept.
            let playing = tokio::spawn({
                let schedule = schedule.clone();
                async move {
                    let played = play(&mut site, &schedule, before).await;
                    (site, played)
                }
            });
            match playing.await {
                Ok((site, Ok(played))) => {
                    (self.tell)(&format!(
                        "seed {seed}: held, {:.1} s to settle, {:.1} s in all",
                        played.settled.as_secs_f64(),
                        begun.elapsed().as_secs_f64()
                    ));
                    let mut report = self.report();
                    report.settled.push(played.settled);
                    report.judged += played.judged;
                    drop(report);
                    kept = Some((site, Some(played)));
                }
                Ok((site, Err(finding))) => self.failed(&schedule, Some(&site), &finding),
                Err(error) => {
                    let what = vec![format!("the test itself ended: {error}")];
                    self.failed(
                        &schedule,
                        None,
                        &Finding {
                            what,
                            diary: Vec::new(),
                        },
                    );
                }
            }
        }
    }

    fn failed(&self, schedule: &Schedule, site: Option<&Site>, finding: &Finding) {
        let folder = self.keep.join(format!("seed-{}", schedule.seed));
        let mut text = format!("{schedule}what was found:\n");
        for what in &finding.what {
            let _ = writeln!(text, "  {what}");
        }
        text.push_str("what happened:\n");
        for line in &finding.diary {
            let _ = writeln!(text, "{line}");
        }
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("finding.txt"), &text).unwrap();
        if let Some(site) = site {
            for (name, natsgate) in site.named() {
                std::fs::write(folder.join(format!("{name}.log")), natsgate.all_logs()).unwrap();
            }
        }
        let seed = schedule.seed;
        let text = format!(
            "seed {seed} FAILED; logs are in {}; again: make test-faults FIRST={seed} SEEDS=1\n{text}",
            folder.display()
        );
        (self.tell)(&text);
        self.report().failed.push((seed, text));
    }
}

async fn site(program: Program) -> Site {
    let options = SiteOptions {
        pushed: true,
        durable: true,
        enforcement: json!({ "spread": "1s" }),
        log: "info,natsgate_shim=debug,natsgate_store=debug,natsgate_decision=debug".to_owned(),
        ..SiteOptions::default()
    };
    Site::start(&program, options).await
}
