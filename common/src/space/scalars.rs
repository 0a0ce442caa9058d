//! The scalars of layers that are more than a number, with the words they have in a spec. May import the
//! other words of this crate.

use serde::{Deserialize, Serialize};

use super::setting::Scalar;
use crate::candidate::Value;
use crate::network::{Activation, Positions, RecurrentOutput};

/// The words of the activations.
pub const ACTIVATIONS: [(&str, Activation); 13] = [
    ("relu", Activation::Relu),
    ("relu6", Activation::Relu6),
    ("leaky_relu", Activation::LeakyRelu),
    ("gelu", Activation::Gelu),
    ("silu", Activation::Silu),
    ("hard_swish", Activation::HardSwish),
    ("tanh", Activation::Tanh),
    ("sigmoid", Activation::Sigmoid),
    ("elu", Activation::Elu),
    ("mish", Activation::Mish),
    ("softplus", Activation::Softplus),
    ("selu", Activation::Selu),
    ("hard_sigmoid", Activation::HardSigmoid),
];

/// The words of [`Positions`].
pub const POSITIONS: [(&str, Positions); 2] = [
    ("learned", Positions::Learned),
    ("sinusoidal", Positions::Sinusoidal),
];

/// The words of [`RecurrentOutput`].
pub const RECURRENT_OUTPUTS: [(&str, RecurrentOutput); 2] = [
    ("sequence", RecurrentOutput::Sequence),
    ("last", RecurrentOutput::Last),
];

/// What the word of a value stands for.
fn of_word<T: Copy>(value: &Value, words: &[(&str, T)]) -> Option<T> {
    let Value::Text(word) = value else {
        return None;
    };
    words
        .iter()
        .find_map(|(name, meaning)| (name == word).then_some(*meaning))
}

impl Scalar for Activation {
    fn from_value(value: &Value) -> Option<Self> {
        of_word(value, &ACTIVATIONS)
    }
    fn fallback() -> Self {
        Self::Relu
    }
}

impl Scalar for Positions {
    fn from_value(value: &Value) -> Option<Self> {
        of_word(value, &POSITIONS)
    }
    fn fallback() -> Self {
        Self::Learned
    }
}

impl Scalar for RecurrentOutput {
    fn from_value(value: &Value) -> Option<Self> {
        of_word(value, &RECURRENT_OUTPUTS)
    }
    fn fallback() -> Self {
        Self::Sequence
    }
}

/// What the one word stands for, or what `count` makes of a number.
fn word_or_count<T>(value: &Value, word: (&str, T), count: fn(u64) -> T) -> Option<T> {
    match value {
        Value::Text(text) if text == word.0 => Some(word.1),
        other => u64::from_value(other).map(count),
    }
}

/// Groups of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Groups {
    /// One group for every input channel.
    Depthwise,
    /// So many groups.
    Count(u64),
}

impl Scalar for Groups {
    fn from_value(value: &Value) -> Option<Self> {
        word_or_count(value, ("depthwise", Self::Depthwise), Self::Count)
    }
    fn fallback() -> Self {
        Self::Count(1)
    }
}

/// Output features of a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Features {
    /// As many as the data set has classes.
    Classes,
    /// So many.
    Count(u64),
}

impl Scalar for Features {
    fn from_value(value: &Value) -> Option<Self> {
        word_or_count(value, ("classes", Self::Classes), Self::Count)
    }
    fn fallback() -> Self {
        Self::Count(1)
    }
}

/// The number of different tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vocabulary {
    /// As many as the data set has.
    Data,
    /// So many.
    Count(u64),
}

impl Scalar for Vocabulary {
    fn from_value(value: &Value) -> Option<Self> {
        word_or_count(value, ("data", Self::Data), Self::Count)
    }
    fn fallback() -> Self {
        Self::Data
    }
}

/// A number of channels or features without decisions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Extent<T> {
    /// This one.
    Plain(T),
    /// So many times the input's.
    TimesInput(f64),
}

impl<T> Extent<T> {
    /// The number, for an input that has `input`; `count` says what a plain one means.
    pub(super) fn of(&self, input: u64, count: impl FnOnce(&T) -> u64) -> u64 {
        match self {
            Self::Plain(plain) => count(plain),
            // A cast from a float saturates, and the builder refuses what is too large.
            Self::TimesInput(times) => ((input as f64 * times).round() as u64).max(1),
        }
    }
}
