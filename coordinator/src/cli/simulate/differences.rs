//! Which searchers differ by more than chance. May import the core's statistics.

use espalier_core::simulate::{compare, holm};
use serde::Serialize;

/// Below this a difference is called one: once in twenty times chance alone would look like it.
pub(super) const SIGNIFICANT: f64 = 0.05;

/// Two searchers side by side. `better` is the one with more of the pairs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Difference {
    pub(super) better: usize,
    pub(super) worse: usize,
    /// The share of pairs of searches in which `better` has the lower number; ties count half.
    pub(super) wins: f64,
    /// The probability of a difference like this by chance, corrected (Holm) for all that are looked at with it.
    /// `None`: too few searches to say.
    pub(super) p: Option<f64>,
}

impl Difference {
    pub(super) fn is_significant(&self) -> bool {
        self.p.is_some_and(|p| p < SIGNIFICANT)
    }
}

/// All pairs of searchers, by numbers of which less is better.
pub(super) fn differences(samples: &[Vec<f64>]) -> Vec<Difference> {
    let mut all = Vec::new();
    for (one, a) in samples.iter().enumerate() {
        for (other, b) in samples.iter().enumerate().skip(one + 1) {
            let wins = share_of_wins(a, b);
            let (better, worse, wins) = if wins >= 0.5 {
                (one, other, wins)
            } else {
                (other, one, 1.0 - wins)
            };
            let p = compare(a, b);
            all.push(Difference {
                better,
                worse,
                wins,
                p,
            });
        }
    }
    let known: Vec<usize> = (0..all.len())
        .filter(|&place| all[place].p.is_some())
        .collect();
    let raw: Vec<f64> = known.iter().filter_map(|&place| all[place].p).collect();
    for (&place, corrected) in known.iter().zip(holm(&raw)) {
        all[place].p = Some(corrected);
    }
    all
}

/// The share of pairs in which `a` has the lower number; ties count half. 0.5 of nothing.
fn share_of_wins(a: &[f64], b: &[f64]) -> f64 {
    let mut sorted = b.to_vec();
    sorted.sort_by(f64::total_cmp);
    let twice: usize = a
        .iter()
        .map(|value| {
            let below = sorted.partition_point(|other| other < value);
            let not_above = sorted.partition_point(|other| other <= value);
            // Those above count twice, equal ones once.
            2 * (sorted.len() - not_above) + (not_above - below)
        })
        .sum();
    let pairs = a.len() * b.len();
    if pairs == 0 {
        return 0.5;
    }
    twice as f64 / (2 * pairs) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_wins_count_ties_half() {
        assert_eq!(share_of_wins(&[1.0, 2.0], &[2.0, 3.0]), 0.875);
        assert_eq!(share_of_wins(&[1.0], &[1.0]), 0.5);
        assert_eq!(share_of_wins(&[f64::INFINITY], &[1.0]), 0.0);
        assert_eq!(share_of_wins(&[], &[1.0]), 0.5);
    }

    #[test]
    fn the_better_one_of_two_comes_first_and_too_few_searches_say_nothing() {
        let few = differences(&[vec![3.0], vec![1.0]]);
        assert_eq!((few[0].better, few[0].worse, few[0].p), (1, 0, None));
        assert!(!few[0].is_significant());
        let many = |from: u32| (0..20).map(|n| f64::from(from + n % 7)).collect::<Vec<_>>();
        let all = differences(&[many(10), many(0), many(0)]);
        let significant: Vec<bool> = all.iter().map(Difference::is_significant).collect();
        assert_eq!(significant, [true, true, false]);
        assert_eq!((all[0].better, all[0].worse, all[0].wins), (1, 0, 1.0));
    }
}
