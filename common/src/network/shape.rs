//! Shapes over named axes. The batch axis is always there and never written.

use std::fmt;

use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};

/// An axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// Feature maps of an image or signal.
    Channels,
    /// Rows of an image.
    Height,
    /// Columns of an image.
    Width,
    /// Steps of a sequence.
    Time,
    /// Entries of a vector.
    Features,
}

impl Axis {
    /// The word for its entries.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Channels => "channels",
            Self::Height => "height",
            Self::Width => "width",
            Self::Time => "time",
            Self::Features => "features",
        }
    }
}

/// Axes with their lengths, kept in place up to the three of an image: networks are built by the thousand.
pub type Axes = SmallVec<[(Axis, u64); 3]>;

/// Axes with their lengths, outermost first. In JSON `[["channels", 16], ["height", 28], …]`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shape(pub Axes);

impl Clone for Shape {
    fn clone(&self) -> Self {
        // One copy of memory, where `SmallVec::clone` goes from axis to axis.
        Self(Axes::from_slice(&self.0))
    }
}

impl Shape {
    /// An image: channels, height, width.
    #[must_use]
    pub fn image(channels: u64, height: u64, width: u64) -> Self {
        Self(smallvec![
            (Axis::Channels, channels),
            (Axis::Height, height),
            (Axis::Width, width),
        ])
    }

    /// A vector.
    #[must_use]
    pub fn features(features: u64) -> Self {
        Self(smallvec![(Axis::Features, features)])
    }

    /// `(channels, height, width)` if this is an image.
    #[must_use]
    pub fn as_image(&self) -> Option<(u64, u64, u64)> {
        match self.0.as_slice() {
            &[(Axis::Channels, c), (Axis::Height, h), (Axis::Width, w)] => Some((c, h, w)),
            _ => None,
        }
    }

    /// The length if this is a vector.
    #[must_use]
    pub fn as_features(&self) -> Option<u64> {
        match self.0.as_slice() {
            &[(Axis::Features, features)] => Some(features),
            _ => None,
        }
    }

    /// A signal: channels, time.
    #[must_use]
    pub fn signal(channels: u64, time: u64) -> Self {
        Self(smallvec![(Axis::Channels, channels), (Axis::Time, time)])
    }

    /// A sequence of vectors: time, features.
    #[must_use]
    pub fn sequence(time: u64, features: u64) -> Self {
        Self(smallvec![(Axis::Time, time), (Axis::Features, features)])
    }

    /// A sequence of tokens, which are whole numbers: time alone.
    #[must_use]
    pub fn tokens(time: u64) -> Self {
        Self(smallvec![(Axis::Time, time)])
    }

    /// `(time, features)` if this is a sequence of vectors.
    #[must_use]
    pub fn as_sequence(&self) -> Option<(u64, u64)> {
        match self.0.as_slice() {
            &[(Axis::Time, time), (Axis::Features, features)] => Some((time, features)),
            _ => None,
        }
    }

    /// The length if this is a sequence of tokens.
    #[must_use]
    pub fn as_tokens(&self) -> Option<u64> {
        match self.0.as_slice() {
            &[(Axis::Time, time)] => Some(time),
            _ => None,
        }
    }

    /// Which of the axes are channels and places, for images, signals, sequences of vectors, and vectors.
    #[must_use]
    pub fn layout(&self) -> Option<Layout> {
        let (channels, places): (usize, &[usize]) = match self.0.as_slice() {
            [(Axis::Channels, _), (Axis::Height, _), (Axis::Width, _)] => (0, &[1, 2]),
            [(Axis::Channels, _), (Axis::Time, _)] => (0, &[1]),
            [(Axis::Time, _), (Axis::Features, _)] => (1, &[0]),
            [(Axis::Features, _)] => (0, &[]),
            _ => return None,
        };
        Some(Layout { channels, places })
    }

    /// The channels of an image or signal, the features of a sequence or vector.
    #[must_use]
    pub fn channels(&self) -> Option<u64> {
        self.layout().map(|layout| self.0[layout.channels].1)
    }

    /// The number of elements, or `None` when it does not fit 64 bits.
    #[must_use]
    pub fn elements(&self) -> Option<u64> {
        self.0
            .iter()
            .try_fold(1_u64, |product, &(_, length)| product.checked_mul(length))
    }
}

/// Places of the axes of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The axis that convolutions mix and normalisation keeps apart: channels, or else features.
    pub channels: usize,
    /// The axes that windows slide over: height and width, time, or none.
    pub places: &'static [usize],
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (axis, length)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" × ")?;
            }
            write!(f, "{length} {}", axis.plural())?;
        }
        Ok(())
    }
}
