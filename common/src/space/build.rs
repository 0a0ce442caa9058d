//! From a candidate to what it builds: network, recipe, counts and identities.

use std::collections::BTreeMap;

use serde::Serialize;

use super::expand::Resolved;
use super::{BadCandidate, MAX_BLOCKS, MAX_NESTING, Space, lower};
use crate::candidate::{Candidate, Value};
use crate::dataset::DatasetInfo;
use crate::ids::Digest;
use crate::network::{Network, ShapeError};
use crate::recipe::Recipe;

/// What a candidate builds.
#[derive(Clone, Debug, PartialEq)]
pub struct Built {
    /// The network; absent in a plain hyperparameter search.
    pub network: Option<Network>,
    /// The recipe.
    pub recipe: Recipe,
    /// The hyperparameters that exist, fixed ones as well, by their paths behind `hyperparameters.`.
    pub hyperparameters: BTreeMap<String, Value>,
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

impl From<ShapeError> for Infeasible {
    fn from(error: ShapeError) -> Self {
        Self {
            block: error.node,
            operation: error.op.to_owned(),
            problem: error.problem.to_string(),
        }
    }
}

impl From<BadCandidate> for Infeasible {
    fn from(error: BadCandidate) -> Self {
        Self {
            block: "candidate".to_owned(),
            operation: "decisions".to_owned(),
            problem: error.to_string(),
        }
    }
}

/// What makes two candidates one. Its JSON is canonical: fields in this order, maps sorted, numbers in
/// their shortest form.
#[derive(Serialize)]
struct Identity<'a> {
    network: Option<Digest>,
    recipe: &'a Recipe,
    hyperparameters: &'a BTreeMap<String, Value>,
}

/// Sets candidates apart from whatever else is hashed, and one encoding from a later one.
const IDENTITY_PREFIX: &[u8] = b"espalier candidate 1\n";
/// Room for the text of most candidates: twice what one without hyperparameters takes.
const USUAL_LENGTH: usize = 512;

impl Space {
    /// Builds a candidate. `dataset` gives the shape of an example and the number of classes; a space
    /// without a network needs none.
    ///
    /// # Errors
    /// [`Infeasible`] when the candidate is not of this space or its shapes do not fit.
    pub fn build(
        &self,
        candidate: &Candidate,
        dataset: Option<&DatasetInfo>,
    ) -> Result<Built, Infeasible> {
        built(self.resolve(candidate)?, dataset)
    }
}

fn built(mut resolved: Resolved, dataset: Option<&DatasetInfo>) -> Result<Built, Infeasible> {
    let whole = |problem: String| Infeasible {
        block: "network".to_owned(),
        operation: "network".to_owned(),
        problem,
    };
    if resolved.cut {
        return Err(whole(format!(
            "it has more than {MAX_BLOCKS} blocks, or nests deeper than {MAX_NESTING}"
        )));
    }
    let network = match (resolved.network.take(), dataset) {
        (None, _) => None,
        (Some(blocks), Some(dataset)) => Some(lower::lower(&blocks, resolved.blocks, dataset)?),
        (Some(_), None) => {
            return Err(whole(
                "its shapes depend on the data, and no data set is given".to_owned(),
            ));
        }
    };
    if resolved.recipe.batch_size == 1
        && let Some(node) = network.as_ref().and_then(Network::needs_larger_batches)
    {
        return Err(Infeasible {
            block: node.name.clone(),
            operation: node.op.name().to_owned(),
            problem: format!(
                "of {} and with a batch_size of 1 it has a single value to normalise by",
                node.shape
            ),
        });
    }
    let network_id = network.as_ref().map(Network::network_id);
    let (parameters, macs) = network.as_ref().map(Network::counts).unzip();
    Ok(Built {
        candidate_id: candidate_id(&resolved, network_id),
        network_id,
        parameters,
        macs,
        recipe: resolved.recipe,
        hyperparameters: resolved.hyperparameters,
        network,
    })
}

fn candidate_id(resolved: &Resolved, network: Option<Digest>) -> Digest {
    let identity = Identity {
        network,
        recipe: &resolved.recipe,
        hyperparameters: &resolved.hyperparameters,
    };
    let mut bytes = Vec::with_capacity(USUAL_LENGTH);
    bytes.extend_from_slice(IDENTITY_PREFIX);
    // Numbers, texts and maps with text keys always have a JSON form; a number that is not finite (only
    // from a damaged space) is written as null.
    let written = serde_json::to_writer(&mut bytes, &identity);
    debug_assert!(written.is_ok(), "{written:?}");
    Digest::of(&bytes)
}
