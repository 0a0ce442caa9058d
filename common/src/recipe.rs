//! A resolved training recipe: every decision in it has been made.

use serde::{Deserialize, Serialize};

/// How a network is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Passes over the training split; the full fidelity of the search.
    pub epochs: u32,
    /// Examples in a step.
    pub batch_size: u32,
    /// The optimizer with its settings.
    pub optimizer: Optimizer,
    /// The learning rate over the full fidelity.
    pub schedule: Schedule,
    /// Share of the target's probability spread over all classes, in [0, 1).
    pub label_smoothing: f64,
}

/// An optimizer with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Optimizer {
    /// Stochastic gradient descent, as `torch.optim.SGD`.
    Sgd {
        /// Peak learning rate.
        learning_rate: f64,
        /// Momentum, in [0, 1).
        momentum: f64,
        /// Nesterov's form of momentum.
        nesterov: bool,
        /// L2 penalty, coupled as in `torch.optim.SGD`.
        weight_decay: f64,
    },
    /// Decoupled weight decay, as `torch.optim.AdamW` (betas 0.9, 0.999; epsilon 1e-8).
    Adamw {
        /// Peak learning rate.
        learning_rate: f64,
        /// Decoupled weight decay.
        weight_decay: f64,
    },
}

/// The learning rate as a function of the step, over the full fidelity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// The peak all along, after a linear warm-up.
    Constant {
        /// Epochs of linear warm-up; may be fractional.
        warmup_epochs: f64,
    },
    /// Half a cosine from the peak to zero, after a linear warm-up; stepped every batch.
    Cosine {
        /// Epochs of linear warm-up; may be fractional.
        warmup_epochs: f64,
    },
}
