//! Shape inference of what is about sequences: embeddings, attention, recurrence. Imports the network's
//! types only.

use super::error::ShapeProblem;
use super::infer::{bounded, check_rate, positive};
use super::op::{Recurrent, RecurrentOutput};
use super::shape::{Axis, Shape};

/// The most layers of one recurrent operation: beyond any in use, and few enough to be built at once.
const MAX_RECURRENT_LAYERS: u64 = 64;

/// The steps of a sequence that must have `declared` features.
fn steps(declared: u64, input: &Shape) -> Result<u64, ShapeProblem> {
    let Some((time, features)) = input.as_sequence() else {
        return Err(ShapeProblem::Axes {
            expected: "a sequence (time × features; `to_sequence` and `patches` make one of an image, `embedding` of tokens)",
            input: input.clone(),
        });
    };
    if features != declared {
        return Err(ShapeProblem::Length {
            what: "features",
            declared,
            input: input.clone(),
        });
    }
    Ok(time)
}

pub(super) fn to_sequence(input: &Shape) -> Result<Shape, ShapeProblem> {
    let places = match input.0.as_slice() {
        [
            (Axis::Channels, _),
            (Axis::Height, height),
            (Axis::Width, width),
        ] => height.checked_mul(*width),
        [(Axis::Channels, _), (Axis::Time, time)] => Some(*time),
        _ => {
            return Err(ShapeProblem::Axes {
                expected: "an image (channels × height × width) or a signal (channels × time)",
                input: input.clone(),
            });
        }
    };
    // The input's elements fit, so its places do.
    Ok(Shape::sequence(places.unwrap_or(u64::MAX), input.0[0].1))
}

pub(super) fn embedding(
    vocabulary: u64,
    features: u64,
    input: &Shape,
) -> Result<Shape, ShapeProblem> {
    positive(&[("vocabulary", vocabulary), ("number of features", features)])?;
    let Some(time) = input.as_tokens() else {
        return Err(ShapeProblem::Axes {
            expected: "tokens (time alone)",
            input: input.clone(),
        });
    };
    bounded(Shape::sequence(time, features), input)
}

pub(super) fn positional_encoding(
    length: u64,
    features: u64,
    input: &Shape,
) -> Result<Shape, ShapeProblem> {
    if steps(features, input)? != length {
        return Err(ShapeProblem::Length {
            what: "time",
            declared: length,
            input: input.clone(),
        });
    }
    Ok(input.clone())
}

pub(super) fn attention(
    features: u64,
    heads: u64,
    dropout: f64,
    input: &Shape,
) -> Result<Shape, ShapeProblem> {
    positive(&[("number of heads", heads)])?;
    check_rate(dropout)?;
    let time = steps(features, input)?;
    if !features.is_multiple_of(heads) {
        return Err(ShapeProblem::Heads { heads, features });
    }
    // The attention weights are a tensor like any other: every step of every head looks at every step.
    let weights = [
        (Axis::Channels, heads),
        (Axis::Height, time),
        (Axis::Width, time),
    ];
    bounded(Shape(weights.into()), input)?;
    Ok(input.clone())
}

pub(super) fn recurrent(settings: &Recurrent, input: &Shape) -> Result<Shape, ShapeProblem> {
    positive(&[
        ("number of input features", settings.in_features),
        ("number of hidden features", settings.hidden),
        ("number of layers", settings.layers),
    ])?;
    if settings.layers > MAX_RECURRENT_LAYERS {
        return Err(ShapeProblem::TooManyLayers {
            layers: settings.layers,
            most: MAX_RECURRENT_LAYERS,
        });
    }
    let time = steps(settings.in_features, input)?;
    let features = settings.hidden.saturating_mul(settings.directions());
    let sequence = bounded(Shape::sequence(time, features), input)?;
    Ok(match settings.output {
        RecurrentOutput::Sequence => sequence,
        RecurrentOutput::Last => Shape::features(features),
    })
}
