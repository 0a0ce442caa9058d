//! The space of a search: the tree of decisions whose full assignments are the candidates. One traversal
//! ([`Space::expand`]) resolves a candidate; sampling, mutation, crossover, replay and enumeration are
//! only different ways to answer its questions. May import the other words of this crate, never I/O.

mod block;
mod build;
mod choosers;
mod combinations;
mod domain;
mod expand;
mod expand_blocks;
mod expand_cell;
mod expand_scope;
mod expand_training;
mod grid;
mod hyperparameter;
mod layer;
mod lower;
mod lower_cell;
mod lower_layer;
mod lower_shared;
mod position;
mod recursion;
mod scalars;
mod setting;
mod size;
mod size_names;
mod size_once;
mod size_training;
mod tally;
mod training;
mod ways;
mod work;

#[cfg(test)]
mod layer_tests;
#[cfg(test)]
mod lower_sequence_tests;
#[cfg(test)]
mod lower_tests;
#[cfg(test)]
mod names_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod testing;

#[cfg(test)]
pub(crate) use properties::fashion_mnist;

pub use block::{
    Alternative, Alternatives, Block, BlockKind, Body, Branches, CELL_STRIDE, Cell, CellOutput,
    Definition, Inputs, Join, PREVIOUS, Repeat, Shortcut, Use,
};
pub use build::{Built, Infeasible};
pub use choosers::BadCandidate;
pub use combinations::{MAX_SETS, combinations_count, multisets_count};
pub use domain::{Domain, Scale};
pub use expand::{Chooser, Resolved, ResolvedBlock, ResolvedKind, Source};
pub use expand_cell::{MAX_CELL_NODES, ResolvedCell, ResolvedEdge, ResolvedNode};
pub use grid::{GridMember, MAX_GRID};
pub(crate) use hyperparameter::names_of;
pub use hyperparameter::{Hyperparameter, HyperparameterAlternative, Hyperparameters};
pub use layer::{Layer, Part, ResolvedLayer, Width};
pub use recursion::{MAX_NESTING, uses_of};
pub use scalars::{
    ACTIVATIONS, Extent, Features, Groups, POSITIONS, RECURRENT_OUTPUTS, Vocabulary,
};
pub use setting::{Scalar, Setting};
pub(crate) use size::MOST_STEPS;
pub use size::{Count, Size};
pub use training::{OptimizerSpace, ScheduleSpace, Training};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The most decisions a space may hold, every alternative counted and every repeat at its maximum. Far
/// above what a search can explore; low enough that a candidate stays a small journal record.
pub const MAX_DECISIONS: u64 = 10_000;
/// The most blocks a space may hold, counted the same way: bounds the work of one expansion, which
/// nested repeats would otherwise multiply without end.
pub const MAX_BLOCKS: u64 = 100_000;

/// The set of networks, recipes and hyperparameters that a spec allows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Space {
    /// The network, block after block; absent in a plain hyperparameter search.
    pub network: Option<Vec<Block>>,
    /// Blocks with a name, to be used in the network and in each other.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub blocks: BTreeMap<String, Definition>,
    /// Scalars with a name, each the same wherever it is used.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tie: BTreeMap<String, Setting<crate::candidate::Value>>,
    /// How a network is trained.
    pub training: Training,
    /// Decisions that only the evaluator reads, by name.
    pub hyperparameters: Hyperparameters,
}
