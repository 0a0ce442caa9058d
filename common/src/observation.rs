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
    /// By how much the best of all candidates that looked good then was expected to be better than the best utility so
    /// far, where the model can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub improvement: Option<f64>,
    /// Where it stands among the alternatives that were considered, of searchers that compare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<Rank>,
}

impl Origin {
    /// That of a proposal of which nothing is known but who made it, and how.
    #[must_use]
    pub fn new(searcher: &str, method: &str) -> Self {
        Self {
            searcher: searcher.to_owned(),
            method: method.to_owned(),
            parents: Vec::new(),
            mutated: None,
            predicted: None,
            acquisition: None,
            improvement: None,
            rank: None,
        }
    }
}

/// Where a candidate stands among the alternatives that were considered with it: by the predicted mean where there
/// is one, else by the acquisition value. One that is not the first by its mean was chosen for what is not known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rank {
    /// 1 is the best.
    pub place: u32,
    /// How many were considered, itself included.
    pub among: u32,
}

impl Rank {
    /// For a candidate with this mean among alternatives with these.
    #[must_use]
    pub fn of(mean: f64, alternatives: impl IntoIterator<Item = f64>) -> Self {
        let (mut better, mut all) = (0_u32, 0_u32);
        for other in alternatives {
            all = all.saturating_add(1);
            better = better.saturating_add(u32::from(other > mean));
        }
        Self {
            place: better.saturating_add(1),
            among: all.max(better.saturating_add(1)),
        }
    }
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
