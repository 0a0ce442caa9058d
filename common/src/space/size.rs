//! How large a space is, computed over its tree and never by enumeration. Decisions that several places share
//! (ties, shared blocks, arguments) are counted once, and only for the assignments that use them.

use std::collections::HashMap;

use super::block::{Alternative, Block, BlockKind, Cell, Definition, Inputs, Repeat, Use};
use super::combinations::{MAX_SETS, combinations_count, multisets_count};
use super::domain::Domain;
use super::expand_cell::{MAX_CELL_NODES, decided, inputs_of, nodes_of};
use super::hyperparameter::of_hyperparameters;
use super::recursion::{Depths, MAX_NESTING, Possible, enter, leave, left, may_be_none};
use super::setting::{Scalar, Setting};
use super::size_names::{Frame, Meaning, closed, meaning, shared, substituted, without_stride};
use super::size_training::of_training;
use super::ways::{Number, Tally, Thing, Ways};
use super::{MAX_BLOCKS, Space};
use crate::candidate::Value;

/// The size of a space.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Size {
    /// Logarithm to base 10 of the number of candidates, continuous decisions left out.
    pub log10: f64,
    /// That number itself, where it is known exactly and fits.
    pub candidates: Option<u128>,
    /// Whether the number is an upper bound: shared decisions then meet in more ways than are kept apart.
    pub at_most: bool,
    /// Continuous decisions, every alternative counted and every repeat at its maximum.
    pub continuous: u64,
}

/// How much a space holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Decisions, every alternative counted and every repeat at its maximum.
    pub decisions: u64,
    /// The most blocks and rounds of repeats of one candidate.
    pub blocks: u64,
    /// The deepest nesting of lists of blocks, uses followed.
    pub nesting: u64,
}

impl Space {
    /// The size of the space.
    #[must_use]
    pub fn size(&self) -> Size {
        let tally = self.tally();
        let number = tally
            .ways
            .counts()
            .next()
            .map_or(Number::ONE, |(_, number)| *number);
        let at_most = tally.ways.at_most;
        Size {
            log10: number.log10,
            candidates: number.exact.filter(|_| !at_most),
            at_most,
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
            nesting: tally.nesting,
        }
    }

    /// All of it, with nothing left that is shared.
    fn tally(&self) -> Tally {
        let mut counter = Counter::new(self);
        let network = counter.list(self.network.as_deref().unwrap_or_default());
        let hyperparameters = of_hyperparameters(&self.hyperparameters);
        let open = network
            .and(of_training(&self.training))
            .and(hyperparameters);
        closed(self, &counter.shared, open)
    }
}

/// Walks the tree. Names in its tallies mean what they mean in the place that was counted.
pub(super) struct Counter<'a> {
    space: &'a Space,
    frames: Vec<Frame<'a>>,
    depths: Depths<'a>,
    possible: Possible<'a>,
    nesting: u64,
    /// Tallies of definitions by name, what is left of depths, and what the arguments are.
    known: HashMap<(&'a str, Depths<'a>, Vec<String>), Tally>,
    /// Tallies of shared definitions.
    shared: HashMap<Thing, Tally>,
}

impl<'a> Counter<'a> {
    fn new(space: &'a Space) -> Self {
        Self {
            space,
            frames: Vec::new(),
            depths: Vec::new(),
            possible: Possible::new(space),
            nesting: 0,
            known: HashMap::new(),
            shared: HashMap::new(),
        }
    }

    fn list(&mut self, blocks: &'a [Block]) -> Tally {
        if self.nesting >= MAX_NESTING {
            return Tally {
                nesting: 1,
                ..Tally::default()
            };
        }
        self.nesting += 1;
        let inside = all(blocks.iter().map(|block| self.block(block)));
        self.nesting -= 1;
        Tally {
            blocks: inside.blocks.saturating_add(blocks.len() as u64),
            nesting: inside.nesting + 1,
            ..inside
        }
    }

    fn block(&mut self, block: &'a Block) -> Tally {
        match &block.kind {
            BlockKind::Layer(layer) => layer.tally(),
            BlockKind::Choice(alternatives) => self.choice(alternatives),
            BlockKind::Optional(blocks) => {
                if self.is_possible(blocks) {
                    one_of([Tally::default(), self.list(blocks)])
                } else {
                    one_of([Tally::default()])
                }
            }
            BlockKind::Repeat(repeat) => self.repeat(repeat),
            BlockKind::Residual(blocks) | BlockKind::Sequence(blocks) => self.list(blocks),
            BlockKind::Shortcut(both) => self.list(&both.body).and(self.list(&both.shortcut)),
            BlockKind::Branches(branches) => {
                all(branches.of.iter().map(|blocks| self.list(blocks)))
                    .and(of_setting(&branches.join))
            }
            BlockKind::Cell(cell) => self.cell(cell),
            BlockKind::Use(used) => self.used(used),
            BlockKind::From(source) => of_setting(source),
            BlockKind::Inputs(inputs) => of_inputs(inputs),
        }
    }

