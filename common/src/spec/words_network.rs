//! The words of layers and their settings.

use super::scalar::{End, Kind};
use super::words::Shape::{Decision, Width};
use super::words::{Argument, Key, NAME, SHARE, Table, count, optional, required};
use crate::space::{ACTIVATIONS, POSITIONS, RECURRENT_OUTPUTS};

const CHANNELS: Kind = count(1, 65_536);
const KERNEL: Kind = count(1, 31);
const STRIDE: Kind = count(1, 31);
const PADDING: Kind = count(0, 64);
const DILATION: Kind = count(1, 31);
/// `times_input`: enough for any bottleneck, either way.
pub(super) const TIMES_INPUT: Kind = Kind::Number {
    min: End::Open(0.0),
    max: End::Closed(1024.0),
};
/// More than nothing, and at most the whole.
const PART: Kind = Kind::Number {
    min: End::Open(0.0),
    max: End::Closed(1.0),
};

// Keys that several layers have.
const CHANNELS_KEY: Key = optional(
    "channels",
    Width(CHANNELS),
    "Output channels; the input's by default.",
);
const STRIDE_KEY: Key = optional("stride", Decision(STRIDE), "1 by default.");
const PADDING_KEY: Key = optional(
    "padding",
    Decision(PADDING),
    "Zeros on every side; dilation * (kernel - 1) / 2 by default, which keeps the size at stride 1.",
);
const DILATION_KEY: Key = optional(
    "dilation",
    Decision(DILATION),
    "Distance between kernel elements; 1 by default.",
);
const BIAS_KEY: Key = optional(
    "bias",
    Decision(Kind::Flag),
    "By default true, but false right before a batch_norm.",
);

static CONV: Table = Table {
    name: "conv",
    about: "Convolution: 2-d over images, 1-d over signals and sequences.",
    keys: &[
        NAME,
        CHANNELS_KEY,
        optional(
            "kernel",
            Decision(KERNEL),
            "Side of the kernel; 3 by default.",
        ),
        STRIDE_KEY,
        PADDING_KEY,
        optional(
            "groups",
            Decision(Kind::CountOr {
                min: 1,
                max: 65_536,
                word: "depthwise",
            }),
            "Groups, or `depthwise`: one for every input channel; 1 by default.",
        ),
        DILATION_KEY,
        BIAS_KEY,
    ],
};

static SEPARABLE_CONV: Table = Table {
    name: "separable_conv",
    about: "A depthwise convolution without a bias, and a 1x1 convolution.",
    keys: &[
        NAME,
        CHANNELS_KEY,
        optional(
            "kernel",
            Decision(KERNEL),
            "Side of the depthwise kernel; 3 by default.",
        ),
        STRIDE_KEY,
        PADDING_KEY,
        DILATION_KEY,
        BIAS_KEY,
    ],
};

static LINEAR: Table = Table {
    name: "linear",
    about: "An affine map of the features, of a vector or of every step of a sequence.",
    keys: &[
        NAME,
        required(
            "features",
            Width(Kind::CountOr {
                min: 1,
                max: 1_048_576,
                word: "classes",
            }),
            "Output features, or `classes`: one for every class of the data set.",
        ),
        optional("bias", Decision(Kind::Flag), "true by default."),
    ],
};

static GROUP_NORM: Table = Table {
    name: "group_norm",
    about: "Group normalisation.",
    keys: &[
        NAME,
        required(
            "groups",
            Decision(CHANNELS),
            "Groups of channels; as many as channels is instance normalisation.",
        ),
    ],
};

static POOL: Table = Table {
    name: "pool",
    about: "Windows of a pooling layer.",
    keys: &[
        NAME,
        optional(
            "kernel",
            Decision(KERNEL),
            "Side of the window; 2 by default.",
        ),
        optional("stride", Decision(STRIDE), "The kernel by default."),
        optional(
            "padding",
            Decision(PADDING),
            "By default (kernel - 1) / 2 where windows overlap, else 0.",
        ),
    ],
};

static ADAPTIVE_POOL: Table = Table {
    name: "adaptive_pool",
    about: "Windows spread evenly for an output of one size.",
    keys: &[
        NAME,
        required(
            "size",
            Decision(count(1, 65_536)),
            "Height and width of the output, or its time.",
        ),
    ],
};

static DROPOUT: Table = Table {
    name: "dropout",
    about: "Zeroes at random in training.",
    keys: &[
        NAME,
        required(
            "rate",
            Decision(SHARE),
            "Probability of zeroing an element (dropout) or a whole example (drop_path).",
        ),
    ],
};

static SQUEEZE_EXCITE: Table = Table {
    name: "squeeze_excite",
    about: "Scales channels by what their means say.",
    keys: &[
        NAME,
        optional(
            "ratio",
            Decision(PART),
            "Channels in the middle, as a share of the input's; 0.25 by default.",
        ),
    ],
};

static PATCHES: Table = Table {
    name: "patches",
    about: "Square patches of an image as the steps of a sequence.",
    keys: &[
        NAME,
        required("size", Decision(count(1, 1_024)), "Side of a patch."),
        required("features", Decision(CHANNELS), "Features of a step."),
    ],
};

