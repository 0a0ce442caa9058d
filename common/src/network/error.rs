//! Why a network cannot be built: errors that name the node, its operation and the shapes that met.
//! Imports the shapes only.

use super::build::{MAX_EDGES, MAX_NODE_NAME, MAX_NODES};
use super::shape::{Axis, Shape};

/// A network that cannot be: which node, what it computes, and what is wrong there.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{node} ({op}): {problem}")]
pub struct ShapeError {
    /// The node's name; at most [`MAX_NODE_NAME`] bytes of it.
    pub node: String,
    /// The operation's name, as in the JSON of a network.
    pub op: &'static str,
    /// What is wrong; apart, since results hold networks far more often than errors.
    pub problem: Box<ShapeProblem>,
}

impl ShapeError {
    pub(super) fn new(node: &str, op: &'static str, problem: ShapeProblem) -> Self {
        // A name from outside may be of any length, and an error is printed and stored.
        let end = node.floor_char_boundary(MAX_NODE_NAME);
        Self {
            node: node[..end].to_owned(),
            op,
            problem: Box::new(problem),
        }
    }
}

/// What is wrong with a node.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeProblem {
    /// An input that is not an earlier node.
    #[error("it reads node {input}, but only the {earlier} nodes before it can be read")]
    UnknownInput {
        /// The id that is read.
        input: usize,
        /// How many nodes come before this one.
        earlier: usize,
    },
    /// The wrong number of inputs.
    #[error("it takes {expected}, but {actual} are connected")]
    InputCount {
        /// The number it takes, in words.
        expected: &'static str,
        /// The number it was given.
        actual: usize,
    },
    /// An input with other axes.
    #[error("it takes {expected}, but its input is {input}")]
    Axes {
        /// What it takes, in words.
        expected: &'static str,
        /// What it was given.
        input: Shape,
    },
    /// The operation is declared for another number of channels or features than come in.
    #[error("it is made for {declared} {what}, but its input is {input}")]
    Length {
        /// `channels` or `features`.
        what: &'static str,
        /// What the operation says.
        declared: u64,
        /// What comes in.
        input: Shape,
    },
    /// Groups that do not divide the channels.
    #[error(
        "its {groups} groups must divide both its {in_channels} input channels and its \
         {out_channels} output channels"
    )]
    Groups {
        /// Groups.
        groups: u64,
        /// Input channels.
        in_channels: u64,
        /// Output channels.
        out_channels: u64,
    },
    /// Groups of a normalisation that do not divide the channels.
    #[error("its {groups} groups must divide its {channels} channels")]
    NormGroups {
        /// Groups.
        groups: u64,
        /// Channels or features.
        channels: u64,
    },
    /// Heads that do not divide the features.
    #[error("its {heads} heads must divide its {features} features")]
    Heads {
        /// Heads.
        heads: u64,
        /// Features of a step.
        features: u64,
    },
    /// Tokens where numbers are needed.
    #[error("its input is {input} of tokens; put an `embedding` before it")]
    Tokens {
        /// What it was given.
        input: Shape,
    },
    /// A normalisation of single values.
    #[error("of {input} it would normalise single values, which makes every one of them 0")]
    SingleValue {
        /// What comes in.
        input: Shape,
    },
    /// Too many recurrent layers.
    #[error("it has {layers} layers, but may have {most}")]
    TooManyLayers {
        /// Layers.
        layers: u64,
        /// The most.
        most: u64,
    },
    /// A setting that must be at least 1.
    #[error("its {0} is 0, but must be at least 1")]
    Zero(&'static str),
    /// A window larger than the padded input.
    #[error(
        "its window spans {span} cells, but its input is {input} and has only {padded} cells on a \
         side with padding {padding}"
    )]
    Window {
        /// Cells from the window's first to its last, dilation included.
        span: u64,
        /// Padding on every side.
        padding: u64,
        /// The shorter side, padding included.
        padded: u64,
        /// What comes in.
        input: Shape,
    },
    /// More padding than half a pooling window: windows would see padding only.
    #[error("its padding {padding} is more than half of its kernel {kernel}")]
    Padding {
        /// Padding on every side.
        padding: u64,
        /// Side of the window.
        kernel: u64,
    },
    /// A dropout rate outside [0, 1).
    #[error("its rate is {0}, but must be at least 0 and less than 1")]
    Rate(f64),
    /// Inputs of different shapes where one shape is needed.
    #[error("its inputs must have one shape, but {first} meets {other}")]
    Different {
        /// Shape of the first input.
        first: Shape,
        /// The first shape that differs.
        other: Shape,
    },
    /// Inputs that differ in more than the axis they are joined along.
    #[error("its inputs may differ in their {} only, but {first} meets {other}", axis.plural())]
    Unjoinable {
        /// The axis they are joined along.
        axis: Axis,
        /// Shape of the first input.
        first: Shape,
        /// The first shape that does not fit.
        other: Shape,
    },
    /// A tensor too large for any machine.
    #[error("from {input}, one of its tensors would have more than 2^40 elements")]
    TensorTooLarge {
        /// What comes in.
        input: Shape,
    },
    /// Weights too large for any machine.
    #[error("it would have more than 2^40 parameters")]
    TooManyParameters,
    /// The input's shape is no shape.
    #[error(
        "a shape has at least one axis, each axis once, no length 0 and at most 2^40 elements; this \
         one is [{0}]"
    )]
    BadShape(Shape),
    /// An input anywhere but at node 0.
    #[error("node 0, and no other, is the network's input")]
    MisplacedInput,
    /// A network without nodes.
    #[error("the network has no nodes; its first must be the input")]
    NoNodes,
    /// A network with too many nodes.
    #[error("a network has at most {MAX_NODES} nodes")]
    TooManyNodes,
    /// A network with too many connections.
    #[error("a network has at most {MAX_EDGES} connections between nodes")]
    TooManyEdges,
    /// A name that another node has.
    #[error("another node has this name; names must be unique")]
    DuplicateName,
    /// A name that is empty or too long.
    #[error("a node's name has 1 to {MAX_NODE_NAME} bytes, this one has {0}")]
    BadName(usize),
    /// An output that is no node.
    #[error("node {output} is to be the output, but there are only {nodes} nodes")]
    UnknownOutput {
        /// The id that was named.
        output: usize,
        /// How many nodes there are.
        nodes: usize,
    },
    /// A network from outside whose stored shape is wrong.
    #[error("it is said to give {stored}, but gives {inferred}")]
    StoredShape {
        /// What the network says.
        stored: Shape,
        /// What the operation gives.
        inferred: Shape,
    },
}
