//! Operations of the network IR. Every scalar is resolved.

use serde::{Deserialize, Serialize};

/// An activation function, as PyTorch names and computes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x` for positive `x`, else `0.01 x`.
    LeakyRelu,
    /// The exact Gaussian error linear unit.
    Gelu,
    /// `x sigmoid(x)`.
    Silu,
    /// `x relu6(x + 3) / 6`.
    HardSwish,
    /// The hyperbolic tangent.
    Tanh,
    /// The logistic function.
    Sigmoid,
    /// `x` for positive `x`, else `exp(x) - 1`.
    Elu,
}

/// What a node computes. In JSON `{"conv2d": {...}}`, `"add"`, ….
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// The network's input; only node 0.
    Input,
    /// 2-d convolution over height and width; square kernel; zero padding on every side.
    Conv2d {
        /// Input channels.
        in_channels: u64,
        /// Output channels.
        out_channels: u64,
        /// Side of the kernel.
        kernel: u64,
        /// Stride.
        stride: u64,
        /// Zeros added on every side.
        padding: u64,
        /// Distance between kernel elements.
        dilation: u64,
        /// Groups; equal to `in_channels` when depthwise.
        groups: u64,
        /// Whether a bias is added.
        bias: bool,
    },
    /// Affine map over the features.
    Linear {
        /// Input features.
        in_features: u64,
        /// Output features.
        out_features: u64,
        /// Whether a bias is added.
        bias: bool,
    },
    /// Batch normalisation over channels (images) or features (vectors); affine; momentum 0.1, epsilon
    /// 1e-5. Running statistics are not parameters.
    BatchNorm {
        /// Channels or features.
        channels: u64,
    },
    /// An activation function, element by element.
    Activation(Activation),
    /// Maximum over windows.
    MaxPool2d {
        /// Side of the window.
        kernel: u64,
        /// Stride.
        stride: u64,
        /// Padding on every side; never taken as the maximum.
        padding: u64,
    },
    /// Mean over windows; padding is not counted (`count_include_pad = false`).
    AvgPool2d {
        /// Side of the window.
        kernel: u64,
        /// Stride.
        stride: u64,
        /// Padding on every side.
        padding: u64,
    },
    /// Mean over height and width: channels become features.
    GlobalAvgPool,
    /// Zeroes elements at random in training, and scales the rest.
    Dropout {
        /// Probability of zeroing, in [0, 1).
        rate: f64,
    },
    /// All axes become features, in order.
    Flatten,
    /// Sum of its inputs, all of one shape.
    Add,
    /// Product of its inputs, element by element, all of one shape.
    Multiply,
    /// Its inputs one after another along channels (images) or features (vectors).
    Concat,
    /// Zeros in the shape of its input.
    Zero,
    /// Its input.
    Identity,
}

impl Op {
    /// The operation's name, as in the JSON of a network.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Conv2d { .. } => "conv2d",
            Self::Linear { .. } => "linear",
            Self::BatchNorm { .. } => "batch_norm",
            Self::Activation(_) => "activation",
            Self::MaxPool2d { .. } => "max_pool2d",
            Self::AvgPool2d { .. } => "avg_pool2d",
            Self::GlobalAvgPool => "global_avg_pool",
            Self::Dropout { .. } => "dropout",
            Self::Flatten => "flatten",
            Self::Add => "add",
            Self::Multiply => "multiply",
            Self::Concat => "concat",
            Self::Zero => "zero",
            Self::Identity => "identity",
        }
    }
}
