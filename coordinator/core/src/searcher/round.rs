//! One ask: draws candidates until one passes. First the searcher's, then candidates at random, at last the
//! ones that are left of a space small enough to be enumerated. Reads the book and the searcher, changes
//! neither. May import `espalier-common` and the events of a search.

use std::collections::BTreeSet;

use espalier_common::candidate::Candidate;
use espalier_common::ids::{Digest, TrialNumber};
use espalier_common::observation::{Observation, Outcome, Proposal};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::book::{Book, Unrecorded, assignment_id};
use super::fit::{Fit, Size, fit};
use super::{AskContext, Searcher, random, rng_for, warm_start};
use crate::search::{Definition, Prepared, Refusal, Refused};

/// How often a searcher may propose something that is refused before chance takes over in its ask.
pub const MAX_SEARCHER_DRAWS: u32 = 100;
/// This many refusals in a row end the search: the space has next to nothing left that may be tried, and
/// the user must know.
pub const MAX_REFUSALS: u32 = 1_000;
/// A space of at most this many candidates is enumerated when chance finds nothing new, so that its
/// exhaustion is found exactly. Enumerating this many takes a second or two.
pub const MAX_ENUMERATED: usize = 100_000;
/// Draws at random before a small space is enumerated: if all are refused, little is left of it.
const RANDOM_DRAWS: u32 = 100;

/// What was left of an enumerated space when somebody looked; later there is never more.
#[derive(Clone, Debug)]
pub(super) struct Left {
    /// Candidates that the journal did not hold, in the order of the space.
    candidates: Vec<Candidate>,
    /// Whether those are all.
    complete: bool,
    /// Candidates of the whole space.
    total: usize,
}

/// One ask.
pub(super) struct Round<'a> {
    number: u64,
    definition: &'a Definition,
    searcher: &'a dyn Searcher,
    book: &'a Book,
    /// What the user wants to be proposed before anything else.
    given: Option<&'a Candidate>,
    /// Candidates drawn so far.
    draws: u32,
    infeasible: u32,
    /// Why the last refused candidate was refused.
    last: String,
    refusals: Vec<Refusal>,
    /// What the searcher will be told of refusals: earlier answers' and then this one's.
    observations: Vec<Observation>,
    /// Where this ask's begin among them.
    own: usize,
    /// Identities and assignments that this ask refused.
    refused: BTreeSet<Digest>,
    /// Identities that become trials of this answer.
    identities: BTreeSet<Digest>,
}

/// How an ask ended.
pub(super) struct Ended {
    pub(super) refusals: Vec<Refusal>,
    pub(super) outcome: Result<Box<Prepared>, String>,
    pub(super) unrecorded: Unrecorded,
}

impl<'a> Round<'a> {
    pub(super) fn new(
        number: u64,
        definition: &'a Definition,
        searcher: &'a dyn Searcher,
        book: &'a Book,
    ) -> Self {
        let observations = book.untold();
        Self {
            number,
            definition,
            searcher,
            book,
            given: None,
            draws: 0,
            infeasible: 0,
            last: String::new(),
            refusals: Vec::new(),
            own: observations.len(),
            observations,
            refused: BTreeSet::new(),
            identities: BTreeSet::new(),
        }
    }

    /// With a candidate that is proposed if it can be.
    pub(super) fn given(self, given: Option<&'a Candidate>) -> Self {
        Self { given, ..self }
    }

    /// Draws until a candidate passes, or none is left, or too many were refused in a row.
    pub(super) fn run(mut self, left: &mut Option<Left>) -> Ended {
        if let Some(prepared) = self
            .given
            .and_then(|given| self.examine(warm_start::proposal(given)))
        {
            return self.end(Ok(prepared));
        }
        let drawn = match self.draw_from_searcher() {
            Ok(None) if self.searcher.proposes_alone() => Err(self.refused_in_a_row()),
            Ok(drawn) => drawn
                .or_else(|| self.draw_at_random())
                .map_or_else(|| self.draw_from_the_rest(left), Ok),
            Err(exhausted) => Err(exhausted),
        };
        self.end(drawn)
    }

