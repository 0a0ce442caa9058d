//! What the trainer says: protocol lines on stdout, each flushed at once.

use std::io::Write;
use std::time::{Duration, Instant};

use espalier_common::evaluator::{FromEvaluator, Line, PROTOCOL_VERSION};

/// The least time between two signs of life: far below any silence that a worker takes for a hang, and
/// far above the time that a line costs.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Writes messages to the worker.
pub(crate) struct Outbox<W> {
    to: W,
    last: Instant,
}

impl<W: Write> Outbox<W> {
    pub(crate) fn new(to: W) -> Self {
        Self {
            to,
            last: Instant::now(),
        }
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, message: FromEvaluator) -> std::io::Result<()> {
        let line = Line {
            espalier: PROTOCOL_VERSION,
            message,
        };
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
