//! Reinforcement learning: a recurrent controller emits the decisions of a candidate one after another and is
//! moved towards what scored well. `reinforce` (Williams 1992; for architectures Zoph and Le 2017) takes a
//! step with every result, `ppo` (Schulman et al. 2017) goes several times over a batch of them. May import
//! `espalier-common`.
//!
//! Workers are asynchronous: a result may belong to a policy of long ago. So a proposal's memo has the
//! logarithm of its probability and the policy's version; a result counts by how much more likely the present
//! policy makes it, within bounds, and one that is too old does not count.

mod adam;
mod bins;
mod controller;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use espalier_common::candidate::{Candidate, DecisionPath, Value};
use espalier_common::ids::Digest;
use espalier_common::observation::{Observation, Origin, Outcome, Proposal};
use espalier_common::space::{Chooser, Domain, Space};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use self::adam::Adam;
use self::controller::{Controller, Step, Walk, normalise};
use super::book::assignment_id;
use super::{AskContext, Searcher};

/// Scores among which a new one is ranked: the moving baseline. As many as the policy's past of which the
/// present still resembles.
const WINDOW: usize = 100;
/// Fewer scores than this rank nothing.
const LEAST_RANKED: usize = 4;
/// A result counts at most so many times as much as when it was proposed: the variance of the estimate
/// would grow without bound otherwise.
const MOST_WEIGHT: f64 = 2.0;
/// Results of a policy this many versions ago, or more, say too little about the present one.
const OLDEST: u64 = 200;
/// How often a candidate that is known is drawn again within one ask, each time less greedily.
const DRAWS: u32 = 32;
/// How much flatter each further draw is.
const FLATTER: f64 = 0.1;
/// The largest Euclidean length of a gradient.
const LONGEST_GRADIENT: f64 = 5.0;

/// The settings of a policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PolicySettings {
    /// The size of a step.
    pub learning_rate: f64,
    /// How much the policy is kept from settling.
    pub entropy: f64,
    /// How results move the policy.
    pub update: PolicyUpdate,
}

/// How results move the policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PolicyUpdate {
    /// One step with each result, and so many of those before it.
    Reinforce {
        /// Results in a step.
        batch: u32,
    },
    /// Several steps with each batch of results, as long as the policy stays near the one it began with.
    Ppo {
        /// Results in a batch.
        batch: u32,
        /// Times it is gone over.
        epochs: u32,
        /// How far a probability may move, as a share of itself.
        clip: f64,
    },
}

/// What comes back with a result.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Memo {
    log_probability: f64,
    version: u64,
}

/// A result that the policy learns from.
#[derive(Clone, Debug)]
struct Sample {
    candidate: Candidate,
    memo: Memo,
    /// From -1 to 1: where it ranked among those before it.
    advantage: f64,
}

/// Search by a learned policy.
#[derive(Clone, Debug)]
pub struct Policy {
    space: Arc<Space>,
    settings: PolicySettings,
    controller: Controller,
    adam: Adam,
    /// Steps taken.
    version: u64,
    /// The latest scores.
    scores: VecDeque<f64>,
    samples: VecDeque<Sample>,
    /// Every assignment that was told.
    known: BTreeSet<Digest>,
}

impl Policy {
    /// A policy that prefers nothing yet. Its parameters begin as `seed` says.
    #[must_use]
    pub fn new(space: Arc<Space>, settings: PolicySettings, seed: u64) -> Self {
        Self {
            space,
            settings,
            controller: Controller::new(seed),
            adam: Adam::default(),
            version: 0,
            scores: VecDeque::new(),
            samples: VecDeque::new(),
            known: BTreeSet::new(),
        }
    }

    /// Where a score ranks among the latest ones, from -1 (below all) to 1; 0 while there are too few. The
    /// scale of scores does not matter, nor does how far off an outlier is.
    fn rank(&self, utility: f64) -> f64 {
        if self.scores.len() < LEAST_RANKED {
            return 0.0;
        }
        let below = self.scores.iter().filter(|score| **score < utility).count();
        let above = self.scores.iter().filter(|score| **score > utility).count();
        (below as f64 - above as f64) / self.scores.len() as f64
    }

