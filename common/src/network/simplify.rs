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
//! does not matter: `simplify_rewrite.rs` applies them in one walk. That one looks at readers
//! (`simplify_joins.rs`): it runs on all nodes at once after the others are done, and then everything is
//! repeated until nothing changes (100 times at most). So the result does not depend on the order of nodes.

use smallvec::SmallVec;

use super::op::Op;
use super::shape::Shape;
use super::simplify_emit::Emitter;
use super::simplify_joins::merge_joins;
use super::simplify_rewrite::Rewriter;
use super::{Network, Node};

/// The most times that everything is repeated. Two are usual; a turn takes at most 4 ms; only a network made
/// for the purpose needs many, and it is then left less simple than it could be.
const MAX_TURNS: usize = 100;

/// Indices of terms, kept in place up to four.
pub(super) type Places = SmallVec<[u32; 4]>;

/// A node of the graph that is being simplified.
#[derive(Clone, Debug)]
pub(super) struct Term<'a> {
    pub(super) op: &'a Op,
    pub(super) shape: &'a Shape,
    /// Indices of earlier terms. A zero has none: it depends on nothing.
    pub(super) inputs: Places,
    /// The node of the original network that it stands for.
    pub(super) source: u32,
}

impl Term<'_> {
    pub(super) fn is_zero(&self) -> bool {
        matches!(self.op, Op::Zero | Op::Zeros { .. })
    }

    pub(super) fn is_join(&self) -> bool {
        matches!(self.op, Op::Add | Op::Multiply | Op::Concat)
    }
}

/// A graph of terms in topological order.
#[derive(Debug)]
pub(super) struct Terms<'a> {
    pub(super) terms: Vec<Term<'a>>,
    pub(super) output: usize,
    /// How often each term is read by what the output depends on; the output itself counts as read once.
    pub(super) readers: Vec<u32>,
    /// The term each node of the original network became, if it still became one. Empty where nobody asks.
    pub(super) of_node: Vec<Option<u32>>,
}

impl Terms<'_> {
    /// Whether the output depends on a term.
    pub(super) fn is_live(&self, term: usize) -> bool {
        self.readers[term] > 0
    }

    /// Counts readers anew.
    pub(super) fn count_readers(&mut self) {
        self.readers.clear();
        self.readers.resize(self.terms.len(), 0);
        self.readers[self.output] = 1;
        for id in (0..self.terms.len()).rev() {
            if self.readers[id] > 0 {
                for &input in &self.terms[id].inputs {
                    self.readers[input as usize] += 1;
                }
            }
        }
    }
}

impl Network {
    /// The same function in its smallest form, by the rules at the head of `simplify.rs`. Names are kept. A
    /// zero stands on a node of its shape, and where none is left on those that made it.
    ///
    /// A network whose nodes are not in order (see [`Network::validate`]) is returned as it is.
    #[must_use]
    pub fn simplified(&self) -> Network {
        match reduced(self, Wanted::TermsAndNodes) {
            Some(terms) => Emitter::new(self).emit(&terms),
            None => self.clone(),
        }
    }
}

/// What a caller of [`reduced`] needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The terms.
    Terms,
    /// And which of them each node became.
    TermsAndNodes,
}

/// Applies every rule until none applies; `None` for a network whose nodes are not in order.
pub(super) fn reduced(network: &Network, wanted: Wanted) -> Option<Terms<'_>> {
    let mut graph = Rewriter::rewrite_network(network, &live_nodes(network)?, wanted);
    for _ in 0..MAX_TURNS {
        if !merge_joins(&mut graph) {
            return Some(graph);
        }
        graph = Rewriter::rewrite(graph);
    }
    Some(graph)
}

/// Which nodes the output depends on, if the nodes can be walked: the input first and alone, every other node
/// reads as many earlier nodes as it needs. That is all that simplification relies on.
fn live_nodes(network: &Network) -> Option<Vec<bool>> {
    let is_walkable = |id: usize, node: &Node| match node.op {
        Op::Input => id == 0 && node.inputs.is_empty(),
        Op::Add | Op::Multiply | Op::Concat => id > 0 && !node.inputs.is_empty(),
        _ => id > 0 && node.inputs.len() == 1,
    };
    let mut live = vec![false; network.nodes.len()];
    *live.get_mut(network.output)? = true;
    for (id, node) in network.nodes.iter().enumerate().rev() {
        if !is_walkable(id, node) {
            return None;
        }
        let is_live = live[id];
        for &input in &node.inputs {
            if input >= id {
                return None;
            }
            live[input] |= is_live;
        }
    }
    Some(live)
}

#[cfg(test)]
#[path = "simplify_tests.rs"]
mod tests;
