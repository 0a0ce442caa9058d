//! The part of the traversal that is about blocks which hold other blocks, or take an earlier output.

use std::borrow::Cow;
use std::sync::Arc;

use super::MAX_BLOCKS;
use super::block::{
    Alternative, Alternatives, Block, BlockKind, Body, Branches, Definition, Inputs, PREVIOUS,
    Repeat, Shortcut, Use,
};
use super::combinations::{combinations, numbers_of, subsets, text_of};
use super::domain::Domain;
use super::expand::Part::{Number, Word};
use super::expand::{Expansion, Frame, ResolvedBlock, ResolvedKind, Source};
use super::expand_scope::UseOf;
use super::recursion::{MAX_NESTING, enter, leave, left, may_be_none, none};
use super::setting::Setting;
use crate::candidate::Value;

impl<'a> Expansion<'a> {
    /// The blocks of a list; none where only the decisions are wanted.
    pub(super) fn list(&mut self, blocks: &'a [Block]) -> Vec<ResolvedBlock> {
        self.nested(|e| {
            let scope = e.scope.len();
            let is_named = e.is_named();
            let mut resolved = Vec::with_capacity(if is_named { blocks.len() } else { 0 });
            for (index, block) in blocks.iter().enumerate() {
                if !e.count_block() {
                    break;
                }
                if !is_named && is_settled(block) {
                    continue;
                }
                let block = match &block.name {
                    Some(name) => e.named_block(name, block),
                    None => {
                        let step = [Word("["), Number(index as u64), Word("]")];
                        e.within(&step, |e| e.block(block))
                    }
                };
                if is_named {
                    resolved.push(block);
                }
            }
            e.scope.truncate(scope);
            resolved
        })
    }

    /// The blocks of a list, or the one that stands in its place and has its path.
    pub(super) fn body(&mut self, body: &'a Body) -> Vec<ResolvedBlock> {
        match body {
            Body::List(blocks) => self.list(blocks),
            Body::One(block) => self.nested(|e| {
                if !e.count_block() {
                    return Vec::new();
                }
                let scope = e.scope.len();
                let resolved = match &block.name {
                    Some(name) => e.named_block(name, block),
                    None => e.block(block),
                };
                e.scope.truncate(scope);
                vec![resolved]
            }),
        }
    }

    /// Runs `inner` one level of nesting deeper, or gives nothing when that is too deep.
    fn nested(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Vec<ResolvedBlock>,
    ) -> Vec<ResolvedBlock> {
        if self.nesting >= MAX_NESTING {
            self.cut = true;
            return Vec::new();
        }
        self.nesting += 1;
        self.deepest = self.deepest.max(self.nesting);
        let resolved = inner(self);
        self.nesting -= 1;
        resolved
    }

    /// Counts a block; false when there are too many.
    pub(super) fn count_block(&mut self) -> bool {
        self.blocks += 1;
        self.cut |= self.blocks > MAX_BLOCKS;
        !self.cut
    }

    fn named_block(&mut self, name: &'a str, block: &'a Block) -> ResolvedBlock {
        let mut resolved = self.within(&[Word("."), Word(name)], |e| e.block(block));
        resolved.mark = Some(self.marks);
        self.scope.push(name, self.marks);
        self.marks += 1;
        resolved
    }

    fn block(&mut self, block: &'a Block) -> ResolvedBlock {
        let kind = match &block.kind {
            BlockKind::Layer(layer) => ResolvedKind::Layer(layer.resolve(self)),
            BlockKind::Choice(alternatives) => self.choice(alternatives),
            BlockKind::Optional(blocks) => self.optional_blocks(blocks),
            BlockKind::Repeat(repeat) => self.repeat(repeat),
            BlockKind::Residual(blocks) => ResolvedKind::Residual {
                body: self.within(&[Word(".residual")], |e| e.list(blocks)),
                shortcut: None,
            },
            BlockKind::Shortcut(both) => self.shortcut(both),
            BlockKind::Branches(branches) => self.branches(branches),
            BlockKind::Sequence(blocks) => ResolvedKind::Sequence(self.list(blocks)),
            BlockKind::Cell(cell) => self.cell(cell),
            BlockKind::Use(used) => self.used(used),
            BlockKind::From(source) => {
                let name: Value = self.setting("from", source);
                ResolvedKind::From(self.source(&name))
            }
            BlockKind::Inputs(inputs) => self.inputs(inputs),
        };
        let is_sequence = matches!(kind, ResolvedKind::Sequence(_));
        ResolvedBlock {
            name: if is_sequence {
                String::new()
            } else {
                self.name()
            },
            mark: None,
            kind,
        }
    }

