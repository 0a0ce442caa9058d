//! What a search begins with: candidates of known scores, which its searcher is told before anything else, and
//! candidates to be proposed first. All of it follows from the definition, so a restart and a replay begin alike.

use espalier_common::candidate::Candidate;
use espalier_common::ids::TrialNumber;
use espalier_common::observation::{Observation, Origin, Outcome, Proposal};

use crate::search::Definition;

const NAME: &str = "warm_start";
/// Stands for a candidate that is no trial of the search; trials are numbered from 1.
const NO_TRIAL: TrialNumber = TrialNumber(0);

/// The known scores, the best last: of searchers that forget, the best are what they forget last.
pub(super) fn observations(definition: &Definition) -> Vec<Observation> {
    let spec = &definition.spec;
    let scored = definition.known.iter().filter_map(|known| {
        let utility = spec.objective.utility(known.score?);
        Some(Observation {
            trial: Some(NO_TRIAL),
            candidate: known.decisions.clone(),
            outcome: Outcome::Scored {
                utility,
                fidelity: spec.space.training.epochs,
            },
            memo: None,
        })
    });
    let mut told: Vec<Observation> = scored.collect();
    told.sort_by(|a, b| utility(a).total_cmp(&utility(b)));
    told
}

fn utility(observation: &Observation) -> f64 {
    match observation.outcome {
        Outcome::Scored { utility, .. } => utility,
        Outcome::Failed | Outcome::Infeasible | Outcome::Cancelled => f64::NEG_INFINITY,
    }
}

/// The candidates that are proposed first, in the order of the asks.
pub(super) fn first(definition: &Definition) -> Vec<Candidate> {
    let unscored = definition
        .known
        .iter()
        .filter(|known| known.score.is_none());
    unscored.map(|known| known.decisions.clone()).collect()
}

/// The proposal of one of them.
pub(super) fn proposal(candidate: &Candidate) -> Proposal {
    Proposal {
        candidate: candidate.clone(),
        origin: Origin::new(NAME, NAME),
        memo: None,
    }
}
