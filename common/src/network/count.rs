//! Counting: trainable parameters, and multiply-accumulates per example. Imports the network's types only.
//!
//! Multiply-accumulates are what PyTorch's `torch.utils.flop_counter.FlopCounterMode` reports in total for
//! one example, halved: it counts convolutions and matrix products, two operations for each multiplication,
//! and nothing for biases, normalisation, activations, pooling and embeddings. Padding is not left out of a
//! convolution's count. Two operations it sees in some of PyTorch's kernels only, and they are counted here
//! always: the two products of attention weights (its count for every GPU kernel and for the plain one), and
//! the products of `lstm` and `gru` in every step (its count where they are computed step by step; it has no
//! formula for the fused kernels of cuDNN and oneDNN).
//!
//! Counts are of the network as it is: weights that the output does not depend on count too, until
//! [`Network::simplified`] cuts them.

use super::op::{Convolution, Op, Positions, Recurrent};
use super::shape::Shape;
use super::{Network, Node};

impl Network {
    /// Trainable parameters: all weights, biases, scales, shifts and learned positions. Running statistics are
    /// not counted.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        self.nodes
            .iter()
            .fold(0_u64, |sum, node| sum.saturating_add(node.parameters()))
    }

    /// Multiply-accumulates of one example's forward pass.
    #[must_use]
    pub fn macs(&self) -> u64 {
        (0..self.nodes.len()).fold(0_u64, |sum, id| sum.saturating_add(self.macs_of(id)))
    }

    /// Parameters and multiply-accumulates in one walk over the nodes.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let sum = |(parameters, macs): (u64, u64), (id, node): (usize, &Node)| {
            (
                parameters.saturating_add(node.parameters()),
                macs.saturating_add(self.macs_of(id)),
            )
        };
        self.nodes.iter().enumerate().fold((0, 0), sum)
    }

    /// Multiply-accumulates of a node for one example; `u64::MAX` when they do not fit, 0 when there is no
    /// such node.
    #[must_use]
    pub fn macs_of(&self, id: usize) -> u64 {
        let Some(node) = self.nodes.get(id) else {
            return 0;
        };
        let input = node.inputs.first().and_then(|&input| self.nodes.get(input));
        macs(&node.op, input.map(|input| &input.shape), &node.shape).unwrap_or(u64::MAX)
    }
}

impl Node {
    /// Trainable parameters of this node; `u64::MAX` when they do not fit, which no valid network has.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        parameters(&self.op).unwrap_or(u64::MAX)
    }
}

fn macs(op: &Op, input: Option<&Shape>, output: &Shape) -> Option<u64> {
    match *op {
        // Every element of the output is a product sum over what one kernel sees.
        Op::Conv1d(settings) => kernel_entries(&settings, 1)?.checked_mul(output.elements()?),
        Op::Conv2d(settings) => kernel_entries(&settings, 2)?.checked_mul(output.elements()?),
        Op::Linear { in_features, .. } => in_features.checked_mul(output.elements()?),
        Op::SqueezeExcite { channels, squeezed } => channels.checked_mul(squeezed)?.checked_mul(2),
        Op::Attention { features, .. } => {
            let (time, _) = output.as_sequence()?;
            // Queries, keys, values and the output, then weights and what they weigh.
            let maps = features.checked_mul(features)?.checked_mul(4)?;
            let products = features.checked_mul(time)?.checked_mul(2)?;
            maps.checked_add(products)?.checked_mul(time)
        }
        Op::Lstm(settings) => {
            recurrent_products(&settings, LSTM_GATES)?.checked_mul(input?.as_sequence()?.0)
        }
        Op::Gru(settings) => {
            recurrent_products(&settings, GRU_GATES)?.checked_mul(input?.as_sequence()?.0)
        }
        _ => Some(0),
    }
}

/// What one kernel over so many dimensions sees: its entries for one output channel.
fn kernel_entries(settings: &Convolution, dimensions: u32) -> Option<u64> {
    (settings.in_channels)
        .checked_div(settings.groups)?
        .checked_mul(settings.kernel.checked_pow(dimensions)?)
}

fn conv_parameters(settings: &Convolution, dimensions: u32) -> Option<u64> {
    kernel_entries(settings, dimensions)?
        .checked_mul(settings.out_channels)?
        .checked_add(or_none(settings.bias, settings.out_channels))
}

fn or_none(given: bool, count: u64) -> u64 {
    if given { count } else { 0 }
}

const LSTM_GATES: u64 = 4;
const GRU_GATES: u64 = 3;

/// The entries of all matrices of a recurrent operation: those on the input and on the state, of every layer
/// and direction. The layers above the first read the states of all directions.
fn recurrent_products(settings: &Recurrent, gates: u64) -> Option<u64> {
    let &Recurrent {
        in_features,
        hidden,
        layers,
        ..
    } = settings;
    let directions = settings.directions();
    let above = directions
        .checked_mul(hidden)?
        .checked_add(hidden)?
        .checked_mul(layers.checked_sub(1)?)?;
    in_features
        .checked_add(hidden)?
        .checked_add(above)?
        .checked_mul(gates)?
        .checked_mul(hidden)?
        .checked_mul(directions)
}

fn recurrent_parameters(settings: &Recurrent, gates: u64) -> Option<u64> {
    // PyTorch keeps a bias for the product with the input and another for the one with the state.
    let biases = gates
        .checked_mul(settings.hidden)?
        .checked_mul(2)?
        .checked_mul(settings.layers)?
        .checked_mul(settings.directions())?;
    recurrent_products(settings, gates)?.checked_add(biases)
}

/// The trainable parameters of an operation, or `None` when they do not fit 64 bits (or groups is 0).
pub(super) fn parameters(op: &Op) -> Option<u64> {
    match *op {
        Op::Conv1d(settings) => conv_parameters(&settings, 1),
        Op::Conv2d(settings) => conv_parameters(&settings, 2),
        Op::Linear {
            in_features,
            out_features,
            bias,
        } => in_features
            .checked_mul(out_features)?
            .checked_add(or_none(bias, out_features)),
        Op::BatchNorm { channels }
        | Op::LayerNorm { channels }
        | Op::GroupNorm { channels, .. } => channels.checked_mul(2),
        Op::Prelu { channels } => Some(channels),
        Op::SqueezeExcite { channels, squeezed } => channels
            .checked_mul(squeezed)?
            .checked_mul(2)?
            .checked_add(channels)?
            .checked_add(squeezed),
        Op::Embedding {
            vocabulary,
            features,
        } => vocabulary.checked_mul(features),
        Op::PositionalEncoding {
            kind: Positions::Learned,
            length,
            features,
        } => length.checked_mul(features),
        Op::Attention {
            features, qkv_bias, ..
        } => {
            let biases = features.checked_mul(if qkv_bias { 4 } else { 1 })?;
            features
                .checked_mul(features)?
                .checked_mul(4)?
                .checked_add(biases)
        }
        Op::Lstm(settings) => recurrent_parameters(&settings, LSTM_GATES),
        Op::Gru(settings) => recurrent_parameters(&settings, GRU_GATES),
        _ => Some(0),
    }
}
