//! Blocks of a network as the spec writes them: layers whose scalars may be decisions, and the blocks
//! that hold other blocks.

use serde::{Deserialize, Serialize};

use super::domain::Domain;
use crate::candidate::Value;
use crate::network::Activation;

/// A scalar that is fixed or left to a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting<T> {
    /// Always this.
    Fixed(T),
    /// One of these.
    Decide(Domain),
}

impl<T> Setting<T> {
    /// The domain, when this is a decision.
    #[must_use]
    pub fn domain(&self) -> Option<&Domain> {
        match self {
            Self::Fixed(_) => None,
            Self::Decide(domain) => Some(domain),
        }
    }

    /// The value, when it is fixed.
    #[must_use]
    pub fn fixed(&self) -> Option<&T> {
        match self {
            Self::Fixed(value) => Some(value),
            Self::Decide(_) => None,
        }
    }
}

/// What the value of a decision becomes in a layer or recipe.
pub trait Scalar: Clone {
    /// The scalar that a value means; `None` when it means none.
    fn from_value(value: &Value) -> Option<Self>;
    /// What stands in when a damaged space gives a value of the wrong kind.
    fn fallback() -> Self;
}

impl Scalar for u64 {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(number) => Self::try_from(*number).ok(),
            _ => None,
        }
    }
    fn fallback() -> Self {
        1
    }
}

impl Scalar for f64 {
    fn from_value(value: &Value) -> Option<Self> {
        match *value {
            Value::Real(number) => Some(number),
            Value::Integer(number) => Some(number as Self),
            _ => None,
        }
    }
    fn fallback() -> Self {
        0.0
    }
}

impl Scalar for bool {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Boolean(flag) => Some(*flag),
            _ => None,
        }
    }
    fn fallback() -> Self {
        false
    }
}

impl Scalar for Value {
    fn from_value(value: &Value) -> Option<Self> {
        Some(value.clone())
    }
    fn fallback() -> Self {
        Self::Boolean(false)
    }
}

/// The words of the activations.
pub const ACTIVATIONS: [(&str, Activation); 9] = [
    ("relu", Activation::Relu),
    ("relu6", Activation::Relu6),
    ("leaky_relu", Activation::LeakyRelu),
    ("gelu", Activation::Gelu),
    ("silu", Activation::Silu),
    ("hard_swish", Activation::HardSwish),
    ("tanh", Activation::Tanh),
    ("sigmoid", Activation::Sigmoid),
    ("elu", Activation::Elu),
];

impl Scalar for Activation {
    fn from_value(value: &Value) -> Option<Self> {
        let Value::Text(word) = value else {
            return None;
        };
        ACTIVATIONS
            .iter()
            .find_map(|(name, activation)| (name == word).then_some(*activation))
    }
    fn fallback() -> Self {
        Self::Relu
    }
}

/// Groups of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Groups {
    /// One group for every input channel.
    Depthwise,
    /// So many groups.
    Count(u64),
}

impl Scalar for Groups {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(word) if word == "depthwise" => Some(Self::Depthwise),
            other => u64::from_value(other).map(Self::Count),
        }
    }
    fn fallback() -> Self {
        Self::Count(1)
    }
}

/// Output features of a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Features {
    /// As many as the data set has classes.
    Classes,
    /// So many.
    Count(u64),
}

impl Scalar for Features {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(word) if word == "classes" => Some(Self::Classes),
            other => u64::from_value(other).map(Self::Count),
        }
    }
    fn fallback() -> Self {
        Self::Count(1)
    }
}

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

/// A layer. What is `None` has a default that depends on where the layer stands; see each field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Layer {
    /// 2-d convolution.
    Conv {
        /// Output channels; `None` keeps the input's.
        channels: Option<Setting<u64>>,
        /// Side of the kernel.
        kernel: Setting<u64>,
        /// Stride.
        stride: Setting<u64>,
        /// Zeros on every side; `None`: `dilation (kernel - 1) / 2`, which keeps height and width of an
        /// odd kernel with stride 1.
        padding: Option<Setting<u64>>,
        /// Groups.
        groups: Setting<Groups>,
        /// Distance between kernel elements.
        dilation: Setting<u64>,
        /// Whether a bias is added; `None`: not when a `batch_norm` follows at once in the same list.
        bias: Option<Setting<bool>>,
    },
    /// Affine map.
    Linear {
        /// Output features.
        features: Setting<Features>,
        /// Whether a bias is added.
        bias: Setting<bool>,
    },
    /// Batch normalisation.
    BatchNorm,
    /// Activation function.
    Activation(Setting<Activation>),
    /// Maximum over windows.
    MaxPool(Pool),
    /// Mean over windows.
    AvgPool(Pool),
    /// Mean over height and width.
    GlobalAvgPool,
    /// Dropout.
    Dropout {
        /// Probability of zeroing.
        rate: Setting<f64>,
    },
    /// All axes become features.
    Flatten,
}

/// Windows of a pooling layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Side of the window.
    pub kernel: Setting<u64>,
    /// Stride; `None`: the kernel, so that windows do not overlap.
    pub stride: Option<Setting<u64>>,
    /// Padding; `None`: `(kernel - 1) / 2` when windows overlap (stride less than kernel), else 0.
    pub padding: Option<Setting<u64>>,
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
