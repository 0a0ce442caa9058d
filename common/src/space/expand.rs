//! The one traversal of a space: it asks a chooser for every active decision in order, and builds at once
//! the candidate and what the candidate means. What it does with a layer is in `expand_layer`.

use std::collections::BTreeMap;
use std::fmt;

use super::block::{Alternative, Block, BlockKind, Branches, Join, Repeat};
use super::domain::Domain;
use super::expand_layer::ResolvedLayer;
use super::setting::{Scalar, Setting};
use super::training::{OptimizerSpace, ScheduleSpace, Training};
use super::{MAX_BLOCKS, Space};
use crate::candidate::{Candidate, DecisionPath, Value};
use crate::recipe::{Optimizer, Recipe, Schedule};

/// Answers the questions of an expansion.
pub trait Chooser {
    /// A member of `domain` for the decision at `path`. Called once for each active decision, in the
    /// order of the spec; an answer outside the domain is replaced by the domain's first value.
    fn choose(&mut self, path: &DecisionPath, domain: &Domain) -> Value;
}

/// A candidate with what it means: no decision is left in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// Every active decision.
    pub candidate: Candidate,
    /// The network's blocks.
    pub network: Option<Vec<ResolvedBlock>>,
    /// The recipe.
    pub recipe: Recipe,
    /// The hyperparameters, fixed ones as well.
    pub hyperparameters: BTreeMap<String, Value>,
    /// Whether the network was cut because it has more than [`MAX_BLOCKS`] blocks.
    pub cut: bool,
}

/// A block without decisions.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedBlock {
    /// Where it stands, unique in the network, e.g. `network[1]#2[0].choice.plain[0]`.
    pub name: String,
    /// What it is.
    pub kind: ResolvedKind,
}

/// What a block without decisions is.
#[derive(Clone, Debug, PartialEq)]
pub enum ResolvedKind {
    /// A layer.
    Layer(ResolvedLayer),
    /// Blocks one after another.
    Sequence(Vec<ResolvedBlock>),
    /// The blocks' output added to their input.
    Residual(Vec<ResolvedBlock>),
    /// Blocks side by side.
    Branches(Join, Vec<Vec<ResolvedBlock>>),
}

impl Space {
    /// Resolves one candidate: asks `chooser` for every active decision. A decision inside a branch that
    /// is not taken is never asked. Total: it ends and does not fail, whatever the chooser answers.
    pub fn expand(&self, chooser: &mut dyn Chooser) -> Resolved {
        let mut expansion = Expansion {
            chooser,
            candidate: Candidate::default(),
            here: Paths::default(),
            blocks: 0,
        };
        let network = self
            .network
            .as_ref()
            .map(|blocks| expansion.within(format_args!("network"), |e| e.list(blocks)));
        let recipe = expansion.within(format_args!("training"), |e| e.training(&self.training));
        let hyperparameters = self
            .hyperparameters
            .iter()
            .map(|(name, setting)| {
                let value = expansion.within(format_args!("hyperparameters"), |e| {
                    e.setting(name, setting)
                });
                (name.clone(), value)
            })
            .collect();
        Resolved {
            cut: expansion.blocks > MAX_BLOCKS,
            candidate: expansion.candidate,
            network,
            recipe,
            hyperparameters,
        }
    }
}

/// Where the traversal stands. The two differ below a shared repeat only, whose decisions have one path
/// while each of its instances has its own.
#[derive(Default)]
struct Paths {
    decision: String,
    instance: String,
}

pub(super) struct Expansion<'a> {
    chooser: &'a mut dyn Chooser,
    candidate: Candidate,
    here: Paths,
    blocks: u64,
}

