//! The size of the recipe: the decisions among its settings.

use super::size::{all, of_setting, one_of};
use super::tally::Tally;
use super::training::{OptimizerSpace, Training};
use super::work::Work;

pub(super) fn of_training(training: &Training, work: &Work) -> Tally {
    let optimizers = training.optimizer.iter();
    let optimizers: Vec<_> = optimizers.map(|one| of_optimizer(one, work)).collect();
    let schedules = training.schedule.iter();
    let schedules: Vec<_> = schedules
        .map(|schedule| of_setting(schedule.warmup_epochs()))
        .collect();
    let parts = [
        of_setting(&training.batch_size),
        of_setting(&training.label_smoothing),
        one_or_fixed(optimizers, work),
        one_or_fixed(schedules, work),
    ];
    all(parts.into_iter(), work)
}

/// As [`one_of`], but a single part is no decision.
fn one_or_fixed(mut parts: Vec<Tally>, work: &Work) -> Tally {
    match parts.len() {
        0 | 1 => parts.pop().unwrap_or_default(),
        _ => one_of(parts, work),
    }
}

fn of_optimizer(optimizer: &OptimizerSpace, work: &Work) -> Tally {
    match optimizer {
        OptimizerSpace::Sgd {
            learning_rate,
            momentum,
            nesterov,
            weight_decay,
        } => {
            let parts = [
                of_setting(learning_rate),
                of_setting(momentum),
                of_setting(nesterov),
                of_setting(weight_decay),
            ];
            all(parts.into_iter(), work)
        }
        OptimizerSpace::Adamw {
            learning_rate,
            weight_decay,
        } => of_setting(learning_rate).and(of_setting(weight_decay), work),
    }
}
