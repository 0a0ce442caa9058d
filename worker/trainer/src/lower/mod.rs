//! Lowering: one fold over the nodes of a network makes the libtorch calls that compute it. `build` makes a
//! node's tensors, `computation` computes with them, `sequence` has what is about sequences.

mod build;
mod computation;
mod sequence;

use espalier_common::network::Network;
use tch::{Device, TchError, Tensor};

use self::build::computation;
use self::computation::Computation;
use crate::error::JobError;
use crate::parameters::Parameters;

/// A network that can be computed and trained.
pub struct Model {
    steps: Vec<Step>,
    nodes: usize,
    output: usize,
    parameters: Parameters,
    needs_larger_batches: Option<String>,
}

/// One node: what it computes from which values, and which values nobody needs after it.
struct Step {
    node: usize,
    computation: Computation,
    inputs: Vec<usize>,
    frees: Vec<usize>,
}

impl Model {
    /// Builds the network on a device. Weights start as PyTorch's defaults, drawn from libtorch's generator:
    /// seed it first.
    ///
    /// # Errors
    /// [`JobError::Build`] for a network that is not consistent; [`JobError::Torch`] when libtorch refuses,
    /// as for want of memory.
    pub fn new(network: &Network, device: Device) -> Result<Self, JobError> {
        network
            .validate()
            .map_err(|error| JobError::Build(format!("the network cannot be built: {error}")))?;
        let last_uses = last_uses(network);
        let mut frees = frees(&last_uses);
        let mut parameters = Parameters::new(device);
        let mut steps = Vec::new();
        for (id, node) in network.nodes.iter().enumerate() {
            // What does not lead to the output is not computed. The input always has its place.
            if last_uses[id].is_none() && id != 0 {
                continue;
            }
            steps.push(Step {
                node: id,
                computation: computation(node, network, &mut parameters)?,
                inputs: node.inputs.to_vec(),
                frees: std::mem::take(&mut frees[id]),
            });
        }
        Ok(Self {
            steps,
            nodes: network.nodes.len(),
            output: network.output,
            parameters,
            needs_larger_batches: network.needs_larger_batches().map(|node| node.name.clone()),
        })
    }

    /// The node that cannot be trained with batches of one example, if there is one.
    #[must_use]
    pub fn needs_larger_batches(&self) -> Option<&str> {
        self.needs_larger_batches.as_deref()
    }

    /// The weights and running statistics.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The output for a batch of inputs. `training` switches dropout on, and batch normalisation to the
    /// statistics of the batch.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn forward(&self, input: Tensor, training: bool) -> Result<Tensor, TchError> {
        let mut values: Vec<Option<Tensor>> = Vec::new();
        values.resize_with(self.nodes, || None);
        values[0] = Some(input);
        for step in &self.steps {
            if !matches!(step.computation, Computation::Input) {
                let inputs = gather(&step.inputs, &values)?;
                values[step.node] = Some(step.computation.forward(&inputs, training)?);
            }
            for &free in &step.frees {
                values[free] = None;
            }
        }
        values[self.output]
            .take()
            .ok_or_else(|| missing(self.output))
    }
}

fn gather<'a>(ids: &[usize], values: &'a [Option<Tensor>]) -> Result<Vec<&'a Tensor>, TchError> {
    ids.iter()
        .map(|&id| values[id].as_ref().ok_or_else(|| missing(id)))
        .collect()
}

/// A validated network never gets here: every input is computed before its use and freed after the last.
fn missing(id: usize) -> TchError {
    TchError::Shape(format!(
        "the value of node {id} is not there when it is used"
    ))
}

/// For every node the last node that reads it; `None` when the output does not depend on it. The output
/// itself counts as read by nobody yet kept: its last use is beyond the end.
fn last_uses(network: &Network) -> Vec<Option<usize>> {
    let mut last = vec![None; network.nodes.len()];
    last[network.output] = Some(network.nodes.len());
    for (id, node) in network.nodes.iter().enumerate().rev() {
        if last[id].is_none() {
            continue;
        }
        for &input in &node.inputs {
            last[input] = last[input].max(Some(id));
        }
    }
    last
}

/// For every node the values that nobody reads after it.
fn frees(last_uses: &[Option<usize>]) -> Vec<Vec<usize>> {
    let mut frees = vec![Vec::new(); last_uses.len()];
    for (id, last) in last_uses.iter().enumerate() {
        if let Some(free) = last.and_then(|last| frees.get_mut(last)) {
            free.push(id);
        }
    }
    frees
}
