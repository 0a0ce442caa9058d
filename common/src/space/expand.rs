//! The one traversal of a space: it asks a chooser for every active decision in order, and builds at once
//! the candidate and what the candidate means. What it does with blocks, cells, layers and the recipe is in
//! files of their own; here is what they share: paths, names, and how a decision is made.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use foldhash::quality::RandomState;

use super::block::{CELL_STRIDE, Join};
use super::domain::Domain;
use super::expand_cell::ResolvedCell;
use super::expand_scope::{Scope, UseOf};
use super::layer::ResolvedLayer;
use super::recursion::{Depths, MAX_NESTING, Possible};
use super::setting::{Scalar, Setting};
use super::{MAX_BLOCKS, Space};
use crate::candidate::{Candidate, DecisionPath, Value};
use crate::recipe::Recipe;

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
    /// The hyperparameters that exist, fixed ones as well, by their paths behind `hyperparameters.`.
    pub hyperparameters: BTreeMap<String, Value>,
    /// Whether the network was cut because it has more than [`super::MAX_BLOCKS`] blocks, or nests too
    /// deep.
    pub cut: bool,
    /// The blocks of the network, with all they hold.
    pub blocks: u64,
}

/// A block without decisions.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedBlock {
    /// Where it stands, e.g. `network[1]#2[0].choice.plain[0]`; unique among the layers of the network. In
    /// blocks that are shared, from there on. Empty for a sequence, which is no node.
    pub name: String,
    /// By what number [`Source::Mark`] finds its output, if it has a name.
    pub mark: Option<u32>,
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
    /// Blocks one after another that stand in other places too, and were resolved once for all.
    Shared(Arc<[ResolvedBlock]>),
    /// The output of blocks added to what their input becomes on its way past them.
    Residual {
        /// The blocks.
        body: Vec<ResolvedBlock>,
        /// The way past them; absent: the input, projected when the shapes differ.
        shortcut: Option<Vec<ResolvedBlock>>,
    },
    /// Blocks side by side.
    Branches(Join, Vec<Vec<ResolvedBlock>>),
    /// A graph of nodes.
    Cell(Box<ResolvedCell>),
    /// An earlier output.
    From(Source),
    /// Earlier outputs, joined.
    Inputs(Join, Vec<Source>),
}

/// Which output is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// That of the block before.
    Previous,
    /// That of the block with this mark.
    Mark(u32),
    /// None: only a damaged space has a name that no earlier block has.
    Unknown(String),
}

use Part::Word;

impl Space {
    /// Resolves one candidate: asks `chooser` for every active decision. A decision inside a branch that
    /// is not taken is never asked. Total: it ends and does not fail, whatever the chooser answers.
    pub fn expand(&self, chooser: &mut dyn Chooser) -> Resolved {
        self.expanded(chooser, true)
    }

    /// The candidate that a chooser makes, without what it means: places are given no names.
    pub(super) fn decide(&self, chooser: &mut dyn Chooser) -> Candidate {
        self.expanded(chooser, false).candidate
    }

    fn expanded(&self, chooser: &mut dyn Chooser, named: bool) -> Resolved {
        let mut expansion = Expansion::new(self, chooser, named);
        let network = self
            .network
            .as_ref()
            .map(|blocks| expansion.within(&[Word("network")], |e| e.list(blocks)));
        let recipe = expansion.within(&[Word("training")], |e| e.training(&self.training));
        let mut hyperparameters = BTreeMap::new();
        expansion.within(&[Word("hyperparameters")], |e| {
            e.hyperparameters(&self.hyperparameters, "", &mut hyperparameters);
        });
        Resolved {
            cut: expansion.cut,
            blocks: expansion.blocks,
            candidate: expansion.candidate,
            network,
            recipe,
            hyperparameters,
        }
    }
}

/// Where the traversal stands. The two differ below what is shared, whose decisions have one path while
/// each of its instances has its own.
#[derive(Default)]
struct Paths {
    decision: String,
    instance: String,
}

/// What names mean in the blocks that are being expanded.
pub(super) enum Frame<'a> {
    /// In those of a definition: its parameters. Nothing around it can be seen from inside, but the ties.
    Use {
        with: &'a BTreeMap<String, Setting<Value>>,
        /// Where the use stands; empty when no argument is a decision.
        site: String,
    },
    /// In those of an edge of a cell: the stride, besides what is around it.
    Edge { stride: u64 },
}

