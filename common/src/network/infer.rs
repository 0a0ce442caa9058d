//! Shape inference: what an operation gives for what comes in, by PyTorch's formulas (floor mode).
//! Imports the network's types only; all arithmetic is checked, since numbers come from outside.

use super::Node;
use super::count::parameters;
use super::error::ShapeProblem;
use super::op::Op;
use super::shape::{Axis, Shape};

/// The most elements of one tensor, and the most parameters of one operation: 4 TiB of `f32`, beyond any
/// machine, and small enough that sums over a network fit 64 bits.
pub const MAX_ELEMENTS: u64 = 1 << 40;

/// The shape of the output of `op` on the outputs of `inputs`, which are ids into `nodes`.
pub(super) fn infer(op: &Op, inputs: &[usize], nodes: &[Node]) -> Result<Shape, ShapeProblem> {
    let first = first_input(op, inputs, nodes)?;
    let shape = output(op, first, inputs, nodes)?;
    if parameters(op).is_none_or(|count| count > MAX_ELEMENTS) {
        return Err(ShapeProblem::TooManyParameters);
    }
    Ok(shape)
}

fn output(op: &Op, first: &Shape, inputs: &[usize], nodes: &[Node]) -> Result<Shape, ShapeProblem> {
    match op {
        // Only the builder and the validation place it, without inference.
        Op::Input => Err(ShapeProblem::MisplacedInput),
        Op::Conv2d { .. } => conv2d(op, first),
        Op::Linear {
            in_features,
            out_features,
            ..
        } => linear(*in_features, *out_features, first),
        Op::BatchNorm { channels } => batch_norm(*channels, first),
        Op::Dropout { rate } if !(0.0..1.0).contains(rate) => Err(ShapeProblem::Rate(*rate)),
        Op::Activation(_) | Op::Dropout { .. } | Op::Zero | Op::Identity => Ok(first.clone()),
        Op::MaxPool2d {
            kernel,
            stride,
            padding,
        }
        | Op::AvgPool2d {
            kernel,
            stride,
            padding,
        } => pool(*kernel, *stride, *padding, first),
        Op::GlobalAvgPool => image(first).map(|(channels, _, _)| Shape::features(channels)),
        Op::Flatten => first
            .elements()
            .map(Shape::features)
            .ok_or_else(|| too_large(first)),
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

fn too_large(input: &Shape) -> ShapeProblem {
    ShapeProblem::TensorTooLarge {
        input: input.clone(),
    }
}

fn bounded(output: Shape, input: &Shape) -> Result<Shape, ShapeProblem> {
    match output.elements() {
        Some(elements) if elements <= MAX_ELEMENTS => Ok(output),
        _ => Err(too_large(input)),
    }
}

fn positive(settings: &[(&'static str, u64)]) -> Result<(), ShapeProblem> {
    match settings.iter().find(|(_, value)| *value == 0) {
        Some((name, _)) => Err(ShapeProblem::Zero(name)),
        None => Ok(()),
    }
}

fn image(input: &Shape) -> Result<(u64, u64, u64), ShapeProblem> {
    input.as_image().ok_or_else(|| ShapeProblem::Axes {
        expected: "an image (channels × height × width)",
        input: input.clone(),
    })
}

fn conv2d(op: &Op, input: &Shape) -> Result<Shape, ShapeProblem> {
    let &Op::Conv2d {
        in_channels,
        out_channels,
        kernel,
        stride,
        padding,
        dilation,
        groups,
        bias: _,
    } = op
    else {
        return Ok(input.clone());
    };
    positive(&[
        ("number of input channels", in_channels),
        ("number of output channels", out_channels),
        ("kernel", kernel),
        ("stride", stride),
        ("dilation", dilation),
        ("number of groups", groups),
    ])?;
    let (channels, ..) = image(input)?;
    if channels != in_channels {
        return Err(ShapeProblem::Length {
            what: "channels",
            declared: in_channels,
            input: input.clone(),
        });
    }
    if in_channels % groups != 0 || out_channels % groups != 0 {
        return Err(ShapeProblem::Groups {
            groups,
            in_channels,
            out_channels,
        });
    }
    // PyTorch: floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1.
    let span = (kernel - 1)
        .checked_mul(dilation)
        .and_then(|span| span.checked_add(1))
        .unwrap_or(u64::MAX);
    slide(out_channels, span, stride, padding, input)
}

fn pool(kernel: u64, stride: u64, padding: u64, input: &Shape) -> Result<Shape, ShapeProblem> {
    positive(&[("kernel", kernel), ("stride", stride)])?;
    let (channels, ..) = image(input)?;
    if padding > kernel / 2 {
        return Err(ShapeProblem::Padding { padding, kernel });
    }
    slide(channels, kernel, stride, padding, input)
}

/// A window of `span` cells a side slid over a padded image.
fn slide(
    channels: u64,
    span: u64,
    stride: u64,
    padding: u64,
    input: &Shape,
) -> Result<Shape, ShapeProblem> {
    let (in_channels, height, width) = image(input)?;
    let padded = |side: u64| {
        padding
            .checked_mul(2)
            .and_then(|both| both.checked_add(side))
            .ok_or_else(|| too_large(input))
    };
    let (high, wide) = (padded(height)?, padded(width)?);
    bounded(Shape::image(in_channels, high, wide), input)?;
    if span > high.min(wide) {
        return Err(ShapeProblem::Window {
            span,
            padding,
            padded: high.min(wide),
            input: input.clone(),
        });
    }
    let steps = |side: u64| (side - span) / stride + 1;
    bounded(Shape::image(channels, steps(high), steps(wide)), input)
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
    let mut axes = rest.to_vec();
    axes.push((Axis::Features, out_features));
    bounded(Shape(axes), input)
}

fn batch_norm(channels: u64, input: &Shape) -> Result<Shape, ShapeProblem> {
    let (what, actual) = match (input.as_image(), input.as_features()) {
        (Some((channels, ..)), _) => ("channels", channels),
        (None, Some(features)) => ("features", features),
        (None, None) => {
            return Err(ShapeProblem::Axes {
                expected: "an image (channels × height × width) or features",
                input: input.clone(),
            });
        }
    };
    if channels != actual {
        return Err(ShapeProblem::Length {
            what,
            declared: channels,
            input: input.clone(),
        });
    }
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
