//! Expected improvement (Jones et al. 1998), and its greatest among many candidates without computing it for
//! all of them.

use std::cmp::Ordering;
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// The expectation of how much a normal variable exceeds `best`, or zero where it does not.
pub(super) fn expected_improvement(mean: f64, deviation: f64, best: f64) -> f64 {
    let gain = mean - best;
    if deviation <= 0.0 {
        return gain.max(0.0);
    }
    let z = gain / deviation;
    let density = (-0.5 * z * z).exp() / (2.0 * PI).sqrt();
    (gain * 0.5 * libm::erfc(-z * FRAC_1_SQRT_2) + deviation * density).max(0.0)
}

/// A candidate of which the mean is known, and the deviation at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounded {
    pub(super) index: usize,
    pub(super) mean: f64,
    /// Expected improvement were the deviation as large as it can be.
    pub(super) bound: f64,
}

impl Bounded {
    /// The order in which they are looked at: the greatest bound first, the lower index of equals.
    pub(super) fn before(&self, other: &Self) -> Ordering {
        other
            .bound
            .total_cmp(&self.bound)
            .then(self.index.cmp(&other.index))
    }
}

/// What is predicted of a candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    pub(super) mean: f64,
    pub(super) deviation: f64,
    pub(super) improvement: f64,
}

impl Estimate {
    /// For a prediction with this mean and deviation; `best` is what is to be improved on.
    pub(super) fn new(mean: f64, deviation: f64, best: f64) -> Self {
        Self {
            mean,
            deviation,
            improvement: expected_improvement(mean, deviation, best),
        }
    }
}

/// The index of the candidate with the greatest expected improvement. Looks at them in the order of their
/// bounds until none that is left can be better; of equals the one with the lower index is taken.
/// `deviation` is asked for those looked at only.
pub(super) fn greatest(
    mut candidates: Vec<Bounded>,
    best: f64,
    mut deviation: impl FnMut(usize) -> f64,
) -> Option<(usize, Estimate)> {
    candidates.sort_by(Bounded::before);
    let mut chosen: Option<(usize, Estimate)> = None;
    for candidate in &candidates {
        if chosen.is_some_and(|(_, chosen)| candidate.bound < chosen.improvement) {
            break;
        }
        let index = candidate.index;
        let estimate = Estimate::new(candidate.mean, deviation(index), best);
        let better = chosen.is_none_or(|(place, chosen)| {
            estimate.improvement > chosen.improvement
                || (estimate.improvement == chosen.improvement && index < place)
        });
        if better {
            chosen = Some((index, estimate));
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expected_improvement_agrees_with_a_sum_over_the_density() {
        for (mean, deviation, best) in [(0.0, 1.0, 0.5), (-1.0, 0.3, 0.2), (2.0, 1.5, 1.0)] {
            let step = 1e-3;
            let sum: f64 = (0..40_000)
                .map(|index| {
                    let z = -20.0 + f64::from(index) * step;
                    let density = (-0.5 * z * z).exp() / (2.0 * PI).sqrt();
                    (mean + deviation * z - best).max(0.0) * density * step
                })
                .sum();
            let exact = expected_improvement(mean, deviation, best);
            assert!((exact - sum).abs() < 1e-4, "{exact} and {sum}");
        }
        assert_eq!(expected_improvement(1.0, 0.0, 0.25), 0.75);
    }

    #[test]
    fn the_greatest_is_the_one_that_looking_at_all_finds() {
        let of = |index: usize| {
            (
                (index * 37 % 101) as f64 / 50.0,
                (index * 53 % 97) as f64 / 97.0,
            )
        };
        let candidates: Vec<Bounded> = (0..200)
            .map(|index| {
                let (mean, deviation) = of(index);
                Bounded {
                    index,
                    mean,
                    bound: expected_improvement(mean, deviation + 0.1, 1.5),
                }
            })
            .collect();
        let all = (0..200).map(|index| {
            let (mean, deviation) = of(index);
            expected_improvement(mean, deviation, 1.5)
        });
        let most = all.fold(0.0, f64::max);
        let mut looked_at = 0;
        let deviation = |index| {
            looked_at += 1;
            of(index).1
        };
        let (_, chosen) = greatest(candidates, 1.5, deviation).unwrap();
        assert_eq!(chosen.improvement, most);
        assert!(looked_at < 100, "{looked_at}");
    }
}
