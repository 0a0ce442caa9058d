//! Local search: hill climbing by first improvement, with restarts and without repeats (White et al. 2021,
//! "Exploring the Loss Landscape in Neural Architecture Search"), asynchronous: the neighbours of the best
//! open climb are handed out one after another; when all of them are out, another climb goes on or begins.

use std::collections::VecDeque;
use std::sync::Arc;

use espalier_common::candidate::Candidate;
use espalier_common::ids::TrialNumber;
use espalier_common::observation::{Observation, Origin, Outcome, Proposal};
use espalier_common::space::Space;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};

use super::moves::{Mark, Move, Print, moves, step};
use super::{AskContext, Searcher, random};

const NAME: &str = "local-search";
/// Climbs that are open at one time, the best ones. As many begin as there are slots; more than this would
/// only be far behind.
const MOST_CLIMBS: usize = 64;
/// Candidates that are remembered, so that a climb does not try again what is known: the youngest. Enough
/// for the neighbours of any place that a search comes back to.
const MOST_KNOWN: usize = 8_192;

/// Local search.
///
/// A climb begins at a candidate drawn at random. Its neighbours (see [`moves`]) are tried in random order;
/// the first that is better becomes the climb's place. A neighbour that is known already is not tried
/// again, and one known to be better is gone to at once. When every neighbour has been tried the climb
/// ends. Of several open climbs the one at the best place goes first.
#[derive(Clone, Debug)]
pub struct LocalSearch {
    space: Arc<Space>,
    /// Open climbs, best place first.
    climbs: Vec<Climb>,
    /// Candidates that had an outcome, youngest last.
    known: VecDeque<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    candidate: Candidate,
    print: Print,
    trial: Option<TrialNumber>,
    /// Absent for one that failed or was infeasible.
    utility: Option<f64>,
}

#[derive(Clone, Debug)]
struct Climb {
    place: Candidate,
    print: Print,
    trial: Option<TrialNumber>,
    utility: f64,
    /// Steps from the place that have not been tried.
    untried: Vec<Move>,
}

impl LocalSearch {
    /// A local search of this space that has seen nothing yet.
    #[must_use]
    pub fn new(space: Arc<Space>) -> Self {
        Self {
            space,
            climbs: Vec::new(),
            known: VecDeque::new(),
        }
    }

    /// A climb from here, moved on as far as what is known leads; `None` when it ends at once.
    fn climb(&self, place: &Candidate, trial: Option<TrialNumber>, utility: f64) -> Option<Climb> {
        let mut climb = Climb {
            place: place.clone(),
            print: Print::of(place),
            trial,
            utility,
            untried: Vec::new(),
        };
        // Each round goes up among finitely many known candidates, so it ends.
        loop {
            let mut better: Option<(&Known, f64)> = None;
            let mut tried: Vec<Mark> = Vec::new();
            for known in &self.known {
                let Some(mark) = climb.print.difference(&known.print) else {
                    continue;
                };
                tried.push(mark);
                let least = better.map_or(climb.utility, |(_, utility)| utility);
                if let Some(utility) = known.utility.filter(|utility| *utility > least) {
                    better = Some((known, utility));
                }
            }
            if let Some((known, utility)) = better {
                climb.place = known.candidate.clone();
                climb.print = known.print.clone();
                climb.trial = known.trial;
                climb.utility = utility;
                continue;
            }
            let mut untried = moves(&self.space, &climb.place);
            untried.retain(|one| !tried.contains(&one.mark));
            climb.untried = untried;
            return (!climb.untried.is_empty()).then_some(climb);
        }
    }

    /// Opens a climb, unless one is at that place already.
    fn open(&mut self, climb: Option<Climb>) {
        let Some(climb) = climb else {
            return;
        };
        if self.climbs.iter().any(|other| other.print == climb.print) {
            return;
        }
        let at = self
            .climbs
            .partition_point(|other| other.utility >= climb.utility);
        self.climbs.insert(at, climb);
        self.climbs.truncate(MOST_CLIMBS);
    }

    /// Tells every climb that has this candidate as a neighbour; whether one of them goes there.
    fn pass_on(&mut self, print: &Print, utility: Option<f64>) -> bool {
        let mut improves = false;
        self.climbs.retain_mut(|climb| {
            let Some(mark) = climb.print.difference(print) else {
                return true;
            };
            climb.untried.retain(|one| one.mark != mark);
            let better = utility.is_some_and(|utility| utility > climb.utility);
            improves |= better;
            // A climb that moves on is opened again at its new place: two that meet become one.
            !better && !climb.untried.is_empty()
        });
        improves
    }
}

/// Whether this outcome settles a candidate for good, and with what.
fn result(outcome: &Outcome) -> Option<Option<f64>> {
    match *outcome {
        Outcome::Scored { utility, .. } => Some(Some(utility)),
        Outcome::Failed | Outcome::Infeasible => Some(None),
        // It may still be tried.
        Outcome::Cancelled => None,
    }
}

impl Searcher for LocalSearch {
    fn name(&self) -> &'static str {
        NAME
    }

    fn tell(&mut self, observation: &Observation) {
        let Some(utility) = result(&observation.outcome) else {
            return;
        };
        let candidate = &observation.candidate;
        let print = Print::of(candidate);
        let goes_there = self.pass_on(&print, utility);
        self.known.push_back(Known {
            candidate: candidate.clone(),
            print,
            trial: observation.trial,
            utility,
        });
        if self.known.len() > MOST_KNOWN {
            self.known.pop_front();
        }
        let Some(utility) = utility else {
            return;
        };
        // What this searcher proposed as a neighbour begins no climb of its own; everything else does, but
        // not a duplicate, which has been climbed from before.
        let starts = observation.trial.is_some() && !is_neighbour(observation.memo.as_ref());
        if goes_there || starts {
            let climb = self.climb(candidate, observation.trial, utility);
            self.open(climb);
        }
    }

    fn ask(&self, context: &AskContext<'_>, rng: &mut ChaCha8Rng) -> Proposal {
        let refused = context.refused.iter().map(|refused| &refused.candidate);
        let out: Vec<Print> = context
            .pending
            .iter()
            .copied()
            .chain(refused)
            .map(Print::of)
            .collect();
        for climb in &self.climbs {
            let taken: Vec<Mark> = out
                .iter()
                .filter_map(|print| climb.print.difference(print))
                .collect();
            let free: Vec<&Move> = climb
                .untried
                .iter()
                .filter(|one| !taken.contains(&one.mark))
                .collect();
            if free.is_empty() {
                continue;
            }
            let chosen = free[rng.random_range(0..free.len())];
            let to = step(
                context.space,
                &climb.place,
                &chosen.path,
                &chosen.value,
                rng,
            );
            return neighbour(to, climb.trial, chosen);
        }
        random::draw(context.space, rng)
    }
}

fn neighbour(candidate: Candidate, parent: Option<TrialNumber>, chosen: &Move) -> Proposal {
    Proposal {
        candidate,
        origin: Origin {
            parents: parent.into_iter().collect(),
            mutated: Some(chosen.path.clone()),
            ..Origin::new(NAME, "neighbour")
        },
        memo: Some(json!({ "neighbour": true })),
    }
}

fn is_neighbour(memo: Option<&Json>) -> bool {
    memo.and_then(|memo| memo.get("neighbour")).is_some()
}
