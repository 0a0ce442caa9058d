//! From a candidate to what it builds: network, recipe, counts and identities.

use crate::ids::Digest;
use crate::network::Network;
use crate::recipe::Recipe;

/// What a candidate builds.
#[derive(Clone, Debug, PartialEq)]
pub struct Built {
    /// The network; absent in a plain hyperparameter search.
    pub network: Option<Network>,
    /// The recipe.
    pub recipe: Recipe,
    /// Identity of the candidate: equal for two that build one network with one recipe and the same
    /// hyperparameters.
    pub candidate_id: Digest,
    /// Identity of the network.
    pub network_id: Option<Digest>,
    /// Trainable parameters of the network.
    pub parameters: Option<u64>,
    /// Multiply-accumulates of the network for one example.
    pub macs: Option<u64>,
}

/// A candidate that cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{block} ({operation}): {problem}")]
pub struct Infeasible {
    /// The block, by its path in the network.
    pub block: String,
    /// What it computes.
    pub operation: String,
    /// Why it cannot be there, with the shapes that met.
    pub problem: String,
}
