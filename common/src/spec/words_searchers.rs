//! The words of searchers and of their settings.

use super::scalar::{End, Kind};
use super::words::Shape::Scalar;
use super::words::{Table, count, from_to, optional};

pub(super) static RANDOM: Table = Table {
    name: "random",
    about: "Candidates at random.",
    keys: &[],
};

pub(super) static GRID: Table = Table {
    name: "grid",
    about: "Every candidate of a small space once; of a long range a few points.",
    keys: &[optional(
        "points",
        Scalar(count(1, 100)),
        "At most so many values of each range; 5 by default.",
    )],
};

pub(super) static TPE: Table = Table {
    name: "tpe",
    about: "Tree-structured Parzen estimator: densities of the good and the other candidates.",
    keys: &[
        optional(
            "gamma",
            Scalar(from_to(0.01, 0.9)),
            "The share of scored candidates that counts as good; 0.1 by default.",
        ),
        optional(
            "candidates",
            Scalar(count(1, 1_000)),
            "So many are drawn, and the best of them is proposed; 24 by default.",
        ),
        optional(
            "start",
            Scalar(count(1, 100_000)),
            "So many trials at random come first; 10 by default.",
        ),
    ],
};

pub(super) static BANANAS: Table = Table {
    name: "bananas",
    about: "An ensemble of boosted trees predicts which mutation of the best is worth a training.",
    keys: &[
        optional(
            "start",
            Scalar(count(2, 100_000)),
            "So many trials at random come first; 10 by default.",
        ),
        optional(
            "candidates",
            Scalar(count(1, 10_000)),
            "So many are looked at for each proposal; 100 by default.",
        ),
    ],
};

/// The size of a policy's step.
const POLICY_RATE: Kind = Kind::Number {
    min: End::Open(0.0),
    max: End::Closed(1.0),
};

pub(super) static REINFORCE: Table = Table {
    name: "reinforce",
    about: "A recurrent controller that emits the decisions, moved by policy gradients.",
    keys: &[
        optional(
            "learning_rate",
            Scalar(POLICY_RATE),
            "The size of a step; 0.005 by default.",
        ),
        optional(
            "entropy",
            Scalar(from_to(0.0, 1.0)),
            "How much the policy is kept from settling; 0.05 by default.",
        ),
        optional(
            "batch",
            Scalar(count(1, 1_000)),
            "Results in a step, the newest and those before it; 8 by default.",
        ),
    ],
};

pub(super) static PPO: Table = Table {
    name: "ppo",
    about: "The same controller, moved by several clipped steps with each batch of results.",
    keys: &[
        optional(
            "learning_rate",
            Scalar(POLICY_RATE),
            "The size of a step; 0.01 by default.",
        ),
        optional(
            "entropy",
            Scalar(from_to(0.0, 1.0)),
            "How much the policy is kept from settling; 0.05 by default.",
        ),
        optional(
            "batch",
            Scalar(count(1, 1_000)),
            "Results in a batch; 10 by default.",
        ),
        optional(
            "epochs",
            Scalar(count(1, 100)),
            "Times a batch is gone over; 5 by default.",
        ),
        optional(
            "clip",
            Scalar(from_to(0.01, 0.9)),
            "How far a probability may move with one batch, as a share of itself; 0.2 by default.",
        ),
    ],
};

pub(super) static LOCAL_SEARCH: Table = Table {
    name: "local-search",
    about: "Hill climbing: the neighbours of the best place, and a new start where none is better.",
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
        optional(
            "mutate_choices",
            Scalar(from_to(0.0, 1000.0)),
            "How likely each choice is to be the decision that changes, against the others; 1 by default.",
        ),
        optional(
            "mutate_ranges",
            Scalar(from_to(0.0, 1000.0)),
            "How likely each range is; 1 by default.",
        ),
    ],
};

/// What `bayesian` compares candidates by, by word.
pub(super) const KERNELS: &[&str] = &["network", "rbf"];

pub(super) static BAYESIAN: Table = Table {
    name: "bayesian",
    about: "Bayesian optimisation: a Gaussian process predicts what is worth a training.",
    keys: &[
        optional(
            "kernel",
            Scalar(Kind::Word(KERNELS)),
            "`network` (the default) compares decisions and the network they build, `rbf` decisions alone.",
        ),
        optional(
            "initial",
            Scalar(count(1, 100_000)),
            "So many candidates that cover the space come first; 3 by default.",
        ),
    ],
};

/// The searchers, by word.
pub(super) static SEARCHERS: [(&str, &Table); 9] = [
    ("random", &RANDOM),
    ("grid", &GRID),
    ("local-search", &LOCAL_SEARCH),
    ("tpe", &TPE),
    ("bananas", &BANANAS),
    ("reinforce", &REINFORCE),
    ("ppo", &PPO),
    ("evolution", &EVOLUTION),
    ("bayesian", &BAYESIAN),
];
