//! Shapes over named axes. The batch axis is always there and never written.

use std::fmt;

use serde::{Deserialize, Serialize};

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

/// Axes with their lengths, outermost first. In JSON `[["channels", 16], ["height", 28], …]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shape(pub Vec<(Axis, u64)>);

impl Shape {
    /// An image: channels, height, width.
    #[must_use]
    pub fn image(channels: u64, height: u64, width: u64) -> Self {
        Self(vec![
            (Axis::Channels, channels),
            (Axis::Height, height),
            (Axis::Width, width),
        ])
    }

    /// A vector.
    #[must_use]
    pub fn features(features: u64) -> Self {
        Self(vec![(Axis::Features, features)])
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

    /// The number of elements, or `None` when it does not fit 64 bits.
    #[must_use]
    pub fn elements(&self) -> Option<u64> {
        self.0
            .iter()
            .try_fold(1_u64, |product, &(_, length)| product.checked_mul(length))
    }
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
