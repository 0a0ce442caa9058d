//! What a candidate is compared by. May import the features and the definition of a search.

use std::sync::Arc;

use espalier_common::candidate::Candidate;
use espalier_common::ids::Digest;
use espalier_common::space::Space;
use espalier_common::spec::Kernel;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::book::assignment_id;
use crate::features::{Layout, Sparse, encode, operations, paths, size};
use crate::search::Definition;

/// Pairs of samples from which the usual distances in a space are taken.
const PAIRS: usize = 200;
/// Draws in which samples that can be built are looked for.
const DRAWS: usize = 20 * PAIRS;

/// A candidate that can be built, with its features.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub(super) candidate: Candidate,
    pub(super) id: Digest,
    /// What stands for its decisions alone.
    pub(super) assignment: Digest,
    /// One vector for each group.
    pub(super) features: Vec<Sparse>,
}

impl Described {
    /// Squared distances to another one, group by group.
    pub(super) fn distances<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = f64> + 'a {
        let pairs = self.features.iter().zip(&other.features);
        pairs.map(|(a, b)| a.squared_distance(b))
    }
}

/// Describes the candidates of a search.
#[derive(Debug)]
pub(super) struct Describer {
    definition: Arc<Definition>,
    layout: Layout,
    /// Whether the network that a candidate builds is looked at.
    network: bool,
}

impl Describer {
    pub(super) fn new(definition: &Arc<Definition>, kernel: Kernel) -> Self {
        let space = &definition.spec.space;
        Self {
            definition: Arc::clone(definition),
            layout: Layout::of(space),
            network: kernel == Kernel::Network && space.network.is_some(),
        }
    }

    /// Describes a candidate; `None` when it cannot be built or breaks a constraint.
    pub(super) fn describe(&self, candidate: &Candidate) -> Option<Described> {
        let spec = &self.definition.spec;
        let built = spec
            .check(candidate, self.definition.dataset.as_ref())
            .ok()?;
        let mut features = encode(&spec.space, &self.layout, candidate);
        if self.network {
            let network = built.network.as_ref()?.simplified();
            features.extend([paths(&network), operations(&network), size(&network)]);
        }
        Some(Described {
            candidate: candidate.clone(),
            id: built.candidate_id,
            assignment: assignment_id(candidate),
            features,
        })
    }

    /// A candidate at random that can be built; `None` when `draws` draws find none.
    pub(super) fn sample(&self, rng: &mut ChaCha8Rng, draws: usize) -> Option<Described> {
        let space = self.space();
        (0..draws).find_map(|_| self.describe(&space.sample(rng)))
    }

    /// The mean squared distance of two candidates drawn at random, in each group: what makes groups
    /// comparable before anything is learned.
    pub(super) fn typical(&self, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let space = self.space();
        let drawn = (0..DRAWS).filter_map(|_| self.describe(&space.sample(rng)));
        let samples: Vec<Described> = drawn.take(PAIRS).collect();
        let mut sums = vec![
            0.0;
            samples
                .first()
                .map_or(self.layout.groups(), |s| s.features.len())
        ];
        if samples.len() < 2 {
            return sums;
        }
        for sample in &samples {
            let other = &samples[rng.random_range(0..samples.len())];
            for (sum, distance) in sums.iter_mut().zip(sample.distances(other)) {
                *sum += distance / samples.len() as f64;
            }
        }
        sums
    }

    /// The space it describes candidates of.
    pub(super) fn space(&self) -> &Space {
        &self.definition.spec.space
    }
}
