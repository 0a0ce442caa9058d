//! What many runs say together: quantiles, bootstrap intervals, and whether two searchers differ.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::stats_tests::Alternative;
use statrs::stats_tests::mannwhitneyu::{MannWhitneyUMethod, mannwhitneyu};

/// Samples drawn with replacement: the ends of a 95% interval are then known to about half a percent of the
/// probability.
const RESAMPLES: usize = 2_000;
/// Always the same ones, so that equal runs print equal intervals.
const RESAMPLING_SEED: u64 = 0x6573_7061_6c69_6572;

/// A value with its 95% bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The value of all.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// A quantile, interpolated between neighbours; `None` of nothing. Values that are not reached are infinite,
/// and so is a quantile that lies among them.
#[must_use]
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let place = share.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    let (low, high) = (sorted[below], sorted[above]);
    if low == high || below == above {
        return Some(low);
    }
    if high.is_infinite() {
        return Some(high);
    }
    Some(low + (high - low) * (place - below as f64))
}

/// The mean; `None` of nothing.
#[must_use]
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The mean with its interval; `None` of nothing.
#[must_use]
pub fn interval_of_mean(values: &[f64]) -> Option<Interval> {
    interval(values, mean)
}

/// The median with its interval; `None` of nothing.
#[must_use]
pub fn interval_of_median(values: &[f64]) -> Option<Interval> {
    interval(values, |values| quantile(values, 0.5))
}

fn interval(values: &[f64], statistic: impl Fn(&[f64]) -> Option<f64>) -> Option<Interval> {
    let value = statistic(values)?;
    let mut rng = ChaCha8Rng::seed_from_u64(RESAMPLING_SEED);
    let mut sample = vec![0.0; values.len()];
    let mut all = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        for slot in &mut sample {
            *slot = values[rng.random_range(0..values.len())];
        }
        all.extend(statistic(&sample));
    }
    Some(Interval {
        value,
        low: quantile(&all, 0.025)?,
        high: quantile(&all, 0.975)?,
    })
}

/// The probability of a difference like that between `a` and `b` if they were drawn from one distribution:
/// Mann-Whitney's U, two-sided, with the normal approximation corrected for ties. `None` with fewer than
/// eight of either, where the approximation says nothing.
#[must_use]
pub fn compare(a: &[f64], b: &[f64]) -> Option<f64> {
    const FEWEST: usize = 8;
    if a.len() < FEWEST || b.len() < FEWEST {
        return None;
    }
    let first = a[0];
    if a.iter().chain(b).all(|value| *value == first) {
        return Some(1.0);
    }
    let method = MannWhitneyUMethod::AsymptoticInclContinuityCorrection;
    let (_, p) = mannwhitneyu(a, b, method, Alternative::TwoSided).ok()?;
    p.is_finite().then(|| p.clamp(0.0, 1.0))
}

/// The same probabilities corrected for being looked at together (Holm): any of them below 0.05 is then as
/// unlikely to be chance as one alone would be.
#[must_use]
pub fn holm(probabilities: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]));
    let mut corrected = vec![1.0; probabilities.len()];
    let mut most: f64 = 0.0;
    for (done, &index) in order.iter().enumerate() {
        let left = (probabilities.len() - done) as f64;
        most = most.max((probabilities[index] * left).min(1.0));
        corrected[index] = most;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_neighbours_and_what_is_never_reached_is_infinite() {
        let values = [3.0, 1.0, 2.0, f64::INFINITY];
        assert_eq!(quantile(&values, 0.0), Some(1.0));
        assert_eq!(quantile(&values, 0.5), Some(2.5));
        assert_eq!(quantile(&values, 0.75), Some(f64::INFINITY));
        assert_eq!(quantile(&[f64::INFINITY; 3], 0.5), Some(f64::INFINITY));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn an_interval_holds_its_value_and_narrows_with_more_values() {
        let few: Vec<f64> = (0..10).map(|n| f64::from(n % 5)).collect();
        let many: Vec<f64> = (0..1_000).map(|n| f64::from(n % 5)).collect();
        let (few, many) = (
            interval_of_mean(&few).unwrap(),
            interval_of_mean(&many).unwrap(),
        );
        assert_eq!((few.value, many.value), (2.0, 2.0));
        assert!(few.low < many.low && many.low < 2.0 && 2.0 < many.high && many.high < few.high);
        // The deviation of the mean is 1.414 / sqrt(1000).
        assert!(
            (many.high - many.low - 2.0 * 1.96 * 0.0447).abs() < 0.02,
            "{many:?}"
        );
        assert_eq!(interval_of_median(&[]), None);
    }

    #[test]
    fn equal_samples_do_not_differ_and_shifted_ones_do() {
        let a: Vec<f64> = (0..40).map(f64::from).collect();
        let shifted: Vec<f64> = a.iter().map(|value| value + 15.0).collect();
        assert!(compare(&a, &a).unwrap() > 0.9);
        assert!(compare(&a, &shifted).unwrap() < 1e-3);
        assert_eq!(compare(&[1.0; 9], &[1.0; 9]), Some(1.0));
        assert_eq!(compare(&a[..7], &shifted), None);
        // By hand: U = 46 of 64, ties of six pairs, z = 13.5 / 9.480.
        let (a, b): (Vec<f64>, Vec<f64>) = (
            (1..9).map(f64::from).collect(),
            (3..11).map(f64::from).collect(),
        );
        assert!(
            (compare(&a, &b).unwrap() - 0.154_4).abs() < 2e-3,
            "{:?}",
            compare(&a, &b)
        );
    }

    #[test]
    fn probabilities_looked_at_together_are_corrected() {
        assert_eq!(holm(&[0.01, 0.04, 0.03]), [0.03, 0.06, 0.06]);
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    }
}
