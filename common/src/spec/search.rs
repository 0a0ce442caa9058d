//! Reads everything of a spec but its network: data, recipe, evaluator, searcher, objective, budget.

use super::reader::{At, Fields, Reader, either};
use super::scalar::Kind;
use super::words::{self, Table};
use super::{Budget, Constraint, EvaluatorSpec, Measure, SearcherSpec, WorkerSpec};
use crate::candidate::Value;
use crate::dataset::{DatasetFormat, DatasetReference};
use crate::labels::Labels;
use crate::metrics::{Direction, Objective};
use crate::space::{OptimizerSpace, ScheduleSpace, Setting, Training};

/// The most hyperparameters, constraints and arguments of a command.
pub(super) const MAX_ITEMS: usize = 1_000;

impl Reader<'_> {
    pub(super) fn dataset(&mut self, at: &At<'_>) -> Option<DatasetReference> {
        let fields = self.fields(at, &words::DATASET);
        let format = self.text(&fields, "format").map(|_| DatasetFormat::Idx);
        let path = self.text(&fields, "path");
        if let (Some(path), Some(at)) = (&path, fields.get("path")) {
            let up = path.split(['/', '\\']).any(|part| part == "..");
            if up {
                self.wrong(at, "a path below the data root has no `..` in it");
            }
        }
        let train = self.scalar(&fields, "train");
        let validation = self.scalar(&fields, "validation");
        let split_seed = self.scalar(&fields, "split_seed").unwrap_or(0);
        Some(DatasetReference {
            format: format?,
            path: path?,
            train,
            validation: validation?,
            split_seed,
        })
    }

    pub(super) fn training(&mut self, at: &At<'_>) -> Training {
        let fields = self.fields(at, &words::TRAINING);
        let default = Training::default();
        let epochs = self.scalar::<u64>(&fields, "epochs");
        Training {
            epochs: epochs
                .and_then(|epochs| u32::try_from(epochs).ok())
                .unwrap_or(default.epochs),
            batch_size: self
                .setting(&fields, "batch_size")
                .unwrap_or(default.batch_size),
            optimizer: match fields.get("optimizer") {
                None => default.optimizer,
                Some(at) => self.one_or_several(at, &words::OPTIMIZERS, Self::optimizer),
            },
            schedule: match fields.get("schedule") {
                None => default.schedule,
                Some(at) => self.one_or_several(at, &words::SCHEDULES, Self::schedule),
            },
            label_smoothing: self
                .setting(&fields, "label_smoothing")
                .unwrap_or(default.label_smoothing),
        }
    }

    /// `word`, `{word: {...}}`, `{choice: [word, word]}` or `{choice: {word: {...}, word: {...}}}`.
    fn one_or_several<T>(
        &mut self,
        at: &At<'_>,
        known: &[(&'static str, &'static Table)],
        read: fn(&mut Self, &'static str, &Fields<'_>) -> Option<T>,
    ) -> Vec<T> {
        let choice = at
            .entries()
            .and_then(|entries| entries.into_iter().find(|(key, _)| key.text == "choice"));
        let Some((_, choice)) = choice else {
            return self
                .worded(at, known)
                .and_then(|(word, fields)| read(self, word, &fields))
                .into_iter()
                .collect();
        };
        if at.entries().is_some_and(|entries| entries.len() > 1) {
            self.wrong(at, "a choice stands alone in its map");
        }
        let before = self.mistakes();
        let several: Vec<_> = match (choice.items(), choice.entries()) {
            (Some(items), _) => items
                .iter()
                .filter_map(|item| self.worded(item, known))
                .collect(),
            (_, Some(entries)) => entries
                .iter()
                .filter_map(|(key, body)| self.word_with(key.place, &key.text, body, known))
                .collect(),
            _ => Vec::new(),
        };
        if several.is_empty() {
            if self.mistakes() == before {
                self.wrong(
                    &choice,
                    format!(
                        "alternatives are expected here, of {}",
                        either(&names(known))
                    ),
                );
            }
            return Vec::new();
        }
        for (index, (word, _)) in several.iter().enumerate() {
            if several[..index].iter().any(|(other, _)| other == word) {
                self.wrong(&choice, format!("the alternative `{word}` is given twice"));
            }
        }
        several
            .into_iter()
            .filter_map(|(word, fields)| read(self, word, &fields))
            .collect()
    }

    /// A known word alone, or with its settings.
    pub(super) fn worded<'n>(
        &mut self,
        at: &At<'n>,
        known: &[(&'static str, &'static Table)],
    ) -> Option<(&'static str, Fields<'n>)> {
        if let Some((word, _)) = at.scalar() {
            // The table says if a setting is missing.
            return self.word_with(at.place, word, &at.nothing(), known);
        }
        match at.entries().as_deref() {
            Some([(key, body)]) => self.word_with(key.place, &key.text, body, known),
            _ => {
                self.wrong(
                    at,
                    format!(
                        "one of {} is expected here, alone or with its settings",
                        either(&names(known))
                    ),
                );
                None
            }
        }
    }

    fn word_with<'n>(
        &mut self,
        place: super::yaml::Place,
        word: &str,
        body: &At<'n>,
        known: &[(&'static str, &'static Table)],
    ) -> Option<(&'static str, Fields<'n>)> {
        let Some(&(word, table)) = known.iter().find(|(name, _)| *name == word) else {
            let suggestion = super::error::nearest(word, names(known));
            let message = format!(
                "{} is not one of {}",
                super::scalar::shown(word),
                names(known).join(", ")
            );
            self.error_near(place, &body.path, message, suggestion);
            return None;
        };
        Some((word, self.fields(body, table)))
    }

    fn optimizer(&mut self, word: &'static str, fields: &Fields<'_>) -> Option<OptimizerSpace> {
        if word == "adamw" {
            return Some(OptimizerSpace::Adamw {
                learning_rate: self.setting_or(fields, "learning_rate", 1e-3),
                weight_decay: self.setting_or(fields, "weight_decay", 1e-2),
            });
        }
        let learning_rate = self.setting(fields, "learning_rate");
        let momentum = self.setting_or(fields, "momentum", 0.0);
        let nesterov = self.setting_or(fields, "nesterov", false);
        if nesterov == Setting::Fixed(true)
            && momentum == Setting::Fixed(0.0)
            && let Some(at) = fields.get("nesterov")
        {
            self.wrong(at, "nesterov needs a momentum above 0");
        }
        Some(OptimizerSpace::Sgd {
            learning_rate: learning_rate?,
            momentum,
            nesterov,
            weight_decay: self.setting_or(fields, "weight_decay", 0.0),
        })
    }

    fn schedule(&mut self, word: &'static str, fields: &Fields<'_>) -> Option<ScheduleSpace> {
        let warmup_epochs = self.setting_or(fields, "warmup_epochs", 0.0);
        Some(match word {
            "constant" => ScheduleSpace::Constant { warmup_epochs },
            _ => ScheduleSpace::Cosine { warmup_epochs },
        })
    }

    pub(super) fn evaluator(&mut self, at: &At<'_>) -> Option<EvaluatorSpec> {
        if at.scalar().is_some() {
            return match self.value(at, Kind::Name)? {
                Value::Text(name) => Some(EvaluatorSpec::Named(name)),
                _ => None,
            };
        }
        let fields = self.fields(at, &words::EVALUATOR);
        let at = match (fields.get("command"), fields.get("table")) {
            (Some(command), None) => command,
            (None, Some(table)) => {
                return self
                    .table(table)
                    .map(std::sync::Arc::new)
                    .map(EvaluatorSpec::Table);
            }
            _ => {
                self.wrong(at, "one of `command` and `table` is expected here");
                return None;
            }
        };
        let items = at.items().unwrap_or_default();
        if items.is_empty() || items.len() > MAX_ITEMS {
            self.wrong(
                at,
                "a list of the program and its arguments is expected here, as [python3, train.py]",
            );
            return None;
        }
        let mut command = Vec::with_capacity(items.len());
        for item in &items {
            if let Value::Text(argument) = self.value(item, Kind::Text)? {
                command.push(argument);
            }
        }
        Some(EvaluatorSpec::Command(command))
    }

    /// A count whose bound in the table fits 32 bits.
    pub(super) fn small(&mut self, fields: &Fields<'_>, key: &str) -> Option<u32> {
        let count: u64 = self.scalar(fields, key)?;
        u32::try_from(count).ok()
    }

    pub(super) fn objective(&mut self, at: &At<'_>) -> Option<Objective> {
        let Some(items) = at.items() else {
            self.wrong(at, "a list is expected here, as [{maximize: accuracy}]");
            return None;
        };
        let [item] = items.as_slice() else {
            let message = match items.len() {
                0 => "one objective is needed, as [{maximize: accuracy}]",
                _ => {
                    "only one objective is offered yet; make the others constraints, or leave them out"
                }
            };
            self.wrong(at, message);
            return None;
        };
        let before = self.mistakes();
        let fields = self.fields(item, &words::OBJECTIVE);
        match (
            self.text(&fields, "maximize"),
            self.text(&fields, "minimize"),
        ) {
            (Some(metric), None) => Some(Objective {
                metric,
                direction: Direction::Maximize,
            }),
            (None, Some(metric)) => Some(Objective {
                metric,
                direction: Direction::Minimize,
            }),
            _ => {
                if self.mistakes() == before {
                    self.wrong(
                        item,
                        "one metric with its direction is expected here, as {maximize: accuracy}",
                    );
                }
                None
            }
        }
    }

    pub(super) fn constraints(&mut self, at: &At<'_>) -> Vec<Constraint> {
        let Some(items) = at.items().filter(|items| items.len() <= MAX_ITEMS) else {
            self.wrong(
                at,
                "a list is expected here, as [{parameters: {at_most: 300k}}]",
            );
            return Vec::new();
        };
        items
            .iter()
            .filter_map(|item| self.constraint(item))
            .collect()
    }

    fn constraint(&mut self, at: &At<'_>) -> Option<Constraint> {
        let fields = self.fields(at, &words::CONSTRAINT);
        let measures = [
            ("parameters", Measure::Parameters),
            ("macs", Measure::Macs),
            ("activation_bytes", Measure::ActivationBytes),
        ];
        let given: Vec<_> = measures
            .into_iter()
            .filter_map(|(word, measure)| Some((measure, fields.get(word)?)))
            .collect();
        let (measure, bounds) = match given.as_slice() {
            &[only] => only,
            _ => {
                self.wrong(at, "one measure with its bounds is expected here, as {parameters: {at_most: 300k}}");
                return None;
            }
        };
        let fields = self.fields(bounds, &words::BOUNDS);
        let at_least: Option<u64> = self.scalar(&fields, "at_least");
        let at_most: Option<u64> = self.scalar(&fields, "at_most");
        match (at_least, at_most) {
            (None, None) if fields.get("at_least").or(fields.get("at_most")).is_none() => {
                self.wrong(bounds, "`at_least`, `at_most` or both are expected here");
            }
            (Some(least), Some(most)) if least > most => {
                self.wrong(
                    bounds,
                    format!("nothing is at least {least} and at most {most}"),
                );
            }
            _ => {}
        }
        Some(Constraint {
            measure,
            at_least,
            at_most,
        })
    }

    /// The budget; `objective` is what a target must be about, `searcher` what would have to expect improvements.
    pub(super) fn budget(
        &mut self,
        at: &At<'_>,
        objective: Option<&Objective>,
        searcher: Option<&SearcherSpec>,
    ) -> Budget {
        let fields = self.fields(at, &words::BUDGET);
        let budget = Budget {
            trials: self.small(&fields, "trials"),
            time_ms: self.scalar(&fields, "time"),
            target: fields
                .get("target")
                .and_then(|at| self.target(at, objective)),
            patience: self.small(&fields, "patience"),
            deadline_ms: self.scalar(&fields, "deadline"),
            compute_ms: self.scalar(&fields, "compute"),
            expected_improvement: self.scalar(&fields, "expected_improvement"),
        };
        if let (Some(at), Some(searcher)) = (fields.get("expected_improvement"), searcher)
            && !searcher.expects_improvements()
        {
            let word = searcher.word();
            self.wrong(
                at,
                format!(
                    "`{word}` has no model that says what a further trial would bring; use `searcher: bayesian`, \
                     or end by `patience`"
                ),
            );
        }
        let ends = ["trials", "time", "deadline"];
        if ends.iter().all(|end| fields.get(end).is_none()) {
            self.wrong(
                at,
                "`trials`, `time` or `deadline` is needed, or the search might never end",
            );
        }
        budget
    }

    /// What a worker must be.
    pub(super) fn worker(&mut self, at: &At<'_>) -> WorkerSpec {
        let fields = self.fields(at, &words::WORKER);
        let labels = fields.get("labels").map(|at| self.labels(at));
        WorkerSpec {
            labels: labels.unwrap_or_default(),
        }
    }

    fn labels(&mut self, at: &At<'_>) -> Labels {
        let mut labels = Labels::default();
        let Some(entries) = at.entries() else {
            self.wrong(
                at,
                "labels with their values are expected here, as {gpu: h100}",
            );
            return labels;
        };
        for (key, entry) in entries {
            let Some((value, _)) = entry.scalar() else {
                self.wrong(&entry, "the value of a label is a word");
                continue;
            };
            if let Err(problem) = labels.add(&key.text, value) {
                self.wrong(&entry, problem.to_string());
            }
        }
        labels
    }

    fn target(&mut self, at: &At<'_>, objective: Option<&Objective>) -> Option<f64> {
        let metric = objective.map_or("accuracy", |objective| objective.metric.as_str());
        let entries = at.entries().unwrap_or_default();
        let [(key, entry)] = entries.as_slice() else {
            self.wrong(
                at,
                format!(
                    "the objective's metric with its value is expected here, as {{{metric}: 0.9}}"
                ),
            );
            return None;
        };
        if objective.is_some() && key.text != metric {
            let suggestion = super::error::nearest(&key.text, [metric]);
            let message = format!("a target is about the objective's metric, which is `{metric}`");
            self.error_near(key.place, &entry.path, message, suggestion);
            return None;
        }
        match self.value(entry, words::TARGET)? {
            Value::Real(target) => Some(target),
            _ => None,
        }
    }
}

fn names(known: &[(&'static str, &'static Table)]) -> Vec<&'static str> {
    known.iter().map(|(name, _)| *name).collect()
}