/// Blocks that stand in several places, with what they add to the counts in each.
#[derive(Clone)]
pub(super) struct Copies {
    pub(super) blocks: Arc<[ResolvedBlock]>,
    count: u64,
    height: u64,
}

pub(super) struct Expansion<'a> {
    pub(super) space: &'a Space,
    chooser: &'a mut dyn Chooser,
    candidate: Candidate,
    /// Whether instances get names; who wants the candidate alone saves half of the work.
    is_named: bool,
    here: Paths,
    /// Blocks so far.
    pub(super) blocks: u64,
    /// Lists around this place.
    pub(super) nesting: u64,
    /// The most lists around any place so far.
    pub(super) deepest: u64,
    pub(super) cut: bool,
    pub(super) frames: Vec<Frame<'a>>,
    /// What is left of the depth of definitions that are being expanded.
    pub(super) depths: Depths<'a>,
    pub(super) possible: Possible<'a>,
    /// The named blocks of the lists around this place, so far, with their marks.
    pub(super) scope: Scope<'a>,
    /// From where on they can be seen from here.
    pub(super) visible: usize,
    pub(super) marks: u32,
    /// Shared uses that were expanded, with fixed arguments; kept only where no names are.
    pub(super) made: HashSet<UseOf<'a>, RandomState>,
    /// What shared uses with fixed arguments stand for; kept only where names are.
    pub(super) copies: HashMap<UseOf<'a>, Copies, RandomState>,
}

impl<'a> Expansion<'a> {
    fn new(space: &'a Space, chooser: &'a mut dyn Chooser, named: bool) -> Self {
        Self {
            space,
            is_named: named,
            chooser,
            candidate: Candidate::default(),
            here: Paths::default(),
            blocks: 0,
            nesting: 0,
            deepest: 0,
            cut: false,
            frames: Vec::new(),
            depths: Vec::new(),
            possible: Possible::new(space),
            scope: Scope::default(),
            visible: 0,
            marks: 0,
            made: HashSet::default(),
            copies: HashMap::default(),
        }
    }

