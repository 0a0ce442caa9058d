//! Derives every proposal of a search again from its journal, and compares. May import `espalier-common` and the
//! search's state.
//!
//! A proposal hangs on what the searcher had taken in when it was asked, which the journal says: the event of an
//! answer holds how many messages (tells, and events about proposals) came before its ask. So the journal is read
//! twice: first for the places of the asks, then with each ask at its place, which is what the search's own thread
//! did. The answer is kept until the events of the recorded one come by.

use std::collections::VecDeque;

use espalier_common::ids::{SearchId, TrialNumber};
use serde::Serialize;

use super::proposer::{Answer, Proposer};
use crate::search::{Effect, Event, NO_ASK, Prepared, Refusal, Refused, Search};

/// Where in the stream of messages an ask was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AskPlace {
    ask: u64,
    /// Messages before it.
    heard: u64,
}

/// What came of an ask: what was refused on the way, and the proposal, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Derived {
    /// What was proposed first and refused. Infeasible ones have no trial's number here.
    pub refused: Vec<Refusal>,
    /// What is proposed.
    pub outcome: Result<Box<Prepared>, String>,
}

/// An ask whose recorded answer is not what comes of it now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The ask.
    pub ask: u64,
    /// The trial that was proposed.
    pub trial: Option<TrialNumber>,
    /// What the journal has.
    pub recorded: Derived,
    /// What comes of it now.
    pub derived: Derived,
}

/// What a replay has found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Findings {
    /// Asks that were derived again.
    pub compared: u64,
    /// Asks of which the journal does not say where they were made: it is of before that was recorded.
    pub unplaced: u64,
    /// Asks that came out otherwise.
    pub differing: u64,
    /// The first of them.
    pub first: Option<Box<Difference>>,
}

/// The first reading: the places of the asks, in order.
#[derive(Clone, Debug, Default)]
pub struct AskPlaces {
    places: VecDeque<AskPlace>,
    unplaced: u64,
}

impl AskPlaces {
    /// Takes in the next event.
    pub fn read(&mut self, event: &Event) {
        let (Event::TrialProposed { ask, heard, .. } | Event::ProposalsEnded { ask, heard, .. }) =
            event
        else {
            return;
        };
        match heard {
            // A user's, of no ask.
            _ if *ask == NO_ASK => {}
            Some(heard) => self.places.push_back(AskPlace {
                ask: *ask,
                heard: *heard,
            }),
            None => self.unplaced += 1,
        }
    }
}

/// The second reading.
pub struct Replay {
    search: Search,
    proposer: Proposer,
    places: VecDeque<AskPlace>,
    /// Answers whose recorded ones have not come by.
    answers: VecDeque<Answer>,
    /// Refusals of the recorded answer that is coming by, and its ask.
    refused: (u64, Vec<Refusal>),
    findings: Findings,
}

impl Replay {
    /// After the first event of a search's stream; `None` when that is another event than the one that creates a
    /// search.
    #[must_use]
    pub fn begin(id: SearchId, first: &Event, time_ms: u64, places: AskPlaces) -> Option<Self> {
        let search = Search::from_first_event(id, first, time_ms)?;
        Some(Self {
            proposer: Proposer::new(search.definition()),
            search,
            places: places.places,
            answers: VecDeque::new(),
            refused: (0, Vec::new()),
            findings: Findings {
                unplaced: places.unplaced,
                ..Findings::default()
            },
        })
    }

    /// Takes in the next event of the journal.
    pub fn read(&mut self, event: &Event, time_ms: u64) {
        self.ask();
        self.compare(event);
        self.proposer.recorded(event);
        for effect in self.search.apply(event, time_ms) {
            if let Effect::Tell(observation) = effect {
                self.ask();
                self.proposer.tell(&observation);
            }
        }
    }

    /// What was found in all that was read.
    #[must_use]
    pub fn findings(self) -> Findings {
        self.findings
    }

    /// Makes the asks that were made at this place.
    fn ask(&mut self) {
        let heard = self.proposer.heard();
        while let Some(place) = self.places.pop_front_if(|place| place.heard <= heard) {
            self.answers.push_back(self.proposer.ask(place.ask));
        }
    }

    fn compare(&mut self, event: &Event) {
        match event {
            Event::ProposalRefused { ask, refusal } if *ask != NO_ASK => {
                if self.refused.0 != *ask {
                    self.refused = (*ask, Vec::new());
                }
                self.refused.1.push(unnumbered(refusal.clone()));
            }
            Event::TrialProposed {
                ask,
                trial,
                proposal,
                ..
            } => self.compare_answer(*ask, Some(*trial), Ok(proposal.clone())),
            Event::ProposalsEnded { ask, reason, .. } => {
                self.compare_answer(*ask, None, Err(reason.clone()));
            }
            _ => {}
        }
    }

    fn compare_answer(
        &mut self,
        ask: u64,
        trial: Option<TrialNumber>,
        outcome: Result<Box<Prepared>, String>,
    ) {
        if ask == NO_ASK {
            return;
        }
        let (of, refused) = std::mem::take(&mut self.refused);
        let Some(answer) = self.answers.pop_front_if(|answer| answer.ask == ask) else {
            return; // of before its place was recorded
        };
        let recorded = Derived {
            refused: if of == ask { refused } else { Vec::new() },
            outcome,
        };
        let derived = Derived {
            refused: answer.refused,
            outcome: answer.outcome,
        };
        self.findings.compared += 1;
        if recorded == derived {
            return;
        }
        self.findings.differing += 1;
        self.findings.first.get_or_insert_with(|| {
            Box::new(Difference {
                ask,
                trial,
                recorded,
                derived,
            })
        });
    }
}

/// The trial's number is given when a refusal is recorded.
fn unnumbered(mut refusal: Refusal) -> Refusal {
    if let Refused::Infeasible { trial, .. } = &mut refusal.refused {
        *trial = TrialNumber(0);
    }
    refusal
}
