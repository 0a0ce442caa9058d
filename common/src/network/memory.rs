//! An estimate of the memory that training needs for activations. Imports the network's types only.
//!
//! What is estimated is what automatic differentiation keeps between the forward and the backward pass,
//! which grows with the batch and is most of what training needs beside the weights: an operation keeps its
//! input when its gradient depends on it (convolutions, products, normalisation, pooling, most activations),
//! or its output (`relu`, `tanh`, `sigmoid`), or something of its own (the places of maxima, masks, gates).
//! A tensor that two operations keep is kept once.
//!
//! `worker/trainer/goldens` measures it against PyTorch; `docs/spec.md` says how far off it is, and where it
//! cannot know: fused kernels keep something else.

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
        let live = self.with_gradients();
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
            if !live[id] {
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

impl Network {
    /// The nodes that the backward pass goes through: the output depends on them, otherwise than through a
    /// zero, and they have weights or depend on some.
    fn with_gradients(&self) -> Vec<bool> {
        let is_zero = |op: &Op| matches!(op, Op::Zero | Op::Zeros { .. });
        let mut weighted = vec![false; self.nodes.len()];
        for (id, node) in self.nodes.iter().enumerate() {
            let mut inputs = node.inputs.iter().filter(|&&input| input < id);
            weighted[id] = !is_zero(&node.op)
                && (node.parameters() > 0 || inputs.any(|&input| weighted[input]));
        }
        let mut live = vec![false; self.nodes.len()];
        if let Some(output) = live.get_mut(self.output) {
            *output = true;
        }
        for (id, node) in self.nodes.iter().enumerate().rev() {
            live[id] &= weighted[id];
            if live[id] {
                for &input in node.inputs.iter().filter(|&&input| input < id) {
                    live[input] = true;
                }
            }
        }
        live
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
        Op::Conv1d(_)
        | Op::Conv2d(_)
        | Op::Linear { .. }
        | Op::BatchNorm { .. }
        | Op::LayerNorm { .. }
        | Op::GroupNorm { .. }
        | Op::Prelu { .. }
        | Op::MaxPool1d(_)
        | Op::MaxPool2d(_)
        | Op::AvgPool1d(_)
        | Op::AvgPool2d(_)
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
        Op::MaxPool1d(_) | Op::MaxPool2d(_) | Op::AdaptiveMaxPool { .. } => {
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
        Op::Lstm(settings) | Op::Gru(settings) => recurrent_bytes(&settings, input),
        _ => 0,
    }
}

/// Queries, keys, values and what comes of them, and a number for each head and step. With dropout PyTorch
/// does not fuse: the weights are kept before and after their mask, with the mask, and so are scaled copies of
/// queries and keys.
fn attention_bytes(shape: &Shape, heads: u64, dropout: f64) -> u64 {
    let Some((time, features)) = shape.as_sequence() else {
        return 0;
    };
    let vectors = time.saturating_mul(features);
    let each = heads.saturating_mul(time);
    let floats = if dropout > 0.0 {
        let weights = each.saturating_mul(time).saturating_mul(3);
        vectors.saturating_mul(6).saturating_add(weights)
    } else {
        vectors.saturating_mul(4).saturating_add(each)
    };
    floats.saturating_mul(FLOAT)
}

/// Numbers for each feature of a state and step. An LSTM: four gates, the cell, its `tanh` and the state. A
/// GRU: three gates, both terms of the new state and what the state is before and after.
const RECURRENT_FLOATS: u64 = 7;

fn recurrent_bytes(settings: &Recurrent, input: Option<&Shape>) -> u64 {
    let time = input
        .and_then(Shape::as_sequence)
        .map_or(0, |(time, _)| time);
    let directions = settings.directions();
    let state = settings.hidden.saturating_mul(directions);
    let gates = state
        .saturating_mul(settings.layers)
        .saturating_mul(RECURRENT_FLOATS);
    // What each layer but the first reads, and the input once more for the direction that reads backwards.
    let between = state.saturating_mul(settings.layers.saturating_sub(1));
    let reversed = settings.in_features.saturating_mul(directions - 1);
    gates
        .saturating_add(between)
        .saturating_add(reversed)
        .saturating_mul(time)
        .saturating_mul(FLOAT)
}