    fn learn(&mut self, sample: Sample) {
        if self.version.saturating_sub(sample.memo.version) > OLDEST {
            return;
        }
        self.samples.push_back(sample);
        match self.settings.update {
            PolicyUpdate::Reinforce { batch } => {
                while self.samples.len() > batch.max(1) as usize {
                    self.samples.pop_front();
                }
                let batch: Vec<Sample> = self.samples.iter().cloned().collect();
                self.step(&batch, |sample, now| {
                    let ratio = (now - sample.memo.log_probability).exp();
                    sample.advantage * ratio.min(MOST_WEIGHT)
                });
            }
            PolicyUpdate::Ppo {
                batch,
                epochs,
                clip,
            } => {
                if self.samples.len() < batch.max(1) as usize {
                    return;
                }
                let batch: Vec<Sample> = self.samples.drain(..).collect();
                for _ in 0..epochs {
                    self.step(&batch, |sample, now| {
                        let ratio = (now - sample.memo.log_probability).exp();
                        let clipped = if sample.advantage > 0.0 {
                            ratio > 1.0 + clip
                        } else {
                            ratio < 1.0 - clip
                        };
                        // Where the objective is clipped it is flat.
                        if clipped {
                            0.0
                        } else {
                            sample.advantage * ratio.min(MOST_WEIGHT)
                        }
                    });
                }
            }
        }
    }

    /// One step up the objective; `weight` says how much a sample pulls, given its log-probability now.
    fn step(&mut self, batch: &[Sample], weight: impl Fn(&Sample, f64) -> f64) {
        let mut walks = Vec::with_capacity(batch.len());
        for sample in batch {
            walks.push(follow(&mut self.controller, &self.space, &sample.candidate));
        }
        let mut gradient = vec![0.0; self.controller.parameters.len()];
        for (sample, walk) in batch.iter().zip(&walks) {
            let weight = weight(sample, walk.log_probability());
            let share = 1.0 / batch.len() as f64;
            let pull = |step: &Step| pull(step, weight * share, self.settings.entropy * share);
            let pulls: Vec<Vec<f64>> = walk.steps.iter().map(pull).collect();
            self.controller.backward(walk, &pulls, &mut gradient);
        }
        let length = gradient
            .iter()
            .map(|slope| slope * slope)
            .sum::<f64>()
            .sqrt();
        // Nothing finite goes in that could make it infinite, but a policy must survive whatever comes.
        if !length.is_finite() {
            return;
        }
        if length > LONGEST_GRADIENT {
            for slope in &mut gradient {
                *slope *= LONGEST_GRADIENT / length;
            }
        }
        let rate = self.settings.learning_rate;
        self.adam
            .descend(&mut self.controller.parameters, &gradient, rate);
        self.version += 1;
    }
}

/// The derivatives of the loss by the logits of a step: of the log-probability of what was chosen times
/// `weight`, and of the entropy times `entropy`, both to be made larger.
fn pull(step: &Step, weight: f64, entropy: f64) -> Vec<f64> {
    let logs = &step.log_probabilities;
    let disorder: f64 = logs.iter().map(|log| -log.exp() * log).sum();
    let of = |(bin, log): (usize, &f64)| {
        let own = f64::from(u8::from(bin == step.bin));
        let probability = log.exp();
        weight * (probability - own) + entropy * probability * (log + disorder)
    };
    logs.iter().enumerate().map(of).collect()
}

/// The walk along the decisions of a candidate. The controller learns of those that are new.
fn follow(controller: &mut Controller, space: &Space, candidate: &Candidate) -> Walk {
    let mut follower = Follower {
        controller,
        candidate,
        walk: Walk::default(),
    };
    space.expand(&mut follower);
    follower.walk
}

struct Follower<'a> {
    controller: &'a mut Controller,
    candidate: &'a Candidate,
    walk: Walk,
}

impl Chooser for Follower<'_> {
    fn choose(&mut self, path: &DecisionPath, domain: &Domain) -> Value {
        let present = self
            .candidate
            .get(path)
            .and_then(|value| domain.canonical(value));
        let value = present.unwrap_or_else(|| domain.first());
        if domain.is_open() {
            let place = self.controller.learn_of(path, bins::count(domain));
            let mut step = self
                .controller
                .step(&self.controller.parameters, &self.walk, place);
            step.bin = bins::of(domain, &value);
            self.walk.steps.push(step);
        }
        value
    }
}