    fn is_possible(&mut self, blocks: &'a [Block]) -> bool {
        self.depths.is_empty() || self.possible.all(blocks, &mut self.depths)
    }

    fn choice(&mut self, alternatives: &'a [Alternative]) -> Tally {
        let possible: Vec<_> = alternatives
            .iter()
            .filter(|alternative| self.is_possible(&alternative.blocks))
            .collect();
        one_of(
            possible
                .iter()
                .map(|alternative| self.list(&alternative.blocks)),
        )
    }

    /// A sum over the possible times. Shared decisions are made once, and not at all for zero times.
    fn repeat(&mut self, repeat: &'a Repeat) -> Tally {
        let once = self.list(&repeat.block);
        let only_none = may_be_none(&repeat.times) && !self.is_possible(&repeat.block);
        let times = if only_none {
            vec![(0, Ways::default())]
        } else {
            self.times(&repeat.times)
        };
        let most = times.iter().map(|(times, _)| *times).max().unwrap_or(0);
        let distinct = if repeat.shared { most.min(1) } else { most };
        let mut ways = Ways::none();
        let mut rounds = (0, Ways::default());
        for (times, touching) in times {
            let made = if repeat.shared { times.min(1) } else { times };
            if made < rounds.0 {
                rounds = (0, Ways::default());
            }
            while rounds.0 < made {
                rounds = (rounds.0 + 1, rounds.1.and(once.ways.clone()));
            }
            ways = ways.or(rounds.1.clone().and(touching));
        }
        Tally {
            ways,
            continuous: once.continuous.saturating_mul(distinct),
            decisions: once.decisions.saturating_mul(distinct),
            blocks: once.blocks.saturating_add(1).saturating_mul(most),
            nesting: once.nesting,
            touched: once.touched,
        }
        .naming(&repeat.times)
    }

    /// The values that `times` may take, with what taking one touches; no more of them than any space may
    /// hold blocks.
    fn times(&self, times: &'a Setting<u64>) -> Vec<(u64, Ways)> {
        let count = |value: &Value| u64::from_value(value).unwrap_or_else(u64::fallback);
        let all = |domain: &Domain| -> Vec<u64> {
            (0..domain.count().unwrap_or(1).clamp(1, MAX_BLOCKS))
                .map(|index| domain.nth(index).unwrap_or_else(|| domain.first()))
                .map(|value| count(&value))
                .collect()
        };
        let plain = |times| (times, Ways::default());
        match times {
            Setting::Fixed(times) => vec![plain(*times)],
            Setting::Decide(domain) => all(domain).into_iter().map(plain).collect(),
            Setting::Named(name) => match self.meaning(name) {
                Meaning::Fixed(value) => vec![plain(count(value))],
                Meaning::Tie(_, domain) | Meaning::Local(domain) => all(domain)
                    .into_iter()
                    .map(|times| {
                        (
                            times,
                            Ways::touching(Thing::Name(name.clone()), Some(times)),
                        )
                    })
                    .collect(),
                // Either of the strides of a cell's edges.
                Meaning::Other => {
                    let mut both = Ways::default();
                    both.at_most = true;
                    vec![(1, both.clone()), (2, both)]
                }
            },
        }
    }

    fn cell(&mut self, cell: &'a Cell) -> Tally {
        self.frames.push(Frame::Edge);
        let edge = without_stride(self.list(cell.edge.blocks()));
        self.frames.pop();
        let mut total = cell.channels.as_ref().map(of_setting).unwrap_or_default();
        total = total.and(of_setting(&cell.reduction));
        for to in inputs_of(cell)..nodes_of(cell) {
            let taken = match cell.choose {
                Some(choose) if cell.distinct => choose.min(to),
                Some(choose) => choose.min(MAX_CELL_NODES),
                None => to,
            };
            let mut node = Tally::default();
            for _ in 0..taken {
                node = node.and(edge.clone());
            }
            if decided(cell, to).is_some() {
                let (sets, edges) = if cell.distinct {
                    (combinations_count(to, taken), to)
                } else {
                    (multisets_count(to, taken), to.saturating_mul(taken))
                };
                node.ways = node.ways.times(Number::of(sets.min(MAX_SETS as u128)));
                // The decision itself, and those of the edges that other sets take.
                node.decisions = edge.decisions.saturating_mul(edges).saturating_add(1);
                node.continuous = edge.continuous.saturating_mul(edges);
            }
            total = total.and(node);
        }
        total
    }

