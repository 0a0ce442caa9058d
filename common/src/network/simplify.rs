//! Simplification: the smallest form of a network, by rules that keep what it computes. Imports the
//! network's types only.
//!
//! The rules, and there are no others:
//! - A node that the output does not depend on is cut.
//! - `identity`, dropout and drop-path at rate 0, pooling with kernel 1, stride 1 and no padding, flattening
//!   what is flat already, adaptive pooling to the size that is there, and joins (`add`, `multiply`,
//!   `concat`) of one input are their input.
//! - Zeros: `add` drops them, and is zero when nothing is left; `multiply` with one is zero; `concat` keeps
//!   them and is zero when all its inputs are. Pooling, flattening, dropout, drop-path, every activation that
//!   maps 0 to 0 (all but `sigmoid`, `hard_sigmoid` and `softplus`), `prelu`, `squeeze_excite`, and
//!   convolutions and linear maps without a bias give zero for zero. With a bias, or a normalisation, they do
//!   not; nor do embeddings, positions, attention and recurrence.
//! - An `add` read once only, by another `add`, is part of it; likewise `multiply` and `concat`.
//! - Equal operations without parameters on the same inputs are one node, except dropout and drop-path, which
//!   draw their own noise in each place. `add` and `multiply` do not mind the order of their inputs.
//!
//! Every weight is its own: two convolutions with equal settings on one input stay two, so `a(x) + b(x)` is
//! never `2 a(x)`. Networks that are equal by other laws (distributivity, relu of relu) stay different.
//!
//! All rules but the one for joins within joins look at a node and what its inputs became, so their order
//! does not matter. That one looks at readers: it runs on all nodes at once after the others are done, and
//! then everything is repeated until nothing changes (100 times at most). So the result does not depend on the order of nodes.

use std::collections::HashMap;
use std::hash::BuildHasher as _;

use foldhash::quality::RandomState;
use smallvec::{SmallVec, smallvec};

use super::label::label;
use super::op::{Activation, Op, Positions};
use super::shape::Shape;
use super::{Inputs, Network, Node};

/// The most times that everything is repeated. Two are usual; a turn takes at most 4 ms; only a network made
/// for the purpose needs many, and it is then left less simple than it could be.
const MAX_TURNS: usize = 100;

/// Indices of terms, kept in place up to four.
type Places = SmallVec<[u32; 4]>;

/// A node of the graph that is being simplified.
#[derive(Clone, Debug)]
pub(super) struct Term<'a> {
    pub(super) op: &'a Op,
    pub(super) shape: &'a Shape,
    /// Indices of earlier terms. A zero has none: it depends on nothing.
    pub(super) inputs: Places,
    /// The node of the original network that it stands for.
    source: usize,
}

impl Term<'_> {
    fn is_zero(&self) -> bool {
        matches!(self.op, Op::Zero | Op::Zeros { .. })
    }

    /// Whether it computes the same on the same inputs. The shape of a zero is all there is to it; every other
    /// follows from operation and inputs.
    fn equals(&self, other: &Self) -> bool {
        self.op == other.op
            && self.inputs == other.inputs
            && (!self.is_zero() || self.shape == other.shape)
    }

    fn is_join(&self) -> bool {
        matches!(self.op, Op::Add | Op::Multiply | Op::Concat)
    }
}

/// A graph of terms in topological order.
#[derive(Debug)]
pub(super) struct Terms<'a> {
    pub(super) terms: Vec<Term<'a>>,
    pub(super) output: usize,
    /// The term each node of the original network became, if it still became one.
    of_node: Vec<Option<u32>>,
}

impl Network {
    /// The same function in its smallest form, by the rules at the head of `simplify.rs`. Names are kept. A
    /// zero stands on a node of its shape, and where none is left on those that made it.
    ///
    /// A network whose nodes are not in order (see [`Network::validate`]) is returned as it is.
    #[must_use]
    pub fn simplified(&self) -> Network {
        if !is_ordered(self) {
            return self.clone();
        }
        Emitter::new(self).emit(&reduce(self))
    }
}

