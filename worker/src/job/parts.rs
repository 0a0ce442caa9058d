//! What an evaluator's time up to a measurement went into, as far as it says: spans of the trial's trace below that of
//! the step. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

/// What can be told apart, in the order in which it is done.
const PARTS: [&str; 3] = ["load", "train", "validate"];

/// A part of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) took: Duration,
    /// How long before the measurement it had ended.
    pub(super) before: Duration,
}

/// The parts of a step that took `whole`, one right behind the other up to its end. Names that are not known are passed
/// over, and so is what does not fit into the step: the evaluator's word is not checked.
pub(super) fn parts(said: &BTreeMap<String, Option<f64>>, whole: Duration) -> Vec<Part> {
    let (mut found, mut before) = (Vec::new(), Duration::ZERO);
    for name in PARTS.into_iter().rev() {
        let seconds = said.get(name).copied().flatten();
        let took = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let Some(took) = took else { continue };
        let took = took.min(whole.saturating_sub(before));
        found.push(Part { name, took, before });
        before += took;
    }
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(said: &[(&str, Option<f64>)], whole: u64) -> Vec<(&'static str, u64, u64)> {
        let said = said
            .iter()
            .map(|&(name, seconds)| (name.to_owned(), seconds));
        let parts = parts(&said.collect(), Duration::from_millis(whole));
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap();
        parts
            .into_iter()
            .map(|part| (part.name, millis(part.took), millis(part.before)))
            .collect()
    }

    #[test]
    fn parts_lie_one_behind_the_other_up_to_the_measurement() {
        let said = [
            ("validate", Some(0.5)),
            ("load", Some(1.0)),
            ("train", Some(2.0)),
        ];
        let parts = [
            ("load", 1_000, 2_500),
            ("train", 2_000, 500),
            ("validate", 500, 0),
        ];
        assert_eq!(of(&said, 4_000), parts);
        assert_eq!(of(&[("train", Some(1.0))], 4_000), [("train", 1_000, 0)]);
        assert_eq!(of(&[], 4_000), []);
    }

    #[test]
    fn what_cannot_be_true_does_not_become_a_span() {
        let said = [
            ("load", Some(f64::INFINITY)),
            ("train", Some(1e300)),
            ("validate", Some(-1.0)),
            ("lunch", Some(1.0)),
        ];
        assert_eq!(of(&said, 4_000), []);
        assert_eq!(of(&[("train", None), ("load", Some(f64::NAN))], 4_000), []);
        // Longer than the step was.
        let said = [("train", Some(9.0)), ("validate", Some(3.0))];
        let parts = [("train", 1_000, 3_000), ("validate", 3_000, 0)];
        assert_eq!(of(&said, 4_000), parts);
    }
}
