//! What a searcher is told, and what it proposes.

use serde::{Deserialize, Serialize};

use crate::candidate::{Candidate, DecisionPath};
use crate::ids::TrialNumber;

/// What became of a proposed candidate. Never NaN, never an infrastructure failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The trial; absent for a proposal that was refused as a duplicate.
    pub trial: Option<TrialNumber>,
    /// The candidate.
    pub candidate: Candidate,
    /// What came of it.
    pub outcome: Outcome,
    /// What the searcher put into its proposal.
    pub memo: Option<serde_json::Value>,
}

/// What came of a candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A finite utility (more is always better; see `Objective::utility`) at a fidelity in epochs.
    Scored {
        /// The utility.
        utility: f64,
        /// Epochs trained.
        fidelity: u32,
    },
    /// The candidate's own fault: diverged, or it used up its attempts.
    Failed,
    /// Refused before training: it cannot be built, or breaks a constraint.
    Infeasible,
    /// Ended without a score through no fault of its own (cancelled).
    Cancelled,
}

/// Who proposed a candidate, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The searcher, or the part of it that made this proposal (`evolution`, `random`, …).
    pub searcher: String,
    /// What was done (`random`, `mutation`, `crossover`, …).
    pub method: String,
    /// The trials it was made from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<TrialNumber>,
    /// The decision that was mutated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutated: Option<DecisionPath>,
    /// The predicted utility, mean and standard deviation, of model-based searchers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<(f64, f64)>,
    /// The acquisition value, of model-based searchers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acquisition: Option<f64>,
}

/// A candidate a searcher proposes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// The candidate.
    pub candidate: Candidate,
    /// Where it came from.
    pub origin: Origin,
    /// Comes back in the observation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memo: Option<serde_json::Value>,
}
