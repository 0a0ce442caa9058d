//! Random search: every proposal is drawn anew from the whole space.

use espalier_common::observation::{Observation, Origin, Proposal};
use espalier_common::space::Space;
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
    Origin {
        searcher: NAME.to_owned(),
        method: NAME.to_owned(),
        parents: Vec::new(),
        mutated: None,
        predicted: None,
        acquisition: None,
        improvement: None,
        rank: None,
    }
}

/// A candidate drawn at random from the whole space.
pub(super) fn draw(space: &Space, rng: &mut ChaCha8Rng) -> Proposal {
    Proposal {
        candidate: space.sample(rng),
        origin: origin(),
        memo: None,
    }
}
