//! A predictor ensemble (White et al. 2021, "BANANAS: Bayesian Optimization with Neural Architectures for Neural
//! Architecture Search"): several models learn from what was tried, mutations of the best are
//! looked at, and one is taken by independent Thompson sampling. The models are boosted trees, which need no
//! more than some dozens of trials. May import the features and the definition of a search.

mod ensemble;
mod trees;

use std::collections::BTreeSet;
use std::sync::Arc;

use espalier_common::candidate::Candidate;
use espalier_common::ids::{Digest, TrialNumber};
use espalier_common::observation::{Observation, Origin, Outcome, Proposal, Rank};
use espalier_common::spec::Kernel;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use self::ensemble::Ensemble;
use super::book::assignment_id;
use super::describe::{Described, Describer};
use super::shared::Shared;
use super::{AskContext, Searcher, random};
use crate::features::Sparse;
use crate::search::Definition;

const NAME: &str = "bananas";
/// The best so many are mutated.
const PARENTS: usize = 10;
/// The most changes on the way to a mutation; each further one is half as likely.
const CHANGES: u32 = 3;
/// The share of candidates that is drawn at random, so that what no parent has is looked at as well.
const AT_RANDOM: f64 = 0.1;
/// Draws for each candidate that is wanted: known ones and ones that cannot be built are drawn again.
const DRAWS_FOR_ONE: u32 = 3;
/// How much more the truth may differ than the models do from one another: they have seen much the same rows, so
/// they are surer together than they should be. With 1 a search in four stayed for long where it was.
const DOUBT: f64 = 2.5;
/// The models are fitted anew when there are so many times as many scores.
const GROWTH: f64 = 1.1;
/// The most rows a model is fitted to: the better half of them, and evenly some of the rest.
const MOST_ROWS: usize = 600;

/// The settings of the ensemble.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BananasSettings {
    /// Trials at random before the first model.
    pub start: u32,
    /// Candidates that are looked at for each proposal.
    pub candidates: u32,
}

/// Search by a predictor ensemble.
///
/// The target of the models is how a candidate ranks among those tried, on a logarithmic scale: the best differ
/// the most, and no outlier can pull it. Each ask draws a score for every candidate from what the
/// ensemble says of it, and takes the best draw: parallel workers get different ones, and none that is pending.
#[derive(Debug)]
pub struct Bananas {
    definition: Arc<Definition>,
    describer: Describer,
    settings: BananasSettings,
    /// Scored candidates, best first; of equals the older one.
    scored: Vec<Scored>,
    /// Every assignment that was told.
    known: BTreeSet<Digest>,
    /// Trials that ended with a score or by their own fault.
    ended: u32,
    model: Option<Ensemble>,
    /// Scores that the model has seen.
    fitted: usize,
}

#[derive(Clone, Debug)]
struct Scored {
    trial: Option<TrialNumber>,
    utility: f64,
    described: Arc<Described>,
}

struct Choice {
    candidate: Candidate,
    parent: Option<TrialNumber>,
    mean: f64,
    /// The score that was drawn for it.
    drawn: f64,
    /// Where it stands by its mean; known when all have been looked at.
    rank: Rank,
}

impl Bananas {
    /// An ensemble for a search that has seen nothing yet.
    #[must_use]
    pub fn new(
        definition: &Arc<Definition>,
        settings: BananasSettings,
        shared: &Arc<Shared>,
    ) -> Self {
        Self {
            definition: Arc::clone(definition),
            describer: Describer::new(definition, Kernel::Network, shared),
            settings,
            scored: Vec::new(),
            known: BTreeSet::new(),
            ended: 0,
            model: None,
            fitted: 0,
        }
    }

    fn fit(&mut self) {
        let count = self.scored.len();
        let due = (self.fitted as f64 * GROWTH).max(self.fitted as f64 + 1.0);
        if (count as f64) < due || self.ended < self.settings.start {
            return;
        }
        let half = MOST_ROWS / 2;
        let stride = count.saturating_sub(half).div_ceil(half).max(1);
        let chosen = self.scored.iter().enumerate();
        let chosen: Vec<(usize, &Scored)> = chosen
            .filter(|(rank, _)| *rank < half || (rank - half).is_multiple_of(stride))
            .collect();
        let rows: Vec<&[Sparse]> = chosen
            .iter()
            .map(|(_, one)| one.described.features.as_slice())
            .collect();
        let targets: Vec<f64> = chosen.iter().map(|(rank, _)| self.target(*rank)).collect();
        self.model = Some(Ensemble::fit(&rows, &targets, self.definition.spec.seed));
        self.fitted = count;
    }

