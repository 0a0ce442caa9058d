//! How large a space is, computed over its tree and never by enumeration.

use super::block::{Block, BlockKind, Branches, Repeat};
use super::domain::Domain;
use super::setting::Setting;
use super::size_layer::of_layer;
use super::training::{OptimizerSpace, Training};
use super::{MAX_BLOCKS, Space};

/// The size of a space.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Size {
    /// Logarithm to base 10 of the number of candidates, continuous decisions left out.
    pub log10: f64,
    /// Continuous decisions, every alternative counted and every repeat at its maximum.
    pub continuous: u64,
}

/// How much a space holds, every alternative counted and every repeat at its maximum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Decisions.
    pub decisions: u64,
    /// Blocks, and rounds of repeats.
    pub blocks: u64,
}

impl Space {
    /// The size of the space.
    #[must_use]
    pub fn size(&self) -> Size {
        let tally = self.tally();
        Size {
            log10: tally.log10,
            continuous: tally.continuous,
        }
    }

    /// How much the space holds; the counts stop at the largest 64-bit number.
    #[must_use]
    pub fn count(&self) -> Count {
        let tally = self.tally();
        Count {
            decisions: tally.decisions,
            blocks: tally.blocks,
        }
    }

    fn tally(&self) -> Tally {
        let hyperparameters = self.hyperparameters.values().map(of_setting);
        of_list(self.network.as_deref().unwrap_or_default())
            .and(of_training(&self.training))
            .and(all(hyperparameters))
    }
}

/// Size and count of a part of a space.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    log10: f64,
    continuous: u64,
    decisions: u64,
    blocks: u64,
}

impl Tally {
    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            log10: self.log10 + other.log10,
            ..self.counted_with(other)
        }
    }

    fn counted_with(self, other: Self) -> Self {
        Self {
            log10: self.log10,
            continuous: self.continuous.saturating_add(other.continuous),
            decisions: self.decisions.saturating_add(other.decisions),
            blocks: self.blocks.saturating_add(other.blocks),
        }
    }
}

fn all(parts: impl Iterator<Item = Tally>) -> Tally {
    parts.fold(Tally::default(), Tally::and)
}

/// One of several parts: a decision among them.
fn one_of(parts: &[Tally]) -> Tally {
    let counted = parts
        .iter()
        .fold(Tally::default(), |sum, part| sum.counted_with(*part));
    Tally {
        log10: log10_sum(parts.iter().map(|part| part.log10)),
        decisions: counted.decisions.saturating_add(1),
        ..counted
    }
}

/// The logarithm of a sum from the logarithms of its terms, without leaving the range of a float.
fn log10_sum(terms: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = terms.clone().fold(0.0, f64::max);
    let sum: f64 = terms.map(|term| 10_f64.powf(term - largest)).sum();
    // No terms: one empty alternative, as the expansion sees it.
    if sum > 0.0 {
        largest + sum.log10()
    } else {
        0.0
    }
}

pub(super) fn of_setting<T>(setting: &Setting<T>) -> Tally {
    setting.domain().map(of_domain).unwrap_or_default()
}

pub(super) fn of_optional<T>(setting: Option<&Setting<T>>) -> Tally {
    setting.map(of_setting).unwrap_or_default()
}

fn of_domain(domain: &Domain) -> Tally {
    Tally {
        log10: domain.log10_size(),
        continuous: u64::from(domain.count().is_none()),
        decisions: 1,
        blocks: 0,
    }
}

fn of_list(blocks: &[Block]) -> Tally {
    let own = Tally {
        blocks: blocks.len() as u64,
        ..Tally::default()
    };
    all(blocks.iter().map(of_block)).and(own)
}

fn of_block(block: &Block) -> Tally {
    match &block.kind {
        BlockKind::Layer(layer) => of_layer(layer),
        BlockKind::Choice(alternatives) => {
            let parts: Vec<_> = alternatives
                .iter()
                .map(|alternative| of_list(&alternative.blocks))
                .collect();
            one_of(&parts)
        }
        BlockKind::Optional(blocks) => one_of(&[Tally::default(), of_list(blocks)]),
        BlockKind::Repeat(repeat) => of_repeat(repeat),
        BlockKind::Residual(blocks) => of_list(blocks),
        BlockKind::Branches(Branches { join, of }) => {
            all(of.iter().map(|blocks| of_list(blocks))).and(of_setting(join))
        }
    }
}

/// A sum over the possible times. Shared decisions are made once, and not at all for zero times.
fn of_repeat(repeat: &Repeat) -> Tally {
    let once = of_list(&repeat.block);
    let times = times_of(&repeat.times);
    let most = times.iter().copied().max().unwrap_or(0);
    let distinct = if repeat.shared { most.min(1) } else { most };
    Tally {
        log10: log10_sum(times.iter().map(|&times| {
            let made = if repeat.shared { times.min(1) } else { times };
            once.log10 * made as f64
        })),
        continuous: once.continuous.saturating_mul(distinct),
        decisions: once
            .decisions
            .saturating_mul(distinct)
            .saturating_add(u64::from(repeat.times.domain().is_some())),
        blocks: once.blocks.saturating_add(1).saturating_mul(most),
    }
}

/// The values that `times` may take, no more of them than any space may hold blocks.
fn times_of(times: &Setting<u64>) -> Vec<u64> {
    use super::setting::Scalar;

    match times {
        Setting::Fixed(times) => vec![*times],
        Setting::Decide(domain) => {
            let count = domain.count().unwrap_or(1).clamp(1, MAX_BLOCKS);
            (0..count)
                .map(|index| domain.nth(index).unwrap_or_else(|| domain.first()))
                .map(|value| u64::from_value(&value).unwrap_or_else(u64::fallback))
                .collect()
        }
    }
}

fn of_training(training: &Training) -> Tally {
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
        [single] => *single,
        several => one_of(several),
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