static EMBEDDING: Table = Table {
    name: "embedding",
    about: "Vectors for tokens.",
    keys: &[
        NAME,
        required("features", Decision(CHANNELS), "Features of a vector."),
        optional(
            "vocabulary",
            Decision(Kind::CountOr {
                min: 1,
                max: 100_000_000,
                word: "data",
            }),
            "Number of different tokens, or `data` (the default): as many as the data set has.",
        ),
    ],
};

static POSITIONAL_ENCODING: Table = Table {
    name: "positional_encoding",
    about: "Adds to the steps of a sequence what tells their places.",
    keys: &[
        NAME,
        optional(
            "kind",
            Decision(Kind::Word(&POSITION_WORDS)),
            "learned by default.",
        ),
    ],
};

static ATTENTION: Table = Table {
    name: "attention",
    about: "Multi-head self-attention over a sequence.",
    keys: &[
        NAME,
        required(
            "heads",
            Decision(count(1, 1_024)),
            "Heads; they divide the features.",
        ),
        optional(
            "dropout",
            Decision(SHARE),
            "Probability of zeroing an attention weight; 0 by default.",
        ),
        optional(
            "qkv_bias",
            Decision(Kind::Flag),
            "Whether queries, keys and values have a bias; true by default.",
        ),
    ],
};

static RECURRENT: Table = Table {
    name: "recurrent",
    about: "A recurrent layer over a sequence.",
    keys: &[
        NAME,
        required("hidden", Width(CHANNELS), "Features of the state."),
        optional(
            "layers",
            Decision(count(1, 16)),
            "Layers on top of each other; 1 by default.",
        ),
        optional(
            "bidirectional",
            Decision(Kind::Flag),
            "Whether there is a second one that reads backwards; false by default.",
        ),
        optional(
            "output",
            Decision(Kind::Word(&OUTPUT_WORDS)),
            "The state after every step (sequence, the default) or after the last.",
        ),
    ],
};

static ZERO: Table = Table {
    name: "zero",
    about: "Zeros.",
    keys: &[NAME, CHANNELS_KEY, STRIDE_KEY],
};

/// The words of a list of words with what they mean.
const fn words_of<T, const N: usize>(meanings: &[(&'static str, T); N]) -> [&'static str; N] {
    let mut words = [""; N];
    let mut index = 0;
    while index < N {
        words[index] = meanings[index].0;
        index += 1;
    }
    words
}

/// The words of the activations.
pub(super) static ACTIVATION_WORDS: [&str; ACTIVATIONS.len()] = words_of(&ACTIVATIONS);
static POSITION_WORDS: [&str; POSITIONS.len()] = words_of(&POSITIONS);
static OUTPUT_WORDS: [&str; RECURRENT_OUTPUTS.len()] = words_of(&RECURRENT_OUTPUTS);
/// What `activation:` takes.
pub(super) const ACTIVATION: Kind = Kind::Word(&ACTIVATION_WORDS);

const fn bare(table: &'static Table) -> Argument {
    Argument::Settings { table, bare: true }
}

const fn with_settings(table: &'static Table) -> Argument {
    Argument::Settings { table, bare: false }
}

/// The words of the layers that are no activation.
pub(super) static LAYERS: &[(&str, Argument)] = &[
    ("conv", bare(&CONV)),
    ("separable_conv", bare(&SEPARABLE_CONV)),
    ("linear", with_settings(&LINEAR)),
    ("batch_norm", Argument::Nothing),
    ("layer_norm", Argument::Nothing),
    ("group_norm", with_settings(&GROUP_NORM)),
    ("activation", Argument::Scalar(ACTIVATION)),
    ("prelu", Argument::Nothing),
    ("max_pool", bare(&POOL)),
    ("avg_pool", bare(&POOL)),
    ("adaptive_max_pool", with_settings(&ADAPTIVE_POOL)),
    ("adaptive_avg_pool", with_settings(&ADAPTIVE_POOL)),
    ("global_max_pool", Argument::Nothing),
    ("global_avg_pool", Argument::Nothing),
    ("dropout", with_settings(&DROPOUT)),
    ("drop_path", with_settings(&DROPOUT)),
    ("squeeze_excite", bare(&SQUEEZE_EXCITE)),
    ("flatten", Argument::Nothing),
    ("to_sequence", Argument::Nothing),
    ("patches", with_settings(&PATCHES)),
    ("embedding", with_settings(&EMBEDDING)),
    ("positional_encoding", bare(&POSITIONAL_ENCODING)),
    ("attention", with_settings(&ATTENTION)),
    ("lstm", with_settings(&RECURRENT)),
    ("gru", with_settings(&RECURRENT)),
    ("zero", bare(&ZERO)),
    ("identity", Argument::Nothing),
];

/// The tables of the layers, for the schema.
pub(super) static LAYER_TABLES: &[&Table] = &[
    &CONV,
    &SEPARABLE_CONV,
    &LINEAR,
    &GROUP_NORM,
    &POOL,
    &ADAPTIVE_POOL,
    &DROPOUT,
    &SQUEEZE_EXCITE,
    &PATCHES,
    &EMBEDDING,
    &POSITIONAL_ENCODING,
    &ATTENTION,
    &RECURRENT,
    &ZERO,
];
