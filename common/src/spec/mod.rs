//! The spec: the YAML document that defines a search, as types. May import the other words of this
//! crate, never I/O: who reads the file hands in its text.

mod blocks;
mod cells;
mod constraint;
mod definitions;
mod domains;
mod edit;
mod error;
mod feasible;
mod hyperparameters;
mod layers;
mod names;
mod preset;
mod read;
mod reader;
mod scalar;
mod schema;
mod search;
mod searchers;
mod table;
mod warm_start;
mod words;
mod words_blocks;
mod words_network;
mod words_search;
mod words_searchers;
mod words_table;
mod yaml;

#[cfg(test)]
mod bad_specs;
#[cfg(test)]
mod bounds_tests;
#[cfg(test)]
mod docs_tests;
#[cfg(test)]
mod hyperparameters_tests;
#[cfg(test)]
mod layers_tests;
#[cfg(test)]
mod names_tests;
#[cfg(test)]
mod preset_tests;
#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod searcher_tests;
#[cfg(test)]
mod tests;

pub use constraint::{Constraint, Measure, Violation};
pub use edit::{EditError, set};
pub use error::{SpecError, SpecErrors};
pub use feasible::{NoneFeasible, Refusal};
pub use read::{read, read_searcher, read_warned, read_without_searcher};
pub use scalar::{moment_ms, moment_text, time_ms};
pub use schema::schema;

pub(crate) use error::nearest;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dataset::DatasetReference;
use crate::known::Known;
use crate::labels::Labels;
use crate::metrics::Objective;
use crate::space::Space;
use crate::table::TableSpec;

/// A search as its user defined it, with every default filled in. Stored in the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The search's name, for people.
    pub name: String,
    /// The data; absent when the evaluator brings its own.
    pub dataset: Option<DatasetReference>,
    /// What may be proposed.
    pub space: Space,
    /// What turns a candidate into measurements.
    pub evaluator: EvaluatorSpec,
    /// What proposes candidates.
    pub searcher: SearcherSpec,
    /// What is sought.
    pub objective: Objective,
    /// What a candidate must keep to be evaluated at all.
    pub constraints: Vec<Constraint>,
    /// When the search ends.
    pub budget: Budget,
    /// The most trials that run at one time; absent: as many as there are slots.
    pub parallel: Option<u32>,
    /// Its share of the workers beside other searches: of two that both want more, one of weight 3 gets three
    /// times the slots of one of weight 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u32,
    /// What a worker must be to run its trials.
    #[serde(default, skip_serializing_if = "WorkerSpec::is_any")]
    pub worker: WorkerSpec,
    /// Seed of the searcher and of every trial.
    pub seed: u64,
    /// The most attempts at one trial.
    pub attempts: u32,
    /// When two candidates are one.
    #[serde(default)]
    pub repeat: Repeat,
    /// What is known before the search begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_start: Option<WarmStart>,
    /// Whether results that other searches have for the same candidate are taken instead of training it.
    #[serde(default)]
    pub reuse: bool,
}

/// The most trials of a budget.
pub const MAX_TRIALS: u32 = 100_000_000;
/// The most trials at one time.
pub const MAX_PARALLEL: u32 = 100_000;
/// The greatest weight.
pub const MAX_WEIGHT: u32 = 1_000;

fn one() -> u32 {
    1
}

fn is_one(weight: &u32) -> bool {
    *weight == 1
}

/// What a worker must be to run the trials of a search.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerSpec {
    /// Labels that its operator gave it, with their values: all of these, among others.
    pub labels: Labels,
}

impl WorkerSpec {
    /// Whether any worker will do.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.labels.is_empty()
    }
}

/// Where candidates that a search begins with come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarmStart {
    /// The spec itself.
    Candidates(Vec<Known>),
    /// A CSV file beside the spec.
    Csv(String),
    /// The completed trials of an earlier search of the same journal, by its name or id.
    Search(String),
}

/// When two candidates are one, so that the second is not evaluated again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repeat {
    /// When they build the same network with the same recipe and hyperparameters.
    #[default]
    Never,
    /// When every decision is the same: two ways to write one network are two candidates, as in a table
    /// that has a row for each.
    ByDecisions,
}

/// What turns a candidate into measurements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvaluatorSpec {
    /// The built-in trainer, or a program that the workers' operator named.
    Named(String),
    /// A program and its arguments; only `espalier run` starts one, on the user's own machine.
    Command(Vec<String>),
    /// A table of results: nothing is trained.
    Table(Arc<TableSpec>),
}