/// Whether the nodes can be walked: the input first and alone, every other node reads as many earlier nodes
/// as it needs. All that simplification relies on.
pub(super) fn is_ordered(network: &Network) -> bool {
    let walkable = |(id, node): (usize, &Node)| match node.op {
        Op::Input => id == 0 && node.inputs.is_empty(),
        Op::Add | Op::Multiply | Op::Concat => id > 0 && !node.inputs.is_empty(),
        _ => id > 0 && node.inputs.len() == 1,
    };
    network.output < network.nodes.len()
        && network.nodes.iter().enumerate().all(walkable)
        && (network.nodes.iter().enumerate())
            .all(|(id, node)| node.inputs.iter().all(|&input| input < id))
}

/// Applies every rule until none applies. The network must be ordered.
pub(super) fn reduce<'n>(network: &'n Network) -> Terms<'n> {
    let as_is = |(source, node): (usize, &'n Node)| Term {
        op: &node.op,
        shape: &node.shape,
        inputs: places(&node.inputs),
        source,
    };
    let mut graph = Terms {
        terms: network.nodes.iter().enumerate().map(as_is).collect(),
        output: network.output,
        of_node: (0..).take(network.nodes.len()).map(Some).collect(),
    };
    for _ in 0..MAX_TURNS {
        graph = Rewriter::rewrite(graph);
        if !merge_joins(&mut graph) {
            return graph;
        }
    }
    Rewriter::rewrite(graph)
}

fn places(inputs: &[usize]) -> Places {
    let mut places = Places::new();
    for &input in inputs {
        // Fits: a network has fewer than 2^32 nodes.
        places.push(input as u32);
    }
    places
}

impl Terms<'_> {
    /// Which terms the output depends on.
    pub(super) fn live(&self) -> Vec<bool> {
        let mut live = vec![false; self.terms.len()];
        live[self.output] = true;
        for id in (0..self.terms.len()).rev() {
            if live[id] {
                for &input in &self.terms[id].inputs {
                    live[input as usize] = true;
                }
            }
        }
        live
    }
}

/// Makes a join that is read once, by a join of the same kind, part of it. Says whether one has become equal to
/// another by that: only then is there more to do. What else the rules look at has not changed.
fn merge_joins(graph: &mut Terms<'_>) -> bool {
    let live = graph.live();
    let terms = &mut graph.terms;
    let mut readers = vec![0_u32; terms.len()];
    for (term, _) in terms.iter().zip(&live).filter(|(_, live)| **live) {
        for &input in &term.inputs {
            readers[input as usize] += 1;
        }
    }
    let mut absorbed = vec![false; terms.len()];
    let mut any = false;
    for (term, _) in terms.iter().zip(&live).filter(|(_, live)| **live) {
        for &input in term.inputs.iter().filter(|_| term.is_join()) {
            let input = input as usize;
            absorbed[input] = readers[input] == 1 && terms[input].op == term.op;
            any |= absorbed[input];
        }
    }
    if !any {
        return false;
    }
    for id in 0..terms.len() {
        let absorbs = |&input: &u32| absorbed[input as usize];
        if live[id] && !absorbed[id] && terms[id].inputs.iter().any(absorbs) {
            let mut inputs = flattened(&terms[id].inputs, terms, &absorbed);
            sort_unordered(terms[id].op, &mut inputs);
            terms[id].inputs = inputs;
        }
    }
    let mut joins: Vec<_> = (terms.iter().zip(&live).zip(&absorbed))
        .filter(|((term, live), absorbed)| **live && !**absorbed && term.is_join())
        .map(|((term, _), _)| (term.op.name(), &term.inputs))
        .collect();
    joins.sort_unstable();
    joins.windows(2).any(|pair| pair[0] == pair[1])
}

