//! The size of the recipe: the decisions among its settings.

use super::size::{of_setting, one_of};
use super::training::{OptimizerSpace, Training};
use super::ways::Tally;

pub(super) fn of_training(training: &Training) -> Tally {
    let optimizers: Vec<_> = training.optimizer.iter().map(of_optimizer).collect();
    let schedules: Vec<_> = training
        .schedule
        .iter()
        .map(|schedule| of_setting(schedule.warmup_epochs()))
        .collect();
    of_setting(&training.batch_size)
        .and(of_setting(&training.label_smoothing))
        .and(one_or_fixed(&optimizers))
        .and(one_or_fixed(&schedules))
}

/// As [`one_of`], but a single part is no decision.
fn one_or_fixed(parts: &[Tally]) -> Tally {
    match parts {
        [] => Tally::default(),
        [single] => single.clone(),
        several => one_of(several.iter().cloned()),
    }
}

fn of_optimizer(optimizer: &OptimizerSpace) -> Tally {
    match optimizer {
        OptimizerSpace::Sgd {
            learning_rate,
            momentum,
            nesterov,
            weight_decay,
        } => of_setting(learning_rate)
            .and(of_setting(momentum))
            .and(of_setting(nesterov))
            .and(of_setting(weight_decay)),
        OptimizerSpace::Adamw {
            learning_rate,
            weight_decay,
        } => of_setting(learning_rate).and(of_setting(weight_decay)),
    }
}
