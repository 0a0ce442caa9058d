//! Aging evolution (Real et al. 2019, "Regularized Evolution for Image Classifier Architecture Search"),
//! asynchronous: the population is a ring of the youngest scored trials, and a child is made from whatever
//! is in it when somebody asks, so no worker waits for a generation to end.

use std::collections::VecDeque;

use espalier_common::candidate::{Candidate, DecisionPath};
use espalier_common::ids::TrialNumber;
use espalier_common::observation::{Observation, Origin, Outcome, Proposal};
use espalier_common::space::{Domain, Space};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::moves::step;
use super::{AskContext, Searcher, random};

const NAME: &str = "evolution";
/// The population takes at most this part of a budget of trials: of parts from a third to a thirtieth, a
/// fifth found the most on made-up spaces with budgets from 12 to 300 trials.
const BUDGET_SHARE: u32 = 5;
/// The population that a small budget still affords, unless it is more than a third of it.
const SMALL_POPULATION: u32 = 8;
/// The smallest population: with fewer, the first few draws decide everything.
const LEAST_POPULATION: u32 = 4;

/// Aging evolution.
///
/// The first proposals are random, until as many trials have ended (with a score, or by their own fault) as
/// the population holds. From then on a child is made of the best of `tournament` members drawn at random;
/// with the probability `crossover` it is crossed with the winner of a second tournament first; then one
/// decision is mutated. A failed trial never enters the population and pushes nobody out of it. A duplicate
/// brings nothing new and does not enter either: copies would crowd out the others.
#[derive(Clone, Debug)]
pub struct Evolution {
    population: usize,
    tournament: u32,
    crossover: f64,
    rates: Rates,
    /// Trials that ended with a score or by their own fault.
    ended: usize,
    /// The youngest scored trials, oldest first.
    members: VecDeque<Member>,
}

#[derive(Clone, Debug)]
struct Member {
    trial: TrialNumber,
    candidate: Candidate,
    utility: f64,
}

impl Evolution {
    /// With the settings of the spec. `trials` is the search's budget: a small one shrinks the population to
    /// a fifth of it (but not below 8 as long as that is at most a third, and never below 4), since
    /// otherwise the random phase alone would use it up. The tournament stays as it is while it fits: the
    /// less time there is, the greedier the choice of parents should be.
    #[must_use]
    pub fn new(
        population: u32,
        tournament: u32,
        crossover: f64,
        rates: Rates,
        trials: Option<u32>,
    ) -> Self {
        let (population, tournament) = scaled(population, tournament, trials);
        Self {
            population: population as usize,
            tournament,
            crossover: if crossover.is_finite() {
                crossover.clamp(0.0, 1.0)
            } else {
                0.0
            },
            rates,
            ended: 0,
            members: VecDeque::new(),
        }
    }

    /// The best of `tournament` members drawn at random with replacement, as in the paper's code; of
    /// equals the one drawn first. `None` while there is no member.
    fn winner(&self, rng: &mut ChaCha8Rng) -> Option<&Member> {
        let mut best: Option<&Member> = None;
        for _ in 0..self.tournament {
            if self.members.is_empty() {
                return None;
            }
            let drawn = self.members.get(rng.random_range(0..self.members.len()));
            best = match (best, drawn) {
                (Some(best), Some(drawn)) if drawn.utility <= best.utility => Some(best),
                (best, drawn) => drawn.or(best),
            };
        }
        best
    }

    /// A child of the population, or `None` while there is no member or nothing to mutate.
    fn child(&self, context: &AskContext<'_>, rng: &mut ChaCha8Rng) -> Option<Proposal> {
        let first = self.winner(rng)?;
        let second = if rng.random_bool(self.crossover) {
            self.winner(rng)
                .filter(|second| second.candidate != first.candidate)
        } else {
            None
        };
        match second {
            None => {
                let (candidate, mutated) =
                    self.rates.mutate(context.space, &first.candidate, rng)?;
                Some(proposal(candidate, "mutation", vec![first.trial], mutated))
            }
            Some(second) => {
                let crossed = context
                    .space
                    .crossover(&first.candidate, &second.candidate, rng);
                let (candidate, mutated) = self.rates.mutate(context.space, &crossed, rng)?;
                let parents = vec![first.trial, second.trial];
                Some(proposal(candidate, "crossover", parents, mutated))
            }
        }
    }
}

