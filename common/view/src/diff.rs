//! What differs between two candidates, decision by decision. May import the candidate and serde.

use std::collections::BTreeMap;

use espalier_common::candidate::{Candidate, DecisionPath, Value};
use serde::Serialize;

/// What differs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Diff {
    /// Decisions of both with different values.
    pub changed: BTreeMap<DecisionPath, Change>,
    /// Decisions of the first alone.
    pub only_a: BTreeMap<DecisionPath, Value>,
    /// Decisions of the second alone.
    pub only_b: BTreeMap<DecisionPath, Value>,
    /// How many decisions are equal.
    pub equal: u64,
}

/// Two values of one decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// That of the first candidate.
    pub a: Value,
    /// That of the second.
    pub b: Value,
}

impl Diff {
    /// What differs between two candidates.
    #[must_use]
    pub fn of(a: &Candidate, b: &Candidate) -> Self {
        let mut diff = Self::default();
        for (path, value) in &a.0 {
            match b.0.get(path) {
                Some(other) if other == value => diff.equal += 1,
                Some(other) => {
                    let change = Change {
                        a: value.clone(),
                        b: other.clone(),
                    };
                    diff.changed.insert(path.clone(), change);
                }
                None => {
                    diff.only_a.insert(path.clone(), value.clone());
                }
            }
        }
        for (path, value) in &b.0 {
            if !a.0.contains_key(path) {
                diff.only_b.insert(path.clone(), value.clone());
            }
        }
        diff
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.only_a.is_empty() && self.only_b.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(json: &str) -> Candidate {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn every_decision_of_either_is_counted_once() {
        let a =
            candidate(r#"{"x.choice": "plain", "x.choice.plain.kernel": 3, "rate": 0.1, "n": 2}"#);
        let b =
            candidate(r#"{"x.choice": "wide", "x.choice.wide.channels": 32, "rate": 0.1, "n": 2}"#);
        let diff = Diff::of(&a, &b);
        assert_eq!(diff.equal, 2);
        assert_eq!(
            serde_json::to_value(&diff).unwrap(),
            serde_json::json!({
                "changed": {"x.choice": {"a": "plain", "b": "wide"}},
                "only_a": {"x.choice.plain.kernel": 3},
                "only_b": {"x.choice.wide.channels": 32},
                "equal": 2,
            })
        );
        assert!(!diff.is_empty() && Diff::of(&a, &a).is_empty());
    }
}
