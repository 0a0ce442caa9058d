//! Metrics: named finite numbers reported at one step of one attempt.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The most metrics one measurement may carry: enough for any evaluator, small enough to journal.
pub const MAX_METRICS: usize = 64;
/// The longest name of a metric, in bytes.
pub const MAX_METRIC_NAME: usize = 64;

/// Named numbers. A value is always finite once [`Metrics::check`] has passed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metrics(pub BTreeMap<String, f64>);

/// Why metrics from outside are refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadMetrics {
    /// A value is NaN or infinite: the candidate diverged.
    #[error("metric {0:?} is {1}: training diverged")]
    NotFinite(String, f64),
    /// More than [`MAX_METRICS`].
    #[error("{0} metrics in one measurement; at most {MAX_METRICS} are taken")]
    TooMany(usize),
    /// A name is empty or longer than [`MAX_METRIC_NAME`].
    #[error("the name of a metric has {0} bytes; 1 to {MAX_METRIC_NAME} are taken")]
    BadName(usize),
}

impl Metrics {
    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// Checks the bounds that hold for everything that comes from an evaluator.
    ///
    /// # Errors
    /// [`BadMetrics`] names the first metric that is not finite, or the bound that is exceeded.
    pub fn check(&self) -> Result<(), BadMetrics> {
        if self.0.len() > MAX_METRICS {
            return Err(BadMetrics::TooMany(self.0.len()));
        }
        for (name, &value) in &self.0 {
            if name.is_empty() || name.len() > MAX_METRIC_NAME {
                return Err(BadMetrics::BadName(name.len()));
            }
            if !value.is_finite() {
                return Err(BadMetrics::NotFinite(name.clone(), value));
            }
        }
        Ok(())
    }
}

impl<const N: usize> From<[(&str, f64); N]> for Metrics {
    fn from(pairs: [(&str, f64); N]) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    }
}

/// Metrics at one step (epoch) of one attempt. Steps count from 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Epochs finished, from 1.
    pub step: u32,
    /// What was measured after that epoch.
    pub metrics: Metrics,
}

/// Whether more of a metric is better or less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Larger is better.
    Maximize,
    /// Smaller is better.
    Minimize,
}

/// What a search optimises: one metric and its direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objective {
    /// The metric's name, as the evaluator reports it.
    pub metric: String,
    /// Which way is better.
    pub direction: Direction,
}

impl Objective {
    /// The metric as a number of which more is always better.
    #[must_use]
    pub fn utility(&self, value: f64) -> f64 {
        match self.direction {
            Direction::Maximize => value,
            Direction::Minimize => -value,
        }
    }

    /// Whether `a` is strictly better than `b`.
    #[must_use]
    pub fn better(&self, a: f64, b: f64) -> bool {
        self.utility(a) > self.utility(b)
    }
}
