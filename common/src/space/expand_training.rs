//! The part of the traversal that is about the recipe.

use super::expand::Part::Word;
use super::expand::{Expansion, words};
use super::training::{OptimizerSpace, ScheduleSpace, Training};
use crate::candidate::Value;
use crate::recipe::{Optimizer, Recipe, Schedule};

impl Expansion<'_> {
    pub(super) fn training(&mut self, training: &Training) -> Recipe {
        let batch_size: u64 = self.setting("batch_size", &training.batch_size);
        Recipe {
            epochs: training.epochs,
            batch_size: u32::try_from(batch_size).unwrap_or(u32::MAX),
            optimizer: self.optimizer(&training.optimizer),
            schedule: self.schedule(&training.schedule),
            label_smoothing: self.setting("label_smoothing", &training.label_smoothing),
        }
    }

    /// The one to use among several with words of their own: a decision when there are two or more.
    fn one_of<'t, T>(
        &mut self,
        word: &str,
        all: &'t [T],
        name: impl Fn(&T) -> &'static str,
    ) -> Option<&'t T> {
        if all.len() < 2 {
            return all.first();
        }
        let taken = self.decide_with(word, |_| words(all.iter().map(&name)));
        all.iter()
            .find(|one| matches!(&taken, Value::Text(word) if word == name(one)))
    }

    fn optimizer(&mut self, optimizers: &[OptimizerSpace]) -> Optimizer {
        let Some(taken) = self.one_of("optimizer", optimizers, OptimizerSpace::word) else {
            // Only a damaged space has none; PyTorch's defaults then.
            return Optimizer::Adamw {
                learning_rate: 1e-3,
                weight_decay: 1e-2,
            };
        };
        self.within(
            &[Word(".optimizer."), Word(taken.word())],
            |e| match taken {
                OptimizerSpace::Sgd {
                    learning_rate,
                    momentum,
                    nesterov,
                    weight_decay,
                } => {
                    let learning_rate = e.setting("learning_rate", learning_rate);
                    let momentum = e.setting("momentum", momentum);
                    // Nesterov's form of no momentum is no momentum, and libtorch refuses the pair.
                    let nesterov = e.setting("nesterov", nesterov) && momentum > 0.0;
                    Optimizer::Sgd {
                        learning_rate,
                        momentum,
                        nesterov,
                        weight_decay: e.setting("weight_decay", weight_decay),
                    }
                }
                OptimizerSpace::Adamw {
                    learning_rate,
                    weight_decay,
                } => Optimizer::Adamw {
                    learning_rate: e.setting("learning_rate", learning_rate),
                    weight_decay: e.setting("weight_decay", weight_decay),
                },
            },
        )
    }

    fn schedule(&mut self, schedules: &[ScheduleSpace]) -> Schedule {
        let Some(taken) = self.one_of("schedule", schedules, ScheduleSpace::word) else {
            return Schedule::Cosine { warmup_epochs: 0.0 };
        };
        let warmup_epochs = self.within(&[Word(".schedule."), Word(taken.word())], |e| {
            e.setting("warmup_epochs", taken.warmup_epochs())
        });
        match taken {
            ScheduleSpace::Constant { .. } => Schedule::Constant { warmup_epochs },
            ScheduleSpace::Cosine { .. } => Schedule::Cosine { warmup_epochs },
        }
    }
}
