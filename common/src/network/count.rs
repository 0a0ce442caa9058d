//! Counting: trainable parameters, and multiply-accumulates per example. Imports the network's types only.
//!
//! Multiply-accumulates are what PyTorch's `torch.utils.flop_counter.FlopCounterMode` reports in total for
//! one example, halved: it counts convolutions and matrix products, two operations for each multiplication,
//! and nothing for biases, normalisation, activations and pooling. Padding is not left out of a
//! convolution's count.
//!
//! Counts are of the network as it is: weights that the output does not depend on count too, until
//! [`Network::simplified`] cuts them.

use super::op::Op;
use super::{Network, Node};

impl Network {
    /// Trainable parameters: weights and biases of convolutions and linear maps, scale and shift of batch
    /// normalisation. Running statistics are not counted.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        self.nodes
            .iter()
            .fold(0_u64, |sum, node| sum.saturating_add(node.parameters()))
    }

    /// Multiply-accumulates of one example's forward pass.
    #[must_use]
    pub fn macs(&self) -> u64 {
        self.nodes
            .iter()
            .fold(0_u64, |sum, node| sum.saturating_add(node.macs()))
    }
}

impl Node {
    /// Trainable parameters of this node; `u64::MAX` when they do not fit, which no valid network has.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        parameters(&self.op).unwrap_or(u64::MAX)
    }

    /// Multiply-accumulates of this node for one example; `u64::MAX` when they do not fit.
    #[must_use]
    pub fn macs(&self) -> u64 {
        // Every element of the output is a product sum over this many inputs.
        let each = match self.op {
            Op::Conv2d {
                in_channels,
                kernel,
                groups,
                ..
            } => in_channels
                .checked_div(groups)
                .and_then(|channels| channels.checked_mul(kernel)?.checked_mul(kernel)),
            Op::Linear { in_features, .. } => Some(in_features),
            _ => return 0,
        };
        each.zip(self.shape.elements())
            .and_then(|(each, elements)| each.checked_mul(elements))
            .unwrap_or(u64::MAX)
    }
}

/// The trainable parameters of an operation, or `None` when they do not fit 64 bits (or groups is 0).
pub(super) fn parameters(op: &Op) -> Option<u64> {
    match *op {
        Op::Conv2d {
            in_channels,
            out_channels,
            kernel,
            groups,
            bias,
            ..
        } => in_channels
            .checked_div(groups)?
            .checked_mul(out_channels)?
            .checked_mul(kernel)?
            .checked_mul(kernel)?
            .checked_add(if bias { out_channels } else { 0 }),
        Op::Linear {
            in_features,
            out_features,
            bias,
        } => {
            in_features
                .checked_mul(out_features)?
                .checked_add(if bias { out_features } else { 0 })
        }
        Op::BatchNorm { channels } => channels.checked_mul(2),
        _ => Some(0),
    }
}
