//! From a node to its computation: makes its tensors, as PyTorch starts them. Imports libtorch.

use espalier_common::network::{Axis, Convolution, Network, Node, Op, Pooling, Positions, Shape};
use tch::Tensor;

use super::computation::{Computation, Window};
use super::sequence::{Attention, Cell, Recurrence, sinusoids};
use crate::error::JobError;
use crate::parameters::Parameters;

/// Standard deviation of learned positions, as vision transformers start them (Dosovitskiy et al. 2021).
const POSITION_DEVIATION: f64 = 0.02;
/// The slope of a `prelu`, as PyTorch starts it.
const PRELU_SLOPE: f64 = 0.25;

/// A size from outside as libtorch takes it. `validate` bounds what becomes a tensor, not every setting.
pub(super) fn size(value: u64) -> Result<i64, JobError> {
    i64::try_from(value).map_err(|_| JobError::Build(format!("{value} is too large for libtorch")))
}

/// A square window over so many dimensions.
fn window(
    dimensions: usize,
    kernel: u64,
    stride: u64,
    padding: u64,
    dilation: u64,
) -> Result<Window, JobError> {
    let square = |value| Ok::<_, JobError>(vec![size(value)?; dimensions]);
    Ok(Window {
        kernel: square(kernel)?,
        stride: square(stride)?,
        padding: square(padding)?,
        dilation: square(dilation)?,
    })
}

/// Whether channels are the last dimension, as in sequences; of vectors they are the second as well.
fn channels_last(shape: &Shape) -> bool {
    shape.as_sequence().is_some()
}

/// The dimensions of the places of an input; dimension 0 is the batch.
fn places(shape: &Shape) -> Result<Vec<i64>, JobError> {
    let layout = shape
        .layout()
        .ok_or_else(|| JobError::Build(format!("{shape} has no places")))?;
    Ok(layout
        .places
        .iter()
        .map(|&place| place as i64 + 1)
        .collect())
}

pub(super) fn computation(
    node: &Node,
    network: &Network,
    parameters: &mut Parameters,
) -> Result<Computation, JobError> {
    let Some(input) = node
        .inputs
        .first()
        .map(|&input| &network.nodes[input].shape)
    else {
        // `validate` has seen that only the input reads nothing.
        return Ok(Computation::Input);
    };
    let last = channels_last(input);
    Ok(match &node.op {
        Op::Input => Computation::Input,
        Op::Conv1d(settings) => conv(&node.name, settings, 1, last, parameters)?,
        Op::Conv2d(settings) => conv(&node.name, settings, 2, last, parameters)?,
        &Op::Linear {
            in_features,
            out_features,
            bias,
        } => {
            let shape = [size(out_features)?, size(in_features)?];
            let (weight, bias) = affine(&node.name, &shape, in_features, bias, parameters)?;
            Computation::Linear { weight, bias }
        }
        Op::BatchNorm { .. } | Op::LayerNorm { .. } | Op::GroupNorm { .. } => {
            normalisation(node, last, parameters)?
        }
        &Op::Activation(activation) => Computation::Activation(activation),
        &Op::Prelu { channels } => {
            let name = format!("{}.weight", node.name);
            Computation::Prelu {
                weight: parameters.constant(name, &[size(channels)?], PRELU_SLOPE, true)?,
                last,
            }
        }
        Op::MaxPool1d(_)
        | Op::MaxPool2d(_)
        | Op::AvgPool1d(_)
        | Op::AvgPool2d(_)
        | Op::AdaptiveMaxPool { .. }
        | Op::AdaptiveAvgPool { .. }
        | Op::GlobalMaxPool
        | Op::GlobalAvgPool => pool(&node.op, input)?,
        &Op::Dropout { rate } => Computation::Dropout(rate),
        &Op::DropPath { rate } => Computation::DropPath(rate),
        Op::SqueezeExcite { .. } => squeeze_excite(node, input, parameters)?,
        Op::Flatten => Computation::Flatten,
        Op::ToSequence => Computation::ToSequence,
        Op::Embedding { .. }
        | Op::PositionalEncoding { .. }
        | Op::Attention { .. }
        | Op::Lstm(_)
        | Op::Gru(_) => of_sequence(node, parameters)?,
        Op::Add => Computation::Add,
        Op::Multiply => Computation::Multiply,
        Op::Concat => Computation::Concat(joined_dimension(input)?),
        Op::Zero => Computation::Zero,
        Op::Zeros { .. } => Computation::Zeros(
            (node.shape.0.iter())
                .map(|&(_, length)| size(length))
                .collect::<Result<_, _>>()?,
        ),
        Op::Identity => Computation::Identity,
    })
}

