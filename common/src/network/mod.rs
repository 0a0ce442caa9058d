//! The network IR: a typed directed acyclic graph of operations with the shape of every output. What a
//! candidate builds, what a lease carries, what the trainer lowers.

mod build;
mod by_colour;
mod canonical;
mod count;
mod error;
mod identity;
mod infer;
mod infer_sequence;
mod infer_window;
mod label;
mod memory;
mod op;
mod relation;
mod shape;
mod simplify;
mod simplify_emit;
mod simplify_joins;
mod simplify_rewrite;
mod simplify_rules;

#[cfg(test)]
mod op_tests;
#[cfg(test)]
mod samples;

pub use build::{Builder, MAX_EDGES, MAX_NODE_NAME, MAX_NODES};
pub use error::{ShapeError, ShapeProblem};
pub use infer::MAX_ELEMENTS;
pub use op::{Activation, Convolution, Op, Pooling, Positions, Recurrent, RecurrentOutput};
pub use shape::{Axes, Axis, Layout, Shape};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// Ids of the nodes that a node reads, kept in place up to two.
pub type Inputs = SmallVec<[usize; 2]>;

/// A node of a network. Its id is its index in [`Network::nodes`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Where in the space it comes from, e.g. `network.body#2[0].choice.plain[0]`; unique.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Ids of its inputs, in order; each smaller than its own id.
    pub inputs: Inputs,
    /// Shape of its output, the batch axis left out.
    pub shape: Shape,
}

/// A network: nodes in topological order, the first one [`Op::Input`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Id of the node whose output is the network's.
    pub output: usize,
}

impl Network {
    /// A batch normalisation that has one value of each channel in an example: in a batch of one it would have
    /// no variance to go by, so it cannot be trained with a batch size of 1.
    #[must_use]
    pub fn needs_larger_batches(&self) -> Option<&Node> {
        self.nodes.iter().find(|node| match node.op {
            Op::BatchNorm { channels } => node.shape.elements() == Some(channels),
            _ => false,
        })
    }
}
