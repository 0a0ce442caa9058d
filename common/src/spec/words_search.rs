//! The words of a spec outside its network: data, recipe, evaluator, objective, budget, workers.

use super::scalar::{End, Kind};
use super::words::Shape::{Decision, Scalar, Structure};
use super::words::{SHARE, Table, count, from_to, optional, required};
use super::{MAX_PARALLEL, MAX_TRIALS, MAX_WEIGHT};

const LEARNING_RATE: Kind = Kind::Number {
    min: End::Open(0.0),
    max: End::Closed(100.0),
};
/// The largest seed: the largest whole number that every JSON reader keeps.
pub(super) const MAX_SEED: u64 = (1 << 53) - 1;

pub(super) static SPEC: Table = Table {
    name: "spec",
    about: "A search: what may be proposed, how it is evaluated, and when to end.",
    keys: &[
        required("name", Scalar(Kind::Name), "The search's name, for people."),
        optional(
            "preset",
            Scalar(Kind::Word(&crate::presets::NAMES)),
            "A space that ships with Espalier; what else is given here takes the place of its parts.",
        ),
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
            "blocks",
            Structure("definitions"),
            "Blocks with a name, to be used in the network and in each other.",
        ),
        optional(
            "tie",
            Structure("ties"),
            "Values and decisions with a name, written `$name` in as many places as share them.",
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
            Scalar(count(1, MAX_PARALLEL as u64)),
            "The most trials that run at one time; as many as there are slots by default.",
        ),
        optional(
            "weight",
            Scalar(count(1, MAX_WEIGHT as u64)),
            "Its share of the workers beside other searches; 1 by default.",
        ),
        optional(
            "worker",
            Structure("worker"),
            "What a worker must be to run its trials; any worker by default.",
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
        optional(
            "repeat",
            Scalar(Kind::Word(&["by-decisions"])),
            "`by-decisions`: two candidates that build the same network are evaluated both.",
        ),
        optional(
            "warm_start",
            Structure("warm_start"),
            "Candidates that are known before the search begins.",
        ),
        optional(
            "reuse",
            Scalar(Kind::Flag),
            "Take results that another search of the same journal has for the same candidate; false by default.",
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
    about: "A table of results, or a program of your own.",
    keys: &[
        optional(
            "command",
            Structure("command"),
            "The program and its arguments, started by `espalier run` on this machine only.",
        ),
        optional(
            "table",
            Structure("table"),
            "Results that were measured before; nothing is trained.",
        ),
    ],
};

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
        optional(
            "activation_bytes",
            Structure("bounds"),
            "Bytes of activations that training keeps for one example, estimated.",
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
    about: "When the search ends; `trials`, `time` or `deadline` must be given.",
    keys: &[
        optional(
            "trials",
            Scalar(count(1, MAX_TRIALS as u64)),
            "After so many trials.",
        ),
        optional(
            "time",
            Scalar(Kind::Time),
            "After so long, e.g. 30m or 12h.",
        ),
        optional(
            "deadline",
            Scalar(Kind::Moment),
            "At this time, e.g. 2030-01-31T18:00:00Z; trials that run then may end.",
        ),
        optional(
            "target",
            Structure("target"),
            "When the objective's metric is this good, e.g. {accuracy: 0.92}.",
        ),
        optional(
            "patience",
            Scalar(count(1, MAX_TRIALS as u64)),
            "After so many trials without a better one.",
        ),
        optional(
            "compute",
            Scalar(Kind::Time),
            "After so much time of all attempts together, e.g. 40h.",
        ),
        optional(
            "expected_improvement",
            Scalar(IMPROVEMENT),
            "When the model of `bayesian` expects less than this of a further trial, in the objective's metric.",
        ),
    ],
};

pub(super) static WORKER: Table = Table {
    name: "worker",
    about: "What a worker must be to run the trials.",
    keys: &[optional(
        "labels",
        Structure("labels"),
        "Labels that its operator gave it (`espalier-worker --label gpu=h100`): all of these.",
    )],
};

pub(super) static WARM_START: Table = Table {
    name: "warm_start",
    about: "Candidates that are known before the search begins: those of a list, of a CSV file, or of a search.",
    keys: &[
        optional(
            "candidates",
            Structure("warm_candidates"),
            "A list of candidates, with or without a score.",
        ),
        optional(
            "csv",
            Scalar(Kind::Text),
            "A file beside the spec: a column for each decision and one for the score.",
        ),
        optional(
            "search",
            Scalar(Kind::Text),
            "The name or id of an earlier search of the same coordinator.",
        ),
    ],
};

pub(super) static WARM_CANDIDATE: Table = Table {
    name: "warm_candidate",
    about: "A candidate that is known before the search begins.",
    keys: &[
        required(
            "decisions",
            Structure("warm_decisions"),
            "The value of every active decision, by its path.",
        ),
        optional(
            "score",
            Scalar(TARGET),
            "Its score in the objective's metric; without one it is tried first.",
        ),
    ],
};

/// The least that is worth a trial.
const IMPROVEMENT: Kind = Kind::Number {
    min: End::Open(0.0),
    max: End::Closed(f64::MAX),
};

/// The value of a target.
pub(super) const TARGET: Kind = Kind::Number {
    min: End::Closed(f64::MIN),
    max: End::Closed(f64::MAX),
};
