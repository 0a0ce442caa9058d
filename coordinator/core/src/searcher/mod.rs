//! Searchers: the algorithms that propose candidates. One algorithm per file, all behind [`Searcher`]; the
//! [`Proposer`] puts the rules around them that hold for every searcher (what is refused, when to ask
//! again, when the space is exhausted). May import `espalier-common` and the events of a search.

mod bananas;
mod bayesian;
mod book;
mod catalogue;
mod describe;
mod evolution;
mod fit;
mod grid;
mod local_search;
mod moves;
mod policy;
mod proposer;
mod random;
mod replay;
mod round;
mod shared;
mod tpe;
mod warm_start;

pub use bananas::{Bananas, BananasSettings};
pub use bayesian::Bayesian;
pub use evolution::{Evolution, Rates};
pub use fit::prepare;
pub use grid::Grid;
pub use local_search::LocalSearch;
pub use policy::{Policy, PolicySettings, PolicyUpdate};
pub use proposer::{Answer, Proposer};
pub use random::Random;
pub use replay::{AskPlaces, Derived, Difference, Findings, Replay};
pub use round::{MAX_ENUMERATED, MAX_REFUSALS, MAX_SEARCHER_DRAWS};
pub use shared::Shared;
pub use tpe::{Tpe, TpeSettings};

use std::sync::Arc;

use espalier_common::candidate::Candidate;
use espalier_common::observation::{Observation, Proposal};
use espalier_common::space::Space;
use espalier_common::spec::SearcherSpec;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::search::Definition;

/// An algorithm that proposes candidates. It speaks of a space's decisions only, so that every searcher
/// works on every space.
pub trait Searcher: Send {
    /// Its word in the spec.
    fn name(&self) -> &'static str;

    /// Learns what became of a candidate. Called in the order of the journal, so that a restarted
    /// coordinator brings the searcher to the same state.
    fn tell(&mut self, observation: &Observation);

    /// Proposes a candidate. Changes nothing in the searcher and draws only from `rng`: an ask whose
    /// answer was lost can be asked again, and a replay of the journal needs no asks.
    fn ask(&self, context: &AskContext<'_>, rng: &mut ChaCha8Rng) -> Proposal;

    /// Why it has nothing more to propose, if it has not. Looked at before every ask; most searchers could
    /// go on for ever.
    fn exhausted(&self, _context: &AskContext<'_>) -> Option<String> {
        None
    }

    /// Whether nothing but its own proposals may be tried: candidates at random do not stand in for refused
    /// ones then.
    fn proposes_alone(&self) -> bool {
        false
    }
}

/// What a searcher may know when it is asked, besides what it was told.
#[derive(Clone, Copy, Debug)]
pub struct AskContext<'a> {
    /// The space to propose from.
    pub space: &'a Space,
    /// The ask's number, from 1.
    pub number: u64,
    /// Candidates that were proposed and whose outcome is not known yet.
    pub pending: &'a [&'a Candidate],
    /// Refusals the searcher will be told of when the journal holds them: those of this ask, and of
    /// earlier asks whose answers are not recorded yet.
    pub refused: &'a [Observation],
}

/// The searcher that a search's spec asks for. What it may share with others is in `shared`.
#[must_use]
pub fn create(definition: &Arc<Definition>, shared: &Arc<Shared>) -> Box<dyn Searcher> {
    let spec = &definition.spec;
    let space = Arc::new(spec.space.clone());
    match spec.searcher {
        SearcherSpec::Random {} => Box::new(Random),
        SearcherSpec::Grid { points } => Box::new(Grid::new(space, points, spec.seed)),
        SearcherSpec::LocalSearch {} => Box::new(LocalSearch::new(space)),
        SearcherSpec::Tpe {
            gamma,
            candidates,
            start,
        } => {
            let settings = TpeSettings {
                gamma,
                candidates,
                start,
            };
            Box::new(Tpe::new(space, settings))
        }
        SearcherSpec::Reinforce {
            learning_rate,
            entropy,
            batch,
        } => {
            let settings = PolicySettings {
                learning_rate,
                entropy,
                update: PolicyUpdate::Reinforce { batch },
            };
            Box::new(Policy::new(space, settings, spec.seed))
        }
        SearcherSpec::Ppo {
            learning_rate,
            entropy,
            batch,
            epochs,
            clip,
        } => {
            let settings = PolicySettings {
                learning_rate,
                entropy,
                update: PolicyUpdate::Ppo {
                    batch,
                    epochs,
                    clip,
                },
            };
            Box::new(Policy::new(space, settings, spec.seed))
        }
        SearcherSpec::Evolution {
            population,
            tournament,
            crossover,
            mutate_choices,
            mutate_ranges,
        } => {
            let rates = Rates {
                choices: mutate_choices,
                ranges: mutate_ranges,
            };
            let trials = spec.budget.trials;
            Box::new(Evolution::new(
                population, tournament, crossover, rates, trials,
            ))
        }
        SearcherSpec::Bananas { start, candidates } => {
            let settings = BananasSettings { start, candidates };
            Box::new(Bananas::new(definition, settings, shared))
        }
        SearcherSpec::Bayesian { kernel, initial } => {
            Box::new(Bayesian::new(definition, kernel, initial, shared))
        }
    }
}

/// The random numbers of one draw. The three numbers are the key of the cipher, so every draw has a
/// stream of its own, and none depends on how many numbers another one took.
#[must_use]
pub fn rng_for(seed: u64, ask: u64, retry: u32) -> ChaCha8Rng {
    stream(seed, ask, retry, b"espalier ask")
}

/// The random numbers of one purpose; `label` keeps streams of one seed apart.
fn stream(seed: u64, number: u64, part: u32, label: &[u8; 12]) -> ChaCha8Rng {
    let mut key = [0_u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&number.to_le_bytes());
    key[16..20].copy_from_slice(&part.to_le_bytes());
    key[20..32].copy_from_slice(label);
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    #[test]
    fn every_draw_has_its_own_random_numbers() {
        let draw = |seed, ask, retry| rng_for(seed, ask, retry).random::<u64>();
        assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
        let draws = [draw(1, 2, 3), draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4)];
        for (index, number) in draws.iter().enumerate() {
            assert!(!draws[..index].contains(number));
        }
    }
}