/// How likely decisions of each kind are to be the one that a mutation changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// The weight of each choice.
    pub choices: f64,
    /// The weight of each range.
    pub ranges: f64,
}

impl Rates {
    /// A copy of `parent` in which one decision takes another value, and that decision; `None` where there
    /// is no decision with a weight above zero.
    fn mutate(
        &self,
        space: &Space,
        parent: &Candidate,
        rng: &mut ChaCha8Rng,
    ) -> Option<(Candidate, DecisionPath)> {
        let open = space.open_decisions(parent);
        let weight = |domain: &Domain| {
            let weight = if domain.is_range() {
                self.ranges
            } else {
                self.choices
            };
            if weight.is_finite() {
                weight.max(0.0)
            } else {
                0.0
            }
        };
        let total: f64 = open.iter().map(|(_, domain)| weight(domain)).sum();
        let mut left = rng.random::<f64>() * total;
        let mut chosen = None;
        for decision in &open {
            let weight = weight(&decision.1);
            if weight > 0.0 {
                chosen = Some(decision);
            }
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
        let (path, domain) = chosen?;
        let value = domain.neighbour(parent.get(path)?, rng);
        Some((step(space, parent, path, &value, rng), path.clone()))
    }
}

/// Population and tournament for a budget.
fn scaled(population: u32, tournament: u32, trials: Option<u32>) -> (u32, u32) {
    let affordable = trials.map_or(u32::MAX, |trials| {
        (trials / BUDGET_SHARE)
            .max(SMALL_POPULATION.min(trials / 3))
            .max(LEAST_POPULATION)
    });
    let population = population.clamp(1, affordable);
    (population, tournament.clamp(1, population))
}

fn proposal(
    candidate: Candidate,
    method: &str,
    parents: Vec<TrialNumber>,
    mutated: DecisionPath,
) -> Proposal {
    Proposal {
        candidate,
        origin: Origin {
            parents,
            mutated: Some(mutated),
            ..Origin::new(NAME, method)
        },
        memo: None,
    }
}

impl Searcher for Evolution {
    fn name(&self) -> &'static str {
        NAME
    }

    fn tell(&mut self, observation: &Observation) {
        // A duplicate has no trial of its own.
        let Some(trial) = observation.trial else {
            return;
        };
        match observation.outcome {
            Outcome::Scored { utility, .. } => {
                self.ended += 1;
                self.members.push_back(Member {
                    trial,
                    candidate: observation.candidate.clone(),
                    utility,
                });
                if self.members.len() > self.population {
                    self.members.pop_front();
                }
            }
            Outcome::Failed => self.ended += 1,
            // Neither cost a worker's time for a result.
            Outcome::Infeasible | Outcome::Cancelled => {}
        }
    }

    fn ask(&self, context: &AskContext<'_>, rng: &mut ChaCha8Rng) -> Proposal {
        let child = if self.ended < self.population {
            None
        } else {
            self.child(context, rng)
        };
        child.unwrap_or_else(|| random::draw(context.space, rng))
    }
}

#[cfg(test)]
mod tests {
    use super::scaled;

    #[test]
    fn a_small_budget_shrinks_the_population() {
        assert_eq!(scaled(50, 10, None), (50, 10));
        assert_eq!(scaled(50, 10, Some(1000)), (50, 10));
        assert_eq!(scaled(50, 10, Some(100)), (20, 10));
        assert_eq!(scaled(50, 10, Some(24)), (8, 8));
        assert_eq!(scaled(50, 10, Some(12)), (4, 4));
        assert_eq!(scaled(50, 10, Some(1)), (4, 4));
        assert_eq!(scaled(3, 2, Some(24)), (3, 2));
    }
}
