//! The recipe as the spec writes it: its scalars may be decisions, and so may the optimizer and the
//! schedule, each with its own settings.

use serde::{Deserialize, Serialize};

use super::setting::Setting;

/// The recipes a space allows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Passes over the training split: the full fidelity, so never a decision.
    pub epochs: u32,
    /// Examples in a step.
    pub batch_size: Setting<u64>,
    /// The optimizers to choose from; a single one is no decision.
    pub optimizer: Vec<OptimizerSpace>,
    /// The schedules to choose from; a single one is no decision.
    pub schedule: Vec<ScheduleSpace>,
    /// Share of the target's probability spread over all classes.
    pub label_smoothing: Setting<f64>,
}

impl Default for Training {
    /// What a spec without `training:` gets: PyTorch's AdamW defaults under a cosine, for one epoch.
    fn default() -> Self {
        Self {
            epochs: 1,
            batch_size: Setting::Fixed(128),
            optimizer: vec![OptimizerSpace::Adamw {
                learning_rate: Setting::Fixed(1e-3),
                weight_decay: Setting::Fixed(1e-2),
            }],
            schedule: vec![ScheduleSpace::Cosine {
                warmup_epochs: Setting::Fixed(0.0),
            }],
            label_smoothing: Setting::Fixed(0.0),
        }
    }
}

/// An optimizer with settings that may be decisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OptimizerSpace {
    /// Stochastic gradient descent.
    Sgd {
        /// Peak learning rate.
        learning_rate: Setting<f64>,
        /// Momentum.
        momentum: Setting<f64>,
        /// Nesterov's form; only with a momentum.
        nesterov: Setting<bool>,
        /// L2 penalty.
        weight_decay: Setting<f64>,
    },
    /// AdamW.
    Adamw {
        /// Peak learning rate.
        learning_rate: Setting<f64>,
        /// Decoupled weight decay.
        weight_decay: Setting<f64>,
    },
}

impl OptimizerSpace {
    /// Its word in the spec, and the value of the decision.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Sgd { .. } => "sgd",
            Self::Adamw { .. } => "adamw",
        }
    }
}

/// A schedule with settings that may be decisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ScheduleSpace {
    /// The peak all along.
    Constant {
        /// Epochs of linear warm-up.
        warmup_epochs: Setting<f64>,
    },
    /// Half a cosine from the peak to zero.
    Cosine {
        /// Epochs of linear warm-up.
        warmup_epochs: Setting<f64>,
    },
}

impl ScheduleSpace {
    /// Its word in the spec, and the value of the decision.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Constant { .. } => "constant",
            Self::Cosine { .. } => "cosine",
        }
    }

    /// Its only setting.
    #[must_use]
    pub fn warmup_epochs(&self) -> &Setting<f64> {
        match self {
            Self::Constant { warmup_epochs } | Self::Cosine { warmup_epochs } => warmup_epochs,
        }
    }
}
