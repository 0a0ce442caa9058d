//! Lowers a layer to the nodes that compute it: fills in what depends on its input (channels, padding, one
//! dimension or two).

use super::build::Infeasible;
use super::layer::ResolvedLayer;
use super::lower::{Id, Lowering};
use super::scalars::{Extent, Features, Groups, Vocabulary};
use crate::network::{Axis, Convolution, Op, Pooling, Recurrent, RecurrentOutput, Shape};

impl Lowering {
    /// Adds the nodes of a layer and gives the last one; `input` when it does nothing. `before_norm`: whether
    /// a batch_norm follows at once.
    pub(super) fn layer(
        &mut self,
        name: &str,
        layer: &ResolvedLayer,
        input: Id,
        before_norm: bool,
    ) -> Result<Id, Infeasible> {
        match layer {
            ResolvedLayer::SeparableConv { .. } => {
                let [depthwise, pointwise] = separable(layer, self.shape_of(input), before_norm);
                let middle = self.push(&[name, ".depthwise"], depthwise, &[input])?;
                self.push(&[name, ".pointwise"], pointwise, &[middle])
            }
            &ResolvedLayer::Patches { size, features } => {
                let patches = Window {
                    kernel: size,
                    stride: size,
                    padding: 0,
                    dilation: 1,
                };
                let groups = Groups::Count(1);
                let conv = patches.conv(self.shape_of(input), features, groups, true);
                let places = self.push(&[name, ".conv"], conv, &[input])?;
                if self.shape_of(places).as_sequence().is_some() {
                    return Ok(places);
                }
                self.push(&[name, ".to_sequence"], Op::ToSequence, &[places])
            }
            ResolvedLayer::Embedding {
                vocabulary: Vocabulary::Data,
                ..
            } if self.vocabulary.is_none() => Err(Infeasible {
                block: self.whole_name(&[name]),
                operation: "embedding".to_owned(),
                problem: "the data set has no vocabulary; give a number, as `vocabulary: 10k`"
                    .to_owned(),
            }),
            _ => match self.op(layer, input, before_norm) {
                Some(op) => self.push(&[name], op, &[input]),
                None => Ok(input),
            },
        }
    }

    /// The operation of a layer that is one node, or `None` when it does nothing.
    fn op(&self, layer: &ResolvedLayer, input: Id, before_norm: bool) -> Option<Op> {
        let shape = self.shape_of(input);
        let channels = channels_or_features(shape);
        Some(match *layer {
            ResolvedLayer::Identity => return None,
            ResolvedLayer::Dropout { rate } | ResolvedLayer::DropPath { rate } if rate == 0.0 => {
                return None;
            }
            ResolvedLayer::Dropout { rate } => Op::Dropout { rate },
            ResolvedLayer::DropPath { rate } => Op::DropPath { rate },
            ResolvedLayer::Conv { .. } => conv(layer, shape, before_norm),
            ResolvedLayer::Linear { ref features, bias } => Op::Linear {
                in_features: last_axis(shape, Axis::Features),
                out_features: features.of(channels, |features| match *features {
                    Features::Classes => self.classes,
                    Features::Count(count) => count,
                }),
                bias,
            },
            ResolvedLayer::BatchNorm => Op::BatchNorm { channels },
            ResolvedLayer::LayerNorm => Op::LayerNorm { channels },
            ResolvedLayer::GroupNorm { groups } => Op::GroupNorm { groups, channels },
            ResolvedLayer::Prelu => Op::Prelu { channels },
            ResolvedLayer::Activation(activation) => Op::Activation(activation),
            ResolvedLayer::SqueezeExcite { ratio } => Op::SqueezeExcite {
                channels,
                squeezed: Extent::<u64>::TimesInput(ratio).of(channels, |&plain| plain),
            },
            ResolvedLayer::Zero {
                ref channels,
                stride,
            } => zero(shape, channels.as_ref(), stride),
            ResolvedLayer::Flatten => Op::Flatten,
            ResolvedLayer::ToSequence => Op::ToSequence,
            ResolvedLayer::Embedding {
                features,
                vocabulary,
            } => Op::Embedding {
                features,
                vocabulary: match vocabulary {
                    Vocabulary::Data => u64::from(self.vocabulary.unwrap_or(0)),
                    Vocabulary::Count(count) => count,
                },
            },
            _ => return pooling(layer, shape).or_else(|| over_steps(layer, shape)),
        })
    }
}

/// The operation of a pooling layer.
fn pooling(layer: &ResolvedLayer, input: &Shape) -> Option<Op> {
    Some(match *layer {
        ResolvedLayer::MaxPool {
            kernel,
            stride,
            padding,
        } => {
            let windows = windows(kernel, stride, padding);
            if is_over_time(input) {
                Op::MaxPool1d(windows)
            } else {
                Op::MaxPool2d(windows)
            }
        }
        ResolvedLayer::AvgPool {
            kernel,
            stride,
            padding,
        } => {
            let windows = windows(kernel, stride, padding);
            if is_over_time(input) {
                Op::AvgPool1d(windows)
            } else {
                Op::AvgPool2d(windows)
            }
        }
        ResolvedLayer::AdaptiveMaxPool { size } => Op::AdaptiveMaxPool { size },
        ResolvedLayer::AdaptiveAvgPool { size } => Op::AdaptiveAvgPool { size },
        ResolvedLayer::GlobalMaxPool => Op::GlobalMaxPool,
        ResolvedLayer::GlobalAvgPool => Op::GlobalAvgPool,
        _ => return None,
    })
}

