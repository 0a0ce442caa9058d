//! What many numbers say together. May import the core's statistics.

use espalier_core::simulate::{interval_of_mean, interval_of_median, mean, quantile};
use serde::Serialize;

/// A value and the ends of its 95% interval, by bootstrap.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Ends {
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Quartiles and mean. Infinite: never reached, or nothing there yet; in JSON that is `null`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) median: f64,
    pub(super) lower_quartile: f64,
    pub(super) upper_quartile: f64,
    pub(super) mean: f64,
    /// Of the mean, where the mean is what counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mean_interval: Option<Ends>,
    /// Of the median, where the median is what counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) median_interval: Option<Ends>,
}

impl Summary {
    /// Quartiles and mean alone.
    pub(super) fn of(values: &[f64]) -> Self {
        let at = |share| quantile(values, share).unwrap_or(f64::NAN);
        Self {
            median: at(0.5),
            lower_quartile: at(0.25),
            upper_quartile: at(0.75),
            mean: mean(values).unwrap_or(f64::NAN),
            mean_interval: None,
            median_interval: None,
        }
    }

    /// With the interval of the mean.
    pub(super) fn of_mean(values: &[f64]) -> Self {
        let finite = values.iter().all(|value| value.is_finite());
        let interval = interval_of_mean(values).filter(|_| finite);
        Self {
            mean_interval: interval.map(|one| Ends {
                low: one.low,
                high: one.high,
            }),
            ..Self::of(values)
        }
    }

    /// With the interval of the median.
    pub(super) fn of_median(values: &[f64]) -> Self {
        let interval = interval_of_median(values).map(|one| Ends {
            low: one.low,
            high: one.high,
        });
        Self {
            median_interval: interval,
            ..Self::of(values)
        }
    }
}