/// The dimension of a tensor along which `Concat` joins; dimension 0 is the batch.
fn joined_dimension(shape: &Shape) -> Result<i64, JobError> {
    let along = |axis| shape.0.iter().position(|&(other, _)| other == axis);
    along(Axis::Channels)
        .or_else(|| along(Axis::Features))
        .map(|place| place as i64 + 1)
        .ok_or_else(|| JobError::Build(format!("{shape} cannot be joined")))
}

/// A convolution over so many dimensions.
fn conv(
    name: &str,
    settings: &Convolution,
    dimensions: usize,
    last: bool,
    parameters: &mut Parameters,
) -> Result<Computation, JobError> {
    let &Convolution {
        in_channels,
        out_channels,
        kernel,
        stride,
        padding,
        dilation,
        groups,
        bias,
    } = settings;
    let window = window(dimensions, kernel, stride, padding, dilation)?;
    // `validate` has seen that groups divide the channels and that the kernel's size fits 2^40.
    let of_a_group = in_channels / groups;
    let mut shape = vec![size(out_channels)?, size(of_a_group)?];
    shape.extend(&window.kernel);
    let fan_in = (0..dimensions).fold(of_a_group, |fan, _| fan.saturating_mul(kernel));
    let (weight, bias) = affine(name, &shape, fan_in, bias, parameters)?;
    Ok(Computation::Conv {
        weight,
        bias,
        window,
        groups: size(groups)?,
        last,
    })
}

/// Weight and bias of a convolution or an affine map as PyTorch starts them: `kaiming_uniform` with
/// `a = sqrt(5)` is uniform within `1 / sqrt(fan_in)`, and so is the bias.
pub(super) fn affine(
    name: &str,
    shape: &[i64],
    fan_in: u64,
    bias: bool,
    parameters: &mut Parameters,
) -> Result<(Tensor, Option<Tensor>), JobError> {
    let bound = 1.0 / (fan_in as f64).sqrt();
    let weight = parameters.uniform(format!("{name}.weight"), shape, bound)?;
    let bias = if bias {
        Some(parameters.uniform(format!("{name}.bias"), &shape[..1], bound)?)
    } else {
        None
    };
    Ok((weight, bias))
}

/// An affine map of vectors with a bias.
fn biased(
    name: &str,
    inputs: u64,
    outputs: u64,
    parameters: &mut Parameters,
) -> Result<(Tensor, Tensor), JobError> {
    let (outputs, bound) = (size(outputs)?, 1.0 / (inputs as f64).sqrt());
    let weight = parameters.uniform(format!("{name}.weight"), &[outputs, size(inputs)?], bound)?;
    let bias = parameters.uniform(format!("{name}.bias"), &[outputs], bound)?;
    Ok((weight, bias))
}

