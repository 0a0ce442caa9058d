//! Results that another search has for the same candidate: what makes two results one, and what becomes of a
//! trial for which there is one. Looking one up is not done here: whoever gives the command has done it.

use espalier_common::ids::{AttemptNumber, Digest, SearchId, TrialNumber};
use espalier_common::metrics::Measurement;
use espalier_common::observation::{Observation, Outcome};
use espalier_common::spec::{EvaluatorSpec, Repeat};
use serde::{Deserialize, Serialize};

use super::definition::Definition;
use super::event::{Effect, Event};
use super::state::{Search, TrialState};

/// Sets results apart from whatever else is hashed, and one way to compare them from a later one.
const PREFIX: &[u8] = b"espalier result 1\n";

/// A trial of some search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialOf {
    /// The search.
    pub search: SearchId,
    /// The trial.
    pub trial: TrialNumber,
}

/// A result that was found for a candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredResult {
    /// Whose it is.
    pub from: TrialOf,
    /// The last measurement of that trial.
    pub measurement: Measurement,
    /// Digest of the weights it left, when it left any.
    pub weights: Option<Digest>,
    /// Whether the artifact store has them, and keeps them until the command is carried out.
    pub stored: bool,
}

/// What must be equal for two results of equal candidates to be one. Its JSON is canonical.
#[derive(Serialize)]
struct Circumstances<'a> {
    release: &'a str,
    /// Content of the data, and of the split: how many examples of which part, drawn with which seed.
    data: Option<(Digest, u64, u64, u64)>,
    /// Content of the table of results.
    table: Option<Digest>,
    evaluator: &'a EvaluatorSpec,
    fidelity: u32,
    /// Every trial draws a seed of its own from its search's: the only policy there is.
    seed: &'static str,
    /// The space, where decisions alone say what a candidate is.
    space: Option<&'a espalier_common::space::Space>,
}

impl Definition {
    /// What the results of this search have in common: data, split, evaluator, release, fidelity and seed policy.
    /// `None` for a search of before these were recorded, whose results are nobody else's.
    #[must_use]
    pub fn circumstances(&self) -> Option<Digest> {
        if self.release.is_empty() {
            return None;
        }
        let circumstances = Circumstances {
            release: &self.release,
            data: self.dataset.as_ref().map(|data| {
                let split = data.reference.split_seed;
                (data.fingerprint, data.train, data.validation, split)
            }),
            table: self.table.as_ref().map(|table| table.fingerprint),
            evaluator: &self.spec.evaluator,
            fidelity: self.spec.space.training.epochs,
            seed: "of the trial",
            space: match self.spec.repeat {
                Repeat::Never => None,
                Repeat::ByDecisions => Some(&self.spec.space),
            },
        };
        let mut bytes = PREFIX.to_vec();
        serde_json::to_writer(&mut bytes, &circumstances).ok()?;
        Some(Digest::of(&bytes))
    }
}

/// What stands for the result of a candidate under some circumstances: two that are equal are one result.
#[must_use]
pub fn result_key(circumstances: &Digest, candidate_id: &Digest) -> Digest {
    let mut bytes = PREFIX.to_vec();
    bytes.extend(circumstances.0);
    bytes.extend(candidate_id.0);
    Digest::of(&bytes)
}

impl Search {
    /// What follows a trial's proposal when there is a result for its candidate. One without the metric that this
    /// search is about is none.
    pub(super) fn decide_reuse(&self, trial: TrialNumber, stored: StoredResult) -> Vec<Event> {
        let metric = &self.objective().metric;
        let Some(score) = stored.measurement.metrics.get(metric) else {
            return Vec::new();
        };
        if !self.definition.spec.reuse {
            return Vec::new();
        }
        let kept = stored.weights.filter(|_| stored.stored);
        let kept = kept.filter(|_| self.is_better(trial, score));
        let mut events = vec![Event::TrialReused {
            trial,
            from: stored.from,
            measurement: stored.measurement,
            score,
            weights: stored.weights,
        }];
        events.extend(kept.map(|weights| Event::WeightsStored {
            trial,
            // Of no attempt of this search.
            attempt: AttemptNumber(0),
            weights,
        }));
        events
    }

    pub(super) fn apply_reuse(
        &mut self,
        trial: TrialNumber,
        measurement: &Measurement,
        score: f64,
        weights: Option<Digest>,
    ) -> Vec<Effect> {
        let Some(open) = self.open.remove(&trial) else {
            return Vec::new();
        };
        self.queue.retain(|queued| *queued != trial);
        self.counts.completed += 1;
        self.counts.reused += 1;
        if let Some(known) = self.trial_mut(trial) {
            known.state = TrialState::Completed;
            known.score = Some(score);
        }
        let tell = Effect::Tell(Observation {
            trial: Some(trial),
            candidate: open.proposal.candidate.clone(),
            outcome: Outcome::Scored {
                utility: self.objective().utility(score),
                fidelity: measurement.step,
            },
            memo: open.proposal.memo.clone(),
        });
        let before = self.completed_since_best;
        self.compare_with_best(trial, score, weights, open.proposal);
        // What cost nothing uses up no patience.
        self.completed_since_best = self.completed_since_best.min(before);
        vec![tell]
    }

    /// Accepted trials that count against a budget of trials: those that are or will be leased.
    pub(super) fn charged(&self) -> u32 {
        let free = self.counts.reused.saturating_add(self.uncharged);
        self.counts.accepted.saturating_sub(free)
    }

    /// Whether the budget of trials is used up.
    pub(super) fn trials_used_up(&self) -> bool {
        let budget = self.limits.budget.trials;
        budget.is_some_and(|trials| self.charged() >= trials)
    }
}
