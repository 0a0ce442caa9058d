//! The words of layers and their settings.

use super::scalar::Kind;
use super::words::Shape::Decision;
use super::words::{Argument, NAME, SHARE, Table, count, optional, required};

const CHANNELS: Kind = count(1, 65_536);
const KERNEL: Kind = count(1, 31);
const STRIDE: Kind = count(1, 31);
const PADDING: Kind = count(0, 64);

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

/// The words of the layers that are no activation.
pub(super) static LAYERS: &[(&str, Argument)] = &[
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
];

/// The tables of the layers, for the schema.
pub(super) static LAYER_TABLES: &[&Table] = &[&CONV, &LINEAR, &POOL, &DROPOUT];