    /// Runs `body` one step deeper.
    pub(super) fn within<T>(&mut self, step: &[Part<'_>], body: impl FnOnce(&mut Self) -> T) -> T {
        let marks = (self.here.decision.len(), self.here.instance.len());
        push(&mut self.here.decision, step);
        if self.is_named {
            push(&mut self.here.instance, step);
        }
        let result = body(self);
        self.here.decision.truncate(marks.0);
        self.here.instance.truncate(marks.1);
        result
    }

    /// Whether what the candidate means is wanted, and not its decisions alone.
    pub(super) fn is_named(&self) -> bool {
        self.is_named
    }

    /// The name of this place.
    pub(super) fn name(&self) -> String {
        // Empty where no names are kept, which costs nothing.
        self.here.instance.clone()
    }

    /// Expands blocks that stand in other places too: their names begin anew here.
    pub(super) fn copies_of(
        &mut self,
        expand: impl FnOnce(&mut Self) -> Vec<ResolvedBlock>,
    ) -> Copies {
        let count = self.blocks;
        let deepest = std::mem::replace(&mut self.deepest, self.nesting);
        let place = std::mem::take(&mut self.here.instance);
        let blocks = expand(self).into();
        self.here.instance = place;
        let height = self.deepest - self.nesting;
        self.deepest = self.deepest.max(deepest);
        Copies {
            blocks,
            count: self.blocks - count,
            height,
        }
    }

    /// Puts blocks here that were expanded in another place.
    pub(super) fn copy(&mut self, copies: &Copies) -> ResolvedKind {
        self.blocks += copies.count;
        self.deepest = self.deepest.max(self.nesting + copies.height);
        self.cut |= self.blocks > MAX_BLOCKS || self.deepest > MAX_NESTING;
        if self.cut {
            return ResolvedKind::Sequence(Vec::new());
        }
        ResolvedKind::Shared(Arc::clone(&copies.blocks))
    }

    /// The path of the decisions of this place.
    pub(super) fn path(&self) -> &str {
        &self.here.decision
    }

    /// Runs `body` with another path of decisions; the names of instances go on.
    pub(super) fn with_path<T>(&mut self, path: String, body: impl FnOnce(&mut Self) -> T) -> T {
        let own = std::mem::replace(&mut self.here.decision, path);
        let result = body(self);
        self.here.decision = own;
        result
    }

    /// The value of the decision at `here.word`. One that was made already (in an earlier place that
    /// shares it) keeps its value, and its domain is not asked for again.
    pub(super) fn decide_with<D: Borrow<Domain>>(
        &mut self,
        word: &str,
        domain: impl FnOnce(&mut Self) -> D,
    ) -> Value {
        let mark = self.here.decision.len();
        self.here.decision.push('.');
        self.here.decision.push_str(word);
        let made = self.candidate.0.get(self.here.decision.as_str()).cloned();
        let path = made.is_none().then(|| self.here.decision.clone());
        self.here.decision.truncate(mark);
        match (made, path) {
            (Some(made), _) => made,
            (None, path) => {
                let domain = domain(self);
                self.ask(path.unwrap_or_default(), domain.borrow())
            }
        }
    }

    /// The value of the decision at `path`, which may have been made already.
    fn decide_at(&mut self, path: String, domain: &Domain) -> Value {
        match self.candidate.0.get(path.as_str()) {
            Some(made) => made.clone(),
            None => self.ask(path, domain),
        }
    }

    fn ask(&mut self, path: String, domain: &Domain) -> Value {
        let path = DecisionPath(path);
        let answer = self.chooser.choose(&path, domain);
        let value = domain.admitted(answer);
        self.candidate.0.insert(path, value.clone());
        value
    }

    pub(super) fn setting<T: Scalar>(&mut self, word: &str, setting: &Setting<T>) -> T {
        let value = match setting {
            Setting::Fixed(value) => return value.clone(),
            Setting::Decide(domain) => Some(self.decide(word, domain)),
            Setting::Named(name) => self.named(name),
        };
        value
            .and_then(|value| T::from_value(&value))
            .unwrap_or_else(T::fallback)
    }

    fn decide(&mut self, word: &str, domain: &Domain) -> Value {
        let mark = self.here.decision.len();
        self.here.decision.push('.');
        self.here.decision.push_str(word);
        let made = self.candidate.0.get(self.here.decision.as_str()).cloned();
        let value = match made {
            Some(made) => made,
            None => self.ask(self.here.decision.clone(), domain),
        };
        self.here.decision.truncate(mark);
        value
    }

    pub(super) fn optional<T: Scalar>(
        &mut self,
        word: &str,
        setting: Option<&Setting<T>>,
    ) -> Option<T> {
        setting.map(|setting| self.setting(word, setting))
    }

    /// What a name stands for here: the argument of a parameter, the stride on an edge of a cell, or a
    /// tie. Its decision is made when the name is first met, so one that is met nowhere is never made.
    fn named(&mut self, name: &str) -> Option<Value> {
        let mut name = name;
        for frame in self.frames.iter().rev() {
            match frame {
                Frame::Edge { stride } if name == CELL_STRIDE => {
                    return i64::try_from(*stride).ok().map(Value::Integer);
                }
                Frame::Edge { .. } => {}
                Frame::Use { with, site } => match with.get(name) {
                    None => break,
                    Some(Setting::Fixed(value)) => return Some(value.clone()),
                    Some(Setting::Named(outer)) => name = outer,
                    Some(Setting::Decide(domain)) => {
                        let path = format!("{site}.with.{name}");
                        return Some(self.decide_at(path, domain));
                    }
                },
            }
        }
        let space = self.space;
        match space.tie.get(name)? {
            Setting::Fixed(value) => Some(value.clone()),
            Setting::Decide(domain) => Some(self.decide_at(format!("tie.{name}"), domain)),
            Setting::Named(_) => None,
        }
    }
}

/// A part of a path.
#[derive(Clone, Copy)]
pub(super) enum Part<'p> {
    Word(&'p str),
    Number(u64),
}

fn push(path: &mut String, step: &[Part<'_>]) {
    use fmt::Write as _;
    for part in step {
        match *part {
            Part::Word(word) => path.push_str(word),
            // Most numbers have one digit, and formatting is slow.
            Part::Number(digit @ 0..=9) => path.push(char::from(b'0' + digit as u8)),
            Part::Number(number) => {
                // Writing to a String cannot fail.
                let _ = write!(path, "{number}");
            }
        }
    }
}

/// The domain of a choice among words.
pub(super) fn words<'w>(words: impl Iterator<Item = &'w str>) -> Domain {
    Domain::Choice(words.map(|word| Value::Text(word.to_owned())).collect())
}
