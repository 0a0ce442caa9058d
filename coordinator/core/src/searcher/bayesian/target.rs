//! What the process models instead of the scores: `-ln(c + best - score)`, standardised. Near the top, where
//! it matters, small differences count; far below, large ones do not (one diverged trial would otherwise
//! flatten everything). `c` is a share of the scores' deviation.

use nalgebra::DVector;

use super::acquisition::expected_improvement;

/// `c`, as a share of the deviation of the scores.
const SHARE: f64 = 0.2;
/// No deviation is taken for larger than this, so that sums of a few stay numbers.
const WIDEST: f64 = 1e300;
/// Scores that are more deviations than this below the best are alike: only so bad.
const LOWEST: f64 = 10.0;

/// The way from scores to values and back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Warp {
    best: f64,
    offset: f64,
    mean: f64,
    deviation: f64,
}

impl Warp {
    /// The way for these scores, which are finite. With one score, or equal ones, all values are zero.
    pub(super) fn new(scores: &[f64]) -> Self {
        let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let deviation = spread(scores).min(WIDEST);
        let mut warp = Self {
            best: if best.is_finite() { best } else { 0.0 },
            offset: SHARE * deviation,
            mean: 0.0,
            deviation: 1.0,
        };
        if deviation > 0.0 {
            let raw: Vec<f64> = scores.iter().map(|score| warp.raw(*score)).collect();
            warp.mean = mean(&raw);
            warp.deviation = moment(&raw, warp.mean).sqrt().max(1e-12);
        }
        warp
    }

    /// The values of scores.
    pub(super) fn values(&self, scores: &[f64]) -> DVector<f64> {
        let values = scores.iter().map(|score| self.value(*score));
        DVector::from_iterator(scores.len(), values)
    }

    fn value(&self, score: f64) -> f64 {
        if self.offset > 0.0 {
            (self.raw(score) - self.mean) / self.deviation
        } else {
            0.0
        }
    }

    fn raw(&self, score: f64) -> f64 {
        // Where the difference is too large for a number, the minimum makes it finite again.
        let below = (self.best - score).clamp(0.0, LOWEST / SHARE * self.offset);
        -(self.offset + below).ln()
    }

    /// By how much a score is expected to be better than the best one, when its value has this mean and deviation;
    /// `None` while the scores show no difference that a model could learn.
    pub(super) fn improvement(&self, value: f64, deviation: f64) -> Option<f64> {
        let (score, deviation) = self.score(value, deviation);
        let improvement = expected_improvement(score, deviation, self.best);
        (self.offset > 0.0 && improvement.is_finite()).then_some(improvement)
    }

    /// The score that a value means, and the deviation of scores around it, to the first order.
    pub(super) fn score(&self, value: f64, deviation: f64) -> (f64, f64) {
        if self.offset == 0.0 {
            return (self.best, 0.0);
        }
        // Bounded, so that a wild prediction does not become infinite.
        let below = (-(value * self.deviation + self.mean))
            .clamp(-700.0, 700.0)
            .exp();
        let score = self.best + self.offset - below;
        let deviation = deviation * self.deviation * below;
        (score.clamp(f64::MIN, f64::MAX), deviation.min(f64::MAX))
    }
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len().max(1) as f64
}

fn moment(numbers: &[f64], mean: f64) -> f64 {
    let squares = numbers
        .iter()
        .map(|number| (number - mean) * (number - mean));
    squares.sum::<f64>() / numbers.len().max(1) as f64
}

/// The deviation of scores, or as much of it as their middle shows: scores that are far from all others
/// (a metric that went through the roof) say nothing about the differences that matter.
fn spread(scores: &[f64]) -> f64 {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len();
    if count < 2 {
        return 0.0;
    }
    let range = sorted[(count - 1) * 9 / 10] - sorted[(count - 1) / 10];
    let deviation = moment(scores, mean(scores)).sqrt();
    // Without outliers the middle eight tenths span some 2.5 deviations.
    let outliers = !deviation.is_finite() || deviation > range;
    if range > 0.0 && range.is_finite() && outliers {
        range / 2.5
    } else if deviation.is_finite() {
        deviation
    } else {
        sorted[count - 1].abs().max(sorted[0].abs()).min(1e150)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_scores_have_greater_values_and_come_back() {
        let scores = [0.1, 0.5, 0.9, 0.91, 0.85];
        let warp = Warp::new(&scores);
        let values = warp.values(&scores);
        assert!(values[0] < values[1] && values[1] < values[4] && values[2] < values[3]);
        assert!(values.mean().abs() < 1e-9);
        for (score, value) in scores.iter().zip(values.iter()) {
            assert!((warp.score(*value, 0.0).0 - score).abs() < 1e-9);
        }
    }

    #[test]
    fn the_improvement_is_in_scores_and_shrinks_with_what_is_known() {
        let scores = [0.1, 0.5, 0.9, 0.91, 0.85];
        let warp = Warp::new(&scores);
        let best = warp.values(&scores).max();
        let at = |deviation| warp.improvement(best, deviation).unwrap();
        assert!(at(0.5) > at(0.1) && at(0.1) > at(0.0));
        assert!(at(0.0) < 1e-9 && at(0.5) < 1.0, "{}", at(0.5));
        assert!(warp.improvement(best - 3.0, 0.1).unwrap() < 1e-6);
        assert_eq!(Warp::new(&[2.0; 9]).improvement(0.0, 1.0), None);
    }

    #[test]
    fn constant_single_and_wild_scores_give_finite_values() {
        for scores in [
            vec![],
            vec![3.0],
            vec![2.0; 9],
            vec![1e300, -1e300, 0.0, 1.0],
            vec![f64::MAX, f64::MIN],
            vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, -1e300],
        ] {
            let warp = Warp::new(&scores);
            assert!(
                warp.values(&scores).iter().all(|value| value.is_finite()),
                "{scores:?}"
            );
            let (score, deviation) = warp.score(0.3, 1.0);
            assert!(score.is_finite() && deviation.is_finite(), "{scores:?}");
        }
    }

    #[test]
    fn one_outlier_does_not_hide_the_differences_at_the_top() {
        let mut scores: Vec<f64> = (0..20).map(|step| 0.8 + f64::from(step) / 200.0).collect();
        let apart = |scores: &[f64]| {
            let values = Warp::new(scores).values(scores);
            values[19] - values[10]
        };
        let before = apart(&scores);
        scores.push(-1e6);
        assert!(apart(&scores) > 0.4 * before);
    }
}
