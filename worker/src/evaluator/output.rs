//! Drains an evaluator's stdout and stderr for as long as it lives: messages go to the slot, everything
//! else to the log with the trial it belongs to. May import common, tokio, tracing.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use espalier_common::evaluator::{FromEvaluator, LogLevel, MAX_LINE};
use espalier_common::failure::MAX_LOG_TAIL;
use espalier_common::ids::AttemptKey;
use tokio::io::{AsyncRead, BufReader, ReadBuf};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tracing::field::display;

use super::lines::Lines;
use super::protocol::{Parsed, parse};

/// Lines of one attempt that go to the log: a `print` in an inner loop must not fill a disk.
const MAX_LOGGED_LINES: u32 = 10_000;
/// The longest line in the log, in characters.
const MAX_LOGGED_CHARACTERS: usize = 4096;

/// What the slot gets from stdout.
#[derive(Debug)]
pub(super) enum Output {
    /// A message.
    Message(FromEvaluator),
    /// A protocol line that cannot be read, and why.
    Bad(String),
    /// A line of another protocol version.
    OtherVersion(u32),
}

/// What an evaluator's output belongs to at the moment.
#[derive(Debug)]
pub(super) struct Scope {
    evaluator: String,
    slot: u32,
    attempt: Option<AttemptKey>,
    /// Whether the slot waits for messages. Between jobs it does not.
    listening: bool,
    logged: AtomicU32,
}

impl Scope {
    /// Before and between jobs.
    pub(super) fn without_job(evaluator: &str, slot: u32, listening: bool) -> Arc<Self> {
        Self::new(evaluator, slot, None, listening)
    }

    /// During a job.
    pub(super) fn of_job(evaluator: &str, slot: u32, attempt: AttemptKey) -> Arc<Self> {
        Self::new(evaluator, slot, Some(attempt), true)
    }

    fn new(evaluator: &str, slot: u32, attempt: Option<AttemptKey>, listening: bool) -> Arc<Self> {
        Arc::new(Self {
            evaluator: evaluator.to_owned(),
            slot,
            attempt,
            listening,
            logged: AtomicU32::new(0),
        })
    }

    /// Whether a message belongs here. One that names no attempt is taken at its place in the stream:
    /// not every program repeats the name.
    fn takes(&self, attempt_id: Option<&str>) -> bool {
        let own = self.attempt.map(|key| key.to_string());
        attempt_id.is_none_or(|named| own.as_deref() == Some(named))
    }

    /// Puts a line into the log, unless there were too many.
    fn log(&self, level: LogLevel, text: &str) {
        let search = self.attempt.map(|key| display(key.search));
        let trial = self.attempt.map(|key| key.trial.0);
        let attempt = self.attempt.map(|key| key.attempt.0);
        let (slot, evaluator) = (self.slot, self.evaluator.as_str());
        // Both pipes count here; the number alone decides, so no other memory is ordered by it.
        let before = self.logged.fetch_add(1, Ordering::Relaxed);
        if before >= MAX_LOGGED_LINES {
            if before == MAX_LOGGED_LINES {
                tracing::warn!(target: "evaluator", search, trial, attempt, slot, evaluator,
                    lines = MAX_LOGGED_LINES, "more lines than these came from this attempt; the rest is not logged");
            }
            return;
        }
        let end = text
            .char_indices()
            .nth(MAX_LOGGED_CHARACTERS)
            .map_or(text.len(), |(index, _)| index);
        let line = &text[..end];
        match level {
            LogLevel::Debug => {
                tracing::debug!(target: "evaluator", search, trial, attempt, slot, evaluator, "{line}");
            }
            LogLevel::Info => {
                tracing::info!(target: "evaluator", search, trial, attempt, slot, evaluator, "{line}");
            }
            LogLevel::Warn => {
                tracing::warn!(target: "evaluator", search, trial, attempt, slot, evaluator, "{line}");
            }
            LogLevel::Error => {
                tracing::error!(target: "evaluator", search, trial, attempt, slot, evaluator, "{line}");
            }
        }
    }
}

/// The last bytes an evaluator wrote to stderr.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<u8>>>);

