//! Building a network node by node, and checking one that came from outside: the same rules for both.
//! Imports the network's types only.

use std::collections::HashSet;
use std::hash::BuildHasher as _;
use std::ops::Range;

use foldhash::quality::RandomState;

use super::by_colour::ByColour;
use super::error::{ShapeError, ShapeProblem};
use super::infer::{check_shape, infer};
use super::op::Op;
use super::shape::Shape;
use super::{Inputs, Network, Node};

/// The most nodes of a network: ten times the deepest networks in use, and few enough that every pass
/// over one takes milliseconds.
pub const MAX_NODES: usize = 10_000;
/// The most connections of a network, counted with multiplicity: ten for every node.
pub const MAX_EDGES: usize = 100_000;
/// The longest name of a node, in bytes: room for the path of a deeply nested decision.
pub const MAX_NODE_NAME: usize = 1_024;

/// The name of node 0.
const INPUT_NAME: &str = "input";

/// Builds a [`Network`]: every push infers the shape of the new node, so an impossible network is refused
/// where it becomes impossible.
#[derive(Clone, Debug)]
pub struct Builder {
    nodes: Vec<Node>,
    edges: usize,
    /// Why the input's shape is refused; told at the first use, so that `new` cannot fail.
    bad_input: Option<ShapeProblem>,
}

impl Builder {
    /// A network of its input alone, which is node 0, named `input`.
    #[must_use]
    pub fn new(input: Shape) -> Self {
        Self::with_room(input, 0)
    }

    /// The same, with room for about so many nodes.
    #[must_use]
    pub fn with_room(input: Shape, nodes: usize) -> Self {
        let mut builder = Self {
            bad_input: check_shape(&input).err(),
            nodes: Vec::with_capacity(nodes.clamp(1, MAX_NODES)),
            edges: 0,
        };
        builder.nodes.push(Node {
            name: INPUT_NAME.to_owned(),
            op: Op::Input,
            inputs: Inputs::new(),
            shape: input,
        });
        builder
    }

    /// Adds a node that computes `op` on the outputs of `inputs`, and gives its id. Names must be unique;
    /// [`Builder::finish`] checks that.
    ///
    /// # Errors
    /// [`ShapeError`] when the operation does not fit its inputs or a bound is exceeded. The builder is
    /// then as it was.
    pub fn push(
        &mut self,
        name: String,
        op: Op,
        inputs: impl AsRef<[usize]>,
    ) -> Result<usize, ShapeError> {
        let inputs = inputs.as_ref();
        self.check_input()?;
        let shape = next_shape(&self.nodes, self.edges, &name, &op, inputs)
            .map_err(|problem| ShapeError::new(&name, op.name(), problem))?;
        self.edges += inputs.len();
        self.nodes.push(Node {
            name,
            op,
            inputs: Inputs::from_slice(inputs),
            shape,
        });
        Ok(self.nodes.len() - 1)
    }

    /// Adds some nodes once more: what read `input` reads `instead`, which has its shape, what read one of them
    /// reads its copy, and what read an earlier node still does. `name` makes the new names from the old ones.
    /// As [`Self::push`] for each of them, without inferring what is known.
    ///
    /// # Errors
    /// [`ShapeError`] when a bound is exceeded, there is no such node, or the shapes differ. Some of the nodes
    /// are then added.
    pub fn repeat(
        &mut self,
        nodes: Range<usize>,
        input: usize,
        instead: usize,
        name: impl Fn(&str) -> String,
    ) -> Result<(), ShapeError> {
        self.check_input()?;
        self.check_repeat(&nodes, input, instead)?;
        let moved = self.nodes.len() - nodes.start;
        self.nodes.reserve(nodes.len());
        for id in nodes.clone() {
            let node = &self.nodes[id];
            let name = name(&node.name);
            check_bounds(self.nodes.len(), self.edges, &name, &node.inputs)
                .map_err(|problem| ShapeError::new(&name, node.op.name(), problem))?;
            let mut inputs = Inputs::from_slice(&node.inputs);
            for read in &mut inputs {
                *read = match *read {
                    read if read == input => instead,
                    read if nodes.contains(&read) => read + moved,
                    read => read,
                };
            }
            self.edges += inputs.len();
            self.nodes.push(Node {
                name,
                op: node.op.clone(),
                inputs,
                shape: node.shape.clone(),
            });
        }
        Ok(())
    }

    /// Whether these nodes are there and may read the one instead of the other.
    fn check_repeat(
        &self,
        nodes: &Range<usize>,
        input: usize,
        instead: usize,
    ) -> Result<(), ShapeError> {
        let earlier = self.nodes.len();
        let last = nodes.end.saturating_sub(1);
        let problem = match (self.shape(input), self.shape(instead)) {
            _ if nodes.is_empty() => return Ok(()),
            (None, _) => ShapeProblem::UnknownInput { input, earlier },
            (_, None) => ShapeProblem::UnknownInput {
                input: instead,
                earlier,
            },
            _ if last >= earlier => ShapeProblem::UnknownInput {
                input: last,
                earlier,
            },
            (Some(one), Some(other)) if one != other => ShapeProblem::Different {
                first: one.clone(),
                other: other.clone(),
            },
            _ => return Ok(()),
        };
        Err(ShapeError::new("network", "repeat", problem))
    }

