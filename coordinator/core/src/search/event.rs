//! Events: what happened to a search, in the order it happened. The journal holds these and nothing else,
//! so their JSON is a format: add variants and optional fields, never change the meaning of one.

use std::fmt;

use espalier_common::candidate::Candidate;
use espalier_common::failure::Failure;
use espalier_common::ids::{AttemptNumber, Digest, TrialNumber, WorkerId};
use espalier_common::job::{Checkpoint, Job};
use espalier_common::metrics::{Measurement, Metrics};
use espalier_common::observation::{Observation, Origin};
use serde::{Deserialize, Serialize};

use super::definition::Definition;
use super::limits::Limits;
use super::reuse::TrialOf;

/// What happened to a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The search was created. Always the first event, and only the first.
    SearchCreated {
        /// What defines it.
        definition: Box<Definition>,
    },
    /// The coordinator was started again and has read this search. The time between the event before and
    /// this one does not count against the time budget; `TimePassed` keeps short what is lost so.
    SearchRecovered,
    /// A search with a time budget runs, and nothing else has happened for a while: what had passed by then
    /// counts, should the coordinator die.
    TimePassed,
    /// The coordinator or its machine stood still, or its clock was set: the times of the events from this one on are
    /// later by so much than what has passed for the search, or earlier.
    ClockJumped {
        /// By how many milliseconds; negative: the clock was set back.
        by_ms: i64,
    },
    /// A proposal was refused before it became work.
    ProposalRefused {
        /// The ask that made it; 0: none did, a user banned it.
        ask: u64,
        /// What was refused, and why.
        refusal: Refusal,
    },
    /// A trial was proposed and waits for a worker.
    TrialProposed {
        /// The ask that made it; 0: none did, a user enqueued it.
        ask: u64,
        /// How many observations the searcher had been told when it answered.
        told: u64,
        /// How many messages it had taken in: observations, and events about proposals. Says where in the journal
        /// the ask stood; absent in events of before it was recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        heard: Option<u64>,
        /// The trial's number.
        trial: TrialNumber,
        /// What is tried.
        proposal: Box<Prepared>,
    },
    /// The searcher has nothing more to propose.
    ProposalsEnded {
        /// The ask that found it out.
        ask: u64,
        /// As in `TrialProposed`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        heard: Option<u64>,
        /// Why, in a sentence.
        reason: String,
    },
    /// A job was leased to a worker.
    JobLeased {
        /// The trial.
        trial: TrialNumber,
        /// The attempt's fencing number.
        attempt: AttemptNumber,
        /// The worker's instance.
        worker: WorkerId,
        /// What it runs.
        job: Job,
    },
    /// A running attempt measured its candidate.
    Measured {
        /// The trial.
        trial: TrialNumber,
        /// The attempt.
        attempt: AttemptNumber,
        /// The message's number within the attempt.
        number: u32,
        /// What was measured.
        measurement: Measurement,
    },
    /// A trial has its score.
    TrialCompleted {
        /// The trial.
        trial: TrialNumber,
        /// The attempt that brought the score; possibly one whose lease had expired.
        attempt: AttemptNumber,
        /// The worker's instance.
        worker: WorkerId,
        /// Measurements that came with the completion, after those reported before.
        measurements: Vec<Measurement>,
        /// The objective's metric at the last step.
        score: f64,
        /// The last step.
        step: u32,
        /// Seconds spent in the evaluator.
        seconds: f64,
        /// Digest of the trained weights, when the attempt left any.
        weights: Option<Digest>,
        /// Whether the worker was told to upload them.
        upload: bool,
    },
    /// A trial got the result that another search has for the same candidate, and is not leased.
    TrialReused {
        /// The trial.
        trial: TrialNumber,
        /// Whose result it is.
        from: TrialOf,
        /// The last measurement of that trial.
        measurement: Measurement,
        /// The objective's metric in it.
        score: f64,
        /// Digest of the weights that trial left, when it left any. They may be gone.
        weights: Option<Digest>,
    },
    /// The best trial was trained once more, since its weights had been lost with their worker.
    TrialRetrained {
        /// The trial.
        trial: TrialNumber,
        /// The attempt.
        attempt: AttemptNumber,
        /// Seconds spent in the evaluator.
        seconds: f64,
        /// Digest of the trained weights.
        weights: Digest,
        /// Whether the worker was told to upload them.
        upload: bool,
    },
    /// The weights of the best, whose upload had been interrupted, are on their way again: their attempt
    /// holds a lease once more.
    UploadResumed {
        /// The trial.
        trial: TrialNumber,
        /// The attempt that has the weights.
        attempt: AttemptNumber,
        /// The worker's instance.
        worker: WorkerId,
    },
    /// A trial's weights are in the artifact store.
    WeightsStored {
        /// The trial.
        trial: TrialNumber,
        /// The attempt that uploaded them.
        attempt: AttemptNumber,
        /// Their digest.
        weights: Digest,
    },
    /// The best trial was measured on the test split.
    TestCompleted {
        /// The trial.
        trial: TrialNumber,
        /// The attempt.
        attempt: AttemptNumber,
        /// What was measured.
        metrics: Metrics,
        /// Seconds spent in the evaluator.
        seconds: f64,
    },
    /// An attempt failed; what follows from it is the next event or, if none, another attempt.
    AttemptFailed {
        /// The trial.
        trial: TrialNumber,
        /// The attempt.
        attempt: AttemptNumber,
        /// Why.
        failure: Failure,
    },
    /// A lease was not renewed in time.
    LeaseExpired {
        /// The trial.
        trial: TrialNumber,
        /// The attempt.
        attempt: AttemptNumber,
    },
    /// An attempt was broken off, and left a checkpoint that the next one goes on from. `AttemptReleased` follows.
    CheckpointStored {
        /// The trial.
        trial: TrialNumber,
        /// The attempt.
        attempt: AttemptNumber,
        /// What is stored.
        checkpoint: Checkpoint,
    },
    /// An attempt was handed back; it costs none of the trial's attempts.
    AttemptReleased {
        /// The trial.
        trial: TrialNumber,
        /// The attempt.
        attempt: AttemptNumber,
        /// Why.
        reason: ReleaseReason,
    },
    /// A trial failed for good.
    TrialFailed {
        /// The trial.
        trial: TrialNumber,
        /// Why.
        failure: Failure,
    },
    /// A trial was given up without a fault of its own.
    TrialCancelled {
        /// The trial.
        trial: TrialNumber,
    },
    /// A user wanted something of the search; what follows from it are the events after this one.
    Steered {
        /// Who, in words; absent when nobody said so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// What, in words.
        wish: String,
    },
    /// What bounds the search is something else from now on.
    LimitsChanged {
        /// All of it.
        limits: Limits,
    },
    /// A trial that waits is before all others that wait.
    TrialPinned {
        /// The trial.
        trial: TrialNumber,
    },
    /// A trial that failed or was cancelled waits again, with all the attempts that a new one has.
    TrialRetried {
        /// The trial.
        trial: TrialNumber,
        /// What is tried, as when it was proposed.
        proposal: Box<Prepared>,
    },
    /// No job is leased until the search is resumed. Running attempts go on.
    SearchPaused {
        /// Why.
        reason: PauseReason,
    },
    /// Jobs are leased again.
    SearchResumed,
    /// No further trial starts; what is left is the test of the best.
    SearchFinishing {
        /// Why.
        reason: FinishReason,
    },
    /// Nothing more happens in this search.
    SearchFinished {
        /// Why.
        reason: FinishReason,
        /// What could not be done at the end (the test of the best), and why.
        shortfall: Option<String>,
    },
}

