//! Blocks of a network as the spec writes them: layers, and the blocks that hold other blocks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::domain::Domain;
use super::expand_blocks::domain_of;
use super::layer::Layer;
use super::setting::{Scalar, Setting};
use crate::candidate::Value;

/// How branches come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// Their sum; all of one shape.
    Add,
    /// One after another along channels or features.
    Concat,
    /// Their product, element by element; all of one shape.
    Multiply,
}

impl Scalar for Join {
    fn from_value(value: &Value) -> Option<Self> {
        let Value::Text(word) = value else {
            return None;
        };
        match word.as_str() {
            "add" => Some(Self::Add),
            "concat" => Some(Self::Concat),
            "multiply" => Some(Self::Multiply),
            _ => None,
        }
    }
    fn fallback() -> Self {
        Self::Add
    }
}

/// A block with the name that replaces its index in paths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// The name; unique among its siblings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is.
    pub kind: BlockKind,
}

/// What a block is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BlockKind {
    /// A layer.
    Layer(Box<Layer>),
    /// One of several lists of blocks.
    Choice(Alternatives),
    /// These blocks, or nothing.
    Optional(Vec<Block>),
    /// The same blocks several times.
    Repeat(Repeat),
    /// The blocks' output added to their input.
    Residual(Vec<Block>),
    /// The blocks' output added to that of other blocks on the same input.
    Shortcut(Shortcut),
    /// Lists of blocks side by side.
    Branches(Branches),
    /// Blocks one after another.
    Sequence(Vec<Block>),
    /// A graph of nodes with blocks on its edges.
    Cell(Box<Cell>),
    /// The blocks of a definition.
    Use(Use),
    /// The output of an earlier block instead of that of the block before: its name, or
    /// [`PREVIOUS`].
    From(Setting<Value>),
    /// The outputs of some earlier blocks, joined.
    Inputs(Inputs),
}

/// The name that stands for the output of the block before.
pub const PREVIOUS: &str = "previous";
/// The name by which the blocks on the edges of a cell know their stride.
pub const CELL_STRIDE: &str = "stride";

/// A list of blocks, or one block that stands in the list's place and needs no index in paths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Body {
    /// One block.
    One(Box<Block>),
    /// Blocks one after another; none: the identity.
    List(Vec<Block>),
}

impl Body {
    /// Its blocks.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        match self {
            Self::One(block) => std::slice::from_ref(block),
            Self::List(blocks) => blocks,
        }
    }
}

/// Blocks that have a name under `blocks:` and are used by it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// The names of its parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<String>,
    /// How often it may be used inside itself; given exactly when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<u32>,
    /// Its blocks.
    pub body: Body,
}

/// A use of a definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Use {
    /// The definition's name.
    pub block: String,
    /// The values of its parameters, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<String, Setting<Value>>,
    /// Whether the decisions inside are those of every other shared use of the definition.
    #[serde(default)]
    pub shared: bool,
}

/// The alternatives of a choice, with the domain of the decision among them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Alternative>", into = "Vec<Alternative>")]
pub struct Alternatives {
    all: Vec<Alternative>,
    domain: Domain,
}

impl Alternatives {
    /// Their names, and their weights if any has one.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        &self.domain
    }
}

impl std::ops::Deref for Alternatives {
    type Target = [Alternative];
    fn deref(&self) -> &[Alternative] {
        &self.all
    }
}

impl From<Vec<Alternative>> for Alternatives {
    fn from(all: Vec<Alternative>) -> Self {
        Self {
            domain: domain_of(all.iter()),
            all,
        }
    }
}

impl From<Alternatives> for Vec<Alternative> {
    fn from(alternatives: Alternatives) -> Self {
        alternatives.all
    }
}

/// An alternative of a choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alternative {
    /// Its name, the value of the decision.
    pub name: String,
    /// How likely it is to be sampled, compared with the others; absent: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Its blocks; none: the identity.
    pub blocks: Vec<Block>,
}

/// Blocks with a shortcut past them: both outputs are added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shortcut {
    /// The blocks.
    pub body: Vec<Block>,
    /// What the input goes through on its way past them.
    pub shortcut: Vec<Block>,
}

/// A cell: a graph whose nodes are sums of what comes over their edges, and whose edges are blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// Its nodes, inputs included. Edges go from each to every later one that is no input.
    pub nodes: u64,
    /// The first so many nodes are inputs: one is the output of the block before; two are first what the
    /// cell before this one took, and then that.
    pub inputs: u64,
    /// Each node takes so many of the nodes before it; absent: all of them.
    pub choose: Option<u64>,
    /// Whether those are different nodes; else one may be taken several times, over an edge of its own each
    /// time.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub distinct: bool,
    /// The blocks on every edge.
    pub edge: Body,
    /// What the cell gives.
    pub output: CellOutput,
    /// Every input is brought to so many channels first; absent: only what does not fit is projected.
    pub channels: Option<Setting<u64>>,
    /// Whether the edges from inputs halve height and width.
    pub reduction: Setting<bool>,
}

/// What a space of an older journal means, which does not say it.
fn yes() -> bool {
    true
}

// serde asks with a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_yes(flag: &bool) -> bool {
    *flag
}

/// What a cell gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellOutput {
    /// Its last node.
    Last,
    /// All nodes but the inputs, one after another along channels.
    Concat,
    /// The nodes that no other node takes, one after another along channels.
    Loose,
}

/// Outputs of earlier blocks, joined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// The names to choose from.
    pub of: Vec<String>,
    /// How many are taken; absent: any number of them, but at least one.
    pub choose: Option<u64>,
    /// How they come together.
    pub join: Setting<Join>,
}

/// A repeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// How often.
    pub times: Setting<u64>,
    /// What.
    pub block: Vec<Block>,
    /// Whether the decisions inside are made once for all times.
    pub shared: bool,
}

/// Branches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Branches {
    /// How they come together.
    pub join: Setting<Join>,
    /// The branches; an empty one is the identity.
    pub of: Vec<Vec<Block>>,
}