    fn choice(&mut self, alternatives: &'a Alternatives) -> ResolvedKind {
        let taken = self.decide_with("choice", |e| e.alternatives(alternatives));
        let blocks = alternatives
            .iter()
            .find(|alternative| matches!(&taken, Value::Text(name) if *name == alternative.name))
            .map(|alternative| {
                self.within(&[Word(".choice."), Word(&alternative.name)], |e| {
                    e.list(&alternative.blocks)
                })
            });
        ResolvedKind::Sequence(blocks.unwrap_or_default())
    }

    /// The alternatives that what is left of the depths allows.
    fn alternatives(&mut self, alternatives: &'a Alternatives) -> Cow<'a, Domain> {
        if self.depths.is_empty() {
            return Cow::Borrowed(alternatives.domain());
        }
        let possible: Vec<_> = alternatives
            .iter()
            .filter(|alternative| self.is_possible(&alternative.blocks))
            .collect();
        Cow::Owned(domain_of(possible.into_iter()))
    }

    fn is_possible(&mut self, blocks: &'a [Block]) -> bool {
        self.depths.is_empty() || self.possible.all(blocks, &mut self.depths)
    }

    fn optional_blocks(&mut self, blocks: &'a [Block]) -> ResolvedKind {
        let taken = self.decide_with("optional", |e| {
            if e.is_possible(blocks) {
                flag()
            } else {
                Domain::Choice(vec![Value::Boolean(false)])
            }
        });
        ResolvedKind::Sequence(if taken == Value::Boolean(true) {
            self.within(&[Word(".optional")], |e| e.list(blocks))
        } else {
            Vec::new()
        })
    }

    fn repeat(&mut self, repeat: &'a Repeat) -> ResolvedKind {
        let times = if !may_be_none(&repeat.times) || self.is_possible(&repeat.block) {
            self.setting("times", &repeat.times)
        } else {
            self.setting("times", &Setting::Decide(Domain::Choice(vec![none()])))
        };
        if repeat.shared {
            return self.shared_rounds(times, &repeat.block);
        }
        let mut rounds = Vec::new();
        for round in 1..=times {
            // Counted, or an endless repeat of nothing would never end.
            if !self.count_block() {
                break;
            }
            let blocks = self.within(&[Word("#"), Number(round)], |e| e.list(&repeat.block));
            if self.is_named() {
                rounds.push(ResolvedBlock {
                    name: String::new(),
                    mark: None,
                    kind: ResolvedKind::Sequence(blocks),
                });
            }
        }
        ResolvedKind::Sequence(rounds)
    }

    /// Rounds that share their decisions: what the first one stands for, all do.
    fn shared_rounds(&mut self, times: u64, blocks: &'a [Block]) -> ResolvedKind {
        let times = if self.is_named() { times } else { times.min(1) };
        let mut first = None;
        let mut rounds = Vec::new();
        for round in 1..=times {
            if !self.count_block() {
                break;
            }
            let name = format!("{}#{round}", self.name());
            let kind = match &first {
                Some(first) => self.copy(first),
                None => {
                    let made = self.within(&[Word("#all")], |e| e.copies_of(|e| e.list(blocks)));
                    let kind = ResolvedKind::Shared(Arc::clone(&made.blocks));
                    first = Some(made);
                    kind
                }
            };
            rounds.push(ResolvedBlock {
                name,
                mark: None,
                kind,
            });
        }
        ResolvedKind::Sequence(rounds)
    }

    fn shortcut(&mut self, both: &'a Shortcut) -> ResolvedKind {
        ResolvedKind::Residual {
            body: self.within(&[Word(".residual")], |e| e.list(&both.body)),
            shortcut: Some(self.within(&[Word(".shortcut")], |e| e.list(&both.shortcut))),
        }
    }

    fn branches(&mut self, branches: &'a Branches) -> ResolvedKind {
        let join = self.setting("join", &branches.join);
        let lists = branches
            .of
            .iter()
            .enumerate()
            .map(|(index, blocks)| {
                self.within(
                    &[Word(".branches["), Number(index as u64), Word("]")],
                    |e| e.list(blocks),
                )
            })
            .collect();
        ResolvedKind::Branches(join, lists)
    }

    fn used(&mut self, used: &'a Use) -> ResolvedKind {
        let space = self.space;
        let Some((name, definition)) = space.blocks.get_key_value(&used.block) else {
            // Only a damaged space names what it does not define.
            self.cut = true;
            return ResolvedKind::Sequence(Vec::new());
        };
        if !used.shared {
            return ResolvedKind::Sequence(self.defined(name, definition, used));
        }
        let use_of = UseOf::with_fixed(name, &used.with);
        if !self.is_named() {
            if !self.is_made(use_of) {
                self.defined(name, definition, used);
            }
            return ResolvedKind::Sequence(Vec::new());
        }
        // What is left of a depth may differ from place to place, and with it what there is no room for.
        let use_of = use_of.filter(|_| self.depths.is_empty());
        let known = use_of.as_ref().and_then(|use_of| self.copies.get(use_of));
        if let Some(copies) = known.cloned() {
            return self.copy(&copies);
        }
        let copies = self.copies_of(|e| e.defined(name, definition, used));
        let kind = ResolvedKind::Shared(Arc::clone(&copies.blocks));
        if let Some(use_of) = use_of {
            self.copies.insert(use_of, copies);
        }
        kind
    }

    /// The blocks of a definition, with the arguments of a use.
    fn defined(
        &mut self,
        name: &'a str,
        definition: &'a Definition,
        used: &'a Use,
    ) -> Vec<ResolvedBlock> {
        let before = match definition.depth {
            None => None,
            Some(depth) => match left(depth, name, &self.depths) {
                None => {
                    self.cut = true;
                    return Vec::new();
                }
                Some(left) => Some(enter(&mut self.depths, name, left)),
            },
        };
        let decides = used.with.values().any(|given| given.domain().is_some());
        self.frames.push(Frame::Use {
            with: &used.with,
            site: if decides {
                self.path().to_owned()
            } else {
                String::new()
            },
        });
        let visible = std::mem::replace(&mut self.visible, self.scope.len());
        let resolved = if used.shared {
            self.with_path(format!("blocks.{name}"), |e| e.body(&definition.body))
        } else {
            self.body(&definition.body)
        };
        self.visible = visible;
        self.frames.pop();
        if let Some(before) = before {
            leave(&mut self.depths, name, before);
        }
        resolved
    }

    /// Whether a shared use with the same fixed arguments was expanded before: then its decisions are made.
    fn is_made(&mut self, use_of: Option<UseOf<'a>>) -> bool {
        use_of.is_some_and(|use_of| !self.made.insert(use_of))
    }

    fn inputs(&mut self, inputs: &'a Inputs) -> ResolvedKind {
        let all = inputs.of.len() as u64;
        let taken = match inputs.choose {
            Some(choose) if choose >= all => (0..all).collect(),
            choose => {
                let made = self.decide_with("inputs", |_| {
                    let sets = match choose {
                        Some(choose) => combinations(all, choose),
                        None => subsets(all),
                    };
                    let name = |&index: &u64| inputs.of.get(index as usize).map(String::as_str);
                    let text = |set: &Vec<u64>| text_of(set.iter().filter_map(name));
                    Domain::Choice(sets.iter().map(text).collect())
                });
                numbers_of(&made, |name| {
                    inputs
                        .of
                        .iter()
                        .position(|one| one == name)
                        .map(|at| at as u64)
                })
            }
        };
        let join = self.setting("join", &inputs.join);
        let sources = taken
            .iter()
            .filter_map(|&index| inputs.of.get(index as usize))
            .map(|name| self.source_of(name))
            .collect();
        ResolvedKind::Inputs(join, sources)
    }

    fn source(&self, name: &Value) -> Source {
        match name {
            Value::Text(name) => self.source_of(name),
            other => Source::Unknown(other.to_string()),
        }
    }

    /// The nearest earlier block of that name that can be seen from here.
    fn source_of(&self, name: &str) -> Source {
        if name == PREVIOUS {
            return Source::Previous;
        }
        self.scope
            .mark_of(name, self.visible)
            .map_or_else(|| Source::Unknown(name.to_owned()), Source::Mark)
    }
}

/// Whether a block has no decision in it, as most layers: who wants the decisions alone passes it by.
fn is_settled(block: &Block) -> bool {
    matches!(&block.kind, BlockKind::Layer(layer) if layer.is_fixed())
}

/// The domain of a choice of blocks.
pub(super) fn domain_of<'b>(alternatives: impl Iterator<Item = &'b Alternative> + Clone) -> Domain {
    domain_of_names(alternatives.map(|one| (one.name.as_str(), one.weight)))
}

/// The domain of a choice among names, some of which have a weight.
pub(super) fn domain_of_names<'n>(
    names: impl Iterator<Item = (&'n str, Option<f64>)> + Clone,
) -> Domain {
    let values = names
        .clone()
        .map(|(name, _)| Value::Text(name.to_owned()))
        .collect();
    if names.clone().all(|(_, weight)| weight.is_none()) {
        return Domain::Choice(values);
    }
    Domain::Weighted {
        values,
        weights: names.map(|(_, weight)| weight.unwrap_or(1.0)).collect(),
    }
}

/// The domain of `optional`.
pub(super) fn flag() -> Domain {
    Domain::Choice(vec![Value::Boolean(false), Value::Boolean(true)])
}
