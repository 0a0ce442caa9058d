//! What the rules of simplification need to know of single operations: see the head of `simplify.rs`. Imports
//! the network's types only.

use super::op::{Activation, Op, Positions};

/// Whether an operation gives its one input unchanged.
pub(super) fn passes_through(op: &Op, same_shape: bool) -> bool {
    match op {
        Op::Identity | Op::Add | Op::Multiply | Op::Concat => true,
        Op::Dropout { rate } | Op::DropPath { rate } => *rate == 0.0,
        Op::MaxPool1d(settings)
        | Op::MaxPool2d(settings)
        | Op::AvgPool1d(settings)
        | Op::AvgPool2d(settings) => {
            (settings.kernel, settings.stride, settings.padding) == (1, 1, 0)
        }
        Op::Flatten | Op::AdaptiveMaxPool { .. } | Op::AdaptiveAvgPool { .. } => same_shape,
        _ => false,
    }
}

/// Whether two nodes with this operation on one input differ: by their weights, or by their noise.
pub(super) fn has_own_state(op: &Op) -> bool {
    match op {
        Op::Input
        | Op::Conv1d(_)
        | Op::Conv2d(_)
        | Op::Linear { .. }
        | Op::BatchNorm { .. }
        | Op::LayerNorm { .. }
        | Op::GroupNorm { .. }
        | Op::Prelu { .. }
        | Op::Dropout { .. }
        | Op::DropPath { .. }
        | Op::SqueezeExcite { .. }
        | Op::Embedding { .. }
        | Op::Attention { .. }
        | Op::Lstm(_)
        | Op::Gru(_) => true,
        Op::PositionalEncoding { kind, .. } => *kind == Positions::Learned,
        Op::Activation(_)
        | Op::MaxPool1d(_)
        | Op::MaxPool2d(_)
        | Op::AvgPool1d(_)
        | Op::AvgPool2d(_)
        | Op::AdaptiveMaxPool { .. }
        | Op::AdaptiveAvgPool { .. }
        | Op::GlobalMaxPool
        | Op::GlobalAvgPool
        | Op::Flatten
        | Op::ToSequence
        | Op::Add
        | Op::Multiply
        | Op::Concat
        | Op::Zero
        | Op::Zeros { .. }
        | Op::Identity => false,
    }
}

/// Whether an operation on one input gives zeros for zeros.
pub(super) fn maps_zero_to_zero(op: &Op) -> bool {
    match op {
        Op::Conv1d(settings) | Op::Conv2d(settings) => !settings.bias,
        Op::Linear { bias, .. } => !bias,
        Op::Activation(activation) => !matches!(
            activation,
            Activation::Sigmoid | Activation::HardSigmoid | Activation::Softplus
        ),
        Op::Prelu { .. }
        | Op::MaxPool1d(_)
        | Op::MaxPool2d(_)
        | Op::AvgPool1d(_)
        | Op::AvgPool2d(_)
        | Op::AdaptiveMaxPool { .. }
        | Op::AdaptiveAvgPool { .. }
        | Op::GlobalMaxPool
        | Op::GlobalAvgPool
        | Op::Dropout { .. }
        | Op::DropPath { .. }
        | Op::SqueezeExcite { .. }
        | Op::Flatten
        | Op::ToSequence
        | Op::Identity
        | Op::Zero
        | Op::Zeros { .. } => true,
        Op::Input
        | Op::BatchNorm { .. }
        | Op::LayerNorm { .. }
        | Op::GroupNorm { .. }
        | Op::Embedding { .. }
        | Op::PositionalEncoding { .. }
        | Op::Attention { .. }
        | Op::Lstm(_)
        | Op::Gru(_)
        | Op::Add
        | Op::Multiply
        | Op::Concat => false,
    }
}

/// One order for the inputs of what does not mind it.
pub(super) fn sort_unordered(op: &Op, inputs: &mut [u32]) {
    if matches!(op, Op::Add | Op::Multiply) {
        inputs.sort_unstable();
    }
}