/// The operation of a layer over the steps of a sequence.
fn over_steps(layer: &ResolvedLayer, input: &Shape) -> Option<Op> {
    let channels = channels_or_features(input);
    Some(match *layer {
        ResolvedLayer::PositionalEncoding { kind } => Op::PositionalEncoding {
            kind,
            length: input.as_sequence().map_or(1, |(time, _)| time),
            features: channels,
        },
        ResolvedLayer::Attention {
            heads,
            dropout,
            qkv_bias,
        } => Op::Attention {
            features: channels,
            heads,
            dropout,
            qkv_bias,
        },
        ResolvedLayer::Lstm {
            ref hidden,
            layers,
            bidirectional,
            output,
        } => Op::Lstm(recurrent(channels, hidden, layers, bidirectional, output)),
        ResolvedLayer::Gru {
            ref hidden,
            layers,
            bidirectional,
            output,
        } => Op::Gru(recurrent(channels, hidden, layers, bidirectional, output)),
        _ => return None,
    })
}

/// How the kernel of a convolution lies.
struct Window {
    kernel: u64,
    stride: u64,
    padding: u64,
    dilation: u64,
}

impl Window {
    /// With the padding that keeps the size, where none is given.
    fn new(kernel: u64, stride: u64, padding: Option<u64>, dilation: u64) -> Self {
        let same = || dilation.saturating_mul(kernel.saturating_sub(1)) / 2;
        Self {
            kernel,
            stride,
            padding: padding.unwrap_or_else(same),
            dilation,
        }
    }

    /// A convolution of `input` with this kernel: over time where the input has time.
    fn conv(&self, input: &Shape, out_channels: u64, groups: Groups, bias: bool) -> Op {
        let &Self {
            kernel,
            stride,
            padding,
            dilation,
        } = self;
        let in_channels = channels_or_features(input);
        let groups = match groups {
            Groups::Depthwise => in_channels,
            Groups::Count(count) => count,
        };
        let settings = Convolution {
            in_channels,
            out_channels,
            kernel,
            stride,
            padding,
            dilation,
            groups,
            bias,
        };
        if is_over_time(input) {
            Op::Conv1d(settings)
        } else {
            Op::Conv2d(settings)
        }
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
    // The shift of a batch_norm makes a bias before it do nothing.
    let bias = bias.unwrap_or(!before_norm);
    let channels = out_channels(channels.as_ref(), input);
    Window::new(kernel, stride, padding, dilation).conv(input, channels, groups, bias)
}

/// The two convolutions of a separable one.
fn separable(layer: &ResolvedLayer, input: &Shape, before_norm: bool) -> [Op; 2] {
    let &ResolvedLayer::SeparableConv {
        channels,
        kernel,
        stride,
        padding,
        dilation,
        bias,
    } = layer
    else {
        return [Op::Identity, Op::Identity];
    };
    let of_input = channels_or_features(input);
    // A bias between the two would do nothing that the second one's does not.
    let depthwise = Window::new(kernel, stride, padding, dilation).conv(
        input,
        of_input,
        Groups::Depthwise,
        false,
    );
    let pointwise = Window::new(1, 1, None, 1).conv(
        input,
        out_channels(channels.as_ref(), input),
        Groups::Count(1),
        bias.unwrap_or(!before_norm),
    );
    [depthwise, pointwise]
}

fn out_channels(channels: Option<&Extent<u64>>, input: &Shape) -> u64 {
    let of_input = channels_or_features(input);
    channels.map_or(of_input, |channels| channels.of(of_input, |&plain| plain))
}

fn zero(input: &Shape, channels: Option<&Extent<u64>>, stride: u64) -> Op {
    let channels = out_channels(channels, input);
    if stride == 1 && channels == channels_or_features(input) {
        Op::Zero
    } else {
        Op::Zeros { channels, stride }
    }
}

fn recurrent(
    in_features: u64,
    hidden: &Extent<u64>,
    layers: u64,
    bidirectional: bool,
    output: RecurrentOutput,
) -> Recurrent {
    Recurrent {
        in_features,
        hidden: hidden.of(in_features, |&plain| plain),
        layers,
        bidirectional,
        output,
    }
}

/// Pooling windows with the defaults of what is not given.
fn windows(kernel: u64, stride: Option<u64>, padding: Option<u64>) -> Pooling {
    let stride = stride.unwrap_or(kernel);
    let overlap = stride < kernel;
    let default = if overlap {
        kernel.saturating_sub(1) / 2
    } else {
        0
    };
    Pooling {
        kernel,
        stride,
        padding: padding.unwrap_or(default),
    }
}

/// Whether windows slide over time; else over height and width, which the builder checks.
fn is_over_time(shape: &Shape) -> bool {
    shape.0.iter().any(|&(axis, _)| axis == Axis::Time)
}

/// Its channels or features; 1 where it has none, and the builder refuses the shape by its axes.
pub(super) fn channels_or_features(shape: &Shape) -> u64 {
    shape
        .channels()
        .unwrap_or_else(|| last_axis(shape, Axis::Features))
}

/// The length of the last axis if it is `axis`; else 1, and the builder refuses the shape by its axes.
fn last_axis(shape: &Shape, axis: Axis) -> u64 {
    match shape.0.last() {
        Some(&(last, length)) if last == axis => length,
        _ => 1,
    }
}
