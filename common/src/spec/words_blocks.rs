//! The words of blocks that hold other blocks, and what may follow the word of any block.

use super::scalar::{End, Kind};
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

/// How several outputs become one.
const JOIN: Key = optional(
    "join",
    Decision(Kind::Word(&["add", "concat", "multiply"])),
    "How they come together; add by default.",
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
        JOIN,
        required(
            "of",
            Structure("branch_lists"),
            "The branches, two or more; an empty list is the identity.",
        ),
    ],
};

/// How often a definition may be used inside itself. Far more than a network can hold of anything that
/// branches; few enough that paths stay readable.
pub(super) const DEPTH: Kind = count(1, 16);
/// The weight of an alternative.
pub(super) const WEIGHT: Kind = Kind::Number {
    min: End::Open(0.0),
    max: End::Closed(1e6),
};
/// How many outputs `inputs` takes.
const CHOOSE: Kind = Kind::CountOr {
    min: 1,
    max: 64,
    word: "any",
};

pub(super) static CELL: Table = Table {
    name: "cell",
    about: "A graph whose nodes are sums of what comes over their edges, and whose edges are blocks.",
    keys: &[
        NAME,
        required(
            "nodes",
            Scalar(count(2, crate::space::MAX_CELL_NODES)),
            "Nodes, inputs included.",
        ),
        required(
            "edge",
            Structure("body"),
            "The blocks on every edge, each with decisions of its own.",
        ),
        optional(
            "inputs",
            Scalar(count(1, 2)),
            "1 (the default): node 0 is the output of the block before. 2: node 0 is what the cell before this one took, node 1 the output of the block before.",
        ),
        optional(
            "choose",
            Scalar(count(1, crate::space::MAX_CELL_NODES)),
            "Each node takes so many of the nodes before it, a decision; all of them by default.",
        ),
        optional(
            "distinct",
            Scalar(Kind::Flag),
            "Whether those are different nodes, true by default; else one may be taken several times, over an edge of its own each time.",
        ),
        optional(
            "output",
            Scalar(Kind::Word(&["last", "concat", "loose"])),
            "The last node (the default), all nodes but the inputs one after another, or those that no other node takes.",
        ),
        optional(
            "channels",
            Decision(count(1, 65_536)),
            "Every input goes through a relu, a 1x1 convolution to so many channels and a batch_norm.",
        ),
        optional(
            "reduction",
            Decision(Kind::Flag),
            "Whether the edges from inputs halve height and width; false by default.",
        ),
    ],
};

pub(super) static INPUTS: Table = Table {
    name: "inputs",
    about: "The outputs of some earlier blocks, joined.",
    keys: &[
        NAME,
        required(
            "of",
            Structure("output_names"),
            "Names of earlier blocks; `previous` is the block before.",
        ),
        optional(
            "choose",
            Scalar(CHOOSE),
            "How many of them are taken, a decision: a number (1 by default), or `any` for one or more.",
        ),
        JOIN,
    ],
};

/// What may stand beside `choice`, besides the name.
pub(super) static BESIDE_CHOICE: Table = Table {
    name: "choice",
    about: "One of several lists of blocks.",
    keys: &[optional(
        "weights",
        Structure("weights"),
        "How likely each alternative is to be sampled, compared with the others; 1 by default.",
    )],
};

/// What may stand beside `use`, besides the name.
pub(super) static BESIDE_USE: Table = Table {
    name: "use",
    about: "The blocks of a definition.",
    keys: &[
        optional(
            "with",
            Structure("arguments"),
            "A value or a decision for each parameter.",
        ),
        optional(
            "shared",
            Scalar(Kind::Flag),
            "Whether the decisions inside are those of every other shared use; false by default.",
        ),
    ],
};

/// What may stand beside the block of a definition.
pub(super) static DEFINITION: Table = Table {
    name: "definition",
    about: "Blocks with a name.",
    keys: &[
        optional(
            "parameters",
            Structure("parameters"),
            "Names for values that each use gives, written `$name` in the blocks.",
        ),
        optional(
            "depth",
            Scalar(DEPTH),
            "How often the block may be used inside itself.",
        ),
        optional(
            "block",
            Structure("blocks"),
            "The blocks, if it is not one.",
        ),
    ],
};

/// What may stand beside the word of a block, besides the name.
pub(super) fn beside(word: &str) -> &'static [Key] {
    match word {
        "choice" => BESIDE_CHOICE.keys,
        "use" => BESIDE_USE.keys,
        _ => &[],
    }
}

/// All that may stand beside the word of some block.
pub(super) static BESIDE: [&str; 4] = ["name", "weights", "with", "shared"];

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
    /// The name of a definition.
    Definition,
    /// The name of an earlier block, or a decision among such.
    Output,
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
    (
        "cell",
        Argument::Settings {
            table: &CELL,
            bare: false,
        },
    ),
    ("use", Argument::Definition),
    ("from", Argument::Output),
    (
        "inputs",
        Argument::Settings {
            table: &INPUTS,
            bare: false,
        },
    ),
];

/// The tables of these blocks, for the schema.
pub(super) static BLOCK_TABLES: &[&Table] = &[&REPEAT, &BRANCHES, &CELL, &INPUTS];

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