impl Expansion<'_> {
    /// Runs `body` one step deeper.
    pub(super) fn within<T>(
        &mut self,
        step: fmt::Arguments<'_>,
        body: impl FnOnce(&mut Self) -> T,
    ) -> T {
        self.within_both(step, step, body)
    }

    fn within_both<T>(
        &mut self,
        decision: fmt::Arguments<'_>,
        instance: fmt::Arguments<'_>,
        body: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let marks = (self.here.decision.len(), self.here.instance.len());
        push(&mut self.here.decision, decision);
        push(&mut self.here.instance, instance);
        let result = body(self);
        self.here.decision.truncate(marks.0);
        self.here.instance.truncate(marks.1);
        result
    }

    /// The value of the decision at `here.word`. One that was made already (in an earlier instance of a
    /// shared repeat) keeps its value.
    fn decide(&mut self, word: &str, domain: &Domain) -> Value {
        let path = DecisionPath(format!("{}.{word}", self.here.decision));
        if let Some(made) = self.candidate.get(&path) {
            return made.clone();
        }
        let answer = self.chooser.choose(&path, domain);
        let value = domain.canonical(&answer).unwrap_or_else(|| domain.first());
        self.candidate.0.insert(path, value.clone());
        value
    }

    pub(super) fn setting<T: Scalar>(&mut self, word: &str, setting: &Setting<T>) -> T {
        match setting {
            Setting::Fixed(value) => value.clone(),
            Setting::Decide(domain) => {
                T::from_value(&self.decide(word, domain)).unwrap_or_else(T::fallback)
            }
        }
    }

    pub(super) fn optional<T: Scalar>(
        &mut self,
        word: &str,
        setting: Option<&Setting<T>>,
    ) -> Option<T> {
        setting.map(|setting| self.setting(word, setting))
    }

    fn list(&mut self, blocks: &[Block]) -> Vec<ResolvedBlock> {
        let mut resolved = Vec::with_capacity(blocks.len());
        for (index, block) in blocks.iter().enumerate() {
            self.blocks += 1;
            if self.blocks > MAX_BLOCKS {
                break;
            }
            resolved.push(match &block.name {
                Some(name) => self.within(format_args!(".{name}"), |e| e.block(block)),
                None => self.within(format_args!("[{index}]"), |e| e.block(block)),
            });
        }
        resolved
    }

    fn block(&mut self, block: &Block) -> ResolvedBlock {
        let kind = match &block.kind {
            BlockKind::Layer(layer) => ResolvedKind::Layer(self.layer(layer)),
            BlockKind::Choice(alternatives) => self.choice(alternatives),
            BlockKind::Optional(blocks) => self.optional_blocks(blocks),
            BlockKind::Repeat(repeat) => self.repeat(repeat),
            BlockKind::Residual(blocks) => {
                ResolvedKind::Residual(self.within(format_args!(".residual"), |e| e.list(blocks)))
            }
            BlockKind::Branches(branches) => self.branches(branches),
        };
        ResolvedBlock {
            name: self.here.instance.clone(),
            kind,
        }
    }

    fn choice(&mut self, alternatives: &[Alternative]) -> ResolvedKind {
        let taken = self.decide(
            "choice",
            &words(alternatives.iter().map(|a| a.name.as_str())),
        );
        let blocks = alternatives
            .iter()
            .find(|alternative| Value::Text(alternative.name.clone()) == taken)
            .map(|alternative| {
                self.within(format_args!(".choice.{}", alternative.name), |e| {
                    e.list(&alternative.blocks)
                })
            });
        ResolvedKind::Sequence(blocks.unwrap_or_default())
    }

    fn optional_blocks(&mut self, blocks: &[Block]) -> ResolvedKind {
        let taken = self.decide("optional", &flag()) == Value::Boolean(true);
        ResolvedKind::Sequence(if taken {
            self.within(format_args!(".optional"), |e| e.list(blocks))
        } else {
            Vec::new()
        })
    }

    fn repeat(&mut self, repeat: &Repeat) -> ResolvedKind {
        let times = self.setting("times", &repeat.times);
        let mut instances = Vec::new();
        for instance in 1..=times {
            // Counted, or an endless repeat of nothing would never end.
            self.blocks += 1;
            if self.blocks > MAX_BLOCKS {
                break;
            }
            let own = format!("#{instance}");
            let decisions = if repeat.shared { "#all" } else { &own };
            let blocks =
                self.within_both(format_args!("{decisions}"), format_args!("{own}"), |e| {
                    e.list(&repeat.block)
                });
            instances.push(ResolvedBlock {
                name: format!("{}{own}", self.here.instance),
                kind: ResolvedKind::Sequence(blocks),
            });
        }
        ResolvedKind::Sequence(instances)
    }

    fn branches(&mut self, branches: &Branches) -> ResolvedKind {
        let join = self.setting("join", &branches.join);
        let lists = branches
            .of
            .iter()
            .enumerate()
            .map(|(index, blocks)| {
                self.within(format_args!(".branches[{index}]"), |e| e.list(blocks))
            })
            .collect();
        ResolvedKind::Branches(join, lists)
    }

    fn training(&mut self, training: &Training) -> Recipe {
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
        let taken = self.decide(word, &words(all.iter().map(&name)));
        all.iter()
            .find(|one| Value::Text(name(one).to_owned()) == taken)
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
            format_args!(".optimizer.{}", taken.word()),
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
        let warmup_epochs = self.within(format_args!(".schedule.{}", taken.word()), |e| {
            e.setting("warmup_epochs", taken.warmup_epochs())
        });
        match taken {
            ScheduleSpace::Constant { .. } => Schedule::Constant { warmup_epochs },
            ScheduleSpace::Cosine { .. } => Schedule::Cosine { warmup_epochs },
        }
    }
}

fn push(path: &mut String, step: fmt::Arguments<'_>) {
    use fmt::Write as _;
    // Writing to a String cannot fail.
    let _ = path.write_fmt(step);
}

/// The domain of a choice among words.
pub(super) fn words<'w>(words: impl Iterator<Item = &'w str>) -> Domain {
    Domain::Choice(words.map(|word| Value::Text(word.to_owned())).collect())
}

/// The domain of `optional`.
pub(super) fn flag() -> Domain {
    Domain::Choice(vec![Value::Boolean(false), Value::Boolean(true)])
}