/// The inputs of a join, with those of absorbed joins in their places. The outermost join takes all at once:
/// joining step by step would copy a long chain over and over.
fn flattened(inputs: &Places, terms: &[Term<'_>], absorbed: &[bool]) -> Places {
    let mut flat = Places::new();
    let mut waiting: Vec<u32> = inputs.iter().rev().copied().collect();
    while let Some(input) = waiting.pop() {
        if absorbed[input as usize] {
            waiting.extend(terms[input as usize].inputs.iter().rev().copied());
        } else {
            flat.push(input);
        }
    }
    flat
}

/// One order for the inputs of what does not mind it.
fn sort_unordered(op: &Op, inputs: &mut Places) {
    if matches!(op, Op::Add | Op::Multiply) {
        inputs.sort_unstable();
    }
}

/// One walk over a graph that applies the rules which look at a node and its inputs.
struct Rewriter<'a> {
    terms: Vec<Term<'a>>,
    /// Terms without parameters, by a hash of label and inputs.
    known: HashMap<u64, u32, RandomState>,
    /// The next term with the same hash, in the rare case that there is one.
    alike: HashMap<u32, u32, RandomState>,
}

impl<'a> Rewriter<'a> {
    fn rewrite(graph: Terms<'a>) -> Terms<'a> {
        let live = graph.live();
        let mut rewriter = Self {
            terms: Vec::with_capacity(graph.terms.len()),
            known: HashMap::with_capacity_and_hasher(graph.terms.len(), RandomState::default()),
            alike: HashMap::default(),
        };
        let mut became = vec![None; graph.terms.len()];
        for (id, mut term) in graph.terms.into_iter().enumerate() {
            // The input stays even where nothing is read from it: a network has one, and a zero stands on it.
            if live[id] || matches!(term.op, Op::Input) {
                for input in &mut term.inputs {
                    // A live term's inputs are live and earlier, so all of them became something.
                    *input = became[*input as usize].unwrap_or(0);
                }
                became[id] = Some(rewriter.place(term));
            }
        }
        Terms {
            output: became[graph.output].unwrap_or(0) as usize,
            of_node: (graph.of_node.iter())
                .map(|term| term.and_then(|term| became[term as usize]))
                .collect(),
            terms: rewriter.terms,
        }
    }

    /// The term that `term`, whose inputs are rewritten already, is.
    fn place(&mut self, mut term: Term<'a>) -> u32 {
        if term.is_zero() {
            return self.zero(&term);
        }
        // Few have zeros among their inputs, and the rules about those are many.
        if term.inputs.iter().any(|&input| self.at(input).is_zero()) {
            if matches!(term.op, Op::Add) {
                term.inputs.retain(|&mut input| !self.at(input).is_zero());
            }
            if self.is_zero_on(&term) {
                return self.zero(&term);
            }
        }
        if let [input] = term.inputs[..]
            && passes_through(term.op, self.at(input).shape == term.shape)
        {
            return input;
        }
        sort_unordered(term.op, &mut term.inputs);
        if has_own_state(term.op) {
            self.terms.push(term);
            self.terms.len() as u32 - 1
        } else {
            self.shared(term)
        }
    }

    fn at(&self, term: u32) -> &Term<'a> {
        &self.terms[term as usize]
    }

    /// Whether zeros among its inputs make the term zero.
    fn is_zero_on(&self, term: &Term<'_>) -> bool {
        let mut zeros = term.inputs.iter().map(|&input| self.at(input).is_zero());
        match term.op {
            // Its zeros are dropped already.
            Op::Add => term.inputs.is_empty(),
            Op::Multiply => zeros.any(|zero| zero),
            Op::Concat => zeros.all(|zero| zero),
            _ => maps_zero_to_zero(term.op) && zeros.any(|zero| zero),
        }
    }

