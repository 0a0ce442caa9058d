//! Commands: what somebody wants of a search, and the answers.

use std::collections::BTreeSet;

use espalier_common::failure::Failure;
use espalier_common::ids::{AttemptNumber, Digest, TrialNumber, WorkerId};
use espalier_common::job::{Checkpoint, LeasedJob};
use espalier_common::metrics::{Measurement, Metrics};

use super::event::{FinishReason, Prepared, Refusal, ReleaseReason};
use super::reuse::StoredResult;
use super::steer::Steer;

/// What somebody wants of a search.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// The searcher's answer to an ask.
    RecordProposal {
        /// The ask.
        ask: u64,
        /// Observations the searcher had been told.
        told: u64,
        /// Messages of any kind it had taken in.
        heard: u64,
        /// What it proposed first and had to take back. The numbers of infeasible trials in here are
        /// assigned by `decide`.
        refused: Vec<Refusal>,
        /// What it proposes, or why it has nothing more.
        outcome: Result<Box<Prepared>, String>,
        /// The result that another search has for what is proposed, when it was looked for and found.
        stored: Option<Box<StoredResult>>,
    },
    /// A worker has this many free slots for this search.
    LeaseJobs {
        /// The worker's instance.
        worker: WorkerId,
        /// The most jobs to lease.
        slots: u32,
        /// Whether the worker's evaluator can run the job that tests the best.
        can_test: bool,
        /// Whether the worker's evaluator goes on from checkpoints. For another one a trial begins anew.
        can_resume: bool,
        /// Trials that failed on some worker before and that this worker may get. Others of that kind are
        /// passed over.
        retries: BTreeSet<TrialNumber>,
    },
    /// A measurement of a running attempt.
    ReportMeasurement {
        /// The worker that reports.
        worker: WorkerId,
        /// The trial.
        trial: TrialNumber,
        /// The attempt.
        attempt: AttemptNumber,
        /// The message's number within the attempt, from 1.
        number: u32,
        /// What was measured.
        measurement: Measurement,
    },
    /// An attempt ended well.
    CompleteJob {
        /// The worker that completed it.
        worker: WorkerId,
        /// The trial.
        trial: TrialNumber,
        /// The attempt.
        attempt: AttemptNumber,
        /// What it brings.
        completion: Completion,
    },
    /// An attempt failed.
    FailJob {
        /// The trial.
        trial: TrialNumber,
        /// The attempt.
        attempt: AttemptNumber,
        /// Why.
        failure: Failure,
    },
    /// An attempt is handed back.
    ReleaseJob {
        /// The trial.
        trial: TrialNumber,
        /// The attempt.
        attempt: AttemptNumber,
        /// Why.
        reason: ReleaseReason,
    },
    /// An attempt is handed back with a checkpoint, which is stored.
    RecordCheckpoint {
        /// The worker that broke it off.
        worker: WorkerId,
        /// The trial.
        trial: TrialNumber,
        /// The attempt.
        attempt: AttemptNumber,
        /// What was stored.
        checkpoint: Checkpoint,
    },
    /// A lease was not renewed in time.
    ExpireLease {
        /// The trial.
        trial: TrialNumber,
        /// The attempt.
        attempt: AttemptNumber,
    },
    /// An upload of weights was verified.
    RecordWeights {
        /// The trial.
        trial: TrialNumber,
        /// The attempt.
        attempt: AttemptNumber,
        /// Digest of what was stored.
        weights: Digest,
    },
    /// A user wants something.
    Steer {
        /// What.
        steer: Steer,
        /// Who, in words, as far as it is known.
        by: Option<String>,
    },
    /// The coordinator was started again.
    Recover,
    /// Time has passed: look at the time budget.
    CheckTime,
    /// Since the command before, the clock has jumped (see [`crate::clock`]).
    ClockJumped {
        /// By how many milliseconds.
        by_ms: i64,
    },
}

/// What a completed attempt brings.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Completion {
    /// Measurements not reported before, in order of steps.
    pub measurements: Vec<Measurement>,
    /// Metrics of a `test` job.
    pub test_metrics: Metrics,
    /// Seconds spent in the evaluator.
    pub seconds: f64,
    /// Digest of the weights, when there are any.
    pub weights: Option<Digest>,
    /// Whether the artifact store has these weights already.
    pub weights_stored: bool,
}

/// The answer to an accepted command.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Done.
    Done,
    /// Leased jobs, maybe none.
    Leased(Vec<LeasedJob>),
    /// What to do with the weights of a completed attempt.
    Weights(WeightsAnswer),
    /// Trials were to be tried again; these stay as they are, since their candidates were banned: each with the
    /// trial as which it was.
    Retried {
        /// The trials, by number, and what they are banned as.
        banned: Vec<(TrialNumber, TrialNumber)>,
    },
}

/// What the worker does with the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightsAnswer {
    /// Store them; the lease lives until that is done.
    Upload,
    /// They are stored already; a test job will want them.
    Keep,
    /// Not needed.
    Discard,
}

/// Why an attempt is not (any longer) the trial's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// Its lease expired or was handed back.
    Stale,
    /// The trial is closed.
    Closed,
}

/// Why a command is refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Rejection {
    /// The attempt does not hold the trial (any more): its worker drops the job.
    #[error("attempt {attempt} of trial {trial} {}", match reason {
        Drop::Stale => "no longer holds its lease",
        Drop::Closed => "is not needed any more: the trial is closed",
    })]
    NotHeld {
        /// The trial.
        trial: TrialNumber,
        /// The attempt.
        attempt: AttemptNumber,
        /// Why.
        reason: Drop,
    },
    /// There is no such attempt.
    #[error("there is no attempt {attempt} of trial {trial} in this search")]
    UnknownAttempt {
        /// The trial.
        trial: TrialNumber,
        /// The attempt.
        attempt: AttemptNumber,
    },
    /// The search is in a phase that does not allow this.
    #[error("the search is {phase}; it cannot be {wanted}")]
    WrongPhase {
        /// The phase.
        phase: &'static str,
        /// What was wanted.
        wanted: &'static str,
    },
    /// The search has ended.
    #[error("the search has ended: {0}")]
    Finished(FinishReason),
    /// There is no such trial.
    #[error("there is no trial {trial}; {}", match last {
        0 => "the search has none yet".to_owned(),
        last => format!("the last one is {last}"),
    })]
    NoTrial {
        /// The trial that was named.
        trial: TrialNumber,
        /// The number of the last one.
        last: u32,
    },
    /// What a user wants cannot be as the search is now.
    #[error("{0}")]
    NotNow(String),
    /// What somebody sent cannot be.
    #[error("{0}")]
    Invalid(String),
}
