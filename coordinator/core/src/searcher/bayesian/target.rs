//! What the process models instead of the scores: `-ln(c + best - score)`, standardised. Near the top, where
//! it matters, small differences count; far below, large ones do not (one diverged trial would otherwise
//! flatten everything). `c` is a share of the scores' deviation.

use nalgebra::DVector;

/// `c`, as a share of the deviation of the scores.
const SHARE: f64 = 0.2;
/// No deviation is taken for larger than this, so that sums of a few stay numbers.
const WIDEST: f64 = 1e300;
/// The middle eight tenths of scores that are of one kind do not span so many times their middle half.
const MOST_QUARTERS: f64 = 20.0;
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

    /// By how much a score that is exactly at this value is better than the best one; `None` while the scores show no
    /// difference that a model could learn.
    pub(super) fn gain(&self, value: f64) -> Option<f64> {
        let gain = (self.score(value, 0.0).0 - self.best).max(0.0);
        (self.offset > 0.0 && gain.is_finite()).then_some(gain)
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
    let without =
        |part: usize| sorted[(count - 1) * (part - 1) / part] - sorted[(count - 1) / part];
    let (tenths, quarters) = (without(10), without(4));
    let deviation = moment(scores, mean(scores)).sqrt();
    // Without outliers the middle eight tenths span some 2.5 deviations.
    let outliers = !deviation.is_finite() || deviation > tenths;
    let usable = |range: f64| range > 0.0 && range.is_finite();
    // More than a tenth may be far off as well; the middle half then spans next to nothing of the rest.
    if usable(quarters) && tenths > MOST_QUARTERS * quarters {
        quarters / 1.35
    } else if usable(tenths) && outliers {
        tenths / 2.5
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
    fn gains_are_in_scores_and_bounded() {
        let scores = [0.1, 0.5, 0.9, 0.91, 0.85];
        let warp = Warp::new(&scores);
        let best = warp.values(&scores).max();
        let at = |value| warp.gain(value).unwrap();
        assert!(at(best) < 1e-9 && at(best - 1.0) == 0.0);
        assert!(at(best + 0.1) > 1e-4 && at(best + 0.5) > at(best + 0.1));
        for wild in [1e3, 1e200, f64::MAX, f64::INFINITY] {
            assert!((0.0..=warp.offset).contains(&at(wild)), "{}", at(wild));
        }
        assert_eq!(Warp::new(&[2.0; 9]).gain(1.0), None);
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
    fn some_outliers_do_not_hide_the_differences_at_the_top() {
        let apart = |scores: &[f64], one: usize, other: usize| {
            let values = Warp::new(scores).values(scores);
            values[one] - values[other]
        };
        let mut scores: Vec<f64> = (0..20).map(|step| 0.8 + f64::from(step) / 200.0).collect();
        let before = apart(&scores, 19, 10);
        for outliers in 1..=6 {
            scores.push(-1e6);
            assert!(apart(&scores, 19, 10) > 0.4 * before, "{outliers}");
        }
        // Also while few scores are there.
        let few = [0.8, 0.82, 0.84, 0.85, 0.86, -1e6];
        assert!(apart(&few, 4, 1) > 0.4 * apart(&few[..5], 4, 1));
    }
}
