//! What an attempt runs, and everything its evaluator needs to run it: a lease carries it resolved, so a
//! worker needs no spec and a user's program sees the same JSON.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::candidate::Candidate;
use crate::dataset::DatasetInfo;
use crate::ids::{AttemptKey, AttemptNumber, Digest, SearchId, TrialNumber};
use crate::metrics::Objective;
use crate::network::Network;
use crate::recipe::Recipe;
use crate::table::TableJob;

/// The name of the built-in evaluator, the libtorch trainer.
pub const TRAINER: &str = "trainer";

/// What an attempt runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// Train from epoch `from` to epoch `to`, measuring on the validation split after every epoch.
    Train {
        /// Epochs already trained; 0 starts anew.
        from: u32,
        /// Epochs trained at the end.
        to: u32,
        /// What an earlier attempt left after so many epochs, and maybe in the midst of the next one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checkpoint: Option<Digest>,
    },
    /// Measure stored weights on the test split.
    Test {
        /// The artifact that holds the weights (safetensors).
        weights: Digest,
    },
}

impl Job {
    /// Training from the start.
    #[must_use]
    pub fn train(epochs: u32) -> Self {
        Self::Train {
            from: 0,
            to: epochs,
            checkpoint: None,
        }
    }

    /// The checkpoint that it goes on from.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Digest> {
        match self {
            Self::Train { checkpoint, .. } => *checkpoint,
            Self::Test { .. } => None,
        }
    }

    /// The kind, as workers advertise it and logs name it.
    #[must_use]
    pub fn kind(&self) -> JobKind {
        match self {
            Self::Train { .. } => JobKind::Train,
            Self::Test { .. } => JobKind::Test,
        }
    }
}

/// A kind of job, as evaluators advertise it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// `Job::Train`.
    Train,
    /// `Job::Test`.
    Test,
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Test => "test",
        })
    }
}

/// What an evaluator can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// The kinds of jobs it runs.
    pub jobs: BTreeSet<JobKind>,
    /// Whether it writes a checkpoint of a training job when it is asked to, and goes on from one.
    pub checkpoints: bool,
}

impl Abilities {
    /// The evaluator runs these jobs, and knows no checkpoints.
    #[must_use]
    pub fn of(jobs: impl IntoIterator<Item = JobKind>) -> Self {
        Self {
            jobs: jobs.into_iter().collect(),
            checkpoints: false,
        }
    }

    /// Whether it runs jobs of this kind.
    #[must_use]
    pub fn runs(&self, kind: JobKind) -> bool {
        self.jobs.contains(&kind)
    }
}

/// Training that was broken off, in a file: an attempt leaves it, and the next one goes on from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The file: weights, the optimizer's state, and how far it had come.
    pub artifact: Digest,
    /// Epochs that were finished.
    pub step: u32,
}

/// One leased job with all that it needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeasedJob {
    /// The search.
    pub search: SearchId,
    /// The search's name, for logs.
    pub search_name: String,
    /// The trial.
    pub trial: TrialNumber,
    /// The attempt.
    pub attempt: AttemptNumber,
    /// What to run.
    pub job: Job,
    /// The evaluator's name: [`TRAINER`], or one that the worker's operator named.
    pub evaluator: String,
    /// The network to build; absent when the space has hyperparameters only.
    pub network: Option<Network>,
    /// Every active decision, and the hyperparameters whose value the spec fixes.
    pub decisions: Candidate,
    /// The training recipe.
    pub training: Recipe,
    /// The data; absent when the evaluator brings its own.
    pub dataset: Option<DatasetInfo>,
    /// The table to look the result up in, instead of training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TableJob>,
    /// What the search optimises: the evaluator must report this metric.
    pub objective: Objective,
    /// Seed of the trial (weights, order of the data, dropout). The same in every attempt.
    pub seed: u64,
}

impl LeasedJob {
    /// The attempt this job belongs to.
    #[must_use]
    pub fn key(&self) -> AttemptKey {
        AttemptKey {
            search: self.search,
            trial: self.trial,
            attempt: self.attempt,
        }
    }
}