    /// Draws from the searcher as long as chance may not take over. The error says why it has nothing more
    /// to propose.
    fn draw_from_searcher(&mut self) -> Result<Option<Prepared>, String> {
        let pending = self.book.pending();
        let most = if self.searcher.proposes_alone() {
            MAX_REFUSALS
        } else {
            MAX_SEARCHER_DRAWS
        };
        while self.draws < most {
            let context = AskContext {
                space: &self.definition.spec.space,
                number: self.number,
                pending: &pending,
                refused: &self.observations,
            };
            if let Some(exhausted) = self.searcher.exhausted(&context) {
                return Err(exhausted);
            }
            let proposal = self.searcher.ask(&context, &mut self.rng());
            if let Some(prepared) = self.examine(proposal) {
                return Ok(Some(prepared));
            }
        }
        Ok(None)
    }

    fn draw_at_random(&mut self) -> Option<Prepared> {
        let most = if self.book.keeps_assignments() {
            MAX_SEARCHER_DRAWS + RANDOM_DRAWS
        } else {
            MAX_REFUSALS
        };
        while self.draws < most {
            let proposal = random::draw(&self.definition.spec.space, &mut self.rng());
            if let Some(prepared) = self.examine(proposal) {
                return Some(prepared);
            }
        }
        None
    }

    /// Draws from the candidates that were neither proposed nor refused before. The error says why there
    /// is nothing more to propose.
    fn draw_from_the_rest(&mut self, left: &mut Option<Left>) -> Result<Prepared, String> {
        let Some(rest) = self.rest(left) else {
            return Err(self.refused_in_a_row());
        };
        for candidate in rest.candidates {
            if self.draws >= MAX_REFUSALS {
                return Err(self.refused_in_a_row());
            }
            let proposal = Proposal {
                candidate,
                origin: random::origin(),
                memo: None,
            };
            if let Some(prepared) = self.examine(proposal) {
                return Ok(prepared);
            }
        }
        if rest.complete {
            Err(format!(
                "all {} candidates of the space have been proposed",
                rest.total
            ))
        } else {
            Err(self.refused_in_a_row())
        }
    }

    /// At most [`MAX_REFUSALS`] unseen candidates in random order; `None` where the space is too large to
    /// look.
    fn rest(&self, left: &mut Option<Left>) -> Option<Left> {
        if !self.book.keeps_assignments() {
            return None;
        }
        let mut rng = self.rng();
        let mut rest = match left {
            Some(left) => {
                left.candidates
                    .retain(|candidate| !self.book.has_assignment(&assignment_id(candidate)));
                left.clone()
            }
            None => {
                let picked = self.pick(&mut rng)?;
                if picked.complete {
                    *left = Some(picked.clone());
                }
                picked
            }
        };
        // What is out but not recorded may come back (an ask that is asked again), so it stays in `left`.
        rest.candidates.retain(|candidate| {
            let assignment = assignment_id(candidate);
            !self.book.assignment_in_flight(&assignment) && !self.refused.contains(&assignment)
        });
        for index in (1..rest.candidates.len()).rev() {
            rest.candidates.swap(index, rng.random_range(0..=index));
        }
        Some(rest)
    }

    /// Goes through the whole space and picks unseen candidates with equal chances (reservoir sampling),
    /// so that no more than [`MAX_REFUSALS`] are held.
    fn pick(&self, rng: &mut ChaCha8Rng) -> Option<Left> {
        let capacity = MAX_REFUSALS as usize;
        let mut candidates: Vec<Candidate> = Vec::new();
        let (mut unseen, mut total) = (0, 0);
        let see = |candidate| {
            total += 1;
            if self.book.has_assignment(&assignment_id(&candidate)) {
                return;
            }
            unseen += 1;
            if candidates.len() < capacity {
                candidates.push(candidate);
            } else if let Some(place) = candidates.get_mut(rng.random_range(0..unseen)) {
                *place = candidate;
            }
        };
        let enumerated = self.definition.spec.space.visit(MAX_ENUMERATED, see);
        enumerated.then_some(Left {
            complete: unseen == candidates.len(),
            candidates,
            total,
        })
    }

