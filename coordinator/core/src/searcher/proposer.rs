//! The proposer: a searcher with the rules that hold for all of them. It runs on a thread of its own, one
//! for each search, behind a queue; the simulator calls it directly. May import `espalier-common` and the
//! events of a search.
//!
//! # Protocol
//! Whoever owns the search's journal sends three kinds of messages, one after another, and nobody else
//! sends any:
//!
//! - `ask(n)` for n = 1, 2, 3, …: propose something. Its answer becomes the command `RecordProposal`; more
//!   than one ask may be under way.
//! - `recorded(event)` for every event that the journal has come to hold, in its order. Those about
//!   proposals count (`ProposalRefused`, `TrialProposed`, `TrialRetried`, `ProposalsEnded`), the others are
//!   passed over.
//! - `tell(observation)` for every `Effect::Tell`, at the place of the event it follows from. Infeasible
//!   proposals and duplicates have none: the proposer tells the searcher of them itself when their
//!   `ProposalRefused` comes back.
//!
//! The searcher is told only by `recorded` and `tell`, thus in the order of the journal. `ask` changes
//! nothing that outlives its answer: it notes the answer as *unrecorded*, so that an ask after it proposes
//! something else, and drops the note when the events of that answer come back (the last of them is
//! `TrialProposed` or `ProposalsEnded`; answers are recorded in the order of the asks, so the notes of
//! earlier asks go with it). Within the ask, and in asks before its events have come back, the searcher
//! sees what it will be told of refusals in [`AskContext::refused`](super::AskContext::refused).
//!
//! So a restart is: a new proposer, `recorded` and `tell` for every event of the journal, no asks; then
//! the asks whose answers the journal lacks, with their old numbers. The same prefix of the journal gives
//! the same answer, whether the proposer lived through it or had it read to it.
//!
//! An ask may be asked again (its answer was lost): the notes of that ask and of later ones are dropped
//! first.

use std::sync::Arc;

use espalier_common::candidate::Candidate;
use espalier_common::observation::Observation;

use super::book::Book;
use super::round::{Ended, Left, MAX_ENUMERATED, Round};
use super::{Searcher, Shared, create, warm_start};
use crate::search::{Command, Definition, Effect, Event, Prepared, Refusal};

/// The answer to an ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The ask.
    pub ask: u64,
    /// Observations told before it.
    pub told: u64,
    /// Messages of any kind taken in before it: observations, and events about proposals.
    pub heard: u64,
    /// What was proposed first and refused, at most [`MAX_REFUSALS`](super::MAX_REFUSALS). Infeasible
    /// trials have the number 0 until `decide` numbers them.
    pub refused: Vec<Refusal>,
    /// What is proposed, or why there is nothing more.
    pub outcome: Result<Box<Prepared>, String>,
}

impl From<Answer> for Command {
    fn from(answer: Answer) -> Self {
        Self::RecordProposal {
            ask: answer.ask,
            told: answer.told,
            heard: answer.heard,
            refused: answer.refused,
            outcome: answer.outcome,
            stored: None,
        }
    }
}

/// A searcher with the rules that hold for all of them.
pub struct Proposer {
    definition: Arc<Definition>,
    searcher: Box<dyn Searcher>,
    book: Book,
    /// What is proposed first, in the order of the asks.
    first: Vec<Candidate>,
    /// Observations told.
    told: u64,
    /// Those, and the events about proposals.
    heard: u64,
    /// What is left of a space that is nearly exhausted: saves going through it in every ask.
    left: Option<Left>,
}

impl Proposer {
    /// A proposer for a search that has proposed nothing yet.
    #[must_use]
    pub fn new(definition: &Arc<Definition>) -> Self {
        Self::sharing(definition, &Arc::default())
    }

    /// As [`Self::new`], with what it may share with others.
    #[must_use]
    pub fn sharing(definition: &Arc<Definition>, shared: &Arc<Shared>) -> Self {
        Self::with_searcher(definition, create(definition, shared))
    }

    /// The name of its searcher.
    #[must_use]
    pub fn searcher(&self) -> &'static str {
        self.searcher.name()
    }

    /// A proposer around another searcher than the spec's. It is told of what is known before the search begins.
    #[must_use]
    pub fn with_searcher(definition: &Arc<Definition>, mut searcher: Box<dyn Searcher>) -> Self {
        for observation in warm_start::observations(definition) {
            searcher.tell(&observation);
        }
        let size = definition.spec.space.size();
        // The tolerance is for rounding in the logarithm; the enumeration counts exactly.
        let small = size.continuous == 0 && size.log10 <= (MAX_ENUMERATED as f64).log10() + 1e-6;
        Self {
            definition: Arc::clone(definition),
            searcher,
            book: Book::new(small),
            first: warm_start::first(definition),
            told: 0,
            heard: 0,
            left: None,
        }
    }

    /// Learns what became of a trial.
    pub fn tell(&mut self, observation: &Observation) {
        if let Some(trial) = observation.trial {
            self.book.observed(trial, &observation.outcome);
        }
        self.searcher.tell(observation);
        self.told += 1;
        self.heard += 1;
    }

    /// How many messages it has taken in: observations, and events about proposals. Two proposers of one search
    /// that have heard equally many are in the same state.
    #[must_use]
    pub fn heard(&self) -> u64 {
        self.heard
    }

    /// Takes in an event that is read from a journal, with what follows from it: what the search's owner told the
    /// proposer when it happened.
    pub fn read(&mut self, event: &Event, effects: &[Effect]) {
        self.recorded(event);
        for effect in effects {
            if let Effect::Tell(observation) = effect {
                self.tell(observation);
            }
        }
    }

    /// Learns that the journal holds this event.
    pub fn recorded(&mut self, event: &Event) {
        match event {
            Event::ProposalRefused { refusal, .. } => {
                if let Some(observation) = self.book.refused(refusal) {
                    self.searcher.tell(&observation);
                }
            }
            Event::TrialProposed {
                ask,
                trial,
                proposal,
                ..
            } => {
                self.book.proposed(*trial, proposal);
                self.book.settled(*ask);
            }
            Event::TrialRetried { trial, proposal } => self.book.proposed(*trial, proposal),
            Event::ProposalsEnded { ask, .. } => self.book.settled(*ask),
            _ => return,
        }
        self.heard += 1;
    }

    /// Proposes something new that can be built and keeps the constraints.
    pub fn ask(&mut self, number: u64) -> Answer {
        self.book.ask_again(number);
        // Asks are numbered from 1, and every number has one answer in the journal.
        let place = usize::try_from(number)
            .ok()
            .and_then(|number| number.checked_sub(1));
        let given = place.and_then(|place| self.first.get(place));
        let round = Round::new(number, &self.definition, &*self.searcher, &self.book).given(given);
        let Ended {
            refusals,
            outcome,
            unrecorded,
        } = round.run(&mut self.left);
        self.book.answered(number, unrecorded);
        Answer {
            ask: number,
            told: self.told,
            heard: self.heard,
            refused: refusals,
            outcome,
        }
    }
}