    /// What the models learn of the candidate at this rank: the logarithm of how few are better. Equal scores
    /// have equal targets.
    fn target(&self, rank: usize) -> f64 {
        let utility = self.scored[rank].utility;
        let first = self.scored.partition_point(|one| one.utility > utility);
        let last = self.scored.partition_point(|one| one.utility >= utility);
        let middle = f64::midpoint(first as f64, last as f64);
        -(middle / self.scored.len() as f64).ln()
    }

    /// One candidate to look at, and its parent.
    fn draw(&self, rng: &mut ChaCha8Rng) -> (Candidate, Option<TrialNumber>) {
        let space = &self.definition.spec.space;
        if rng.random_bool(AT_RANDOM) {
            return (space.sample(rng), None);
        }
        let parent = &self.scored[rng.random_range(0..self.scored.len().min(PARENTS))];
        let mut candidate = parent.described.candidate.clone();
        for change in 0..CHANGES {
            if change > 0 && rng.random_bool(0.5) {
                break;
            }
            if let Some((mutated, _)) = space.mutate(&candidate, rng) {
                candidate = mutated;
            }
        }
        (candidate, parent.trial)
    }

    fn choose(
        &self,
        model: &Ensemble,
        context: &AskContext<'_>,
        rng: &mut ChaCha8Rng,
    ) -> Option<Choice> {
        let refused = context.refused.iter().map(|refused| &refused.candidate);
        let pending = context.pending.iter().copied();
        let mut out: BTreeSet<Digest> = pending.chain(refused).map(assignment_id).collect();
        let mut best: Option<Choice> = None;
        let mut means = Vec::new();
        for _ in 0..self.settings.candidates.saturating_mul(DRAWS_FOR_ONE) {
            if means.len() >= self.settings.candidates as usize {
                break;
            }
            let (candidate, parent) = self.draw(rng);
            let assignment = assignment_id(&candidate);
            if self.known.contains(&assignment) || !out.insert(assignment) {
                continue;
            }
            let Some(described) = self.describer.recall(&candidate, assignment) else {
                continue;
            };
            let (mean, deviation) = model.predict(&described.features);
            means.push(mean);
            let drawn = mean + DOUBT * deviation * random::normal(rng);
            if best.as_ref().is_none_or(|best| drawn > best.drawn) {
                best = Some(Choice {
                    candidate,
                    parent,
                    mean,
                    drawn,
                    rank: Rank { place: 1, among: 1 },
                });
            }
        }
        best.map(|best| Choice {
            rank: Rank::of(best.mean, means),
            ..best
        })
    }
}

impl Searcher for Bananas {
    fn name(&self) -> &'static str {
        NAME
    }

    fn tell(&mut self, observation: &Observation) {
        let assignment = assignment_id(&observation.candidate);
        self.known.insert(assignment);
        // A duplicate adds nothing: its twin has taught the models already.
        if observation.trial.is_none() {
            return;
        }
        match observation.outcome {
            Outcome::Scored { utility, .. } => {
                self.ended += 1;
                let described = self.describer.recall(&observation.candidate, assignment);
                if let Some(described) = described {
                    let place = self.scored.partition_point(|one| one.utility >= utility);
                    let scored = Scored {
                        trial: observation.trial,
                        utility,
                        described,
                    };
                    self.scored.insert(place, scored);
                }
                self.fit();
            }
            Outcome::Failed => self.ended += 1,
            Outcome::Infeasible | Outcome::Cancelled => {}
        }
    }

    fn ask(&self, context: &AskContext<'_>, rng: &mut ChaCha8Rng) -> Proposal {
        let model = self.model.as_ref().filter(|_| !self.scored.is_empty());
        let chosen = model.and_then(|model| self.choose(model, context, rng));
        let Some(chosen) = chosen else {
            return random::draw(context.space, rng);
        };
        Proposal {
            candidate: chosen.candidate,
            origin: Origin {
                searcher: NAME.to_owned(),
                method: "ensemble".to_owned(),
                parents: chosen.parent.into_iter().collect(),
                mutated: None,
                // On the scale of ranks, which has no way back to scores.
                predicted: None,
                acquisition: Some(chosen.drawn),
                improvement: None,
                rank: Some(chosen.rank),
            },
            memo: None,
        }
    }
}
