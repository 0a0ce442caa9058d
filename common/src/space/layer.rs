//! Layers of a network as the spec writes them, with the kinds of their scalars. May import the other words
//! of this crate.

use serde::{Deserialize, Serialize};

use super::setting::{Scalar, Setting};
use crate::candidate::Value;
use crate::network::Activation;

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
