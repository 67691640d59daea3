//! Memberships in a file, looked at for changes every few seconds.
//!
//! A new version that cannot be read stops lookups ([`Failure::Unavailable`]) and is reported until it is mended. Going on
//! with the old version would be the kinder choice and the wrong one: the new version may take something away. For the
//! same reason lookups stop when the file has not been looked at for long, on a file system that hangs, say.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use natsgate_core::{Deadline, Failure, Identity, Membership, MembershipSource};
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::settings::SettingsError;
use crate::settings::membership::FileMembershipSettings;
use index::Index;

mod index;

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// How often a problem that persists is reported again.
const REPORT_EVERY: Duration = Duration::from_secs(30);

/// Memberships in a file, by principal.
#[derive(Debug)]
pub struct FileMemberships {
    settings: FileMembershipSettings,
    name: String,
    state: ArcSwap<State>,
}

/// What is known of the file.
#[derive(Debug, Clone)]
struct State {
    /// What the file was like when it was read.
    mark: Option<Mark>,
    /// Of the content; `None` if it could not be read.
    digest: Option<[u8; 32]>,
    /// The memberships, or what is wrong.
    outcome: Result<Arc<Index>, String>,
    checked_at: Instant,
    reported_at: Option<Instant>,
}

impl FileMemberships {
    /// Reads the file and watches it until the last reference is dropped. Must run within a Tokio runtime.
    ///
    /// # Errors
    /// What is wrong with the settings or the file: its path, and the line or entry.
    pub async fn open(settings: FileMembershipSettings) -> Result<Arc<Self>, SettingsError> {
        let source = Arc::new(Self::load(settings).await?);
        tokio::spawn(watch(Arc::downgrade(&source), source.settings.check_every));
        Ok(source)
    }

    async fn load(settings: FileMembershipSettings) -> Result<Self, SettingsError> {
        let key = "memberships.file";
        if settings.check_every.is_zero() || settings.check_every > Duration::from_secs(3600) {
            let problem = "must be longer than 0s and 1h at most";
            return Err(SettingsError::new(format!("{key}.check_every"), problem));
        }
        let state = look(&settings.path, None).await;
        if let Err(problem) = &state.outcome {
            return Err(SettingsError::new(format!("{key}.path"), problem));
        }
        Ok(Self {
            name: format!("file {}", settings.path.display()),
            settings,
            state: ArcSwap::from_pointee(state),
        })
    }

    /// Looks at the file once.
    async fn check(&self) {
        let before = self.state.load_full();
        let mut state = look(&self.settings.path, Some(&before)).await;
        match (&before.outcome, &state.outcome) {
            (_, Err(problem)) => {
                let quiet = before.outcome.as_ref().err() == Some(problem)
                    && before.reported_at.is_some_and(|at| at.elapsed() < REPORT_EVERY);
                state.reported_at = before.reported_at;
                if !quiet {
                    tracing::error!(problem, "memberships are unavailable until the file is mended");
                    state.reported_at = Some(state.checked_at);
                }
            }
            (old, Ok(index)) if old.is_err() || before.digest != state.digest => {
                tracing::info!(
                    source = self.name,
                    principals = index.len(),
                    "memberships read anew"
                );
            }
            _ => {}
        }
        self.state.store(Arc::new(state));
    }

    /// Past this nobody knows what the file says by now.
    fn longest_unchecked(&self) -> Duration {
        self.settings
            .check_every
            .saturating_mul(5)
            .max(Duration::from_secs(30))
    }
}

/// Looks at the file every `period`, as long as somebody has the source.
async fn watch(source: Weak<FileMemberships>, period: Duration) {
    loop {
        sleep(period).await;
        match source.upgrade() {
            Some(source) => source.check().await,
            None => return,
        }
    }
}

/// What changes with every change of a file, as far as its system tells: which file it is, how long, and when it was
/// changed last, which nobody can set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    file: (u64, u64),
    length: u64,
    changed: (i64, i64),
}

impl Mark {
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;

        let about = std::fs::metadata(path).ok()?;
        Some(Self {
            file: (about.dev(), about.ino()),
            length: about.len(),
            changed: (about.ctime(), about.ctime_nsec()),
        })
    }
}

/// Reads the file; takes over what is known of `before` if it is the same content.
async fn look(path: &Path, before: Option<&State>) -> State {
    // Taken before the read: what is read may already be that old.
    let checked_at = Instant::now();
    let path = path.to_owned();
    let known = before.and_then(|before| Some((before.digest?, before.outcome.clone())));
    let shown = path.display().to_string();
    let looked = spawn_blocking(move || {
        // Before the content: a change in between is seen as one at the next look.
        let mark = Mark::of(&path);
        let content = match read(&path) {
            Ok(content) => content,
            Err(problem) => {
                let problem = format!("reading {}: {problem}", path.display());
                return (mark, None, Err(problem));
            }
        };
        let digest: [u8; 32] = Sha256::digest(&content).into();
        if let Some((known, outcome)) = known
            && known == digest
        {
            return (mark, Some(digest), outcome);
        }
        let outcome = Index::parse(&content).map(Arc::new);
        (
            mark,
            Some(digest),
            outcome.map_err(|problem| format!("{}: {problem}", path.display())),
        )
    });
    let (mark, digest, outcome) = looked.await.unwrap_or_else(|_| {
        (
            None,
            None,
            Err(format!("reading {shown}: the reader stopped half-way")),
        )
    });
    State {
        mark,
        digest,
        outcome,
        checked_at,
        reported_at: None,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;

    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut content = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut content)
        .map_err(|error| error.to_string())?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err("it is larger than 64 MiB: keep that many memberships in a database".to_owned());
    }
    Ok(content)
}

