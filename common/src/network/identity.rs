//! Identity: one digest for all networks that are the same after simplification. Imports the network's
//! types only.
//!
//! The digest is of the simplified graph written down in canonical order (see `canonical`), so two networks
//! have one id exactly when their simplified graphs are isomorphic: operations with their settings, the
//! input's shape, who reads whom, and for `concat` in which order. Names do not count, nor does what a zero
//! stands on. Weights are never merged, so sharing counts: a node read twice is not two equal nodes.
//!
//! When a graph is so symmetric that the canonical order is not found within its bound of work, the digest
//! is of the graph's refined colours instead. It is the same for isomorphic graphs even then; what is lost is
//! the other direction: graphs that colour refinement cannot tell apart get one id.

use super::Network;
use super::canonical::{MAX_WORK, canonical_order, mix, places};
use super::label::label;
use super::op::Op;
use super::relation::{Adjacency, Relation};
use super::simplify::{Terms, Wanted, reduced};
use crate::ids::Digest;

/// What the three kinds of text start with, so that none can be taken for another.
const EXACT: &[u8] = b"espalier network 1\n";
const COLOURS: &[u8] = b"espalier network colours 1\n";
const DISORDERED: &[u8] = b"espalier network disordered 1\n";

impl Network {
    /// The identity of what the network computes: equal exactly when the simplified networks are the same but
    /// for names and numbering. The head of `identity.rs` says more, and what is lost beyond the bound of work.
    ///
    /// A network whose nodes are not in order (see [`Network::validate`]) gets the digest of its JSON.
    #[must_use]
    pub fn network_id(&self) -> Digest {
        self.network_id_within(MAX_WORK)
    }

    fn network_id_within(&self, work: u64) -> Digest {
        let Some(simplified) = reduced(self, Wanted::Terms) else {
            let mut text = DISORDERED.to_vec();
            // Writing to memory cannot fail; if it did, the text so far is still this network's.
            let _ = serde_json::to_writer(&mut text, self);
            return Digest::of(&text);
        };
        let graph = Graph::new(&simplified);
        match canonical_order(&graph.relation, graph.colours(), work) {
            Ok(order) => Digest::of(&graph.exact_text(&order)),
            Err(colours) => Digest::of(&graph.colour_text(&colours)),
        }
    }
}

/// A simplified network as labels and edges, without what the output does not depend on.
struct Graph {
    /// Node `v`'s label is `words[start[v]..start[v + 1]]`.
    words: Vec<u64>,
    start: Vec<usize>,
    relation: Relation,
}

impl Graph {
    fn new(simplified: &Terms<'_>) -> Self {
        let all = simplified.terms.len();
        let mut number = vec![0_u32; all];
        let (mut words, mut start) = (Vec::with_capacity(all * 6), Vec::with_capacity(all + 1));
        start.push(0);
        let mut inputs = Adjacency::with_room(all, 2 * all);
        let mut nodes = 0;
        for (id, term) in simplified.terms.iter().enumerate() {
            if !simplified.is_live(id) {
                continue;
            }
            label(term.op, term.shape, &mut words);
            start.push(words.len());
            // The order of inputs does not matter, or there is one input only: but for concat.
            let is_ordered = u32::from(matches!(term.op, Op::Concat));
            inputs.push(
                (0_u32..)
                    .zip(&term.inputs)
                    .map(|(place, &input)| (number[input as usize], place * is_ordered)),
            );
            number[id] = nodes;
            nodes += 1;
        }
        Self {
            words,
            start,
            relation: Relation::of_inputs(inputs),
        }
    }

    fn len(&self) -> usize {
        self.start.len() - 1
    }

    fn label(&self, node: usize) -> &[u64] {
        &self.words[self.start[node]..self.start[node + 1]]
    }

    fn colours(&self) -> Vec<u64> {
        let colour = |node| self.label(node).iter().fold(0, |state, &w| mix(state, w));
        (0..self.len()).map(colour).collect()
    }

    /// All of the graph: who gave the text can build the graph from it.
    fn exact_text(&self, order: &[u32]) -> Vec<u8> {
        let place = places(order);
        let mut text = Text::new(EXACT, self.words.len() + 4 * self.len());
        let mut several = Vec::new();
        for &node in order {
            let node = node as usize;
            text.list_of(self.label(node));
            // The tags are left out: the label says whether the order of the inputs counts.
            match *self.relation.inputs(node) {
                [] => text.list_of(&[]),
                [(from, _)] => text.list_of(&[u64::from(place[from as usize])]),
                ref inputs => {
                    several.clear();
                    several.extend((inputs.iter()).map(|&(from, tag)| (tag, place[from as usize])));
                    several.sort_unstable();
                    text.list(several.iter().map(|&(_, from)| u64::from(from)));
                }
            }
        }
        text.bytes()
    }

    /// What the colours tell of the graph, in an order that does not depend on the numbering.
    fn colour_text(&self, colours: &[u64]) -> Vec<u8> {
        let mut lines: Vec<_> = (0..self.len())
            .map(|node| {
                let mut inputs: Vec<_> = (self.relation.inputs(node).iter())
                    .map(|&(from, tag)| (tag, colours[from as usize]))
                    .collect();
                inputs.sort_unstable();
                (colours[node], inputs, self.label(node))
            })
            .collect();
        lines.sort_unstable();
        let mut text = Text::new(COLOURS, self.words.len() + 4 * self.len());
        for (colour, inputs, label) in lines {
            text.list_of(label);
            text.list(std::iter::once(colour).chain(inputs.iter().map(|&(_, colour)| colour)));
        }
        text.bytes()
    }
}

/// A text of lists of numbers that reads one way only.
struct Text {
    start: &'static [u8],
    numbers: Vec<u64>,
}

impl Text {
    fn new(start: &'static [u8], numbers: usize) -> Self {
        let numbers = Vec::with_capacity(numbers);
        Self { start, numbers }
    }

    /// Appends a list: its length, and its numbers.
    fn list(&mut self, numbers: impl Iterator<Item = u64>) {
        let length_at = self.numbers.len();
        self.numbers.push(0);
        self.numbers.extend(numbers);
        self.numbers[length_at] = (self.numbers.len() - length_at - 1) as u64;
    }

    fn list_of(&mut self, numbers: &[u64]) {
        self.numbers.push(numbers.len() as u64);
        self.numbers.extend_from_slice(numbers);
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.start.len() + 8 * self.numbers.len()];
        let (start, rest) = bytes.split_at_mut(self.start.len());
        start.copy_from_slice(self.start);
        for (place, number) in rest.chunks_exact_mut(8).zip(&self.numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