    fn used(&mut self, used: &'a Use) -> Tally {
        let space = self.space;
        let Some((name, definition)) = space.blocks.get_key_value(&used.block) else {
            return Tally::default();
        };
        let before = match definition.depth {
            None => None,
            Some(depth) => match left(depth, name, &self.depths) {
                None => return Tally::default(),
                Some(left) => Some(enter(&mut self.depths, name, left)),
            },
        };
        let inside = self.definition(name, definition, used);
        if let Some(before) = before {
            leave(&mut self.depths, name, before);
        }
        if used.shared {
            let (thing, place) = shared(self, used, &inside);
            self.shared.insert(thing, inside);
            place
        } else {
            substituted(inside, &used.with)
        }
    }

    /// The tally of a definition's blocks, in which its parameters are names.
    fn definition(&mut self, name: &'a str, definition: &'a Definition, used: &'a Use) -> Tally {
        let inside = || std::iter::once(Frame::Use(&used.with)).chain(self.frames());
        let arguments =
            used.with
                .keys()
                .map(|parameter| match meaning(self.space, inside(), parameter) {
                    Meaning::Fixed(value) => format!("={value}"),
                    Meaning::Tie(name, _) => format!("${name}"),
                    Meaning::Local(domain) => format!("{domain:?}"),
                    Meaning::Other => String::new(),
                });
        let key = (name, self.depths.clone(), arguments.collect::<Vec<_>>());
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        self.frames.push(Frame::Use(&used.with));
        let tally = self.list(definition.body.blocks());
        self.frames.pop();
        self.known.insert(key, tally.clone());
        tally
    }

    /// The frames around this place, the innermost first.
    fn frames(&self) -> impl Iterator<Item = Frame<'a>> {
        self.frames.iter().rev().copied()
    }

    /// What a name stands for in this place.
    pub(super) fn meaning(&self, name: &'a str) -> Meaning<'a> {
        meaning(self.space, self.frames(), name)
    }
}

/// One of several parts: a decision among them.
pub(super) fn one_of(parts: impl IntoIterator<Item = Tally>) -> Tally {
    let mut parts = parts.into_iter();
    // No part: one empty alternative, as the expansion sees it.
    let first = parts.next().unwrap_or_default();
    let mut any = parts.fold(first, Tally::or);
    any.decisions = any.decisions.saturating_add(1);
    any
}

pub(super) fn all(parts: impl Iterator<Item = Tally>) -> Tally {
    parts.fold(Tally::default(), Tally::and)
}

pub(super) fn of_setting<T>(setting: &Setting<T>) -> Tally {
    match setting {
        Setting::Fixed(_) => Tally::default(),
        Setting::Decide(domain) => of_domain(domain),
        Setting::Named(name) => {
            let thing = Thing::Name(name.clone());
            Tally {
                ways: Ways::touching(thing.clone(), None),
                touched: [thing].into(),
                ..Tally::default()
            }
        }
    }
}

pub(super) fn of_domain(domain: &Domain) -> Tally {
    Tally {
        ways: Ways::number(values_of(domain)),
        continuous: u64::from(domain.count().is_none()),
        decisions: 1,
        ..Tally::default()
    }
}

/// The number of values; one for a continuous domain, which is counted apart.
pub(super) fn values_of(domain: &Domain) -> Number {
    Number::of(u128::from(domain.count().unwrap_or(1).max(1)))
}

fn of_inputs(inputs: &Inputs) -> Tally {
    let all = inputs.of.len() as u64;
    let join = of_setting(&inputs.join);
    let sets = match inputs.choose {
        Some(choose) if choose >= all => return join,
        Some(choose) => combinations_count(all, choose),
        None => {
            1_u128
                .checked_shl(inputs.of.len() as u32)
                .unwrap_or(u128::MAX)
                - 1
        }
    };
    join.and(Tally {
        ways: Ways::number(Number::of(sets.clamp(1, MAX_SETS as u128))),
        decisions: 1,
        ..Tally::default()
    })
}
