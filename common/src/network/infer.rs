//! Shape inference: what an operation gives for what comes in. Imports the network's types only; all
//! arithmetic is checked, since numbers come from outside.

use super::Node;
use super::count::parameters;
use super::error::ShapeProblem;
use super::infer_sequence::{attention, embedding, positional_encoding, recurrent, to_sequence};
use super::infer_window::{adaptive, conv, global, pool, zeros};
use super::op::Op;
use super::shape::{Axes, Axis, Layout, Shape};

/// The most elements of one tensor, and the most parameters of one operation: 4 TiB of `f32`, beyond any
/// machine, and small enough that sums over a network fit 64 bits.
pub const MAX_ELEMENTS: u64 = 1 << 40;

/// The shape of the output of `op` on the outputs of `inputs`, which are ids into `nodes`.
pub(super) fn infer(op: &Op, inputs: &[usize], nodes: &[Node]) -> Result<Shape, ShapeProblem> {
    let first = first_input(op, inputs, nodes)?;
    if first.as_tokens().is_some() && !matches!(op, Op::Embedding { .. } | Op::Identity) {
        return Err(ShapeProblem::Tokens {
            input: first.clone(),
        });
    }
    let shape = output(op, first, inputs, nodes)?;
    if parameters(op).is_none_or(|count| count > MAX_ELEMENTS) {
        return Err(ShapeProblem::TooManyParameters);
    }
    Ok(shape)
}

fn output(op: &Op, first: &Shape, inputs: &[usize], nodes: &[Node]) -> Result<Shape, ShapeProblem> {
    match *op {
        // Only the builder and the validation place it, without inference.
        Op::Input => Err(ShapeProblem::MisplacedInput),
        Op::Conv1d(ref settings) => conv(settings, 1, first),
        Op::Conv2d(ref settings) => conv(settings, 2, first),
        Op::Linear {
            in_features,
            out_features,
            ..
        } => linear(in_features, out_features, first),
        Op::BatchNorm { channels } | Op::Prelu { channels } => {
            channelled(channels, first).map(|_| first.clone())
        }
        Op::LayerNorm { channels } => layer_norm(channels, first),
        Op::GroupNorm { groups, channels } => group_norm(groups, channels, first),
        Op::SqueezeExcite { channels, squeezed } => squeeze_excite(channels, squeezed, first),
        Op::Dropout { rate } | Op::DropPath { rate } => {
            check_rate(rate)?;
            Ok(first.clone())
        }
        Op::Activation(_) | Op::Zero | Op::Identity => Ok(first.clone()),
        Op::MaxPool1d(settings) | Op::AvgPool1d(settings) => pool(settings, 1, first),
        Op::MaxPool2d(settings) | Op::AvgPool2d(settings) => pool(settings, 2, first),
        Op::AdaptiveMaxPool { size } | Op::AdaptiveAvgPool { size } => adaptive(size, first),
        Op::GlobalMaxPool | Op::GlobalAvgPool => global(first),
        Op::Zeros { channels, stride } => zeros(channels, stride, first),
        Op::Flatten => first
            .elements()
            .map(Shape::features)
            .ok_or_else(|| too_large(first)),
        Op::ToSequence => to_sequence(first),
        Op::Embedding {
            vocabulary,
            features,
        } => embedding(vocabulary, features, first),
        Op::PositionalEncoding {
            length, features, ..
        } => positional_encoding(length, features, first),
        Op::Attention {
            features,
            heads,
            dropout,
            ..
        } => attention(features, heads, dropout, first),
        Op::Lstm(settings) | Op::Gru(settings) => recurrent(&settings, first),
        Op::Add | Op::Multiply => same_shape(first, inputs, nodes),
        Op::Concat => concat(first, inputs, nodes),
    }
}

/// Checks a shape that nothing was inferred from: the network's input.
pub(super) fn check_shape(shape: &Shape) -> Result<(), ShapeProblem> {
    let axes = &shape.0;
    let repeated = axes
        .iter()
        .enumerate()
        .any(|(index, (axis, _))| axes[..index].iter().any(|(other, _)| other == axis));
    let elements = shape.elements();
    if axes.is_empty() || repeated || elements.is_none_or(|n| n == 0 || n > MAX_ELEMENTS) {
        // Cut, so that an error stays printable whatever came in.
        let shown = axes.iter().copied().take(8).collect();
        return Err(ShapeProblem::BadShape(Shape(shown)));
    }
    Ok(())
}

/// Checks how many inputs there are and that each is an earlier node; gives the first one's shape.
fn first_input<'a>(
    op: &Op,
    inputs: &[usize],
    nodes: &'a [Node],
) -> Result<&'a Shape, ShapeProblem> {
    let wrong_count = |expected| ShapeProblem::InputCount {
        expected,
        actual: inputs.len(),
    };
    match op {
        Op::Input => return Err(ShapeProblem::MisplacedInput),
        Op::Add | Op::Multiply | Op::Concat if inputs.is_empty() => {
            return Err(wrong_count("at least one input"));
        }
        Op::Add | Op::Multiply | Op::Concat => {}
        _ if inputs.len() != 1 => return Err(wrong_count("exactly one input")),
        _ => {}
    }
    if let Some(&input) = inputs.iter().find(|&&input| input >= nodes.len()) {
        return Err(ShapeProblem::UnknownInput {
            input,
            earlier: nodes.len(),
        });
    }
    inputs
        .first()
        .map(|&input| &nodes[input].shape)
        .ok_or_else(|| wrong_count("at least one input"))
}

