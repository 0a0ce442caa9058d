//! The evaluator protocol: JSON lines on the stdin and stdout of one long-lived child process per slot.
//! Every line is an object whose first key is `espalier`, the protocol version. A stdout line that does
//! not start with [`LINE_PREFIX`] is log, so a user's `print()` does no harm. `docs/evaluators.md`
//! describes it for those who write a program of their own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::ids::AttemptKey;
use crate::job::{JobKind, LeasedJob};
use crate::metrics::Metrics;

/// The version of the protocol.
pub const PROTOCOL_VERSION: u32 = 1;
/// How a protocol line starts; anything else on stdout is log.
pub const LINE_PREFIX: &str = "{\"espalier\":1";
/// The longest protocol line taken from an evaluator, in bytes; a longer one is log, cut.
pub const MAX_LINE: usize = 1024 * 1024;

/// Whether this is how a device is named: `cpu`, or `cuda:` and its number below 256.
#[must_use]
pub fn is_device(name: &str) -> bool {
    name == "cpu"
        || name
            .strip_prefix("cuda:")
            .is_some_and(|number| number.parse::<u8>().is_ok_and(|n| n.to_string() == number))
}

/// A message with its version and the attempt it is about: one line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line<M> {
    /// [`PROTOCOL_VERSION`].
    pub espalier: u32,
    /// The attempt that the message is about, as the worker named it in `evaluate`: opaque to evaluators,
    /// which repeat it in every message about that job. What still comes about a job that was stopped is
    /// told by it from what belongs to the next one. Absent in `ready` and `shutdown`, and in every
    /// message of a program that does not repeat it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_id: Option<String>,
    /// The message.
    #[serde(flatten)]
    pub message: M,
}

impl<M> Line<M> {
    /// A line of this version; `attempt_id` is absent when the message is about no attempt.
    pub fn new(attempt_id: Option<String>, message: M) -> Self {
        Self {
            espalier: PROTOCOL_VERSION,
            attempt_id,
            message,
        }
    }
}

/// What the worker writes to the evaluator's stdin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToEvaluator {
    /// Run a job. The evaluator answers with measurements and ends with exactly one `done` or `failed`.
    Evaluate(Box<Evaluate>),
    /// Write a checkpoint of the job if it is still running, and end it with `checkpoint`; with `failed` when there
    /// is nothing to go on from. Only to evaluators that know [checkpoints](Ready::checkpoints).
    Checkpoint {
        /// The attempt to break off, in full; a `checkpoint` for a job that is not running is ignored.
        attempt: AttemptKey,
    },
    /// Drop the job if it is still running, and answer `done` or `failed` soon. An evaluator that does
    /// not is started again.
    Stop {
        /// The attempt to drop, in full; a `stop` for a job that is not running is ignored.
        attempt: AttemptKey,
    },
    /// Finish and exit.
    Shutdown,
}

/// A job with what is local to this worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluate {
    /// The leased job.
    #[serde(flatten)]
    pub job: LeasedJob,
    /// The decoded data set's file on this machine (see `espalier-data`), or the data's folder for
    /// evaluators other than the trainer.
    pub dataset_path: Option<String>,
    /// The weights' file on this machine, for a `test` job.
    pub weights_path: Option<String>,
    /// The checkpoint's file on this machine, for a `train` job that goes on from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_path: Option<String>,
    /// A folder for files of this attempt; the worker empties it.
    pub scratch: String,
    /// Threads the evaluator may use.
    pub threads: u32,
    /// The device: `cpu`, `cuda:0`, …
    pub device: String,
    /// Where the evaluator's own spans belong in the trial's trace, when the worker sends traces: the header of
    /// that name (<https://www.w3.org/TR/trace-context/>).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// What the evaluator writes to its stdout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromEvaluator {
    /// Sent once at start.
    Ready(Ready),
    /// A sign of life between measurements.
    Progress {
        /// Share of the job that is done, in [0, 1].
        fraction: f64,
    },
    /// Metrics after an epoch.
    Measurement {
        /// Epochs finished, from 1.
        step: u32,
        /// What was measured. `null` stands for a number that is not finite.
        metrics: BTreeMap<String, Option<f64>>,
        /// What the time since the measurement before went into, as far as the evaluator says: `load`, `train`,
        /// `validate`. For traces; nothing is decided by it.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        seconds: BTreeMap<String, Option<f64>>,
    },
    /// A line for the trial's log.
    Log {
        /// How serious.
        level: LogLevel,
        /// The line.
        message: String,
    },
    /// The job was broken off as the worker asked: its last message, as `done` is.
    Checkpoint {
        /// The checkpoint's file, inside the scratch folder.
        path: String,
        /// Epochs that are finished.
        step: u32,
    },
    /// The job is finished.
    Done(Done),
    /// The job failed.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// What an evaluator can do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    /// The protocol version it speaks.
    pub protocol: u32,
    /// Its name and version, for logs (`espalier-trainer 0.1.0, libtorch 2.11.0`).
    #[serde(default)]
    pub description: String,
    /// The jobs it runs; absent: `train`.
    #[serde(default)]
    pub jobs: Vec<JobKind>,
    /// Devices it can use (`cpu`, `cuda:0`); absent: `cpu`.
    #[serde(default)]
    pub devices: Vec<String>,
    /// Whether it answers `checkpoint` with one, and goes on from one.
    #[serde(default)]
    pub checkpoints: bool,
}

/// How a job ended well.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// Final metrics of a `test` job; for `train` the last measurement counts and this may be absent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, Option<f64>>,
    /// The file with the weights, inside the scratch folder; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
}

/// Seriousness of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Detail.
    Debug,
    /// Normal.
    Info,
    /// Needs a look.
    Warn,
    /// Went wrong.
    Error,
}

/// The metrics if every one is finite and within bounds, else the failure they mean.
///
/// # Errors
/// `Diverged` for a `null`, NaN or infinite value; `Evaluator` for metrics beyond the bounds.
pub fn checked_metrics(raw: &BTreeMap<String, Option<f64>>) -> Result<Metrics, Failure> {
    use crate::failure::{FailureDomain, FailureKind};
    use crate::metrics::BadMetrics;

    let metrics = Metrics(
        raw.iter()
            .map(|(name, value)| (name.clone(), value.unwrap_or(f64::NAN)))
            .collect(),
    );
    metrics.check().map(|()| metrics).map_err(|error| {
        let (domain, kind) = match error {
            BadMetrics::NotFinite(..) => (FailureDomain::Candidate, FailureKind::Diverged),
            BadMetrics::TooMany(_) | BadMetrics::BadName(_) => {
                (FailureDomain::User, FailureKind::Evaluator)
            }
        };
        Failure::new(domain, kind, error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_line_starts_with_the_prefix() {
        for attempt_id in [None, Some("7/3/1".to_owned())] {
            let line = Line::new(attempt_id, FromEvaluator::Progress { fraction: 0.5 });
            let text = serde_json::to_string(&line).unwrap();
            assert!(text.starts_with(LINE_PREFIX), "{text}");
            assert_eq!(
                serde_json::from_str::<Line<FromEvaluator>>(&text).unwrap(),
                line
            );
        }
    }

    #[test]
    fn a_number_that_is_not_finite_is_a_divergence() {
        let raw = BTreeMap::from([("loss".to_owned(), None)]);
        let failure = checked_metrics(&raw).unwrap_err();
        assert_eq!(failure.kind, crate::failure::FailureKind::Diverged);
    }
}
