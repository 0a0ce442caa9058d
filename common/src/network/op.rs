//! Operations of the network IR. Every scalar is resolved.
//!
//! What is 1-d slides over time: over a signal (channels × time) as well as over a sequence (time ×
//! features), whose features it treats as channels. A shape keeps its axes in their order.

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
    /// `x tanh(softplus(x))`.
    Mish,
    /// `ln(1 + exp(x))`.
    Softplus,
    /// `1.0507 x` for positive `x`, else `1.7581 (exp(x) - 1)`.
    Selu,
    /// `relu6(x + 3) / 6`.
    HardSigmoid,
}

/// How a positional encoding tells the places of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// A trained vector for each place.
    Learned,
    /// Sines and cosines of the place at wavelengths from 2 pi to 20,000 pi (Vaswani et al. 2017): sine in
    /// feature `2i`, cosine in feature `2i + 1`.
    Sinusoidal,
}

/// What a recurrent operation gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecurrentOutput {
    /// The state after every step.
    Sequence,
    /// The state after the last step; of the one that reads backwards, after the first.
    Last,
}

/// The settings of `lstm` and `gru`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recurrent {
    /// Input features.
    pub in_features: u64,
    /// Features of the state.
    pub hidden: u64,
    /// Layers on top of each other.
    pub layers: u64,
    /// Whether there is a second one that reads backwards; its features follow those of the first.
    pub bidirectional: bool,
    /// What it gives.
    pub output: RecurrentOutput,
}

impl Recurrent {
    /// One direction or two.
    #[must_use]
    pub fn directions(&self) -> u64 {
        1 + u64::from(self.bidirectional)
    }
}

/// The settings of a convolution, the same in every dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Convolution {
    /// Input channels.
    pub in_channels: u64,
    /// Output channels.
    pub out_channels: u64,
    /// Side of the kernel.
    pub kernel: u64,
    /// Stride.
    pub stride: u64,
    /// Zeros added on every side.
    pub padding: u64,
    /// Distance between kernel elements.
    pub dilation: u64,
    /// Groups; equal to `in_channels` when depthwise.
    pub groups: u64,
    /// Whether a bias is added.
    pub bias: bool,
}

/// The settings of pooling over windows, the same in every dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pooling {
    /// Side of the window.
    pub kernel: u64,
    /// Stride.
    pub stride: u64,
    /// Padding on every side.
    pub padding: u64,
}