    fn zero(&mut self, term: &Term<'a>) -> u32 {
        self.shared(Term {
            op: &Op::Zero,
            inputs: Places::new(),
            ..*term
        })
    }

    /// The term, or the one that is there already and equal to it.
    fn shared(&mut self, term: Term<'a>) -> u32 {
        let next = self.terms.len() as u32;
        let words = label(term.op, term.shape);
        let hash = (self.known.hasher()).hash_one((words.as_slice(), term.inputs.as_slice()));
        let mut like = *self.known.entry(hash).or_insert(next);
        while like != next {
            if self.at(like).equals(&term) {
                return like;
            }
            like = *self.alike.entry(like).or_insert(next);
        }
        self.terms.push(term);
        next
    }
}

/// Whether an operation gives its one input unchanged.
fn passes_through(op: &Op, same_shape: bool) -> bool {
    match op {
        Op::Identity | Op::Add | Op::Multiply | Op::Concat => true,
        Op::Dropout { rate } | Op::DropPath { rate } => *rate == 0.0,
        Op::MaxPool1d(settings)
        | Op::MaxPool2d(settings)
        | Op::AvgPool1d(settings)
        | Op::AvgPool2d(settings) => {
            (settings.kernel, settings.stride, settings.padding) == (1, 1, 0)
        }
        Op::Flatten | Op::AdaptiveMaxPool { .. } | Op::AdaptiveAvgPool { .. } => same_shape,
        _ => false,
    }
}

/// Whether two nodes with this operation on one input differ: by their weights, or by their noise.
fn has_own_state(op: &Op) -> bool {
    match op {
        Op::Input
        | Op::Conv1d(_)
        | Op::Conv2d(_)
        | Op::Linear { .. }
        | Op::BatchNorm { .. }
        | Op::LayerNorm { .. }
        | Op::GroupNorm { .. }
        | Op::Prelu { .. }
        | Op::Dropout { .. }
        | Op::DropPath { .. }
        | Op::SqueezeExcite { .. }
        | Op::Embedding { .. }
        | Op::Attention { .. }
        | Op::Lstm(_)
        | Op::Gru(_) => true,
        Op::PositionalEncoding { kind, .. } => *kind == Positions::Learned,
        Op::Activation(_)
        | Op::MaxPool1d(_)
        | Op::MaxPool2d(_)
        | Op::AvgPool1d(_)
        | Op::AvgPool2d(_)
        | Op::AdaptiveMaxPool { .. }
        | Op::AdaptiveAvgPool { .. }
        | Op::GlobalMaxPool
        | Op::GlobalAvgPool
        | Op::Flatten
        | Op::ToSequence
        | Op::Add
        | Op::Multiply
        | Op::Concat
        | Op::Zero
        | Op::Zeros { .. }
        | Op::Identity => false,
    }
}

/// Whether an operation on one input gives zeros for zeros.
fn maps_zero_to_zero(op: &Op) -> bool {
    match op {
        Op::Conv1d(settings) | Op::Conv2d(settings) => !settings.bias,
        Op::Linear { bias, .. } => !bias,
        Op::Activation(activation) => !matches!(
            activation,
            Activation::Sigmoid | Activation::HardSigmoid | Activation::Softplus
        ),
        Op::Prelu { .. }
        | Op::MaxPool1d(_)
        | Op::MaxPool2d(_)
        | Op::AvgPool1d(_)
        | Op::AvgPool2d(_)
        | Op::AdaptiveMaxPool { .. }
        | Op::AdaptiveAvgPool { .. }
        | Op::GlobalMaxPool
        | Op::GlobalAvgPool
        | Op::Dropout { .. }
        | Op::DropPath { .. }
        | Op::SqueezeExcite { .. }
        | Op::Flatten
        | Op::ToSequence
        | Op::Identity
        | Op::Zero
        | Op::Zeros { .. } => true,
        Op::Input
        | Op::BatchNorm { .. }
        | Op::LayerNorm { .. }
        | Op::GroupNorm { .. }
        | Op::Embedding { .. }
        | Op::PositionalEncoding { .. }
        | Op::Attention { .. }
        | Op::Lstm(_)
        | Op::Gru(_)
        | Op::Add
        | Op::Multiply
        | Op::Concat => false,
    }
}