fn normalisation(
    node: &Node,
    last: bool,
    parameters: &mut Parameters,
) -> Result<Computation, JobError> {
    let (Op::BatchNorm { channels } | Op::LayerNorm { channels } | Op::GroupNorm { channels, .. }) =
        node.op
    else {
        return Err(JobError::Build(format!("{} does not normalise", node.name)));
    };
    let channels = size(channels)?;
    let mut constant = |what: &str, value, trained| {
        parameters.constant(format!("{}.{what}", node.name), &[channels], value, trained)
    };
    let weight = constant("weight", 1.0, true)?;
    let bias = constant("bias", 0.0, true)?;
    Ok(match node.op {
        Op::LayerNorm { .. } => Computation::LayerNorm {
            weight,
            bias,
            last: last || is_vector(node),
        },
        Op::GroupNorm { groups, .. } => Computation::GroupNorm {
            weight,
            bias,
            groups: size(groups)?,
            last,
        },
        _ => Computation::BatchNorm {
            weight,
            bias,
            mean: constant("running_mean", 0.0, false)?,
            variance: constant("running_var", 1.0, false)?,
            last,
        },
    })
}

fn is_vector(node: &Node) -> bool {
    node.shape.as_features().is_some()
}

fn pool(op: &Op, input: &Shape) -> Result<Computation, JobError> {
    let (places, last) = (places(input)?, channels_last(input));
    let square = |it: Pooling| window(places.len(), it.kernel, it.stride, it.padding, 1);
    Ok(match *op {
        Op::MaxPool1d(settings) | Op::MaxPool2d(settings) => Computation::MaxPool {
            window: square(settings)?,
            last,
        },
        Op::AvgPool1d(settings) | Op::AvgPool2d(settings) => Computation::AvgPool {
            window: square(settings)?,
            last,
        },
        Op::AdaptiveMaxPool { size: side } | Op::AdaptiveAvgPool { size: side } => {
            Computation::AdaptivePool {
                maximum: matches!(op, Op::AdaptiveMaxPool { .. }),
                size: vec![size(side)?; places.len()],
                last,
            }
        }
        _ => Computation::GlobalPool {
            maximum: matches!(op, Op::GlobalMaxPool),
            places,
        },
    })
}

fn squeeze_excite(
    node: &Node,
    input: &Shape,
    parameters: &mut Parameters,
) -> Result<Computation, JobError> {
    let Op::SqueezeExcite { channels, squeezed } = node.op else {
        return Err(JobError::Build(format!("{} does not squeeze", node.name)));
    };
    let reduce = format!("{}.reduce", node.name);
    let expand = format!("{}.expand", node.name);
    Ok(Computation::SqueezeExcite {
        reduce: biased(&reduce, channels, squeezed, parameters)?,
        expand: biased(&expand, squeezed, channels, parameters)?,
        places: places(input)?,
        last: channels_last(input),
    })
}

fn of_sequence(node: &Node, parameters: &mut Parameters) -> Result<Computation, JobError> {
    let name = &node.name;
    Ok(match node.op {
        Op::Embedding {
            vocabulary,
            features,
        } => {
            let shape = [size(vocabulary)?, size(features)?];
            // As PyTorch starts it: the standard normal distribution.
            Computation::Embedding(parameters.normal(format!("{name}.weight"), &shape, 1.0)?)
        }
        Op::PositionalEncoding {
            kind,
            length,
            features,
        } => {
            let values = match kind {
                Positions::Learned => {
                    let shape = [size(length)?, size(features)?];
                    parameters.normal(format!("{name}.weight"), &shape, POSITION_DEVIATION)?
                }
                Positions::Sinusoidal => sinusoids(length, features, parameters.device())?,
            };
            Computation::Positions(values)
        }
        Op::Attention {
            features,
            heads,
            dropout,
            qkv_bias,
        } => Computation::Attention(Attention::new(
            name, features, heads, dropout, qkv_bias, parameters,
        )?),
        Op::Lstm(settings) => {
            Computation::Recurrence(Recurrence::new(name, Cell::Lstm, settings, parameters)?)
        }
        Op::Gru(settings) => {
            Computation::Recurrence(Recurrence::new(name, Cell::Gru, settings, parameters)?)
        }
        _ => return Err(JobError::Build(format!("{name} is not about sequences"))),
    })
}
