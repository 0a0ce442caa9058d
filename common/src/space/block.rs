//! Blocks of a network as the spec writes them: layers, and the blocks that hold other blocks.

use serde::{Deserialize, Serialize};

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
    Choice(Vec<Alternative>),
    /// These blocks, or nothing.
    Optional(Vec<Block>),
    /// The same blocks several times.
    Repeat(Repeat),
    /// The blocks' output added to their input.
    Residual(Vec<Block>),
    /// Lists of blocks side by side.
    Branches(Branches),
}

/// An alternative of a choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alternative {
    /// Its name, the value of the decision.
    pub name: String,
    /// Its blocks; none: the identity.
    pub blocks: Vec<Block>,
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