#[async_trait]
impl MembershipSource for FileMemberships {
    fn name(&self) -> &str {
        &self.name
    }

    async fn memberships(&self, identity: &Identity, deadline: Deadline) -> Result<Vec<Membership>, Failure> {
        // Who changes the file and then revokes must not meet what it said before.
        let path = self.settings.path.clone();
        let mark = spawn_blocking(move || Mark::of(&path));
        let looked = deadline.bound(async {
            if mark.await.ok().flatten() != self.state.load().mark {
                self.check().await;
            }
        });
        looked.await.map_err(|passed| {
            natsgate_core::Unavailable::new(format!("looking at {}: {passed}", self.name))
        })?;
        let state = self.state.load();
        if state.checked_at.elapsed() > self.longest_unchecked() {
            return Err(Failure::unavailable(format!(
                "{} was not looked at for too long: does its file system hang?",
                self.name
            )));
        }
        match &state.outcome {
            Ok(index) => Ok(index.of(&identity.principal)),
            Err(problem) => Err(Failure::unavailable(format!("memberships: {problem}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::identity;

    const ISSUER: &str = "https://idp.example";

    fn entry(id: &str) -> String {
        format!("  - {{issuer: {ISSUER}, subject: alice, kind: project, id: {id}, role: member}}\n")
    }

    async fn ids(source: &FileMemberships) -> Result<Vec<String>, Failure> {
        let deadline = Deadline::after(Duration::from_secs(5));
        let found = source.memberships(&identity(ISSUER, "alice"), deadline).await?;
        Ok(found.into_iter().map(|membership| membership.id).collect())
    }

    #[tokio::test]
    async fn a_change_is_seen_at_the_next_look_even_with_the_same_size_and_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("members.yaml");
        fs::write(&path, format!("memberships:\n{}", entry("apollo"))).unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let source = FileMemberships::load(FileMembershipSettings::new(&path))
            .await
            .unwrap();
        assert_eq!(ids(&source).await.unwrap(), ["apollo"]);

        fs::write(&path, format!("memberships:\n{}", entry("gemini"))).unwrap();
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(modified)
            .unwrap();
        source.check().await;
        assert_eq!(ids(&source).await.unwrap(), ["gemini"]);
    }

    #[tokio::test]
    async fn a_broken_or_missing_new_version_is_unavailable_until_it_is_mended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("members.yaml");
        let good = format!("memberships:\n{}", entry("apollo"));
        fs::write(&path, &good).unwrap();
        let source = FileMemberships::load(FileMembershipSettings::new(&path))
            .await
            .unwrap();

        fs::write(&path, "memberships: [").unwrap();
        for _ in 0..2 {
            source.check().await;
            let failure = ids(&source).await.unwrap_err();
            assert!(matches!(&failure, Failure::Unavailable(_)), "{failure}");
            assert!(failure.to_string().contains("members.yaml"), "{failure}");
        }
        fs::write(&path, &good).unwrap();
        source.check().await;
        assert_eq!(ids(&source).await.unwrap(), ["apollo"]);

        fs::remove_file(&path).unwrap();
        source.check().await;
        assert!(matches!(ids(&source).await, Err(Failure::Unavailable(_))));
        fs::write(&path, &good).unwrap();
        source.check().await;
        assert_eq!(ids(&source).await.unwrap(), ["apollo"]);
    }

    #[tokio::test]
    async fn a_file_nobody_looked_at_for_long_is_unavailable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("members.yaml");
        fs::write(&path, format!("memberships:\n{}", entry("apollo"))).unwrap();
        let source = FileMemberships::load(FileMembershipSettings::new(&path))
            .await
            .unwrap();
        let mut old = State::clone(&source.state.load());
        old.checked_at -= source.longest_unchecked() + Duration::from_secs(1);
        source.state.store(Arc::new(old));
        assert!(matches!(ids(&source).await, Err(Failure::Unavailable(_))));
    }

    #[tokio::test]
    async fn the_watch_follows_the_file_and_ends_with_the_source() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("members.yaml");
        fs::write(&path, "memberships: []").unwrap();
        let mut settings = FileMembershipSettings::new(&path);
        settings.check_every = Duration::from_millis(1);
        let source = FileMemberships::open(settings).await.unwrap();
        fs::write(
            folder.path().join("new"),
            format!("memberships:\n{}", entry("apollo")),
        )
        .unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        let seen = async {
            while ids(&source).await.unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        // Long enough for any machine; only a watch that does not watch gets there.
        tokio::time::timeout(Duration::from_secs(60), seen).await.unwrap();
        let weak = Arc::downgrade(&source);
        drop(source);
        watch(weak, Duration::from_millis(1)).await;
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_at_start_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("members.yaml");
        let missing = FileMemberships::open(FileMembershipSettings::new(&path))
            .await
            .unwrap_err();
        assert!(missing.to_string().contains("members.yaml"), "{missing}");
        fs::write(
            &path,
            format!("memberships:\n{}{}", entry("apollo"), entry("\"\"")),
        )
        .unwrap();
        let broken = FileMemberships::open(FileMembershipSettings::new(&path))
            .await
            .unwrap_err();
        assert_eq!(broken.key, "memberships.file.path");
        assert!(broken.problem.contains("entry 2"), "{broken}");
        let mut never = FileMembershipSettings::new(&path);
        never.check_every = Duration::ZERO;
        assert_eq!(
            FileMemberships::open(never).await.unwrap_err().key,
            "memberships.file.check_every"
        );
    }
}