/// What a node computes. In JSON `{"conv2d": {...}}`, `"add"`, ….
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// The network's input; only node 0.
    Input,
    /// 1-d convolution over time; zero padding on both sides.
    Conv1d(Convolution),
    /// 2-d convolution over height and width; square kernel; zero padding on every side.
    Conv2d(Convolution),
    /// Affine map over the features.
    Linear {
        /// Input features.
        in_features: u64,
        /// Output features.
        out_features: u64,
        /// Whether a bias is added.
        bias: bool,
    },
    /// Batch normalisation over channels (images, signals) or features; affine; momentum 0.1, epsilon 1e-5.
    /// Running statistics are not parameters.
    BatchNorm {
        /// Channels or features.
        channels: u64,
    },
    /// Layer normalisation over the channels or features of each place; affine; epsilon 1e-5.
    LayerNorm {
        /// Channels or features.
        channels: u64,
    },
    /// Group normalisation over groups of channels or features and all places; affine; epsilon 1e-5.
    GroupNorm {
        /// Groups of channels or features.
        groups: u64,
        /// Channels or features.
        channels: u64,
    },
    /// An activation function, element by element.
    Activation(Activation),
    /// `x` for positive `x`, else `x` times a trained slope of its channel or feature, which starts at 0.25.
    Prelu {
        /// Channels or features.
        channels: u64,
    },
    /// Maximum over windows of time; padding is never taken as the maximum.
    MaxPool1d(Pooling),
    /// Maximum over square windows; padding is never taken as the maximum.
    MaxPool2d(Pooling),
    /// Mean over windows of time; padding is not counted (`count_include_pad = false`).
    AvgPool1d(Pooling),
    /// Mean over square windows; padding is not counted (`count_include_pad = false`).
    AvgPool2d(Pooling),
    /// Maximum over windows spread evenly, so that height and width (or time) become `size`.
    AdaptiveMaxPool {
        /// Side of the output.
        size: u64,
    },
    /// Mean over windows spread evenly, so that height and width (or time) become `size`.
    AdaptiveAvgPool {
        /// Side of the output.
        size: u64,
    },
    /// Maximum over height and width, or over time: channels become features.
    GlobalMaxPool,
    /// Mean over height and width, or over time: channels become features.
    GlobalAvgPool,
    /// Zeroes elements at random in training, and scales the rest.
    Dropout {
        /// Probability of zeroing, in [0, 1).
        rate: f64,
    },
    /// Zeroes whole examples at random in training, and scales the rest (stochastic depth).
    DropPath {
        /// Probability of zeroing, in [0, 1).
        rate: f64,
    },
    /// Multiplies every channel by `sigmoid(expand(relu(reduce(means of all channels))))`, where `reduce`
    /// and `expand` are affine maps (Hu et al. 2018).
    SqueezeExcite {
        /// Channels or features.
        channels: u64,
        /// What `reduce` leaves of them.
        squeezed: u64,
    },
    /// All axes become features, in order.
    Flatten,
    /// An image (row by row) or signal becomes a sequence: its places are the steps, its channels the
    /// features.
    ToSequence,
    /// Tokens (whole numbers below `vocabulary`) become vectors.
    Embedding {
        /// Number of different tokens.
        vocabulary: u64,
        /// Features of a vector.
        features: u64,
    },
    /// Adds to every step of a sequence a vector that tells its place.
    PositionalEncoding {
        /// How it tells.
        kind: Positions,
        /// Steps.
        length: u64,
        /// Features of a step.
        features: u64,
    },
    /// Multi-head self-attention over a sequence, with an affine map of its output that has a bias.
    Attention {
        /// Features of a step.
        features: u64,
        /// Heads; they divide the features.
        heads: u64,
        /// Probability of zeroing an attention weight in training, in [0, 1).
        dropout: f64,
        /// Whether queries, keys and values have a bias.
        qkv_bias: bool,
    },
    /// Long short-term memory over a sequence, from a state of zeros, as PyTorch computes it.
    Lstm(Recurrent),
    /// Gated recurrent unit over a sequence, from a state of zeros, as PyTorch computes it.
    Gru(Recurrent),
    /// Sum of its inputs, all of one shape.
    Add,
    /// Product of its inputs, element by element, all of one shape.
    Multiply,
    /// Its inputs one after another along channels (images, signals) or features.
    Concat,
    /// Zeros in the shape of its input.
    Zero,
    /// Zeros in the shape that a convolution with this stride would give: sides are divided and rounded up.
    Zeros {
        /// Output channels or features.
        channels: u64,
        /// Stride.
        stride: u64,
    },
    /// Its input.
    Identity,
}

impl Op {
    /// The operation's name, as in the JSON of a network.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Conv1d(_) => "conv1d",
            Self::Conv2d(_) => "conv2d",
            Self::Linear { .. } => "linear",
            Self::BatchNorm { .. } => "batch_norm",
            Self::LayerNorm { .. } => "layer_norm",
            Self::GroupNorm { .. } => "group_norm",
            Self::Activation(_) => "activation",
            Self::Prelu { .. } => "prelu",
            Self::MaxPool1d(_) => "max_pool1d",
            Self::MaxPool2d(_) => "max_pool2d",
            Self::AvgPool1d(_) => "avg_pool1d",
            Self::AvgPool2d(_) => "avg_pool2d",
            Self::AdaptiveMaxPool { .. } => "adaptive_max_pool",
            Self::AdaptiveAvgPool { .. } => "adaptive_avg_pool",
            Self::GlobalMaxPool => "global_max_pool",
            Self::GlobalAvgPool => "global_avg_pool",
            Self::Dropout { .. } => "dropout",
            Self::DropPath { .. } => "drop_path",
            Self::SqueezeExcite { .. } => "squeeze_excite",
            Self::Flatten => "flatten",
            Self::ToSequence => "to_sequence",
            Self::Embedding { .. } => "embedding",
            Self::PositionalEncoding { .. } => "positional_encoding",
            Self::Attention { .. } => "attention",
            Self::Lstm(_) => "lstm",
            Self::Gru(_) => "gru",
            Self::Add => "add",
            Self::Multiply => "multiply",
            Self::Concat => "concat",
            Self::Zero => "zero",
            Self::Zeros { .. } => "zeros",
            Self::Identity => "identity",
        }
    }
}
