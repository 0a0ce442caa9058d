//! Hyperparameters: what only the evaluator reads, by names of the user's choice. One may hold others that exist
//! only where it is taken. May import the other words of this crate, never I/O.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::domain::Domain;
use super::expand::Expansion;
use super::expand::Part::Word;
use super::expand_blocks::{domain_of_names, flag};
use super::setting::Setting;
use super::size::{all, of_setting, one_of};
use super::tally::Tally;
use super::work::Work;
use crate::candidate::Value;

/// Hyperparameters by name.
pub type Hyperparameters = BTreeMap<String, Hyperparameter>;

/// A hyperparameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hyperparameter {
    /// Several under one name.
    Group(Hyperparameters),
    /// One of several named alternatives; only what belongs to the one that is taken exists.
    Choice(Vec<HyperparameterAlternative>),
    /// These, or none of them.
    Optional(Hyperparameters),
    /// A scalar. Written without a word of its own, as journals had it before there were others.
    #[serde(untagged)]
    Setting(Setting<Value>),
}

/// An alternative of a hyperparameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HyperparameterAlternative {
    /// Its name, the value of the decision.
    pub name: String,
    /// How likely it is to be sampled, compared with the others; absent: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// The hyperparameters that exist when it is taken.
    pub settings: Hyperparameters,
}

impl Hyperparameter {
    /// The domain of the decision that it is, if it is one.
    #[must_use]
    pub fn domain(&self) -> Option<Domain> {
        match self {
            Self::Group(_) => None,
            Self::Choice(alternatives) => Some(domain_of(alternatives)),
            Self::Optional(_) => Some(flag()),
            Self::Setting(setting) => setting.domain().cloned(),
        }
    }
}

fn domain_of(alternatives: &[HyperparameterAlternative]) -> Domain {
    domain_of_names(
        (alternatives.iter()).map(|alternative| (alternative.name.as_str(), alternative.weight)),
    )
}

/// The names of all values that hyperparameters may have, those inside others behind a point:
/// `optimizer.sgd.momentum`.
pub(crate) fn names_of(all: &Hyperparameters) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect(all, "", &mut names);
    names
}

fn collect(all: &Hyperparameters, before: &str, names: &mut BTreeSet<String>) {
    for (name, one) in all {
        let name = format!("{before}{name}");
        match one {
            Hyperparameter::Setting(_) => {
                names.insert(name);
            }
            Hyperparameter::Group(inside) => collect(inside, &format!("{name}."), names),
            Hyperparameter::Choice(alternatives) => {
                for alternative in alternatives {
                    let before = format!("{name}.{}.", alternative.name);
                    collect(&alternative.settings, &before, names);
                }
                names.insert(name);
            }
            Hyperparameter::Optional(inside) => {
                collect(inside, &format!("{name}.optional."), names);
                names.insert(format!("{name}.optional"));
            }
        }
    }
}

impl Expansion<'_> {
    /// The values of hyperparameters, fixed ones as well, with their paths behind `before`.
    pub(super) fn hyperparameters(
        &mut self,
        all: &Hyperparameters,
        before: &str,
        values: &mut BTreeMap<String, Value>,
    ) {
        for (word, one) in all {
            let name = format!("{before}{word}");
            match one {
                Hyperparameter::Setting(setting) => {
                    let value = self.setting(word, setting);
                    values.insert(name, value);
                }
                Hyperparameter::Group(inside) => self.within(&[Word("."), Word(word)], |e| {
                    e.hyperparameters(inside, &format!("{name}."), values);
                }),
                Hyperparameter::Choice(alternatives) => {
                    let taken = self.decide_with(word, |_| domain_of(alternatives));
                    let one = alternatives
                        .iter()
                        .find(|one| matches!(&taken, Value::Text(name) if *name == one.name));
                    // Only a damaged space has none.
                    if let Some(one) = one {
                        let step = [Word("."), Word(word), Word("."), Word(&one.name)];
                        let before = format!("{name}.{}.", one.name);
                        self.within(&step, |e| {
                            e.hyperparameters(&one.settings, &before, values);
                        });
                    }
                    values.insert(name, taken);
                }
                Hyperparameter::Optional(inside) => {
                    self.within(&[Word("."), Word(word)], |e| {
                        let taken = e.decide_with("optional", |_| flag());
                        if taken == Value::Boolean(true) {
                            e.within(&[Word(".optional")], |e| {
                                e.hyperparameters(inside, &format!("{name}.optional."), values);
                            });
                        }
                        values.insert(format!("{name}.optional"), taken);
                    });
                }
            }
        }
    }
}

/// The decisions among hyperparameters.
pub(super) fn of_hyperparameters(hyperparameters: &Hyperparameters, work: &Work) -> Tally {
    let parts = hyperparameters.values().map(|one| match one {
        Hyperparameter::Setting(setting) => of_setting(setting),
        Hyperparameter::Group(inside) => of_hyperparameters(inside, work),
        Hyperparameter::Choice(alternatives) => {
            let inside = alternatives.iter().map(|one| &one.settings);
            one_of(
                inside.map(|settings| of_hyperparameters(settings, work)),
                work,
            )
        }
        Hyperparameter::Optional(inside) => {
            one_of([Tally::default(), of_hyperparameters(inside, work)], work)
        }
    });
    all(parts, work)
}
