//! The words of the spec language: one table for each map, with the kind and bounds of every key. The
//! readers and the JSON Schema both follow these tables, so they cannot disagree.

use super::scalar::{End, Kind};
pub(super) use super::words_blocks::{
    Argument, BESIDE, BLOCK_TABLES, DEFINITION, DEPTH, NAME, WEIGHT, argument, beside, block_words,
    is_bare, worded_blocks,
};
pub(super) use super::words_network::{ACTIVATION_WORDS, LAYER_TABLES, TIMES_INPUT};
pub(super) use super::words_search::{
    ADAMW, BOUNDS, BUDGET, CONSTRAINT, DATASET, EVALUATOR, OBJECTIVE, OPTIMIZERS, SCHEDULE,
    SCHEDULES, SGD, SPEC, TARGET, TRAINING, WARM_CANDIDATE, WARM_START, WORKER,
};
pub(super) use super::words_searchers::{EVOLUTION, RANDOM, SEARCHERS};
pub(super) use super::words_table::{EPOCHS, LENGTH, TABLE, TABLE_COST, TABLE_DECISION};

/// The keys that a map may have.
#[derive(Debug)]
pub(super) struct Table {
    /// Its name among the schema's definitions.
    pub(super) name: &'static str,
    /// What it describes, for the schema.
    pub(super) about: &'static str,
    /// Its keys.
    pub(super) keys: &'static [Key],
}

/// A key of a map.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// What its value is.
    pub(super) value: Shape,
    /// Whether it must be given.
    pub(super) required: bool,
    /// What it means, for the schema.
    pub(super) about: &'static str,
}

/// What the value of a key is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// One scalar.
    Scalar(Kind),
    /// One scalar, or a decision among scalars of the kind.
    Decision(Kind),
    /// As `Decision`, or `{times_input: ...}`: so many times what the input has.
    Width(Kind),
    /// A structure with a reader of its own and a definition of this name in the schema.
    Structure(&'static str),
}

pub(super) const fn optional(name: &'static str, value: Shape, about: &'static str) -> Key {
    Key {
        name,
        value,
        required: false,
        about,
    }
}

pub(super) const fn required(name: &'static str, value: Shape, about: &'static str) -> Key {
    Key {
        name,
        value,
        required: true,
        about,
    }
}

pub(super) const fn count(min: u64, max: u64) -> Kind {
    Kind::Count { min, max }
}

pub(super) const fn from_to(min: f64, max: f64) -> Kind {
    Kind::Number {
        min: End::Closed(min),
        max: End::Closed(max),
    }
}

/// [0, 1): a share that never is the whole.
pub(super) const SHARE: Kind = Kind::Number {
    min: End::Closed(0.0),
    max: End::Open(1.0),
};

/// The keys of a decision.
pub(super) static CHOICE_KEYS: [&str; 2] = ["choice", "weights"];
/// The keys of a range.
pub(super) static RANGE_KEYS: [&str; 3] = ["range", "scale", "step"];
/// The scales of a range.
pub(super) const SCALES: Kind = Kind::Word(&["linear", "log"]);
