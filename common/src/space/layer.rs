//! Layers of a network as the spec writes them, and what is left of them when every decision is made: one
//! declaration for both. May import the other words of this crate.

use serde::{Deserialize, Serialize};

use super::expand::Expansion;
use super::expand::Part::Word;
use super::scalars::{Extent, Features, Groups, Vocabulary};
use super::setting::{Scalar, Setting};
use super::size::of_setting;
use super::tally::Tally;
use super::work::Work;
use crate::network::{Activation, Positions, RecurrentOutput};

/// A setting of a layer, which may hold decisions.
pub trait Part {
    /// What it is when they are made.
    type Resolved;
}

/// A [`Part`] as an expansion sees it.
trait Decisions: Part {
    /// Asks for its decisions. `word` is its key in the spec.
    fn resolve(&self, word: &str, expansion: &mut Expansion<'_>) -> Self::Resolved;
    /// Whether there are none.
    fn is_fixed(&self) -> bool;
    /// How large it is.
    fn tally(&self, work: &Work) -> Tally;
}

impl<T: Scalar> Part for Setting<T> {
    type Resolved = T;
}

impl<T: Scalar> Decisions for Setting<T> {
    fn resolve(&self, word: &str, expansion: &mut Expansion<'_>) -> T {
        expansion.setting(word, self)
    }

    fn is_fixed(&self) -> bool {
        self.fixed().is_some()
    }

    fn tally(&self, _work: &Work) -> Tally {
        of_setting(self)
    }
}

impl<P: Part> Part for Option<P> {
    type Resolved = Option<P::Resolved>;
}

impl<P: Decisions> Decisions for Option<P> {
    fn resolve(&self, word: &str, expansion: &mut Expansion<'_>) -> Self::Resolved {
        self.as_ref().map(|part| part.resolve(word, expansion))
    }

    fn is_fixed(&self) -> bool {
        self.as_ref().is_none_or(P::is_fixed)
    }

    fn tally(&self, work: &Work) -> Tally {
        let tally = self.as_ref().map(|part| part.tally(work));
        tally.unwrap_or_default()
    }
}

/// A number of channels or features: a setting, or a multiple of what the input has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Width<T> {
    /// This one.
    Plain(Setting<T>),
    /// So many times the input's, rounded, at least 1.
    Relative {
        /// How many times.
        times_input: Setting<f64>,
    },
}

impl<T: Scalar> Part for Width<T> {
    type Resolved = Extent<T>;
}

impl<T: Scalar> Decisions for Width<T> {
    fn resolve(&self, word: &str, expansion: &mut Expansion<'_>) -> Extent<T> {
        match self {
            Self::Plain(setting) => Extent::Plain(expansion.setting(word, setting)),
            Self::Relative { times_input } => {
                Extent::TimesInput(expansion.within(&[Word("."), Word(word)], |expansion| {
                    expansion.setting("times_input", times_input)
                }))
            }
        }
    }

    fn is_fixed(&self) -> bool {
        match self {
            Self::Plain(setting) => setting.is_fixed(),
            Self::Relative { times_input } => times_input.is_fixed(),
        }
    }

    fn tally(&self, work: &Work) -> Tally {
        match self {
            Self::Plain(setting) => setting.tally(work),
            Self::Relative { times_input } => times_input.tally(work),
        }
    }
}

