//! The words of the spec language: one table for each map, with the kind and bounds of every key. The
//! readers and the JSON Schema both follow these tables, so they cannot disagree.

use super::scalar::{End, Kind};

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
    /// A structure with a reader of its own and a definition of this name in the schema.
    Structure(&'static str),
}

use Shape::{Decision, Scalar, Structure};

const fn optional(name: &'static str, value: Shape, about: &'static str) -> Key {
    Key {
        name,
        value,
        required: false,
        about,
    }
}

const fn required(name: &'static str, value: Shape, about: &'static str) -> Key {
    Key {
        name,
        value,
        required: true,
        about,
    }
}

const fn count(min: u64, max: u64) -> Kind {
    Kind::Count { min, max }
}

const fn from_to(min: f64, max: f64) -> Kind {
    Kind::Number {
        min: End::Closed(min),
        max: End::Closed(max),
    }
}

/// [0, 1): a share that never is the whole.
const SHARE: Kind = Kind::Number {
    min: End::Closed(0.0),
    max: End::Open(1.0),
};
const LEARNING_RATE: Kind = Kind::Number {
    min: End::Open(0.0),
    max: End::Closed(100.0),
};
const CHANNELS: Kind = count(1, 65_536);
const KERNEL: Kind = count(1, 31);
const STRIDE: Kind = count(1, 31);
const PADDING: Kind = count(0, 64);
const NAME: Key = optional(
    "name",
    Scalar(Kind::Name),
    "Replaces the block's index in paths.",
);

/// The most times that a block is repeated.
pub(super) const MAX_TIMES: u64 = 64;
/// The largest seed: the largest whole number that every JSON reader keeps.
pub(super) const MAX_SEED: u64 = (1 << 53) - 1;

pub(super) static SPEC: Table = Table {
    name: "spec",
    about: "A search: what may be proposed, how it is evaluated, and when to end.",
    keys: &[
        required("name", Scalar(Kind::Name), "The search's name, for people."),
        optional(
            "dataset",
            Structure("dataset"),
            "The data; an evaluator of your own may bring its own.",
        ),
        optional(
            "network",
            Structure("blocks"),
            "The network, block after block.",
        ),
        optional(
            "training",
            Structure("training"),
            "How a network is trained.",
        ),
        optional(
            "hyperparameters",
            Structure("hyperparameters"),
            "Decisions that only your own evaluator reads, by name.",
        ),
        optional(
            "evaluator",
            Structure("evaluator"),
            "What trains a candidate: `trainer` (the default), or a program that the workers' operator named.",
        ),
        optional(
            "searcher",
            Structure("searcher"),
            "What proposes candidates; `evolution` by default.",
        ),
        required(
            "objectives",
            Structure("objectives"),
            "What is sought: one metric to maximize or minimize.",
        ),
        optional(
            "constraints",
            Structure("constraints"),
            "What a candidate must keep to be trained at all.",
        ),
        required(
            "budget",
            Structure("budget"),
            "When the search ends: at whatever comes first.",
        ),
        optional(
            "parallel",
            Scalar(count(1, 100_000)),
            "The most trials that run at one time; as many as there are slots by default.",
        ),
        optional(
            "seed",
            Scalar(count(0, MAX_SEED)),
            "Seed of the searcher and of every trial; 0 by default.",
        ),
        optional(
            "attempts",
            Scalar(count(1, 100)),
            "The most attempts at one trial; 3 by default.",
        ),
    ],
};

pub(super) static DATASET: Table = Table {
    name: "dataset",
    about: "The data and the sizes of their splits.",
    keys: &[
        required(
            "format",
            Scalar(Kind::Word(&["idx"])),
            "`idx`: the four files of the MNIST family.",
        ),
        required(
            "path",
            Scalar(Kind::Text),
            "A folder below the data root, or an absolute path.",
        ),
        optional(
            "train",
            Scalar(count(1, 1_000_000_000)),
            "Examples to train on; all that validation leaves by default.",
        ),
        required(
            "validation",
            Scalar(count(1, 1_000_000_000)),
            "Examples held out of the training files to compare candidates by.",
        ),
        optional(
            "split_seed",
            Scalar(count(0, MAX_SEED)),
            "Seed of the split; 0 by default.",
        ),
    ],
};

pub(super) static TRAINING: Table = Table {
    name: "training",
    about: "The recipe.",
    keys: &[
        optional(
            "epochs",
            Scalar(count(1, 100_000)),
            "Passes over the training split. Never a decision.",
        ),
        optional(
            "batch_size",
            Decision(count(1, 65_536)),
            "Examples in a step; 128 by default.",
        ),
        optional("optimizer", Structure("optimizer"), "`adamw` by default."),
        optional(
            "schedule",
            Structure("schedule"),
            "The learning rate over the epochs; `cosine` by default.",
        ),
        optional(
            "label_smoothing",
            Decision(SHARE),
            "Share of the target spread over all classes; 0 by default.",
        ),
    ],
};

