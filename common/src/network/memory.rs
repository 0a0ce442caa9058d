//! An estimate of the memory that training needs for activations. Imports the network's types only.
//!
//! What is estimated is what automatic differentiation keeps between the forward and the backward pass,
//! which grows with the batch and is most of what training needs beside the weights: an operation keeps its
//! input when its gradient depends on it (convolutions, products, normalisation, pooling, most activations),
//! or its output (`relu`, `tanh`, `sigmoid`), or something of its own (the places of maxima, masks, gates).
//! A tensor that two operations keep is kept once.
//!
//! `worker/trainer/goldens` measures it against PyTorch; `docs/spec.md` says how far off it is.

use super::op::{Activation, Op, Recurrent};
use super::shape::Shape;
use super::{Network, Node};

/// Bytes of an `f32`.
const FLOAT: u64 = 4;
/// Bytes of a place of a maximum.
const INDEX: u64 = 8;

impl Network {
    /// Bytes of activations that training keeps for one example; an estimate. Saturates.
    #[must_use]
    pub fn activation_bytes(&self) -> u64 {
        let mut kept = vec![false; self.nodes.len()];
        // Where the value of a node lies: what only looks at its input in another way has no copy.
        let mut home: Vec<usize> = (0..self.nodes.len()).collect();
        let mut total = 0_u64;
        for (id, node) in self.nodes.iter().enumerate() {
            let inputs = || node.inputs.iter().filter(|&&input| input < id);
            if is_view(&node.op)
                && let Some(&input) = inputs().next()
            {
                home[id] = home[input];
                continue;
            }
            if keeps_inputs(&node.op) {
                for &input in inputs() {
                    kept[home[input]] = true;
                }
            }
            if keeps_output(&node.op) {
                kept[id] = true;
            }
            let input = inputs().next().map(|&input| &self.nodes[input].shape);
            total = total.saturating_add(own_bytes(node, input));
        }
        let tensors = self.nodes.iter().zip(&kept).filter(|(_, kept)| **kept);
        tensors.fold(total, |total, (node, _)| {
            let each = if node.shape.as_tokens().is_some() {
                INDEX
            } else {
                FLOAT
            };
            total.saturating_add(elements(&node.shape).saturating_mul(each))
        })
    }
}

fn elements(shape: &Shape) -> u64 {
    shape.elements().unwrap_or(u64::MAX)
}

fn is_view(op: &Op) -> bool {
    matches!(op, Op::Identity | Op::Flatten | Op::ToSequence)
}

fn keeps_inputs(op: &Op) -> bool {
    match op {
        Op::Activation(activation) => !saves_its_result(*activation),
        Op::Conv1d { .. }
        | Op::Conv2d { .. }
        | Op::Linear { .. }
        | Op::BatchNorm { .. }
        | Op::LayerNorm { .. }
        | Op::GroupNorm { .. }
        | Op::Prelu { .. }
        | Op::MaxPool1d { .. }
        | Op::MaxPool2d { .. }
        | Op::AvgPool1d { .. }
        | Op::AvgPool2d { .. }
        | Op::AdaptiveMaxPool { .. }
        | Op::AdaptiveAvgPool { .. }
        | Op::GlobalMaxPool
        | Op::SqueezeExcite { .. }
        | Op::Embedding { .. }
        | Op::Attention { .. }
        | Op::Lstm(_)
        | Op::Gru(_)
        | Op::Multiply => true,
        _ => false,
    }
}

fn keeps_output(op: &Op) -> bool {
    match op {
        Op::Activation(activation) => saves_its_result(*activation),
        Op::GlobalMaxPool => true,
        _ => false,
    }
}

fn saves_its_result(activation: Activation) -> bool {
    matches!(
        activation,
        Activation::Relu | Activation::Tanh | Activation::Sigmoid
    )
}

/// Bytes that an operation keeps beside its input and output.
fn own_bytes(node: &Node, input: Option<&Shape>) -> u64 {
    let output = elements(&node.shape);
    let floats = |count: u64| count.saturating_mul(FLOAT);
    match node.op {
        Op::MaxPool1d { .. } | Op::MaxPool2d { .. } | Op::AdaptiveMaxPool { .. } => {
            output.saturating_mul(INDEX)
        }
        Op::Dropout { rate } if rate > 0.0 => floats(output),
        // The mean and deviation of each place.
        Op::LayerNorm { channels } => floats((output / channels.max(1)).saturating_mul(2)),
        Op::GroupNorm { groups, .. } => floats(groups.saturating_mul(2)),
        // Means, both maps' outputs, and the scales.
        Op::SqueezeExcite { channels, squeezed } => {
            floats(channels.saturating_mul(2).saturating_add(squeezed))
        }
        Op::Attention { heads, dropout, .. } => attention_bytes(&node.shape, heads, dropout),
        Op::Lstm(settings) => recurrent_bytes(&settings, input, LSTM_FLOATS),
        Op::Gru(settings) => recurrent_bytes(&settings, input, GRU_FLOATS),
        _ => 0,
    }
}

/// Queries, keys, values and what comes of them; a number for each head and step. With dropout the weights
/// have to be kept, before and after their mask, and the mask.
fn attention_bytes(shape: &Shape, heads: u64, dropout: f64) -> u64 {
    let Some((time, features)) = shape.as_sequence() else {
        return 0;
    };
    let vectors = time.saturating_mul(features).saturating_mul(4);
    let each = heads.saturating_mul(time);
    let weights = if dropout > 0.0 {
        each.saturating_mul(time).saturating_mul(3)
    } else {
        each
    };
    vectors.saturating_add(weights).saturating_mul(FLOAT)
}

/// Numbers for each feature of a state and step: four gates, the cell, its `tanh` and the state.
const LSTM_FLOATS: u64 = 7;
/// Numbers for each feature of a state and step: three gates, the product that one of them scales, the state.
const GRU_FLOATS: u64 = 5;

fn recurrent_bytes(settings: &Recurrent, input: Option<&Shape>, floats: u64) -> u64 {
    let time = input
        .and_then(Shape::as_sequence)
        .map_or(0, |(time, _)| time);
    settings
        .hidden
        .saturating_mul(settings.directions())
        .saturating_mul(settings.layers)
        .saturating_mul(time)
        .saturating_mul(floats)
        .saturating_mul(FLOAT)
}
