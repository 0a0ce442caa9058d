//! What the trainer says: protocol lines on stdout, each flushed at once.

use std::io::Write;
use std::time::{Duration, Instant};

use espalier_common::evaluator::{FromEvaluator, Line};

/// The least time between two signs of life: far below any silence that a worker takes for a hang, and
/// far above the time that a line costs.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Writes messages to the worker.
pub(crate) struct Outbox<W> {
    to: W,
    last: Instant,
    attempt_id: Option<String>,
}

impl<W: Write> Outbox<W> {
    pub(crate) fn new(to: W) -> Self {
        Self {
            to,
            last: Instant::now(),
            attempt_id: None,
        }
    }

    /// Every message from now on is about this attempt, named as the worker named it.
    pub(crate) fn about(&mut self, attempt_id: Option<String>) {
        self.attempt_id = attempt_id;
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, message: FromEvaluator) -> std::io::Result<()> {
        let line = Line::new(self.attempt_id.clone(), message);
        let mut bytes = serde_json::to_vec(&line)?;
        bytes.push(b'\n');
        self.to.write_all(&bytes)?;
        self.to.flush()?;
        self.last = Instant::now();
        Ok(())
    }

    /// Sends a sign of life if nothing was sent for a second.
    pub(crate) fn progress(&mut self, fraction: f64) -> std::io::Result<()> {
        if self.last.elapsed() < PROGRESS_EVERY {
            return Ok(());
        }
        self.send(FromEvaluator::Progress { fraction })
    }
}