impl Tail {
    fn push(&self, line: &str) {
        // The lock is held for the copy of a line. A panic while it was held leaves whole bytes behind.
        let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What comes before the last part would be pushed out at once.
        let last = &line.as_bytes()[line.len().saturating_sub(MAX_LOG_TAIL)..];
        tail.extend(last);
        tail.push_back(b'\n');
        let surplus = tail.len().saturating_sub(MAX_LOG_TAIL);
        tail.drain(..surplus);
    }

    pub(super) fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    pub(super) fn text(&self) -> String {
        let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(tail.make_contiguous());
        // The cut may have gone through a character.
        text.trim_start_matches(char::REPLACEMENT_CHARACTER)
            .to_owned()
    }
}

/// How much an evaluator wrote to both pipes since its job began, or since it ended.
#[derive(Debug)]
pub(super) struct Written {
    bytes: AtomicU64,
    limit: u64,
    over: Notify,
}

impl Written {
    pub(super) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicU64::new(0),
            limit,
            over: Notify::new(),
        })
    }

    // Nothing else is ordered by the count, so relaxed loads and stores will do.
    fn add(&self, bytes: u64) {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before <= self.limit && before.saturating_add(bytes) > self.limit {
            self.over.notify_one();
        }
    }

    pub(super) fn reset(&self) {
        self.bytes.store(0, Ordering::Relaxed);
    }

    pub(super) fn is_too_much(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.limit
    }

    /// Waits until it is too much.
    pub(super) async fn too_much(&self) {
        // A word about an earlier job may still be there.
        while !self.is_too_much() {
            self.over.notified().await;
        }
    }
}

/// A pipe that notes when bytes come, and how many: a program that draws a progress bar lives, though it ends no
/// line.
struct Watched<R> {
    pipe: R,
    alive: watch::Sender<Instant>,
    written: Arc<Written>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Watched<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.pipe).poll_read(context, into);
        if into.filled().len() > before {
            self.written.add((into.filled().len() - before) as u64);
            self.alive.send_replace(Instant::now());
        }
        polled
    }
}

/// Reads stdout to its end.
pub(super) async fn read_stdout(
    pipe: impl AsyncRead + Unpin,
    scope: watch::Receiver<Arc<Scope>>,
    (alive, written): (watch::Sender<Instant>, Arc<Written>),
    outputs: mpsc::Sender<Output>,
) {
    let watched = Watched {
        pipe,
        alive,
        written,
    };
    let mut lines = Lines::new(BufReader::new(watched), MAX_LINE);
    while let Some(line) = lines.next().await {
        let scope = scope.borrow().clone();
        let output = match if line.cut {
            Parsed::Log
        } else {
            parse(&line.text)
        } {
            Parsed::Log => {
                scope.log(LogLevel::Info, &line.text);
                continue;
            }
            // A late word about a job that was stopped must not be credited to the next one.
            Parsed::Message(attempt_id, message) if !scope.takes(attempt_id.as_deref()) => {
                tracing::debug!(
                    slot = scope.slot,
                    evaluator = scope.evaluator,
                    ?attempt_id,
                    said = ?message,
                    "a message about another attempt; passed over"
                );
                continue;
            }
            Parsed::Message(_, FromEvaluator::Log { level, message }) => {
                for line in message.lines() {
                    scope.log(level, line);
                }
                continue;
            }
            // A sign of life, and nothing else yet.
            Parsed::Message(_, FromEvaluator::Progress { .. }) => continue,
            Parsed::UnknownType(kind) => {
                scope.log(
                    LogLevel::Warn,
                    &format!("a message of the unknown type {kind:?}; passed over"),
                );
                continue;
            }
            Parsed::Message(_, message) => Output::Message(message),
            Parsed::Bad(reason) => {
                scope.log(LogLevel::Warn, &reason);
                Output::Bad(reason)
            }
            Parsed::OtherVersion(version) => Output::OtherVersion(version),
        };
        // Between jobs nobody reads the channel, and the pipe must be drained all the same.
        if scope.listening && outputs.send(output).await.is_err() {
            return;
        }
    }
}