/// Declares [`Layer`], [`ResolvedLayer`] and the way from one to the other, so that a layer's settings are
/// written down once. The key of a setting in the spec is the name of its field, and decisions are asked for
/// in the order of the fields.
macro_rules! layers {
    ($(
        $(#[$about:meta])*
        $name:ident $({ $( $(#[$meaning:meta])* $field:ident: $part:ty, )* })?
    )*) => {
        /// A layer. What is `None` has a default that depends on where the layer stands; see each field.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case", deny_unknown_fields)]
        pub enum Layer {
            /// Activation function.
            Activation(Setting<Activation>),
            $( $(#[$about])* $name $({ $( $(#[$meaning])* $field: $part, )* })?, )*
        }

        /// A layer without decisions.
        #[derive(Clone, Debug, PartialEq)]
        pub enum ResolvedLayer {
            /// Activation function.
            Activation(Activation),
            $( $(#[$about])* $name $({
                $( $(#[$meaning])* $field: <$part as Part>::Resolved, )*
            })?, )*
        }

        impl Layer {
            /// Asks for the decisions among its settings.
            pub(super) fn resolve(&self, expansion: &mut Expansion<'_>) -> ResolvedLayer {
                match self {
                    Self::Activation(activation) => {
                        ResolvedLayer::Activation(activation.resolve("activation", expansion))
                    }
                    $( Self::$name $({ $($field),* })? => ResolvedLayer::$name $({
                        $( $field: $field.resolve(stringify!($field), expansion), )*
                    })?, )*
                }
            }

            /// Whether no setting is left to a decision or a name.
            pub(super) fn is_fixed(&self) -> bool {
                match self {
                    Self::Activation(activation) => activation.is_fixed(),
                    $( Self::$name $({ $($field),* })? => true $( $( && $field.is_fixed() )* )?, )*
                }
            }

            /// How large it is: the decisions among its settings.
            pub(super) fn tally(&self, work: &Work) -> Tally {
                match self {
                    Self::Activation(activation) => activation.tally(work),
                    $( Self::$name $({ $($field),* })? => {
                        Tally::default() $( $( .and($field.tally(work), work) )* )?
                    } )*
                }
            }
        }
    };
}

layers! {
    /// Convolution: 2-d over images, 1-d over signals and sequences.
    Conv {
        /// Output channels; `None` keeps the input's.
        channels: Option<Width<u64>>,
        /// Side of the kernel.
        kernel: Setting<u64>,
        /// Stride.
        stride: Setting<u64>,
        /// Zeros on every side; `None`: `dilation (kernel - 1) / 2`, which keeps the size with an odd
        /// kernel and stride 1.
        padding: Option<Setting<u64>>,
        /// Groups.
        groups: Setting<Groups>,
        /// Distance between kernel elements.
        dilation: Setting<u64>,
        /// Whether a bias is added; `None`: not when a `batch_norm` follows at once in the same list.
        bias: Option<Setting<bool>>,
    }
    /// A depthwise convolution without a bias, and a pointwise one.
    SeparableConv {
        /// Output channels; `None` keeps the input's.
        channels: Option<Width<u64>>,
        /// Side of the depthwise kernel.
        kernel: Setting<u64>,
        /// Stride of the depthwise convolution.
        stride: Setting<u64>,
        /// Zeros on every side; `None`: as in `Conv`.
        padding: Option<Setting<u64>>,
        /// Distance between kernel elements.
        dilation: Setting<u64>,
        /// Whether the pointwise convolution adds a bias; `None`: as in `Conv`.
        bias: Option<Setting<bool>>,
    }
    /// Affine map of the features.
    Linear {
        /// Output features.
        features: Width<Features>,
        /// Whether a bias is added.
        bias: Setting<bool>,
    }
    /// Batch normalisation.
    BatchNorm
    /// Layer normalisation.
    LayerNorm
    /// Group normalisation.
    GroupNorm {
        /// Groups of channels.
        groups: Setting<u64>,
    }
    /// An activation with a trained slope for each channel.
    Prelu
    /// Maximum over windows.
    MaxPool {
        /// Side of the window.
        kernel: Setting<u64>,
        /// Stride; `None`: the kernel, so that windows do not overlap.
        stride: Option<Setting<u64>>,
        /// Padding; `None`: `(kernel - 1) / 2` when windows overlap (stride less than kernel), else 0.
        padding: Option<Setting<u64>>,
    }
    /// Mean over windows.
    AvgPool {
        /// Side of the window.
        kernel: Setting<u64>,
        /// Stride; `None`: the kernel, so that windows do not overlap.
        stride: Option<Setting<u64>>,
        /// Padding; `None`: `(kernel - 1) / 2` when windows overlap (stride less than kernel), else 0.
        padding: Option<Setting<u64>>,
    }
    /// Maximum over windows spread so that the output has this size.
    AdaptiveMaxPool {
        /// Side of the output.
        size: Setting<u64>,
    }
    /// Mean over windows spread so that the output has this size.
    AdaptiveAvgPool {
        /// Side of the output.
        size: Setting<u64>,
    }
    /// Maximum over height and width, or over time.
    GlobalMaxPool
    /// Mean over height and width, or over time.
    GlobalAvgPool
    /// Dropout.
    Dropout {
        /// Probability of zeroing an element.
        rate: Setting<f64>,
    }
    /// Stochastic depth.
    DropPath {
        /// Probability of zeroing an example.
        rate: Setting<f64>,
    }
    /// Scales every channel by a number between 0 and 1 that depends on the means of all channels.
    SqueezeExcite {
        /// Channels in the middle, as a share of the input's.
        ratio: Setting<f64>,
    }
    /// All axes become features.
    Flatten
    /// The places of an image or signal become the steps of a sequence.
    ToSequence
    /// Square patches of an image become the steps of a sequence: a convolution whose stride is its kernel.
    Patches {
        /// Side of a patch.
        size: Setting<u64>,
        /// Features of a step.
        features: Setting<u64>,
    }
    /// Tokens become vectors.
    Embedding {
        /// Features of a vector.
        features: Setting<u64>,
        /// Number of different tokens.
        vocabulary: Setting<Vocabulary>,
    }
    /// Adds to every step of a sequence what tells its place.
    PositionalEncoding {
        /// How places are told.
        kind: Setting<Positions>,
    }
    /// Multi-head self-attention over a sequence.
    Attention {
        /// Heads; they divide the features.
        heads: Setting<u64>,
        /// Probability of zeroing an attention weight.
        dropout: Setting<f64>,
        /// Whether queries, keys and values have a bias.
        qkv_bias: Setting<bool>,
    }
    /// Long short-term memory.
    Lstm {
        /// Features of the state.
        hidden: Width<u64>,
        /// Layers on top of each other.
        layers: Setting<u64>,
        /// Whether there is a second one that reads backwards.
        bidirectional: Setting<bool>,
        /// What it gives.
        output: Setting<RecurrentOutput>,
    }
    /// Gated recurrent unit.
    Gru {
        /// Features of the state.
        hidden: Width<u64>,
        /// Layers on top of each other.
        layers: Setting<u64>,
        /// Whether there is a second one that reads backwards.
        bidirectional: Setting<bool>,
        /// What it gives.
        output: Setting<RecurrentOutput>,
    }
    /// Zeros.
    Zero {
        /// Output channels; `None` keeps the input's.
        channels: Option<Width<u64>>,
        /// Stride.
        stride: Setting<u64>,
    }
    /// Nothing.
    Identity
}
