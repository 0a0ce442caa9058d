//! Random search: every proposal is drawn anew from the whole space.

use espalier_common::observation::{Observation, Origin, Proposal};
use espalier_common::space::Space;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{AskContext, Searcher};

/// Its word, also in the origin of every candidate drawn at random.
const NAME: &str = "random";

/// Random search.
#[derive(Clone, Copy, Debug)]
pub struct Random;

impl Searcher for Random {
    fn name(&self) -> &'static str {
        NAME
    }

    fn tell(&mut self, _observation: &Observation) {}

    fn ask(&self, context: &AskContext<'_>, rng: &mut ChaCha8Rng) -> Proposal {
        draw(context.space, rng)
    }
}

/// The origin of a candidate drawn at random, whoever drew it.
pub(super) fn origin() -> Origin {
    Origin::new(NAME, NAME)
}

/// A standard normal number (Box–Muller).
pub(super) fn normal(rng: &mut ChaCha8Rng) -> f64 {
    // 1 - u lies in (0, 1], where the logarithm is finite.
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

/// A candidate drawn at random from the whole space.
pub(super) fn draw(space: &Space, rng: &mut ChaCha8Rng) -> Proposal {
    Proposal {
        candidate: space.sample(rng),
        origin: origin(),
        memo: None,
    }
}
