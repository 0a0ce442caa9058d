//! Which files of a search are kept: the checkpoints of trials that were broken off, and the weights of the best trial
//! of which they are stored, until those of a better one are. The listings say the same (see the journal's `rows`). May import the core.

use espalier_common::ids::{Digest, TrialNumber};
use espalier_core::search::{Event, Search};

/// The weights of a search that are stored and kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Kept(Option<Stored>);

#[derive(Clone, Debug, PartialEq)]
struct Stored {
    trial: TrialNumber,
    /// The trial's score as a number of which more is better.
    utility: Option<f64>,
    weights: Digest,
}

impl Kept {
    /// Follows an event; `search` is a state after it.
    pub(crate) fn apply(&mut self, search: &Search, event: &Event) {
        let Event::WeightsStored { trial, weights, .. } = event else {
            return;
        };
        let score = search.trial(*trial).and_then(|known| known.score);
        let objective = &search.definition().spec.objective;
        let new = Stored {
            trial: *trial,
            utility: score.map(|score| objective.utility(score)),
            weights: *weights,
        };
        // Uploads may end in another order than their trials did.
        if !self.0.as_ref().is_some_and(|old| old.is_better(&new)) {
            self.0 = Some(new);
        }
    }

    /// What must not be removed: checkpoints, the weights that are kept, and those that the best trial has announced.
    pub(crate) fn wanted(&self, search: &Search) -> Vec<Digest> {
        let kept = self.0.as_ref().map(|stored| stored.weights);
        let announced = search.best().and_then(|best| best.weights);
        let left = search.checkpoints().values();
        let left = left.map(|checkpoint| checkpoint.artifact);
        kept.into_iter().chain(announced).chain(left).collect()
    }
}

impl Stored {
    fn is_better(&self, other: &Self) -> bool {
        match (self.utility, other.utility) {
            (Some(own), Some(others)) if self.trial != other.trial => {
                own > others || (own == others && self.trial < other.trial)
            }
            _ => false,
        }
    }
}
