//! Writes what simplification left as a network again. Imports the network's types only.

use smallvec::smallvec;

use super::op::Op;
use super::simplify::{Term, Terms};
use super::{Inputs, Network, Node};

/// Writes a graph of terms as a network again.
pub(super) struct Emitter<'a> {
    original: &'a Network,
    nodes: Vec<Node>,
    /// Where the original's nodes that were written as they are stand now.
    copied: Vec<Option<usize>>,
}

impl<'a> Emitter<'a> {
    pub(super) fn new(original: &'a Network) -> Self {
        Self {
            original,
            nodes: Vec::new(),
            copied: vec![None; original.nodes.len()],
        }
    }

    pub(super) fn emit(mut self, graph: &Terms<'_>) -> Network {
        let mut written = vec![None; graph.terms.len()];
        for (id, term) in graph.terms.iter().enumerate() {
            if graph.is_live(id) && term.is_zero() {
                let base = self.base(term, graph, &written);
                written[id] = Some(self.write(term, smallvec![base]));
            } else if graph.is_live(id) || matches!(term.op, Op::Input) {
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
        let source = term.source as usize;
        let mut name = self.original.nodes[source].name.clone();
        if self.copied[source].is_some() {
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
        let mut base = zero.source as usize;
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
