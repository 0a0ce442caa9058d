//! What an operation is, as numbers: the labels that identity compares and simplification finds equal
//! operations by. Imports the network's types only.
//!
//! The numbers are part of every stored `network_id`. They are written out here, and not taken from the
//! order of an enum, so that adding an operation changes no identity.

use super::op::{Activation, Op};
use super::shape::{Axis, Shape};

/// Appends the label of an operation: its code and its settings. The network's input and zeros are labelled
/// with their shape, for nothing before them says it; every other shape follows from the labels.
pub(super) fn label(op: &Op, shape: &Shape, words: &mut Vec<u64>) {
    match *op {
        Op::Input => with_shape(0, shape, words),
        Op::Conv2d {
            in_channels,
            out_channels,
            kernel,
            stride,
            padding,
            dilation,
            groups,
            bias,
        } => words.extend([
            1,
            in_channels,
            out_channels,
            kernel,
            stride,
            padding,
            dilation,
            groups,
            u64::from(bias),
        ]),
        Op::Linear {
            in_features,
            out_features,
            bias,
        } => words.extend([2, in_features, out_features, u64::from(bias)]),
        Op::BatchNorm { channels } => words.extend([3, channels]),
        Op::Activation(activation) => words.extend([4, activation_code(activation)]),
        Op::MaxPool2d {
            kernel,
            stride,
            padding,
        } => words.extend([5, kernel, stride, padding]),
        Op::AvgPool2d {
            kernel,
            stride,
            padding,
        } => words.extend([6, kernel, stride, padding]),
        Op::GlobalAvgPool => words.push(7),
        Op::Dropout { rate } => words.extend([8, rate.to_bits()]),
        Op::Flatten => words.push(9),
        Op::Add => words.push(10),
        Op::Multiply => words.push(11),
        Op::Concat => words.push(12),
        Op::Zero => with_shape(13, shape, words),
        Op::Identity => words.push(14),
    }
}

fn with_shape(code: u64, shape: &Shape, words: &mut Vec<u64>) {
    words.push(code);
    for &(axis, length) in &shape.0 {
        words.extend([axis_code(axis), length]);
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
