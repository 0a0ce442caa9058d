//! How large a space is, computed over its tree and never by enumeration. Decisions that several places share
//! (ties, shared blocks, arguments) are counted once, and only for the assignments that use them.

use std::collections::HashMap;
use std::rc::Rc;

use super::block::{Alternative, Block, BlockKind, Cell, Definition, Inputs, Repeat, Use};
use super::combinations::{MAX_SETS, combinations_count, multisets_count};
use super::domain::Domain;
use super::expand_cell::{MAX_CELL_NODES, decided, inputs_of, nodes_of};
use super::hyperparameter::of_hyperparameters;
use super::recursion::{Depths, MAX_NESTING, Possible, enter, leave, left, may_be_none};
use super::setting::{Scalar, Setting};
use super::size_names::{Frame, Meaning, meaning, substituted, without_stride};
use super::size_once::{Once, closed, shared};
use super::size_training::of_training;
use super::tally::Tally;
use super::ways::{Number, Thing, Ways};
use super::work::Work;
use super::{MAX_BLOCKS, Space};
use crate::candidate::Value;

/// The most blocks that a count looks at. A definition is looked at once for each of its arguments and of the
/// depths that are left to it: bounds the time to about half a second.
pub(crate) const MOST_STEPS: u64 = 1_000_000;

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
    /// Whether the counts are too low, because the space was not gone through to its end: its definitions are
    /// used with too many arguments, or at too many depths.
    pub cut: bool,
}

impl Space {
    /// The size of the space.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size_within(&Work::of_a_size())
    }

    /// The size, exact as far as the work suffices.
    pub(super) fn size_within(&self, work: &Work) -> Size {
        let (tally, _) = self.tally(work);
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
        // The size is not asked for, and most of the work would go to that.
        let (tally, steps) = self.tally(&Work::none());
        Count {
            decisions: tally.decisions,
            blocks: tally.blocks,
            nesting: tally.nesting,
            cut: steps >= MOST_STEPS,
        }
    }

    /// All of it, with nothing left that is shared, and the blocks that were looked at for it.
    fn tally(&self, work: &Work) -> (Tally, u64) {
        let mut counter = Counter::new(self, work);
        let network = counter.list(self.network.as_deref().unwrap_or_default());
        let hyperparameters = of_hyperparameters(&self.hyperparameters, work);
        let open = network
            .and(of_training(&self.training, work), work)
            .and(hyperparameters, work);
        let steps = counter.steps();
        (closed(counter, open), steps)
    }
}

/// Walks the tree. Names in its tallies mean what they mean in the place that was counted.
pub(super) struct Counter<'a> {
    pub(super) space: &'a Space,
    pub(super) work: &'a Work,
    frames: Vec<Frame<'a>>,
    depths: Depths<'a>,
    possible: Possible<'a>,
    nesting: u64,
    /// Blocks looked at so far.
    steps: u64,
    /// Tallies of definitions by name, what is left of depths, and what the arguments are.
    known: HashMap<(&'a str, Depths<'a>, Vec<String>), Tally>,
    /// What is decided once for several places.
    pub(super) once: Once<'a>,
}

impl<'a> Counter<'a> {
    fn new(space: &'a Space, work: &'a Work) -> Self {
        Self {
            space,
            work,
            frames: Vec::new(),
            depths: Vec::new(),
            possible: Possible::new(space),
            nesting: 0,
            steps: 0,
            known: HashMap::new(),
            once: Once::default(),
        }
    }

    /// Blocks looked at so far, for the counts and for whether they can be expanded.
    fn steps(&self) -> u64 {
        self.steps.saturating_add(self.possible.steps)
    }

    fn list(&mut self, blocks: &'a [Block]) -> Tally {
        self.steps = self.steps.saturating_add(blocks.len() as u64 + 1);
        if self.nesting >= MAX_NESTING || self.steps() >= MOST_STEPS {
            return Tally {
                nesting: 1,
                ..Tally::default()
            };
        }
        self.nesting += 1;
        let work = self.work;
        let inside = all(blocks.iter().map(|block| self.block(block)), work);
        self.nesting -= 1;
        Tally {
            blocks: inside.blocks.saturating_add(blocks.len() as u64),
            nesting: inside.nesting + 1,
            ..inside
        }
    }

