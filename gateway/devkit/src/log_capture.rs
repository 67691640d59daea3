//! What code under test logs, as text to assert on.
//!
//! A capture hears only what runs under it, so tests that run side by side do not hear one another: the present thread
//! ([`LogCapture::listen`], which is all of a test on tokio's current-thread runtime, spawned tasks included), or one
//! future ([`LogCapture::dispatch`] with `tracing::instrument::WithSubscriber`).

use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing_subscriber::fmt::MakeWriter;

/// Hears nothing, and is there all the while. As long as there is one dispatcher only, tracing asks just that of the thread which
/// comes by an event first whether anybody wants it; on a thread of another test nobody does, and that is remembered for all.
static ANOTHER: OnceLock<Dispatch> = OnceLock::new();

/// Collects log events of every level.
#[derive(Debug, Clone)]
pub struct LogCapture {
    text: Text,
    dispatch: Dispatch,
}

impl LogCapture {
    /// An empty capture that hears nothing yet.
    pub fn new() -> Self {
        ANOTHER.get_or_init(|| Dispatch::new(NoSubscriber::default()));
        let text = Text::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .without_time()
            .with_ansi(false)
            .with_writer(text.clone())
            .finish();
        Self {
            text,
            dispatch: Dispatch::new(subscriber),
        }
    }

    /// Hears this thread until the guard is dropped.
    #[must_use = "it hears only while the guard lives"]
    pub fn listen(&self) -> DefaultGuard {
        tracing::dispatcher::set_default(&self.dispatch)
    }

    /// For `future.with_subscriber(capture.dispatch())`.
    pub fn dispatch(&self) -> Dispatch {
        self.dispatch.clone()
    }

    /// Everything heard so far: one line an event, `LEVEL target: message field=value`.
    pub fn text(&self) -> String {
        let bytes = self.text.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The lines heard so far that contain `needle`.
    pub fn lines_with(&self, needle: &str) -> Vec<String> {
        self.text()
            .lines()
            .filter(|line| line.contains(needle))
            .map(str::to_owned)
            .collect()
    }
}

impl Default for LogCapture {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug, Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Text {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use tracing::instrument::WithSubscriber;

    use super::*;

    #[tokio::test]
    async fn it_hears_this_thread_and_its_tasks_while_it_listens() {
        let capture = LogCapture::new();
        tracing::info!("before");
        let guard = capture.listen();
        tracing::warn!(cause = "none", "heard");
        tokio::spawn(async { tracing::trace!("from a task") })
            .await
            .unwrap();
        drop(guard);
        tracing::info!("after");
        assert_eq!(
            capture.text(),
            " WARN natsgate_devkit::log_capture::tests: heard cause=\"none\"\n\
             TRACE natsgate_devkit::log_capture::tests: from a task\n"
        );
        assert_eq!(capture.lines_with("WARN").len(), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn two_futures_side_by_side_are_heard_apart() {
        let (one, two) = (LogCapture::new(), LogCapture::new());
        let say = |what: &'static str| async move {
            for _ in 0..100 {
                tracing::info!("{what}");
                tokio::task::yield_now().await;
            }
        };
        let first = tokio::spawn(say("first").with_subscriber(one.dispatch()));
        let second = tokio::spawn(say("second").with_subscriber(two.dispatch()));
        first.await.unwrap();
        second.await.unwrap();
        assert_eq!(
            (one.lines_with("first").len(), one.lines_with("second").len()),
            (100, 0)
        );
        assert_eq!(
            (two.lines_with("second").len(), two.lines_with("first").len()),
            (100, 0)
        );
    }
}