    /// The shape of the output of node `id`, if there is such a node.
    #[must_use]
    pub fn shape(&self, id: usize) -> Option<&Shape> {
        self.nodes.get(id).map(|node| &node.shape)
    }

    /// The nodes so far.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The network whose output is that of node `output`.
    ///
    /// # Errors
    /// [`ShapeError`] when there is no such node, two nodes have one name, or the input's shape is none.
    pub fn finish(self, output: usize) -> Result<Network, ShapeError> {
        self.check_input()?;
        let network = Network {
            nodes: self.nodes,
            output,
        };
        network.check_ends()?;
        Ok(network)
    }

    fn check_input(&self) -> Result<(), ShapeError> {
        match &self.bad_input {
            None => Ok(()),
            Some(problem) => Err(ShapeError::new(
                INPUT_NAME,
                Op::Input.name(),
                problem.clone(),
            )),
        }
    }
}

/// Checks one more node against those before it and gives its shape.
fn next_shape(
    earlier: &[Node],
    edges: usize,
    name: &str,
    op: &Op,
    inputs: &[usize],
) -> Result<Shape, ShapeProblem> {
    check_bounds(earlier.len(), edges, name, inputs)?;
    infer(op, inputs, earlier)
}

/// Whether there is room for one more node.
fn check_bounds(
    nodes: usize,
    edges: usize,
    name: &str,
    inputs: &[usize],
) -> Result<(), ShapeProblem> {
    if nodes >= MAX_NODES {
        return Err(ShapeProblem::TooManyNodes);
    }
    if edges.saturating_add(inputs.len()) > MAX_EDGES {
        return Err(ShapeProblem::TooManyEdges);
    }
    check_name(name)
}

fn check_name(name: &str) -> Result<(), ShapeProblem> {
    if name.is_empty() || name.len() > MAX_NODE_NAME {
        return Err(ShapeProblem::BadName(name.len()));
    }
    Ok(())
}

impl Network {
    /// Checks a network that came from outside as strictly as [`Builder`] checks one built here: the order
    /// of the nodes, unique names, every setting and bound, and that each stored shape is the one that the
    /// operations give.
    ///
    /// # Errors
    /// [`ShapeError`] for the first node that is wrong.
    pub fn validate(&self) -> Result<(), ShapeError> {
        let problem = |node: &Node, problem| ShapeError::new(&node.name, node.op.name(), problem);
        let Some(input) = self.nodes.first() else {
            return Err(ShapeError::new(
                "network",
                Op::Input.name(),
                ShapeProblem::NoNodes,
            ));
        };
        if input.op != Op::Input || !input.inputs.is_empty() {
            return Err(problem(input, ShapeProblem::MisplacedInput));
        }
        check_name(&input.name)
            .and_then(|()| check_shape(&input.shape))
            .map_err(|found| problem(input, found))?;
        let mut edges = 0;
        for (id, node) in self.nodes.iter().enumerate().skip(1) {
            let earlier = &self.nodes[..id];
            let shape = next_shape(earlier, edges, &node.name, &node.op, &node.inputs)
                .map_err(|found| problem(node, found))?;
            if shape != node.shape {
                let stored = Shape(node.shape.0.iter().copied().take(8).collect());
                return Err(problem(
                    node,
                    ShapeProblem::StoredShape {
                        stored,
                        inferred: shape,
                    },
                ));
            }
            edges += node.inputs.len();
        }
        self.check_ends()
    }

    /// What holds for the whole rather than for a node: names are unique and the output exists.
    fn check_ends(&self) -> Result<(), ShapeError> {
        if let Some(node) = self.second_of_a_name() {
            let problem = ShapeProblem::DuplicateName;
            return Err(ShapeError::new(&node.name, node.op.name(), problem));
        }
        if self.output >= self.nodes.len() {
            return Err(ShapeError::new(
                "network",
                "output",
                ShapeProblem::UnknownOutput {
                    output: self.output,
                    nodes: self.nodes.len(),
                },
            ));
        }
        Ok(())
    }

    /// The first node that has the name of an earlier one.
    fn second_of_a_name(&self) -> Option<&Node> {
        // Where all hashes differ, as they nearly always do, so do all names.
        let state = RandomState::default();
        let hash = |node: &Node| state.hash_one(node.name.as_str());
        let hashes: Vec<u64> = self.nodes.iter().map(hash).collect();
        if ByColour::of(&hashes).classes == hashes.len() {
            return None;
        }
        let mut names = HashSet::with_capacity(self.nodes.len());
        (self.nodes.iter()).find(|node| !names.insert(node.name.as_str()))
    }
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