/// Reads stderr to its end.
pub(super) async fn read_stderr(
    pipe: impl AsyncRead + Unpin,
    scope: watch::Receiver<Arc<Scope>>,
    (alive, written): (watch::Sender<Instant>, Arc<Written>),
    tail: Tail,
) {
    let watched = Watched {
        pipe,
        alive,
        written,
    };
    let mut lines = Lines::new(BufReader::new(watched), MAX_LINE);
    while let Some(line) = lines.next().await {
        tail.push(&line.text);
        let scope = scope.borrow().clone();
        scope.log(LogLevel::Info, &line.text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_holds_the_last_bytes_whatever_their_characters() {
        let tail = Tail::default();
        for number in 0..3000 {
            tail.push(&format!("line {number} é"));
        }
        let text = tail.text();
        assert!(text.len() <= MAX_LOG_TAIL && text.len() > MAX_LOG_TAIL - 100);
        assert!(text.ends_with("line 2999 é\n"), "{text}");
        tail.push(&"x".repeat(1 << 20));
        assert!(tail.text().len() <= MAX_LOG_TAIL);
        tail.clear();
        assert_eq!(tail.text(), "");
    }

    #[tokio::test]
    async fn output_between_jobs_is_drained_and_thrown_away() {
        let (_scope, scope) = watch::channel(Scope::without_job("mine", 0, false));
        let (alive, _) = watch::channel(Instant::now());
        let (outputs, mut received) = mpsc::channel(1);
        let line = "{\"espalier\":1,\"type\":\"done\"}\n".repeat(100);
        read_stdout(
            line.as_bytes(),
            scope,
            (alive, Written::new(u64::MAX)),
            outputs,
        )
        .await;
        assert!(received.recv().await.is_none());
    }

    #[tokio::test]
    async fn too_much_output_is_told_while_it_goes_on_and_a_new_job_begins_at_nothing() {
        let written = Written::new(1000);
        let (_scope, scope) = watch::channel(Scope::without_job("mine", 0, false));
        let (alive, _) = watch::channel(Instant::now());
        let flood = "again and again\n".repeat(63);
        let read = || {
            let pulse = (alive.clone(), Arc::clone(&written));
            read_stderr(flood.as_bytes(), scope.clone(), pulse, Tail::default())
        };
        read().await;
        written.too_much().await;
        written.reset();
        assert!(!written.is_too_much());
        let waits = tokio::time::timeout(std::time::Duration::from_millis(20), written.too_much());
        assert!(waits.await.is_err());
        tokio::join!(written.too_much(), read());
    }

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is logged while `lines` come from an evaluator's stdout during a job.
    async fn logged(lines: &str) -> Vec<serde_json::Value> {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(move || writer.clone())
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        let key = AttemptKey {
            search: espalier_common::ids::SearchId(uuid::Uuid::from_u128(7)),
            trial: espalier_common::ids::TrialNumber(3),
            attempt: espalier_common::ids::AttemptNumber(2),
        };
        let (_scope, scope) = watch::channel(Scope::of_job("mine", 1, key));
        let (alive, _) = watch::channel(Instant::now());
        let (outputs, _received) = mpsc::channel(64);
        read_stdout(
            lines.as_bytes(),
            scope,
            (alive, Written::new(u64::MAX)),
            outputs,
        )
        .await;
        drop(guard);
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[tokio::test]
    async fn what_an_evaluator_prints_is_logged_with_its_trial_and_messages_are_not() {
        let lines = logged(concat!(
            "epoch 1\n",
            "{\"espalier\":1,\"type\":\"progress\",\"fraction\":0.5}\n",
            "{\"espalier\":1,\"type\":\"log\",\"level\":\"warn\",\"message\":\"slow disk\"}\n",
        ))
        .await;
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(
            (&lines[0]["message"], &lines[0]["level"]),
            (&"epoch 1".into(), &"INFO".into())
        );
        assert_eq!(
            (&lines[1]["message"], &lines[1]["level"]),
            (&"slow disk".into(), &"WARN".into())
        );
        for line in lines {
            assert_eq!(line["target"], "evaluator");
            assert_eq!(
                (&line["trial"], &line["attempt"], &line["slot"]),
                (&3.into(), &2.into(), &1.into())
            );
            assert_eq!(line["search"], "00000000-0000-0000-0000-000000000007");
        }
    }

    #[tokio::test]
    async fn a_flood_of_lines_ends_with_one_warning() {
        let flood = "again\n".repeat(MAX_LOGGED_LINES as usize + 100);
        let lines = logged(&flood).await;
        assert_eq!(lines.len(), MAX_LOGGED_LINES as usize + 1);
        assert_eq!(lines.last().unwrap()["level"], "WARN");
    }
}
