//! The words of a network: its blocks and their settings.

use super::scalar::Kind;
use super::words::Shape::{Decision, Scalar, Structure};
use super::words::{Key, SHARE, Table, count, optional, required};

/// The most times that a block is repeated.
const MAX_TIMES: u64 = 64;
const CHANNELS: Kind = count(1, 65_536);
const KERNEL: Kind = count(1, 31);
const STRIDE: Kind = count(1, 31);
const PADDING: Kind = count(0, 64);
const NAME: Key = optional(
    "name",
    Scalar(Kind::Name),
    "Replaces the block's index in paths.",
);

pub(super) static CONV: Table = Table {
    name: "conv",
    about: "2-d convolution.",
    keys: &[
        NAME,
        optional(
            "channels",
            Decision(CHANNELS),
            "Output channels; the input's by default.",
        ),
        optional(
            "kernel",
            Decision(KERNEL),
            "Side of the kernel; 3 by default.",
        ),
        optional("stride", Decision(STRIDE), "1 by default."),
        optional(
            "padding",
            Decision(PADDING),
            "Zeros on every side; dilation * (kernel - 1) / 2 by default, which keeps the size at stride 1.",
        ),
        optional(
            "groups",
            Decision(Kind::CountOr {
                min: 1,
                max: 65_536,
                word: "depthwise",
            }),
            "Groups, or `depthwise`: one for every input channel; 1 by default.",
        ),
        optional(
            "dilation",
            Decision(count(1, 31)),
            "Distance between kernel elements; 1 by default.",
        ),
        optional(
            "bias",
            Decision(Kind::Flag),
            "By default true, but false right before a batch_norm.",
        ),
    ],
};

pub(super) static LINEAR: Table = Table {
    name: "linear",
    about: "An affine map of a vector.",
    keys: &[
        NAME,
        required(
            "features",
            Decision(Kind::CountOr {
                min: 1,
                max: 1_048_576,
                word: "classes",
            }),
            "Output features, or `classes`: one for every class of the data set.",
        ),
        optional("bias", Decision(Kind::Flag), "true by default."),
    ],
};

pub(super) static POOL: Table = Table {
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

pub(super) static DROPOUT: Table = Table {
    name: "dropout",
    about: "Dropout.",
    keys: &[
        NAME,
        required("rate", Decision(SHARE), "Probability of zeroing."),
    ],
};

pub(super) static REPEAT: Table = Table {
    name: "repeat",
    about: "The same blocks several times, each time with decisions of its own unless shared.",
    keys: &[
        NAME,
        required("times", Decision(count(0, MAX_TIMES)), "How often."),
        required("block", Structure("blocks"), "What."),
        optional(
            "shared",
            Scalar(Kind::Flag),
            "Whether the decisions inside are made once for all times; false by default.",
        ),
    ],
};

pub(super) static BRANCHES: Table = Table {
    name: "branches",
    about: "Lists of blocks side by side.",
    keys: &[
        NAME,
        optional(
            "join",
            Decision(Kind::Word(&["add", "concat", "multiply"])),
            "How they come together; add by default.",
        ),
        required(
            "of",
            Structure("branch_lists"),
            "The branches, two or more; an empty list is the identity.",
        ),
    ],
};

/// The words of the activations, as in [`crate::space::ACTIVATIONS`].
pub(super) static ACTIVATION_WORDS: [&str; 9] = [
    "relu",
    "relu6",
    "leaky_relu",
    "gelu",
    "silu",
    "hard_swish",
    "tanh",
    "sigmoid",
    "elu",
];
/// What `activation:` takes.
pub(super) const ACTIVATION: Kind = Kind::Word(&ACTIVATION_WORDS);

/// What follows the word of a block.
#[derive(Clone, Copy, Debug)]
pub(super) enum Argument {
    /// Nothing: the word stands alone.
    Nothing,
    /// A map of settings; `bare` when none is required, so that the word may stand alone.
    Settings { table: &'static Table, bare: bool },
    /// A scalar of this kind, or a decision.
    Scalar(Kind),
    /// Named alternatives.
    Alternatives,
    /// A list of blocks.
    Blocks,
}

/// The words of the blocks that are no activation.
pub(super) static BLOCKS: [(&str, Argument); 14] = [
    (
        "conv",
        Argument::Settings {
            table: &CONV,
            bare: true,
        },
    ),
    (
        "linear",
        Argument::Settings {
            table: &LINEAR,
            bare: false,
        },
    ),
    ("batch_norm", Argument::Nothing),
    ("activation", Argument::Scalar(ACTIVATION)),
    (
        "max_pool",
        Argument::Settings {
            table: &POOL,
            bare: true,
        },
    ),
    (
        "avg_pool",
        Argument::Settings {
            table: &POOL,
            bare: true,
        },
    ),
    ("global_avg_pool", Argument::Nothing),
    (
        "dropout",
        Argument::Settings {
            table: &DROPOUT,
            bare: false,
        },
    ),
    ("flatten", Argument::Nothing),
    ("choice", Argument::Alternatives),
    ("optional", Argument::Blocks),
    (
        "repeat",
        Argument::Settings {
            table: &REPEAT,
            bare: false,
        },
    ),
    ("residual", Argument::Blocks),
    (
        "branches",
        Argument::Settings {
            table: &BRANCHES,
            bare: false,
        },
    ),
];

/// What follows `word`, if it is the word of a block.
pub(super) fn argument(word: &str) -> Option<Argument> {
    if ACTIVATION_WORDS.contains(&word) {
        return Some(Argument::Nothing);
    }
    BLOCKS
        .iter()
        .find_map(|(known, argument)| (*known == word).then_some(*argument))
}

/// Whether the block `word` may stand alone.
pub(super) fn is_bare(argument: Argument) -> bool {
    matches!(
        argument,
        Argument::Nothing | Argument::Settings { bare: true, .. }
    )
}

/// The words of all blocks.
pub(super) fn block_words() -> impl Iterator<Item = &'static str> {
    BLOCKS.iter().map(|(word, _)| *word).chain(ACTIVATION_WORDS)
}
