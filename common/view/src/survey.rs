//! What a seeded sample of a space holds: the spread of sizes, how many candidates are refused, and why.
//! May import the space, the spec and serde.

use std::collections::{BTreeMap, BTreeSet};

use espalier_common::dataset::DatasetInfo;
use espalier_common::spec::Spec;
use serde::Serialize;

use super::sample::Stream;

/// The most reasons that are told; rarer ones are counted together.
const MAX_REASONS: usize = 12;
/// Classes of a histogram.
const CLASSES: usize = 12;

/// What a sample holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Survey {
    /// Candidates drawn.
    pub candidates: u64,
    /// Different feasible ones among them.
    pub different: u64,
    /// How many are refused.
    pub infeasible: u64,
    /// Why, the most frequent reason first.
    pub reasons: Vec<Reason>,
    /// Refused for other reasons than these.
    pub other_reasons: u64,
    /// Parameters of the feasible ones.
    pub parameters: Option<Spread>,
    /// MACs of the feasible ones.
    pub macs: Option<Spread>,
}

/// A reason to refuse candidates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// How many were refused for it.
    pub candidates: u64,
    /// The first of them, in full.
    pub example: String,
    /// Whether others of them have other numbers in it.
    pub varies: bool,
}

/// How numbers are spread.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The least.
    pub min: u64,
    /// A quarter is at most this.
    pub lower_quartile: u64,
    /// Half is at most this.
    pub median: u64,
    /// Three quarters are at most this.
    pub upper_quartile: u64,
    /// The most.
    pub max: u64,
    /// How many lie in each of equally wide classes from the least to the most; of their logarithms when
    /// the most is more than a hundred times the least.
    pub histogram: Vec<u64>,
    /// Whether the classes are of logarithms.
    pub logarithmic: bool,
}

/// Draws so many candidates and looks at each.
#[must_use]
pub fn survey(spec: &Spec, dataset: Option<&DatasetInfo>, seed: u64, candidates: u64) -> Survey {
    let mut stream = Stream::new(spec, dataset, seed);
    let mut survey = Survey {
        candidates,
        ..Survey::default()
    };
    let (mut parameters, mut macs) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    let mut reasons: BTreeMap<String, Reason> = BTreeMap::new();
    for _ in 0..candidates {
        match stream.draw().1 {
            Ok(built) => {
                parameters.extend(built.parameters);
                macs.extend(built.macs);
                seen.insert(built.candidate_id);
            }
            Err(refusal) => {
                let example = refusal.to_string();
                survey.infeasible += 1;
                let reason = reasons.entry(kind_of(&example)).or_insert_with(|| Reason {
                    candidates: 0,
                    example: example.clone(),
                    varies: false,
                });
                reason.candidates += 1;
                reason.varies |= reason.example != example;
            }
        }
    }
    survey.different = seen.len() as u64;
    survey.parameters = Spread::of(parameters);
    survey.macs = Spread::of(macs);
    survey.reasons = reasons.into_values().collect();
    // Ties stay in the order of their texts.
    survey
        .reasons
        .sort_by_key(|reason| std::cmp::Reverse(reason.candidates));
    let rest = survey
        .reasons
        .split_off(survey.reasons.len().min(MAX_REASONS));
    survey.other_reasons = rest.iter().map(|reason| reason.candidates).sum();
    survey
}

/// A reason without the numbers in it: places and shapes differ, what is wrong does not.
fn kind_of(reason: &str) -> String {
    let mut kind = String::with_capacity(reason.len());
    for c in reason.chars() {
        if c.is_ascii_digit() {
            if !kind.ends_with('#') {
                kind.push('#');
            }
        } else {
            kind.push(c);
        }
    }
    kind
}

impl Spread {
    /// The spread of some numbers; `None` of no number.
    #[must_use]
    pub fn of(mut values: Vec<u64>) -> Option<Self> {
        values.sort_unstable();
        let (&min, &max) = values.first().zip(values.last())?;
        // The value below which this share lies, ends included: of five values the second is the quartile.
        let quantile = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
        let mut spread = Self {
            min,
            lower_quartile: quantile(0.25),
            median: quantile(0.5),
            upper_quartile: quantile(0.75),
            max,
            histogram: vec![0; CLASSES],
            logarithmic: min > 0 && max / min >= 100,
        };
        let (low, high) = (spread.position(min), spread.position(max));
        for value in values {
            let share = if high > low {
                (spread.position(value) - low) / (high - low)
            } else {
                0.0
            };
            spread.histogram[((share * CLASSES as f64) as usize).min(CLASSES - 1)] += 1;
        }
        Some(spread)
    }

    /// The ends of a class of the histogram.
    #[must_use]
    pub fn class(&self, index: usize) -> (u64, u64) {
        let (low, high) = (self.position(self.min), self.position(self.max));
        let end = |index: usize| {
            let position = low + (high - low) * index as f64 / CLASSES as f64;
            let value = if self.logarithmic {
                position.exp()
            } else {
                position
            };
            value.round() as u64
        };
        (end(index), end(index + 1))
    }

    fn position(&self, value: u64) -> f64 {
        if self.logarithmic {
            (value as f64).ln()
        } else {
            value as f64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_its_quartiles_and_a_histogram_of_all_values() {
        let spread = Spread::of(vec![50, 10, 20, 40, 30]).unwrap();
        let five = (
            spread.min,
            spread.lower_quartile,
            spread.median,
            spread.upper_quartile,
            spread.max,
        );
        assert_eq!(five, (10, 20, 30, 40, 50));
        assert!(!spread.logarithmic);
        assert_eq!(spread.histogram.iter().sum::<u64>(), 5);
        assert_eq!((spread.histogram[0], spread.histogram[CLASSES - 1]), (1, 1));
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn classes_are_of_logarithms_when_sizes_differ_widely() {
        let spread = Spread::of(vec![10, 100, 1_000, 10_000]).unwrap();
        assert!(spread.logarithmic);
        assert_eq!(
            spread.histogram.iter().filter(|&&count| count == 1).count(),
            4
        );
        let same = Spread::of(vec![7, 7]).unwrap();
        assert_eq!(same.histogram[0], 2);
    }

    #[test]
    fn reasons_that_differ_in_numbers_are_one() {
        assert_eq!(
            kind_of("network[1]#2[0] (conv2d): spans 15 cells"),
            kind_of("network[1]#13[0] (conv2d): spans 7 cells")
        );
        assert_ne!(
            kind_of("network[1] (add): x"),
            kind_of("network[1] (concat): x")
        );
    }
}