/// Writes a graph of terms as a network again.
struct Emitter<'a> {
    original: &'a Network,
    nodes: Vec<Node>,
    /// Where the original's nodes that were written as they are stand now.
    copied: Vec<Option<usize>>,
}

impl<'a> Emitter<'a> {
    fn new(original: &'a Network) -> Self {
        Self {
            original,
            nodes: Vec::new(),
            copied: vec![None; original.nodes.len()],
        }
    }

    fn emit(mut self, graph: &Terms<'_>) -> Network {
        let live = graph.live();
        let mut written = vec![None; graph.terms.len()];
        for (id, term) in graph.terms.iter().enumerate() {
            if live[id] && term.is_zero() {
                let base = self.base(term, graph, &written);
                written[id] = Some(self.write(term, smallvec![base]));
            } else if live[id] || matches!(term.op, Op::Input) {
                // Live terms read live and earlier terms, which are written.
                let inputs = (term.inputs.iter())
                    .filter_map(|&input| written[input as usize])
                    .collect();
                written[id] = Some(self.write(term, inputs));
            }
        }
        Network {
            output: written[graph.output].unwrap_or(0),
            nodes: self.nodes,
        }
    }

    fn write(&mut self, term: &Term<'_>, inputs: Inputs) -> usize {
        let mut name = self.original.nodes[term.source].name.clone();
        if self.copied[term.source].is_some() {
            // The node was written as the base of the zero that it turned out to be.
            name.push_str(".zero");
            while self.nodes.iter().any(|node| node.name == name) {
                name.push('\'');
            }
        }
        self.nodes.push(Node {
            name,
            op: term.op.clone(),
            inputs,
            shape: term.shape.clone(),
        });
        self.nodes.len() - 1
    }

    /// A node for a zero to stand on: one that has its shape, or else what made it.
    fn base(&mut self, zero: &Term<'_>, graph: &Terms<'_>, written: &[Option<usize>]) -> usize {
        if let Some(id) = (self.nodes.iter()).position(|node| node.shape == *zero.shape) {
            return id;
        }
        // The original's zeros have their input's shape, so what they stand on will do.
        let mut base = zero.source;
        while let (Op::Zero, [input]) = (
            &self.original.nodes[base].op,
            &self.original.nodes[base].inputs[..],
        ) {
            base = *input;
        }
        let mut needed = vec![false; base + 1];
        needed[base] = true;
        for id in (0..=base).rev() {
            if needed[id] && self.place_of(id, graph, written).is_none() {
                for &input in &self.original.nodes[id].inputs {
                    needed[input] = true;
                }
            }
        }
        for id in (0..=base).filter(|&id| needed[id]) {
            if self.place_of(id, graph, written).is_none() {
                let node = &self.original.nodes[id];
                let inputs = (node.inputs.iter())
                    .filter_map(|&input| self.place_of(input, graph, written))
                    .collect();
                self.nodes.push(Node {
                    inputs,
                    ..node.clone()
                });
                self.copied[id] = Some(self.nodes.len() - 1);
            }
        }
        self.place_of(base, graph, written).unwrap_or(0)
    }

    /// Where the value of one of the original's nodes is written, if it is.
    fn place_of(&self, id: usize, graph: &Terms<'_>, written: &[Option<usize>]) -> Option<usize> {
        graph.of_node[id]
            .and_then(|term| written[term as usize])
            .or(self.copied[id])
    }
}

#[cfg(test)]
#[path = "simplify_tests.rs"]
mod tests;