impl EvaluatorSpec {
    /// Whether this is the built-in trainer.
    #[must_use]
    pub fn is_trainer(&self) -> bool {
        matches!(self, Self::Named(name) if name == crate::job::TRAINER)
    }

    /// The table, if this is one.
    #[must_use]
    pub fn table(&self) -> Option<&Arc<TableSpec>> {
        match self {
            Self::Table(table) => Some(table),
            Self::Named(_) | Self::Command(_) => None,
        }
    }
}

/// What proposes candidates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SearcherSpec {
    /// Candidates at random.
    Random {},
    /// Every member of a small space's grid once.
    Grid {
        /// At most so many values of each range.
        points: u32,
    },
    /// Tree-structured Parzen estimator.
    Tpe {
        /// The share of scored candidates that counts as good.
        gamma: f64,
        /// Candidates compared for each proposal.
        candidates: u32,
        /// Trials at random before the estimator begins.
        start: u32,
    },
    /// An ensemble of predictors over features of networks and decisions.
    Bananas {
        /// Trials at random before the first model.
        start: u32,
        /// Candidates that are looked at for each proposal.
        candidates: u32,
    },
    /// A recurrent controller, moved by policy gradients with every result.
    Reinforce {
        /// The size of a step.
        learning_rate: f64,
        /// How much the policy is kept from settling.
        entropy: f64,
        /// Results in a step: the newest and those before it.
        batch: u32,
    },
    /// The same controller, moved by several clipped steps with each batch of results.
    Ppo {
        /// The size of a step.
        learning_rate: f64,
        /// How much the policy is kept from settling.
        entropy: f64,
        /// Results in a batch.
        batch: u32,
        /// Times a batch is gone over.
        epochs: u32,
        /// How far a probability may move with one batch, as a share of itself.
        clip: f64,
    },
    /// Hill climbing with restarts.
    #[serde(rename = "local-search")]
    LocalSearch {},
    /// Aging evolution.
    Evolution {
        /// The youngest so many candidates are parents.
        population: u32,
        /// So many of them, drawn at random, compete to be one; at most the population.
        tournament: u32,
        /// The probability that a child has two parents.
        crossover: f64,
        /// How likely each choice is to be the decision that changes, against the others.
        #[serde(default = "even")]
        mutate_choices: f64,
        /// How likely each range is.
        #[serde(default = "even")]
        mutate_ranges: f64,
    },
    /// Bayesian optimisation.
    Bayesian {
        /// What candidates are compared by.
        kernel: Kernel,
        /// So many candidates that cover the space come first.
        initial: u32,
    },
}

/// What Bayesian optimisation compares candidates by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernel {
    /// Decisions, and the paths, operations and size of the network that they build.
    #[default]
    Network,
    /// Decisions alone: the textbook form.
    Rbf,
}

/// The weight of a decision of a search that was created before kinds had weights.
fn even() -> f64 {
    1.0
}

impl Default for SearcherSpec {
    /// What a spec without `searcher:` gets.
    fn default() -> Self {
        Self::Evolution {
            population: 50,
            tournament: 10,
            crossover: 0.25,
            mutate_choices: 1.0,
            mutate_ranges: 1.0,
        }
    }
}

impl SearcherSpec {
    /// Whether it says of its proposals by how much they are expected to be better than the best.
    #[must_use]
    pub fn expects_improvements(&self) -> bool {
        matches!(self, Self::Bayesian { .. })
    }

    /// Its word in the spec.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Random {} => "random",
            Self::Grid { .. } => "grid",
            Self::Tpe { .. } => "tpe",
            Self::Bananas { .. } => "bananas",
            Self::Reinforce { .. } => "reinforce",
            Self::Ppo { .. } => "ppo",
            Self::LocalSearch {} => "local-search",
            Self::Evolution { .. } => "evolution",
            Self::Bayesian { .. } => "bayesian",
        }
    }
}

/// When a search ends: at whatever comes first. At least one of `trials`, `time_ms` and `deadline_ms` is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// After so many trials.
    pub trials: Option<u32>,
    /// After so long, in milliseconds.
    pub time_ms: Option<u64>,
    /// When the objective's metric is at least this good.
    pub target: Option<f64>,
    /// After so many trials in a row without a better one.
    pub patience: Option<u32>,
    /// At this time, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// After so much compute, in milliseconds of single attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_ms: Option<u64>,
    /// When less than this is expected to be gained with a further trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_improvement: Option<f64>,
}
