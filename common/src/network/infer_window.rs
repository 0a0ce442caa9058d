//! Shape inference of what slides a window over places, or gathers them: convolutions and pooling, by
//! PyTorch's formulas (floor mode). Imports the network's types only.

use super::error::ShapeProblem;
use super::infer::{bounded, positive, too_large};
use super::op::{Convolution, Pooling};
use super::shape::{Layout, Shape};

/// What has places.
pub(super) const PLACES: &str = "an image (channels × height × width), a signal (channels × time) or a sequence (time × features)";
const IMAGE: &str = "an image (channels × height × width)";
const OVER_TIME: &str = "a signal (channels × time) or a sequence (time × features)";

/// The layout of an input with so many axes of places.
fn with_places(count: usize, input: &Shape) -> Result<Layout, ShapeProblem> {
    input
        .layout()
        .filter(|layout| layout.places.len() == count)
        .ok_or_else(|| ShapeProblem::Axes {
            expected: if count == 2 { IMAGE } else { OVER_TIME },
            input: input.clone(),
        })
}

fn any_places(input: &Shape) -> Result<Layout, ShapeProblem> {
    input
        .layout()
        .filter(|layout| !layout.places.is_empty())
        .ok_or_else(|| ShapeProblem::Axes {
            expected: PLACES,
            input: input.clone(),
        })
}

/// A convolution over so many axes of places.
pub(super) fn conv(
    settings: &Convolution,
    places: usize,
    input: &Shape,
) -> Result<Shape, ShapeProblem> {
    let &Convolution {
        in_channels,
        out_channels,
        kernel,
        stride,
        padding,
        dilation,
        groups,
        bias: _,
    } = settings;
    positive(&[
        ("number of input channels", in_channels),
        ("number of output channels", out_channels),
        ("kernel", kernel),
        ("stride", stride),
        ("dilation", dilation),
        ("number of groups", groups),
    ])?;
    let layout = with_places(places, input)?;
    let (axis, channels) = input.0[layout.channels];
    if channels != in_channels {
        return Err(ShapeProblem::Length {
            what: axis.plural(),
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
    slide(out_channels, span, stride, padding, input, layout)
}

/// Pooling over so many axes of places.
pub(super) fn pool(settings: Pooling, places: usize, input: &Shape) -> Result<Shape, ShapeProblem> {
    let Pooling {
        kernel,
        stride,
        padding,
    } = settings;
    positive(&[("kernel", kernel), ("stride", stride)])?;
    let layout = with_places(places, input)?;
    if padding > kernel / 2 {
        return Err(ShapeProblem::Padding { padding, kernel });
    }
    let channels = input.0[layout.channels].1;
    slide(channels, kernel, stride, padding, input, layout)
}

/// A window of `span` cells a side slid over the padded places.
fn slide(
    channels: u64,
    span: u64,
    stride: u64,
    padding: u64,
    input: &Shape,
    layout: Layout,
) -> Result<Shape, ShapeProblem> {
    let mut shape = input.clone();
    let mut shorter = u64::MAX;
    for &place in layout.places {
        let side = &mut shape.0[place].1;
        *side = padding
            .checked_mul(2)
            .and_then(|both| both.checked_add(*side))
            .ok_or_else(|| too_large(input))?;
        shorter = shorter.min(*side);
    }
    let mut shape = bounded(shape, input)?;
    if span > shorter {
        return Err(ShapeProblem::Window {
            span,
            padding,
            padded: shorter,
            input: input.clone(),
        });
    }
    for &place in layout.places {
        let side = &mut shape.0[place].1;
        *side = (*side - span) / stride + 1;
    }
    shape.0[layout.channels].1 = channels;
    bounded(shape, input)
}

pub(super) fn adaptive(size: u64, input: &Shape) -> Result<Shape, ShapeProblem> {
    positive(&[("size", size)])?;
    let layout = any_places(input)?;
    let mut shape = input.clone();
    for &place in layout.places {
        shape.0[place].1 = size;
    }
    bounded(shape, input)
}

pub(super) fn global(input: &Shape) -> Result<Shape, ShapeProblem> {
    let layout = any_places(input)?;
    Ok(Shape::features(input.0[layout.channels].1))
}

pub(super) fn zeros(channels: u64, stride: u64, input: &Shape) -> Result<Shape, ShapeProblem> {
    positive(&[("number of output channels", channels), ("stride", stride)])?;
    let Some(layout) = input.layout() else {
        return Err(ShapeProblem::Axes {
            expected: "channels or features",
            input: input.clone(),
        });
    };
    let mut shape = input.clone();
    for &place in layout.places {
        let side = &mut shape.0[place].1;
        *side = side.div_ceil(stride);
    }
    shape.0[layout.channels].1 = channels;
    bounded(shape, input)
}
