//! Candidates of a space drawn at random. One seed is one row of candidates, whoever draws it: the sample
//! that a user looks at, the candidate that is drawn, and the survey of the whole space. May import the
//! space, the spec and the random numbers.

use espalier_common::candidate::Candidate;
use espalier_common::dataset::DatasetInfo;
use espalier_common::ids::Digest;
use espalier_common::space::Built;
use espalier_common::spec::{Refusal, Spec};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// Refused candidates in a row after which a sample gives up, as a search does.
pub const MAX_REFUSED: usize = 1_000;

/// A candidate of a sample. Its JSON is a candidate file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sampled {
    /// Its place in the sample, from 1 on.
    pub number: u64,
    /// What it decides.
    pub decisions: Candidate,
    /// Trainable parameters of its network.
    pub parameters: Option<u64>,
    /// Multiply-accumulates of its network for one example.
    pub macs: Option<u64>,
    /// Identity of its network.
    pub network_id: Option<Digest>,
    /// Identity of network, recipe and hyperparameters together.
    pub candidate_id: Digest,
}

/// Why a space has no sample.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{MAX_REFUSED} candidates in a row cannot be built or break a constraint; the last one: {last}"
)]
pub struct NoSample {
    /// Why the last one was refused.
    pub last: String,
}

/// Candidates of a space in a random order that the seed fixes, feasible or not.
#[derive(Debug)]
pub struct Stream<'s> {
    spec: &'s Spec,
    dataset: Option<&'s DatasetInfo>,
    rng: ChaCha8Rng,
}

impl<'s> Stream<'s> {
    /// The row of candidates of a seed.
    #[must_use]
    pub fn new(spec: &'s Spec, dataset: Option<&'s DatasetInfo>, seed: u64) -> Self {
        Self {
            spec,
            dataset,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// The next one, and what it builds, or why it is refused.
    pub fn draw(&mut self) -> (Candidate, Result<Built, Refusal>) {
        let candidate = self.spec.space.sample(&mut self.rng);
        let built = self.spec.check(&candidate, self.dataset);
        (candidate, built)
    }

    /// The next one that is not refused.
    ///
    /// # Errors
    /// [`NoSample`] when too many in a row are.
    pub fn feasible(&mut self) -> Result<(Candidate, Built), NoSample> {
        let mut last = String::new();
        for _ in 0..MAX_REFUSED {
            match self.draw() {
                (candidate, Ok(built)) => return Ok((candidate, built)),
                (_, Err(reason)) => last = reason.to_string(),
            }
        }
        Err(NoSample { last })
    }
}

/// The first feasible candidates of a seed's row.
///
/// # Errors
/// [`NoSample`] when too many in a row are refused.
pub fn sample(
    spec: &Spec,
    dataset: Option<&DatasetInfo>,
    seed: u64,
    count: u64,
) -> Result<Vec<Sampled>, NoSample> {
    let mut stream = Stream::new(spec, dataset, seed);
    (1..=count)
        .map(|number| {
            let (decisions, built) = stream.feasible()?;
            Ok(Sampled {
                number,
                decisions,
                parameters: built.parameters,
                macs: built.macs,
                network_id: built.network_id,
                candidate_id: built.candidate_id,
            })
        })
        .collect()
}