pub(super) static SGD: Table = Table {
    name: "sgd",
    about: "Stochastic gradient descent, as torch.optim.SGD.",
    keys: &[
        required(
            "learning_rate",
            Decision(LEARNING_RATE),
            "Peak learning rate.",
        ),
        optional("momentum", Decision(SHARE), "0 by default."),
        optional(
            "nesterov",
            Decision(Kind::Flag),
            "Nesterov's form of momentum; false by default.",
        ),
        optional(
            "weight_decay",
            Decision(from_to(0.0, 10.0)),
            "L2 penalty; 0 by default.",
        ),
    ],
};

pub(super) static ADAMW: Table = Table {
    name: "adamw",
    about: "AdamW, as torch.optim.AdamW.",
    keys: &[
        optional(
            "learning_rate",
            Decision(LEARNING_RATE),
            "Peak learning rate; 0.001 by default.",
        ),
        optional(
            "weight_decay",
            Decision(from_to(0.0, 10.0)),
            "Decoupled weight decay; 0.01 by default.",
        ),
    ],
};

pub(super) static SCHEDULE: Table = Table {
    name: "schedule_settings",
    about: "Settings of a schedule.",
    keys: &[optional(
        "warmup_epochs",
        Decision(from_to(0.0, 100_000.0)),
        "Epochs of linear warm-up, fractions allowed; 0 by default.",
    )],
};

/// The optimizers, by word.
pub(super) static OPTIMIZERS: [(&str, &Table); 2] = [("sgd", &SGD), ("adamw", &ADAMW)];
/// The schedules, by word.
pub(super) static SCHEDULES: [(&str, &Table); 2] = [("constant", &SCHEDULE), ("cosine", &SCHEDULE)];

pub(super) static EVALUATOR: Table = Table {
    name: "evaluator_settings",
    about: "A program of your own, started by `espalier run` on this machine only.",
    keys: &[required(
        "command",
        Structure("command"),
        "The program and its arguments.",
    )],
};

pub(super) static RANDOM: Table = Table {
    name: "random",
    about: "Candidates at random.",
    keys: &[],
};

pub(super) static EVOLUTION: Table = Table {
    name: "evolution",
    about: "Aging evolution: the best of a few recent candidates is changed a little.",
    keys: &[
        optional(
            "population",
            Scalar(count(1, 100_000)),
            "The youngest so many candidates may be parents; 50 by default.",
        ),
        optional(
            "tournament",
            Scalar(count(1, 100_000)),
            "So many of them compete to be one; 10 by default, or the population if that is less.",
        ),
        optional(
            "crossover",
            Scalar(from_to(0.0, 1.0)),
            "The probability of two parents; 0.25 by default.",
        ),
    ],
};

/// The searchers, by word.
pub(super) static SEARCHERS: [(&str, &Table); 2] = [("random", &RANDOM), ("evolution", &EVOLUTION)];

pub(super) static OBJECTIVE: Table = Table {
    name: "objective",
    about: "One metric and its direction.",
    keys: &[
        optional(
            "maximize",
            Scalar(Kind::Name),
            "A metric of which more is better.",
        ),
        optional(
            "minimize",
            Scalar(Kind::Name),
            "A metric of which less is better.",
        ),
    ],
};

pub(super) static CONSTRAINT: Table = Table {
    name: "constraint",
    about: "One measure of the network and its bounds.",
    keys: &[
        optional("parameters", Structure("bounds"), "Trainable parameters."),
        optional(
            "macs",
            Structure("bounds"),
            "Multiply-accumulates for one example.",
        ),
    ],
};

pub(super) static BOUNDS: Table = Table {
    name: "bounds",
    about: "The least and the most, both included.",
    keys: &[
        optional("at_least", Scalar(count(0, i64::MAX as u64)), "The least."),
        optional("at_most", Scalar(count(0, i64::MAX as u64)), "The most."),
    ],
};

pub(super) static BUDGET: Table = Table {
    name: "budget",
    about: "When the search ends; `trials`, `time` or both must be given.",
    keys: &[
        optional(
            "trials",
            Scalar(count(1, 100_000_000)),
            "After so many trials.",
        ),
        optional(
            "time",
            Scalar(Kind::Time),
            "After so long, e.g. 30m or 12h.",
        ),
        optional(
            "target",
            Structure("target"),
            "When the objective's metric is this good, e.g. {accuracy: 0.92}.",
        ),
        optional(
            "patience",
            Scalar(count(1, 100_000_000)),
            "After so many trials without a better one.",
        ),
    ],
};

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

/// The keys of a decision.
pub(super) static CHOICE_KEYS: [&str; 1] = ["choice"];
/// The keys of a range.
pub(super) static RANGE_KEYS: [&str; 3] = ["range", "scale", "step"];
/// The scales of a range.
pub(super) const SCALES: Kind = Kind::Word(&["linear", "log"]);
/// The value of a target.
pub(super) const TARGET: Kind = Kind::Number {
    min: End::Closed(f64::MIN),
    max: End::Closed(f64::MAX),
};