    /// Lets a proposal pass, or notes why it is refused.
    ///
    /// A duplicate of a candidate whose trial has no number yet (this ask refused it, or an answer that is
    /// not recorded has it) cannot be named in a refusal: it costs a draw and leaves no trace.
    fn examine(&mut self, proposal: Proposal) -> Option<Prepared> {
        self.draws += 1;
        let assignment = assignment_id(&proposal.candidate);
        if self.refused.contains(&assignment) {
            "it was refused in this ask before".clone_into(&mut self.last);
            return None;
        }
        if let Some(of) = self.book.trial_of(&assignment) {
            self.refuse_duplicate(proposal, assignment, of);
            return None;
        }
        let Fit {
            candidate_id,
            verdict,
        } = fit(self.definition, &proposal.candidate, assignment);
        let Some(identity) = candidate_id else {
            let reason = verdict.err().unwrap_or_default();
            self.refuse_infeasible(proposal, assignment, None, reason);
            return None;
        };
        if let Some(of) = self.book.trial_of(&identity) {
            self.refuse_duplicate(proposal, assignment, of);
            return None;
        }
        if self.refused.contains(&identity) || self.book.in_flight(&identity) {
            self.refused.insert(assignment);
            "it is the same as one proposed just before".clone_into(&mut self.last);
            return None;
        }
        let Size { parameters, macs } = match verdict {
            Ok(size) => size,
            Err(reason) => {
                self.refuse_infeasible(proposal, assignment, Some(identity), reason);
                return None;
            }
        };
        Some(Prepared {
            candidate: proposal.candidate,
            candidate_id: identity,
            origin: proposal.origin,
            memo: proposal.memo,
            parameters,
            macs,
        })
    }

    fn refuse_duplicate(&mut self, proposal: Proposal, assignment: Digest, of: TrialNumber) {
        self.refused.insert(assignment);
        self.last = format!("it is the same candidate as trial {of}");
        if let Some(outcome) = self.book.outcome(of) {
            self.observe(&proposal, outcome.clone());
        }
        self.refuse(proposal, Refused::Duplicate { of });
    }

    fn refuse_infeasible(
        &mut self,
        proposal: Proposal,
        assignment: Digest,
        candidate_id: Option<Digest>,
        reason: String,
    ) {
        self.infeasible += 1;
        let identity = candidate_id.unwrap_or(assignment);
        self.refused.extend([assignment, identity]);
        if self.book.in_flight(&identity) {
            // Only one that cannot be built comes this far: an earlier answer refused it, too.
            self.last = reason;
            return;
        }
        self.identities.insert(identity);
        self.last.clone_from(&reason);
        self.observe(&proposal, Outcome::Infeasible);
        let refused = Refused::Infeasible {
            // `decide` numbers the trials.
            trial: TrialNumber(0),
            candidate_id,
            reason,
        };
        self.refuse(proposal, refused);
    }

    fn observe(&mut self, proposal: &Proposal, outcome: Outcome) {
        self.observations.push(Observation {
            trial: None,
            candidate: proposal.candidate.clone(),
            outcome,
            memo: proposal.memo.clone(),
        });
    }

    fn refuse(&mut self, proposal: Proposal, refused: Refused) {
        self.refusals.push(Refusal {
            candidate: proposal.candidate,
            origin: proposal.origin,
            memo: proposal.memo,
            refused,
        });
    }

    /// The random numbers of the next draw.
    fn rng(&self) -> ChaCha8Rng {
        rng_for(self.definition.spec.seed, self.number, self.draws)
    }

    fn refused_in_a_row(&self) -> String {
        format!(
            "{} proposals in a row were refused: {} cannot be built or break a constraint, {} were proposed before; the last one: {}. Widen the space or loosen the constraints",
            self.draws,
            self.infeasible,
            self.draws - self.infeasible,
            self.last
        )
    }

    fn end(mut self, drawn: Result<Prepared, String>) -> Ended {
        let mut unrecorded = Unrecorded {
            proposed: None,
            identities: self.identities,
            assignments: BTreeSet::new(),
            observations: self.observations.split_off(self.own),
        };
        if let Ok(prepared) = &drawn {
            unrecorded.proposed = Some(prepared.candidate.clone());
            unrecorded.identities.insert(prepared.candidate_id);
        }
        if self.book.keeps_assignments() {
            let refused = self.refusals.iter().map(|refusal| &refusal.candidate);
            unrecorded.assignments = refused
                .chain(&unrecorded.proposed)
                .map(assignment_id)
                .collect();
        }
        Ended {
            refusals: self.refusals,
            outcome: drawn.map(Box::new),
            unrecorded,
        }
    }
}