    fn block(&mut self, block: &'a Block) -> Tally {
        let work = self.work;
        match &block.kind {
            BlockKind::Layer(layer) => layer.tally(work),
            BlockKind::Choice(alternatives) => self.choice(alternatives),
            BlockKind::Optional(blocks) => {
                if self.is_possible(blocks) {
                    one_of([Tally::default(), self.list(blocks)], work)
                } else {
                    one_of([Tally::default()], work)
                }
            }
            BlockKind::Repeat(repeat) => self.repeat(repeat),
            BlockKind::Residual(blocks) | BlockKind::Sequence(blocks) => self.list(blocks),
            BlockKind::Shortcut(both) => self.list(&both.body).and(self.list(&both.shortcut), work),
            BlockKind::Branches(branches) => {
                let parts = branches.of.iter().map(|blocks| self.list(blocks));
                all(parts, work).and(of_setting(&branches.join), work)
            }
            BlockKind::Cell(cell) => self.cell(cell),
            BlockKind::Use(used) => self.used(used),
            BlockKind::From(source) => of_setting(source),
            BlockKind::Inputs(inputs) => of_inputs(inputs, work),
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
        let work = self.work;
        let parts = possible.iter().map(|one| self.list(&one.blocks));
        one_of(parts, work)
    }

    /// A sum over the possible times. Shared decisions are made once, and not at all for zero times.
    fn repeat(&mut self, repeat: &'a Repeat) -> Tally {
        let once = self.list(&repeat.block);
        let only_none = may_be_none(&repeat.times) && !self.is_possible(&repeat.block);
        let (values, most) = if only_none {
            (1, 0)
        } else {
            self.times_bounds(&repeat.times)
        };
        let distinct = if repeat.shared { most.min(1) } else { most };
        // One step for each round and each possible number of them.
        let ways = if self.work.take(values.saturating_add(distinct)) {
            let times = if only_none {
                vec![(0, Ways::default())]
            } else {
                self.times(&repeat.times)
            };
            self.rounds(&once.ways, times, repeat.shared)
        } else {
            let each = once.ways.total().power(distinct);
            Ways::spent(each.times(Number::of(u128::from(values))))
        };
        Tally {
            ways,
            continuous: once.continuous.saturating_mul(distinct),
            decisions: once.decisions.saturating_mul(distinct),
            blocks: once.blocks.saturating_add(1).saturating_mul(most),
            ..once
        }
        .repeated(&repeat.times)
    }

    fn rounds(&self, once: &Ways, times: Vec<(u64, Ways)>, shared: bool) -> Ways {
        let mut ways = Ways::none();
        let mut rounds = (0, Ways::default());
        for (times, touching) in times {
            let made = if shared { times.min(1) } else { times };
            if let Some(number) = once.plain() {
                rounds = (made, Ways::number(number.power(made)));
            }
            if made < rounds.0 {
                rounds = (0, Ways::default());
            }
            while rounds.0 < made {
                let next = rounds.1.and(once.copied(self.work), self.work);
                rounds = (rounds.0 + 1, next);
            }
            let these = rounds.1.copied(self.work).and(touching, self.work);
            ways = ways.or(these, self.work);
        }
        ways
    }

    /// How many values `times` may take, and the largest; see [`Self::times`].
    fn times_bounds(&mut self, times: &'a Setting<u64>) -> (u64, u64) {
        let domain = match times {
            Setting::Fixed(times) => return (1, *times),
            Setting::Decide(domain) => domain,
            Setting::Named(name) => match self.meaning(name) {
                Meaning::Fixed(value) => return (1, count_of(value)),
                Meaning::Tie(_, domain) | Meaning::Local(domain) => domain,
                Meaning::Other => return (2, 2),
            },
        };
        self.once.most_times(domain)
    }

    /// The values that `times` may take, with what taking one touches; no more of them than any space may
    /// hold blocks.
    fn times(&self, times: &'a Setting<u64>) -> Vec<(u64, Ways)> {
        let all = |domain: &Domain| -> Vec<u64> { times_of(domain).collect() };
        let plain = |times| (times, Ways::default());
        match times {
            Setting::Fixed(times) => vec![plain(*times)],
            Setting::Decide(domain) => all(domain).into_iter().map(plain).collect(),
            Setting::Named(name) => match self.meaning(name) {
                Meaning::Fixed(value) => vec![plain(count_of(value))],
                Meaning::Tie(_, domain) | Meaning::Local(domain) => all(domain)
                    .into_iter()
                    .map(|times| {
                        (
                            times,
                            Ways::touching(Thing::Name(name.as_str().into()), Some(times)),
                        )
                    })
                    .collect(),
                // Either of the strides of a cell's edges.
                Meaning::Other => {
                    let bound = || Ways::default().bounding();
                    vec![(1, bound()), (2, bound())]
                }
            },
        }
    }

    fn cell(&mut self, cell: &'a Cell) -> Tally {
        let work = self.work;
        self.frames.push(Frame::Edge);
        let edge = without_stride(self.list(cell.edge.blocks()));
        self.frames.pop();
        let mut total = cell.channels.as_ref().map(of_setting).unwrap_or_default();
        total = total.and(of_setting(&cell.reduction), work);
        for to in inputs_of(cell)..nodes_of(cell) {
            let taken = match cell.choose {
                Some(choose) if cell.distinct => choose.min(to),
                Some(choose) => choose.min(MAX_CELL_NODES),
                None => to,
            };
            let mut node = Tally::default();
            for _ in 0..taken {
                node = node.and(edge.copied(work), work);
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
            total = total.and(node, work);
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
            shared(self, used, inside)
        } else {
            substituted(inside, &used.with)
        }
    }

    /// The tally of a definition's blocks, in which its parameters are names.
    fn definition(&mut self, name: &'a str, definition: &'a Definition, used: &'a Use) -> Tally {
        let inside = || std::iter::once(Frame::Use(&used.with)).chain(self.frames());
        let meanings: Vec<_> = used
            .with
            .keys()
            .map(|parameter| meaning(self.space, inside(), parameter))
            .collect();
        let arguments = meanings.into_iter().map(|meaning| match meaning {
            Meaning::Fixed(value) => format!("={value}"),
            Meaning::Tie(name, _) => format!("${name}"),
            Meaning::Local(domain) => self.once.number(domain).to_string(),
            Meaning::Other => String::new(),
        });
        let arguments = arguments.collect();
        let key = (name, self.depths.clone(), arguments);
        if let Some(known) = self.known.get(&key) {
            return known.copied(self.work);
        }
        self.frames.push(Frame::Use(&used.with));
        let mut tally = self.list(definition.body.blocks());
        self.frames.pop();
        // What is no parameter here is a tie everywhere.
        let (parameters, ties) = std::mem::take(&mut tally.names)
            .into_iter()
            .partition(|(name, _)| used.with.contains_key(&**name));
        tally.names = parameters;
        self.once.touch(self.space, ties);
        self.known.insert(key, tally.copied(self.work));
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
pub(super) fn one_of(parts: impl IntoIterator<Item = Tally>, work: &Work) -> Tally {
    let mut parts = parts.into_iter();
    // No part: one empty alternative, as the expansion sees it.
    let first = parts.next().unwrap_or_default();
    let mut any = parts.fold(first, |any, part| any.or(part, work));
    any.decisions = any.decisions.saturating_add(1);
    any
}

pub(super) fn all(parts: impl Iterator<Item = Tally>, work: &Work) -> Tally {
    parts.fold(Tally::default(), |all, part| all.and(part, work))
}

pub(super) fn of_setting<T>(setting: &Setting<T>) -> Tally {
    match setting {
        Setting::Fixed(_) => Tally::default(),
        Setting::Decide(domain) => of_domain(domain),
        Setting::Named(name) => {
            let name: Rc<str> = name.as_str().into();
            Tally {
                ways: Ways::touching(Thing::Name(Rc::clone(&name)), None),
                names: [(name, false)].into(),
                ..Tally::default()
            }
        }
    }
}

fn of_domain(domain: &Domain) -> Tally {
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

/// How often a repeat may run by a domain; no more numbers than any space may hold blocks.
pub(super) fn times_of(domain: &Domain) -> impl Iterator<Item = u64> {
    (0..domain.count().unwrap_or(1).clamp(1, MAX_BLOCKS))
        .map(|index| domain.nth(index).unwrap_or_else(|| domain.first()))
        .map(|value| count_of(&value))
}

fn count_of(value: &Value) -> u64 {
    u64::from_value(value).unwrap_or_else(u64::fallback)
}

fn of_inputs(inputs: &Inputs, work: &Work) -> Tally {
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
    let sets = Tally {
        ways: Ways::number(Number::of(sets.clamp(1, MAX_SETS as u128))),
        decisions: 1,
        ..Tally::default()
    };
    join.and(sets, work)
}
