//! Candidates that a search begins with: some with a score of before, some to be tried first. What is said of them
//! comes from outside and is looked at here. May import the words of the space.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::candidate::{Candidate, DecisionPath, Value};
use crate::space::{Chooser, Domain, Space};

/// The most of them: far more than any model makes use of.
pub const MAX_KNOWN: usize = 10_000;
/// The most bytes of JSON that they may take, since they lie in the first event of their search.
pub const MAX_KNOWN_BYTES: usize = 4 * 1024 * 1024;

/// A candidate that a search begins with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// What it decides.
    pub decisions: Candidate,
    /// Its score in the objective's metric; one without is proposed first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

/// Why decisions are no candidate of a space.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOfTheSpace {
    /// A decision that is active has no value.
    #[error("the decision {0} has no value")]
    Lacks(DecisionPath),
    /// A value is not one of the decision's.
    #[error("the decision {decision} cannot be {value}")]
    Value {
        /// The decision.
        decision: DecisionPath,
        /// What it was to be.
        value: String,
    },
    /// A value for what is no active decision.
    #[error(
        "{0} is no decision of this candidate: the space has none of that name, or its branch is not taken"
    )]
    Needless(DecisionPath),
    /// A score that is no finite number.
    #[error("its score is not a finite number")]
    Score,
}

/// A value is shown up to so many characters.
const SHOWN: usize = 60;

impl Known {
    /// The same with every value as the space writes it.
    ///
    /// # Errors
    /// [`NotOfTheSpace`], with the decision.
    pub fn of_space(&self, space: &Space) -> Result<Self, NotOfTheSpace> {
        if self.score.is_some_and(|score| !score.is_finite()) {
            return Err(NotOfTheSpace::Score);
        }
        let mut reading = Reading {
            given: &self.decisions,
            used: BTreeSet::new(),
            wrong: None,
        };
        let decisions = space.expand(&mut reading).candidate;
        let Reading { used, wrong, .. } = reading;
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        let needless = self.decisions.0.keys().find(|path| !used.contains(*path));
        match needless {
            Some(path) => Err(NotOfTheSpace::Needless(path.clone())),
            None => Ok(Self {
                decisions,
                score: self.score,
            }),
        }
    }
}

/// Follows the values that were given.
struct Reading<'a> {
    given: &'a Candidate,
    used: BTreeSet<DecisionPath>,
    wrong: Option<NotOfTheSpace>,
}

impl Chooser for Reading<'_> {
    fn choose(&mut self, path: &DecisionPath, domain: &Domain) -> Value {
        let given = self.given.get(path);
        self.used.insert(path.clone());
        let value = given.and_then(|value| {
            // A name that looks like a number, out of a table of text.
            let text = || domain.canonical(&Value::Text(value.to_string()));
            domain.canonical(value).or_else(text)
        });
        let Some(value) = value else {
            self.wrong.get_or_insert_with(|| match given {
                None => NotOfTheSpace::Lacks(path.clone()),
                Some(value) => NotOfTheSpace::Value {
                    decision: path.clone(),
                    value: value.to_string().chars().take(SHOWN).collect(),
                },
            });
            return domain.first();
        };
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::read;

    fn known(json: serde_json::Value) -> Result<Known, String> {
        let text = "name: x\nhyperparameters: {a: {choice: [1, 2]}, b: {choice: ['3', x]}, c: {range: [0.0, 1.0]}}\n\
                    training:\n  optimizer:\n    choice:\n      sgd: {learning_rate: {choice: [0.1, 0.2]}}\n      \
                    adamw: {}\nevaluator: mine\nobjectives: [{maximize: s}]\nbudget: {trials: 1}\n";
        let spec = read(text, "x.yaml").unwrap_or_else(|errors| panic!("{errors}"));
        let known: Known = serde_json::from_value(json).unwrap();
        known
            .of_space(&spec.space)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_written_as_the_space_does() {
        let json = serde_json::json!({"decisions": {"hyperparameters.a": 2.0, "hyperparameters.b": 3,
            "hyperparameters.c": 1, "training.optimizer": "adamw"}, "score": 0.5});
        let found = known(json).unwrap();
        let written = serde_json::to_value(&found.decisions).unwrap();
        assert_eq!(written["hyperparameters.a"], 2);
        assert_eq!(written["hyperparameters.b"], "3");
        assert_eq!(written["hyperparameters.c"], 1.0);
        assert_eq!(found.score, Some(0.5));
    }

    #[test]
    fn what_is_not_of_the_space_is_told_with_its_decision() {
        let with = |more: &str, value: serde_json::Value| {
            let mut json = serde_json::json!({"decisions": {"hyperparameters.a": 1, "hyperparameters.b": "x",
                "hyperparameters.c": 0.5, "training.optimizer": "adamw"}});
            match value {
                serde_json::Value::Null => {
                    drop(json["decisions"].as_object_mut().unwrap().remove(more))
                }
                value => json["decisions"][more] = value,
            }
            known(json).unwrap_err()
        };
        assert_eq!(
            with("hyperparameters.a", 7.into()),
            "the decision hyperparameters.a cannot be 7"
        );
        assert_eq!(
            with("hyperparameters.c", serde_json::Value::Null),
            "the decision hyperparameters.c has no value"
        );
        let inactive = with("training.optimizer.learning_rate", 0.1.into());
        assert!(
            inactive.starts_with("training.optimizer.learning_rate is no decision"),
            "{inactive}"
        );
        assert!(with("nonsense", 1.into()).starts_with("nonsense is no decision"));
    }
}
