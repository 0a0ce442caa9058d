//! Lowers a layer to the nodes that compute it: fills in what depends on its input (channels, padding).

use super::build::Infeasible;
use super::expand_layer::ResolvedLayer;
use super::layer::{Features, Groups};
use super::lower::{Id, Lowering};
use crate::network::{Axis, Op, Shape};

impl Lowering {
    /// Adds the nodes of a layer and gives the last one; `input` when it does nothing.
    pub(super) fn layer(
        &mut self,
        name: &str,
        layer: &ResolvedLayer,
        input: Id,
        before_norm: bool,
    ) -> Result<Id, Infeasible> {
        match self.op(layer, input, before_norm) {
            Some(op) => self.push(name.to_owned(), op, vec![input]),
            None => Ok(input),
        }
    }

    /// The operation of a layer, or `None` when it does nothing.
    fn op(&self, layer: &ResolvedLayer, input: Id, before_norm: bool) -> Option<Op> {
        let shape = self.shape(input);
        Some(match layer {
            ResolvedLayer::Conv { .. } => conv(layer, &shape, before_norm),
            ResolvedLayer::Linear { features, bias } => Op::Linear {
                in_features: last_axis(&shape, Axis::Features),
                out_features: match features {
                    Features::Classes => self.classes,
                    Features::Count(count) => *count,
                },
                bias: *bias,
            },
            ResolvedLayer::BatchNorm => Op::BatchNorm {
                channels: channels_or_features(&shape),
            },
            ResolvedLayer::Activation(activation) => Op::Activation(*activation),
            &ResolvedLayer::MaxPool {
                kernel,
                stride,
                padding,
            } => {
                let (stride, padding) = windows(kernel, stride, padding);
                Op::MaxPool2d {
                    kernel,
                    stride,
                    padding,
                }
            }
            &ResolvedLayer::AvgPool {
                kernel,
                stride,
                padding,
            } => {
                let (stride, padding) = windows(kernel, stride, padding);
                Op::AvgPool2d {
                    kernel,
                    stride,
                    padding,
                }
            }
            ResolvedLayer::GlobalAvgPool => Op::GlobalAvgPool,
            &ResolvedLayer::Dropout { rate } => {
                if rate == 0.0 {
                    return None;
                }
                Op::Dropout { rate }
            }
            ResolvedLayer::Flatten => Op::Flatten,
        })
    }
}

fn conv(layer: &ResolvedLayer, input: &Shape, before_norm: bool) -> Op {
    let &ResolvedLayer::Conv {
        channels,
        kernel,
        stride,
        padding,
        groups,
        dilation,
        bias,
    } = layer
    else {
        return Op::Identity;
    };
    // For an input that is no image the number does not matter: the builder refuses it by its axes.
    let in_channels = input.as_image().map_or(1, |(channels, ..)| channels);
    Op::Conv2d {
        in_channels,
        out_channels: channels.unwrap_or(in_channels),
        kernel,
        stride,
        padding: padding.unwrap_or_else(|| dilation.saturating_mul(kernel.saturating_sub(1)) / 2),
        dilation,
        groups: match groups {
            Groups::Depthwise => in_channels,
            Groups::Count(count) => count,
        },
        // The shift of a batch_norm makes a bias before it do nothing.
        bias: bias.unwrap_or(!before_norm),
    }
}

/// Stride and padding of pooling windows with their defaults.
fn windows(kernel: u64, stride: Option<u64>, padding: Option<u64>) -> (u64, u64) {
    let stride = stride.unwrap_or(kernel);
    let overlap = stride < kernel;
    let default = if overlap {
        kernel.saturating_sub(1) / 2
    } else {
        0
    };
    (stride, padding.unwrap_or(default))
}

pub(super) fn channels_or_features(shape: &Shape) -> u64 {
    match shape.as_image() {
        Some((channels, ..)) => channels,
        None => last_axis(shape, Axis::Features),
    }
}

/// The length of the last axis if it is `axis`; else 1, and the builder refuses the shape by its axes.
fn last_axis(shape: &Shape, axis: Axis) -> u64 {
    match shape.0.last() {
        Some(&(last, length)) if last == axis => length,
        _ => 1,
    }
}