pub(super) fn too_large(input: &Shape) -> ShapeProblem {
    ShapeProblem::TensorTooLarge {
        input: input.clone(),
    }
}

pub(super) fn bounded(output: Shape, input: &Shape) -> Result<Shape, ShapeProblem> {
    match output.elements() {
        Some(elements) if elements <= MAX_ELEMENTS => Ok(output),
        _ => Err(too_large(input)),
    }
}

pub(super) fn positive(settings: &[(&'static str, u64)]) -> Result<(), ShapeProblem> {
    match settings.iter().find(|(_, value)| *value == 0) {
        Some((name, _)) => Err(ShapeProblem::Zero(name)),
        None => Ok(()),
    }
}

pub(super) fn check_rate(rate: f64) -> Result<(), ShapeProblem> {
    if (0.0..1.0).contains(&rate) {
        Ok(())
    } else {
        Err(ShapeProblem::Rate(rate))
    }
}

/// The layout of an input that must have `declared` channels (or features).
pub(super) fn channelled(declared: u64, input: &Shape) -> Result<Layout, ShapeProblem> {
    let Some(layout) = input.layout() else {
        return Err(ShapeProblem::Axes {
            expected: "channels or features",
            input: input.clone(),
        });
    };
    let (axis, actual) = input.0[layout.channels];
    if actual != declared {
        return Err(ShapeProblem::Length {
            what: axis.plural(),
            declared,
            input: input.clone(),
        });
    }
    Ok(layout)
}

fn linear(in_features: u64, out_features: u64, input: &Shape) -> Result<Shape, ShapeProblem> {
    positive(&[
        ("number of input features", in_features),
        ("number of output features", out_features),
    ])?;
    let Some((&(Axis::Features, features), rest)) = input.0.split_last() else {
        return Err(ShapeProblem::Axes {
            expected: "features (put a flatten or global_avg_pool before it)",
            input: input.clone(),
        });
    };
    if features != in_features {
        return Err(ShapeProblem::Length {
            what: "features",
            declared: in_features,
            input: input.clone(),
        });
    }
    let mut axes = Axes::from_slice(rest);
    axes.push((Axis::Features, out_features));
    bounded(Shape(axes), input)
}

/// A single value normalised by its own mean is zero whatever it is, so nothing could be learned before it.
fn layer_norm(channels: u64, input: &Shape) -> Result<Shape, ShapeProblem> {
    channelled(channels, input)?;
    if channels == 1 {
        return Err(ShapeProblem::SingleValue {
            input: input.clone(),
        });
    }
    Ok(input.clone())
}

fn group_norm(groups: u64, channels: u64, input: &Shape) -> Result<Shape, ShapeProblem> {
    positive(&[("number of groups", groups)])?;
    channelled(channels, input)?;
    if !channels.is_multiple_of(groups) {
        return Err(ShapeProblem::NormGroups { groups, channels });
    }
    if input.elements() == Some(groups) {
        return Err(ShapeProblem::SingleValue {
            input: input.clone(),
        });
    }
    Ok(input.clone())
}

fn squeeze_excite(channels: u64, squeezed: u64, input: &Shape) -> Result<Shape, ShapeProblem> {
    positive(&[("number of squeezed channels", squeezed)])?;
    if channelled(channels, input)?.places.is_empty() {
        return Err(ShapeProblem::Axes {
            expected: super::infer_window::PLACES,
            input: input.clone(),
        });
    }
    bounded(Shape::features(squeezed), input)?;
    Ok(input.clone())
}

fn same_shape(first: &Shape, inputs: &[usize], nodes: &[Node]) -> Result<Shape, ShapeProblem> {
    match inputs.iter().find(|&&input| nodes[input].shape != *first) {
        None => Ok(first.clone()),
        Some(&input) => Err(ShapeProblem::Different {
            first: first.clone(),
            other: nodes[input].shape.clone(),
        }),
    }
}

fn concat(first: &Shape, inputs: &[usize], nodes: &[Node]) -> Result<Shape, ShapeProblem> {
    let along = |axis: Axis| first.0.iter().position(|&(other, _)| other == axis);
    let Some(at) = along(Axis::Channels).or_else(|| along(Axis::Features)) else {
        return Err(ShapeProblem::Axes {
            expected: "inputs with channels or features",
            input: first.clone(),
        });
    };
    let mut output = first.clone();
    for &input in &inputs[1..] {
        let other = &nodes[input].shape;
        let fits = other.0.len() == first.0.len()
            && other
                .0
                .iter()
                .zip(&first.0)
                .enumerate()
                .all(|(index, (theirs, ours))| {
                    theirs.0 == ours.0 && (index == at || theirs.1 == ours.1)
                });
        if !fits {
            return Err(ShapeProblem::Unjoinable {
                axis: first.0[at].0,
                first: first.clone(),
                other: other.clone(),
            });
        }
        output.0[at].1 = output.0[at]
            .1
            .checked_add(other.0[at].1)
            .ok_or_else(|| too_large(first))?;
    }
    bounded(output, first)
}
