//! The proposer's book: which candidates the search has had, what became of them, which are still out, and
//! which answers the journal does not hold yet. May import `espalier-common` and the events of a search.

use std::collections::{BTreeMap, BTreeSet};

use espalier_common::candidate::Candidate;
use espalier_common::ids::{Digest, TrialNumber};
use espalier_common::observation::{Observation, Outcome};

use crate::search::{Prepared, Refusal, Refused};

/// Identity of an assignment: what stands for a candidate that builds nothing. Two candidates that differ
/// in a decision without effect have different ones.
pub(super) fn assignment_id(candidate: &Candidate) -> Digest {
    let mut bytes = b"espalier assignment 1\n".to_vec();
    // A map with text keys always has a JSON form.
    let written = serde_json::to_writer(&mut bytes, candidate);
    debug_assert!(written.is_ok(), "{written:?}");
    Digest::of(&bytes)
}

/// An answer whose events have not come back from the journal.
#[derive(Clone, Debug, Default)]
pub(super) struct Unrecorded {
    /// What it proposes.
    pub(super) proposed: Option<Candidate>,
    /// Identities of what it proposes, and of the infeasible candidates it refused.
    pub(super) identities: BTreeSet<Digest>,
    /// Assignments it proposes or refused; empty in a space that is never enumerated.
    pub(super) assignments: BTreeSet<Digest>,
    /// What the searcher will be told of its refusals.
    pub(super) observations: Vec<Observation>,
}

/// What is known of the candidates of a search.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Whether assignments are kept: only where the space can be enumerated.
    keep_assignments: bool,
    /// The first trial of every identity.
    trials: BTreeMap<Digest, TrialNumber>,
    /// What became of trials.
    outcomes: BTreeMap<TrialNumber, Outcome>,
    /// Every assignment that was proposed or refused.
    assignments: BTreeSet<Digest>,
    /// Trials without an outcome.
    pending: BTreeMap<TrialNumber, Candidate>,
    /// Answers that the journal does not hold yet, by the number of their ask.
    unrecorded: BTreeMap<u64, Unrecorded>,
}

impl Book {
    pub(super) fn new(keep_assignments: bool) -> Self {
        Self {
            keep_assignments,
            ..Self::default()
        }
    }

    pub(super) fn keeps_assignments(&self) -> bool {
        self.keep_assignments
    }

    /// The trial that has this identity.
    pub(super) fn trial_of(&self, identity: &Digest) -> Option<TrialNumber> {
        self.trials.get(identity).copied()
    }

    /// Whether an answer that is not recorded yet has this identity.
    pub(super) fn in_flight(&self, identity: &Digest) -> bool {
        self.unrecorded
            .values()
            .any(|answer| answer.identities.contains(identity))
    }

    pub(super) fn outcome(&self, trial: TrialNumber) -> Option<&Outcome> {
        self.outcomes.get(&trial)
    }

    /// Whether the journal holds this assignment.
    pub(super) fn has_assignment(&self, assignment: &Digest) -> bool {
        self.assignments.contains(assignment)
    }

    /// Whether an answer that is not recorded yet has this assignment.
    pub(super) fn assignment_in_flight(&self, assignment: &Digest) -> bool {
        self.unrecorded
            .values()
            .any(|answer| answer.assignments.contains(assignment))
    }

    /// Candidates without an outcome: those of recorded trials by their number, then those of answers that
    /// are not recorded yet.
    pub(super) fn pending(&self) -> Vec<&Candidate> {
        let in_flight = self
            .unrecorded
            .values()
            .filter_map(|answer| answer.proposed.as_ref());
        self.pending.values().chain(in_flight).collect()
    }

    /// Refusals that the searcher will be told of.
    pub(super) fn untold(&self) -> Vec<Observation> {
        self.unrecorded
            .values()
            .flat_map(|answer| answer.observations.iter().cloned())
            .collect()
    }

    /// Remembers an answer until its events come back.
    pub(super) fn answered(&mut self, ask: u64, answer: Unrecorded) {
        self.unrecorded.insert(ask, answer);
    }

    /// Forgets the answers to this ask and to later ones: they are asked again.
    pub(super) fn ask_again(&mut self, ask: u64) {
        self.unrecorded.split_off(&ask);
    }

    /// Forgets the answers up to this ask: the journal holds them, or refused them.
    pub(super) fn settled(&mut self, ask: u64) {
        self.unrecorded.retain(|&number, _| number > ask);
    }

    /// Takes in a recorded refusal; what the searcher is to be told of it, if anything.
    pub(super) fn refused(&mut self, refusal: &Refusal) -> Option<Observation> {
        let assignment = assignment_id(&refusal.candidate);
        self.keep(assignment);
        let (trial, outcome) = match refusal.refused {
            Refused::Infeasible {
                trial,
                candidate_id,
                ..
            } => {
                let identity = candidate_id.unwrap_or(assignment);
                self.trials.entry(identity).or_insert(trial);
                self.outcomes.insert(trial, Outcome::Infeasible);
                (Some(trial), Outcome::Infeasible)
            }
            Refused::Duplicate { of } => (None, self.outcome(of)?.clone()),
        };
        Some(Observation {
            trial,
            candidate: refusal.candidate.clone(),
            outcome,
            memo: refusal.memo.clone(),
        })
    }

    /// Takes in a recorded trial.
    pub(super) fn proposed(&mut self, trial: TrialNumber, proposal: &Prepared) {
        if self.keep_assignments {
            self.keep(assignment_id(&proposal.candidate));
        }
        self.trials.entry(proposal.candidate_id).or_insert(trial);
        self.pending.insert(trial, proposal.candidate.clone());
    }

    /// Takes in what became of a trial.
    pub(super) fn observed(&mut self, trial: TrialNumber, outcome: &Outcome) {
        self.pending.remove(&trial);
        self.outcomes.insert(trial, outcome.clone());
    }

    fn keep(&mut self, assignment: Digest) {
        if self.keep_assignments {
            self.assignments.insert(assignment);
        }
    }
}