/// Draws a candidate from the policy.
struct Emitter<'a> {
    controller: &'a mut Controller,
    /// 1: as the policy has it; more: flatter.
    temperature: f64,
    rng: &'a mut ChaCha8Rng,
    walk: Walk,
    log_probability: f64,
}

impl Chooser for Emitter<'_> {
    fn choose(&mut self, path: &DecisionPath, domain: &Domain) -> Value {
        if !domain.is_open() {
            return domain.first();
        }
        let place = self.controller.learn_of(path, bins::count(domain));
        let mut step = self
            .controller
            .step(&self.controller.parameters, &self.walk, place);
        let logs = &step.log_probabilities;
        let mut flat: Vec<f64> = logs.iter().map(|log| log / self.temperature).collect();
        normalise(&mut flat);
        let mut left = self.rng.random::<f64>();
        let drawn = flat.iter().position(|log| {
            left -= log.exp();
            left < 0.0
        });
        // Rounding may leave a little.
        step.bin = drawn.unwrap_or(flat.len() - 1);
        self.log_probability += flat[step.bin];
        let value = bins::value(domain, step.bin, self.rng);
        self.walk.steps.push(step);
        value
    }
}

impl Searcher for Policy {
    fn name(&self) -> &'static str {
        match self.settings.update {
            PolicyUpdate::Reinforce { .. } => "reinforce",
            PolicyUpdate::Ppo { .. } => "ppo",
        }
    }

    fn tell(&mut self, observation: &Observation) {
        self.known.insert(assignment_id(&observation.candidate));
        let scored = match observation.outcome {
            Outcome::Scored { utility, .. } => Some(utility),
            Outcome::Failed | Outcome::Infeasible => None,
            Outcome::Cancelled => return,
        };
        // A duplicate was learned from when its twin had its score.
        if observation.trial.is_none() && observation.outcome != Outcome::Infeasible {
            return;
        }
        let advantage = scored.map_or(-1.0, |utility| self.rank(utility));
        if let Some(utility) = scored {
            self.scores.push_back(utility);
            if self.scores.len() > WINDOW {
                self.scores.pop_front();
            }
        }
        // What others proposed (chance, or an earlier search) has no memo; it only moves the baseline.
        let memo = observation.memo.clone().map(serde_json::from_value::<Memo>);
        if let Some(Ok(memo)) = memo {
            self.learn(Sample {
                candidate: observation.candidate.clone(),
                memo,
                advantage,
            });
        }
    }

    fn ask(&self, context: &AskContext<'_>, rng: &mut ChaCha8Rng) -> Proposal {
        let refused = context.refused.iter().map(|refused| &refused.candidate);
        let pending = context.pending.iter().copied();
        let out: BTreeSet<Digest> = pending.chain(refused).map(assignment_id).collect();
        // An ask may meet decisions that are new; what it learns of them is forgotten.
        let mut controller = self.controller.clone();
        let mut draw = 0;
        loop {
            let mut emitter = Emitter {
                controller: &mut controller,
                temperature: 1.0 + FLATTER * f64::from(draw),
                rng,
                walk: Walk::default(),
                log_probability: 0.0,
            };
            let candidate = context.space.expand(&mut emitter).candidate;
            let log_probability = emitter.log_probability;
            let assignment = assignment_id(&candidate);
            draw += 1;
            if draw >= DRAWS || !(self.known.contains(&assignment) || out.contains(&assignment)) {
                return self.proposal(candidate, log_probability);
            }
        }
    }
}

impl Policy {
    fn proposal(&self, candidate: Candidate, log_probability: f64) -> Proposal {
        let memo = Memo {
            log_probability,
            version: self.version,
        };
        Proposal {
            candidate,
            origin: Origin {
                searcher: self.name().to_owned(),
                method: "policy".to_owned(),
                parents: Vec::new(),
                mutated: None,
                predicted: None,
                // Its probability.
                acquisition: Some(log_probability.exp()),
                improvement: None,
                rank: None,
            },
            // Two numbers always have a JSON form.
            memo: serde_json::to_value(memo).ok(),
        }
    }
}
