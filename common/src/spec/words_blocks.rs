//! The words of blocks that hold other blocks, and what may follow the word of any block.

use super::scalar::Kind;
use super::words::Shape::{Decision, Scalar, Structure};
use super::words::{Key, Table, count, optional, required};
use super::words_network::{ACTIVATION_WORDS, LAYERS};

/// The most times that a block is repeated.
const MAX_TIMES: u64 = 64;
/// The name that any block may have.
pub(super) const NAME: Key = optional(
    "name",
    Scalar(Kind::Name),
    "Replaces the block's index in paths.",
);

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

/// The words of the blocks that hold other blocks.
pub(super) static BLOCKS: &[(&str, Argument)] = &[
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

/// The tables of these blocks, for the schema.
pub(super) static BLOCK_TABLES: &[&Table] = &[&REPEAT, &BRANCHES];

/// What follows `word`, if it is the word of a block.
pub(super) fn argument(word: &str) -> Option<Argument> {
    if ACTIVATION_WORDS.contains(&word) {
        return Some(Argument::Nothing);
    }
    LAYERS
        .iter()
        .chain(BLOCKS)
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
    worded_blocks()
        .map(|(word, _)| word)
        .chain(ACTIVATION_WORDS)
}

/// The words of all blocks but the activations, with what follows them.
pub(super) fn worded_blocks() -> impl Iterator<Item = (&'static str, Argument)> {
    LAYERS.iter().chain(BLOCKS).copied()
}
