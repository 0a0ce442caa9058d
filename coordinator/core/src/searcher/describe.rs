//! What a candidate is compared by. May import the features and the definition of a search.

use std::sync::Arc;

use espalier_common::candidate::Candidate;
use espalier_common::ids::Digest;
use espalier_common::space::Space;
use espalier_common::spec::Kernel;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::book::assignment_id;
use super::catalogue::Catalogue;
use super::shared::{Descriptions, Shared};
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
    kernel: Kernel,
    shared: Arc<Shared>,
}

impl Describer {
    pub(super) fn new(definition: &Arc<Definition>, kernel: Kernel, shared: &Arc<Shared>) -> Self {
        let space = &definition.spec.space;
        Self {
            definition: Arc::clone(definition),
            layout: Layout::of(space),
            kernel,
            shared: Arc::clone(shared),
        }
    }

    /// The space it describes candidates of.
    pub(super) fn space(&self) -> &Space {
        &self.definition.spec.space
    }

    /// What it describes candidates for.
    pub(super) fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Describes a candidate; `None` when it cannot be built or breaks a constraint.
    pub(super) fn describe(&self, candidate: &Candidate) -> Option<Described> {
        let spec = &self.definition.spec;
        let built = spec
            .check(candidate, self.definition.dataset.as_ref())
            .ok()?;
        let mut features = encode(&spec.space, &self.layout, candidate);
        if self.kernel == Kernel::Network && spec.space.network.is_some() {
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

    /// As [`Self::describe`], but one that was described lately is remembered.
    pub(super) fn recall(
        &self,
        candidate: &Candidate,
        assignment: Digest,
    ) -> Option<Arc<Described>> {
        self.shared()
            .remember(assignment, || self.describe(candidate))
    }

    /// A candidate at random that can be built; `None` when `draws` draws find none.
    pub(super) fn sample(&self, rng: &mut ChaCha8Rng, draws: usize) -> Option<Described> {
        let space = self.space();
        (0..draws).find_map(|_| self.describe(&space.sample(rng)))
    }

    /// All candidates of a small space.
    pub(super) fn whole(&self) -> Option<&Arc<Catalogue>> {
        let whole = || Catalogue::of_whole(self).map(Arc::new);
        self.shared().whole.get_or_init(whole).as_ref()
    }

    /// The mean squared distance of two candidates drawn at random, in each group: what makes groups
    /// comparable before anything is learned.
    pub(super) fn typical(&self) -> &[f64] {
        self.shared().typical.get_or_init(|| self.typical_anew())
    }

    fn typical_anew(&self) -> Vec<f64> {
        // What is usual in a space depends on the space alone: any seed will do, as long as it is the same.
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let space = self.space();
        let drawn = (0..DRAWS).filter_map(|_| self.describe(&space.sample(&mut rng)));
        let samples: Vec<Described> = drawn.take(PAIRS).collect();
        let groups = samples
            .first()
            .map_or(self.layout.groups(), |sample| sample.features.len());
        let mut sums = vec![0.0; groups];
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

    fn shared(&self) -> &Descriptions {
        self.shared.of(self.kernel)
    }
}