/// A proposal that passed: it can be built, keeps the constraints and is new.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// The candidate.
    pub candidate: Candidate,
    /// Its identity.
    pub candidate_id: Digest,
    /// Where it came from.
    pub origin: Origin,
    /// Comes back to the searcher in the observation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memo: Option<serde_json::Value>,
    /// Parameters of the network, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    /// Multiply-accumulate operations per example, if there is a network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macs: Option<u64>,
}

/// A refused proposal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// The candidate.
    pub candidate: Candidate,
    /// Where it came from.
    pub origin: Origin,
    /// The proposal's memo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memo: Option<serde_json::Value>,
    /// Why it was refused.
    pub refused: Refused,
}

/// Why a proposal was refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// It cannot be built, or breaks a constraint. It becomes a trial in the state `infeasible`.
    Infeasible {
        /// The number that trial gets.
        trial: TrialNumber,
        /// Its identity when it could be built.
        candidate_id: Option<Digest>,
        /// Block, operation and shapes, or the constraint.
        reason: String,
    },
    /// It is the same candidate as an earlier trial.
    Duplicate {
        /// The earlier trial.
        of: TrialNumber,
    },
}

/// Why an attempt was handed back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseReason {
    /// The worker said so: it drains, or cannot serve the data set.
    Worker,
    /// The reply that granted it never arrived.
    ReplyLost,
    /// The worker was started again.
    WorkerRestarted,
    /// The worker left.
    WorkerLeft,
    /// The trial no longer needs it: another attempt completed, or the search ended.
    Superseded,
    /// Its weights could not be stored, over and over.
    NotStored,
}

/// Why a search is paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseReason {
    /// The user asked for it.
    User,
    /// A failure that would hit every trial: the user must look.
    Failure(String),
}

/// Why a search ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// As many trials as the budget has.
    Trials,
    /// As much time as the budget has.
    Time,
    /// The deadline has come.
    Deadline,
    /// The target is reached.
    Target,
    /// As many trials without a better one as the patience allows.
    Patience,
    /// As much compute as the budget has.
    Compute,
    /// Less is expected of a further trial than the budget asks for.
    Improvement,
    /// The searcher has nothing more to propose.
    Exhausted(String),
    /// The user stopped it.
    Stopped,
}

/// What must be done once an event is durable. Dropped on replay, but for tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// The searcher learns what became of a proposal.
    Tell(Observation),
    /// This attempt's worker is to drop its job.
    Drop {
        /// The trial.
        trial: TrialNumber,
        /// The attempt.
        attempt: AttemptNumber,
        /// The worker that holds it.
        worker: WorkerId,
    },
}

impl fmt::Display for ReleaseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Worker => "handed back by its worker",
            Self::ReplyLost => "the reply that granted it was lost",
            Self::WorkerRestarted => "its worker was started again",
            Self::WorkerLeft => "its worker left",
            Self::Superseded => "not needed any more",
            Self::NotStored => "its weights could not be stored",
        })
    }
}

impl fmt::Display for PauseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User => f.write_str("paused by the user"),
            Self::Failure(message) => f.write_str(message),
        }
    }
}

impl fmt::Display for FinishReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trials => f.write_str("the budget of trials is used up"),
            Self::Time => f.write_str("the time budget is used up"),
            Self::Deadline => f.write_str("the deadline has come"),
            Self::Target => f.write_str("the target is reached"),
            Self::Patience => f.write_str("no better trial within the patience"),
            Self::Compute => f.write_str("the budget of compute is used up"),
            Self::Improvement => {
                f.write_str("no further trial is expected to be enough of an improvement")
            }
            Self::Exhausted(reason) => write!(f, "nothing more to propose: {reason}"),
            Self::Stopped => f.write_str("stopped by the user"),
        }
    }
}
