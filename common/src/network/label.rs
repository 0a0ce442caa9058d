//! What an operation is, as numbers: the labels that identity compares and simplification finds equal
//! operations by. Imports the network's types only.
//!
//! The numbers are part of every stored `network_id`. They are written out here, and not taken from the
//! order of an enum, so that adding an operation changes no identity.

use super::op::{Activation, Convolution, Op, Pooling, Positions, Recurrent, RecurrentOutput};
use super::shape::{Axis, Shape};

/// Appends the label of an operation to `words`: its code and its settings. The network's input and zeros are
/// labelled with their shape, for nothing before them says it; every other shape follows from the labels.
pub(super) fn label(op: &Op, shape: &Shape, words: &mut Vec<u64>) {
    match *op {
        Op::Input => with_shape(0, shape, words),
        Op::Conv2d(settings) => convolution(1, settings, words),
        Op::Linear {
            in_features,
            out_features,
            bias,
        } => words.extend_from_slice(&[2, in_features, out_features, u64::from(bias)]),
        Op::BatchNorm { channels } => words.extend_from_slice(&[3, channels]),
        Op::Activation(activation) => words.extend_from_slice(&[4, activation_code(activation)]),
        Op::MaxPool2d(settings) => pooling(5, settings, words),
        Op::AvgPool2d(settings) => pooling(6, settings, words),
        Op::GlobalAvgPool => words.extend_from_slice(&[7]),
        Op::Dropout { rate } => words.extend_from_slice(&[8, rate.to_bits()]),
        Op::Flatten => words.extend_from_slice(&[9]),
        Op::Add => words.extend_from_slice(&[10]),
        Op::Multiply => words.extend_from_slice(&[11]),
        Op::Concat => words.extend_from_slice(&[12]),
        // Zeros are what they are wherever their shape comes from.
        Op::Zero | Op::Zeros { .. } => with_shape(13, shape, words),
        Op::Identity => words.extend_from_slice(&[14]),
        Op::Conv1d(settings) => convolution(15, settings, words),
        ref other => later_label(other, words),
    }
}

/// The labels of what has no long list of settings, from code 16 on.
fn later_label(op: &Op, words: &mut Vec<u64>) {
    match *op {
        Op::LayerNorm { channels } => words.extend_from_slice(&[16, channels]),
        Op::GroupNorm { groups, channels } => words.extend_from_slice(&[17, groups, channels]),
        Op::Prelu { channels } => words.extend_from_slice(&[18, channels]),
        Op::MaxPool1d(settings) => pooling(19, settings, words),
        Op::AvgPool1d(settings) => pooling(20, settings, words),
        Op::AdaptiveMaxPool { size } => words.extend_from_slice(&[21, size]),
        Op::AdaptiveAvgPool { size } => words.extend_from_slice(&[22, size]),
        Op::GlobalMaxPool => words.extend_from_slice(&[23]),
        Op::DropPath { rate } => words.extend_from_slice(&[24, rate.to_bits()]),
        Op::SqueezeExcite { channels, squeezed } => {
            words.extend_from_slice(&[25, channels, squeezed])
        }
        Op::ToSequence => words.extend_from_slice(&[26]),
        Op::Embedding {
            vocabulary,
            features,
        } => words.extend_from_slice(&[27, vocabulary, features]),
        Op::PositionalEncoding {
            kind,
            length,
            features,
        } => words.extend_from_slice(&[28, positions_code(kind), length, features]),
        Op::Attention {
            features,
            heads,
            dropout,
            qkv_bias,
        } => {
            words.extend_from_slice(&[29, features, heads, dropout.to_bits(), u64::from(qkv_bias)])
        }
        Op::Lstm(settings) => recurrent(30, settings, words),
        Op::Gru(settings) => recurrent(31, settings, words),
        // `label` has seen these. They are written out, so that a new operation without a label does not compile.
        Op::Input
        | Op::Conv1d(_)
        | Op::Conv2d(_)
        | Op::Linear { .. }
        | Op::BatchNorm { .. }
        | Op::Activation(_)
        | Op::MaxPool2d(_)
        | Op::AvgPool2d(_)
        | Op::GlobalAvgPool
        | Op::Dropout { .. }
        | Op::Flatten
        | Op::Add
        | Op::Multiply
        | Op::Concat
        | Op::Zero
        | Op::Zeros { .. }
        | Op::Identity => {}
    }
}

fn convolution(code: u64, settings: Convolution, words: &mut Vec<u64>) {
    words.extend_from_slice(&[
        code,
        settings.in_channels,
        settings.out_channels,
        settings.kernel,
        settings.stride,
        settings.padding,
        settings.dilation,
        settings.groups,
        u64::from(settings.bias),
    ]);
}

fn pooling(code: u64, settings: Pooling, words: &mut Vec<u64>) {
    words.extend_from_slice(&[code, settings.kernel, settings.stride, settings.padding]);
}

fn recurrent(code: u64, settings: Recurrent, words: &mut Vec<u64>) {
    words.extend_from_slice(&[
        code,
        settings.in_features,
        settings.hidden,
        settings.layers,
        u64::from(settings.bidirectional),
        match settings.output {
            RecurrentOutput::Sequence => 0,
            RecurrentOutput::Last => 1,
        },
    ]);
}

fn positions_code(kind: Positions) -> u64 {
    match kind {
        Positions::Learned => 0,
        Positions::Sinusoidal => 1,
    }
}

fn with_shape(code: u64, shape: &Shape, words: &mut Vec<u64>) {
    words.push(code);
    for &(axis, length) in &shape.0 {
        words.extend_from_slice(&[axis_code(axis), length]);
    }
}

fn activation_code(activation: Activation) -> u64 {
    match activation {
        Activation::Relu => 0,
        Activation::Relu6 => 1,
        Activation::LeakyRelu => 2,
        Activation::Gelu => 3,
        Activation::Silu => 4,
        Activation::HardSwish => 5,
        Activation::Tanh => 6,
        Activation::Sigmoid => 7,
        Activation::Elu => 8,
        Activation::Mish => 9,
        Activation::Softplus => 10,
        Activation::Selu => 11,
        Activation::HardSigmoid => 12,
    }
}

fn axis_code(axis: Axis) -> u64 {
    match axis {
        Axis::Channels => 0,
        Axis::Height => 1,
        Axis::Width => 2,
        Axis::Time => 3,
        Axis::Features => 4,
    }
}
