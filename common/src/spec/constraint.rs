//! Constraints on what a candidate builds, checked before it costs a worker anything.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::network::Network;
use crate::space::Built;

/// A bound that a candidate's network must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constraint {
    /// What is bounded.
    pub measure: Measure,
    /// The least, included.
    pub at_least: Option<u64>,
    /// The most, included.
    pub at_most: Option<u64>,
}

/// What a constraint bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Trainable parameters.
    Parameters,
    /// Multiply-accumulates for one example.
    Macs,
    /// Bytes of activations that training keeps for one example; an estimate.
    ActivationBytes,
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parameters => "parameters",
            Self::Macs => "macs",
            Self::ActivationBytes => "activation_bytes",
        })
    }
}

/// A constraint that a candidate breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("constraints: {measure} is {actual}, the spec allows {bound} {limit}")]
pub struct Violation {
    /// What is bounded.
    pub measure: Measure,
    /// What the candidate has.
    pub actual: u64,
    /// `at least` or `at most`.
    pub bound: &'static str,
    /// The limit.
    pub limit: u64,
}

impl Constraint {
    /// Checks what a candidate built. A candidate without a network keeps every constraint.
    ///
    /// # Errors
    /// [`Violation`] says what is out of bounds.
    pub fn check(&self, built: &Built) -> Result<(), Violation> {
        let actual = match self.measure {
            Measure::Parameters => built.parameters,
            Measure::Macs => built.macs,
            Measure::ActivationBytes => built.network.as_ref().map(Network::activation_bytes),
        };
        let Some(actual) = actual else {
            return Ok(());
        };
        let broken = |bound, limit| Violation {
            measure: self.measure,
            actual,
            bound,
            limit,
        };
        if let Some(limit) = self.at_least.filter(|&limit| actual < limit) {
            return Err(broken("at least", limit));
        }
        if let Some(limit) = self.at_most.filter(|&limit| actual > limit) {
            return Err(broken("at most", limit));
        }
        Ok(())
    }
}
