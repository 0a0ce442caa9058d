//! What the tests of the core share: specs, and a search driven without a coordinator, by the same state
//! machine and proposer.

// Every test file compiles this module for itself and uses a part of it.
#![allow(dead_code, unreachable_pub)]
// Test code, though not in a `#[test]` function: a failure here is to fail the test.
#![allow(clippy::unwrap_used)]

pub mod model;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use espalier_common::candidate::{Candidate, Value};
use espalier_common::dataset::DatasetInfo;
use espalier_common::ids::{Digest, SearchId, TrialNumber, WorkerId};
use espalier_common::job::LeasedJob;
use espalier_common::metrics::{Measurement, Metrics};
use espalier_common::network::Shape;
use espalier_common::spec;
use espalier_core::search::{
    Command, Completion, Definition, Effect, Event, Rejection, Reply, Search, Step, step,
};
use espalier_core::searcher::{Answer, Proposer};
use uuid::Uuid;

/// Flat and discrete: 4^8 = 65,536 candidates.
pub const FLAT: &str = "
name: flat
hyperparameters:
  a: {choice: [0, 1, 2, 3]}
  b: {choice: [0, 1, 2, 3]}
  c: {choice: [0, 1, 2, 3]}
  d: {choice: [0, 1, 2, 3]}
  e: {choice: [0, 1, 2, 3]}
  f: {choice: [0, 1, 2, 3]}
  g: {choice: [0, 1, 2, 3]}
  h: {choice: [0, 1, 2, 3]}
evaluator: mine
objectives: [{maximize: score}]
budget: {trials: 100}
";

/// Decisions that are only there when another one is made in a certain way.
pub const CONDITIONAL: &str = "
name: conditional
hyperparameters: {width: {range: [8, 64], step: 8}}
training:
  epochs: 2
  optimizer:
    choice:
      sgd: {learning_rate: {range: [0.01, 0.5], scale: log}, momentum: {choice: [0, 0.9]}}
      adamw: {weight_decay: {range: [1e-4, 1e-1], scale: log}}
  schedule: {choice: [constant, {cosine: {warmup_epochs: {choice: [0, 1]}}}]}
evaluator: mine
objectives: [{minimize: loss}]
budget: {trials: 100}
";

/// Choices in repeats in a network; some candidates cannot be built, some are too large, and two
/// candidates may build one network.
pub const HIERARCHICAL: &str = "
name: hierarchical
dataset: {format: idx, path: images, validation: 100}
network:
  - conv: {channels: {choice: [8, 16]}, kernel: 3, stride: 2}
  - repeat:
      name: body
      times: {range: [0, 3]}
      block:
        - choice:
            plain: [{residual: [{conv: {kernel: {choice: [3, 5]}}}, batch_norm, relu]}]
            wide: [{conv: {channels: {choice: [32, 64]}, kernel: 3}}, relu]
            shrink: [{max_pool: {kernel: {choice: [2, 4]}}}]
            skip: []
  - optional: [{dropout: {rate: 0.1}}]
  - global_avg_pool
  - linear: {features: classes}
training: {epochs: 1}
objectives: [{maximize: accuracy}]
constraints: [{parameters: {at_most: 60k}}]
budget: {trials: 100}
";

/// Whole and real numbers on both scales, flags and names in one space.
pub const MIXED: &str = "
name: mixed
hyperparameters:
  layers: {range: [1, 6]}
  rate: {range: [1e-5, 1e-1], scale: log}
  dropout: {range: [0.0, 0.5]}
  width: {choice: [64, 128, 256]}
  norm: {choice: [true, false]}
  act: {choice: [relu, gelu, silu]}
evaluator: mine
objectives: [{maximize: score}]
budget: {trials: 100}
";

/// A network with a test split: the best is uploaded and tested. Without a budget.
pub const IMAGES: &str = "
name: images
dataset: {format: idx, path: images, validation: 100}
network:
  - conv: {channels: {choice: [2, 4, 300]}, kernel: {choice: [1, 3, 31]}, padding: 0}
  - relu
  - global_avg_pool
  - linear: {features: classes}
training: {epochs: 2, optimizer: {adamw: {learning_rate: {choice: [0.1, 0.01, 0.001]}}}}
objectives: [{maximize: accuracy}]
constraints: [{parameters: {at_most: 2k}}]
";

/// Hyperparameters inside others, which exist only where those are taken.
pub const NESTED: &str = "
name: nested
hyperparameters:
  optimizer:
    choice:
      sgd:
        rate: {range: [0.01, 1.0], scale: log}
        momentum: {choice: {plain: {}, heavy: {share: {choice: [0.5, 0.9, 0.99]}}}}
      adam: {rate: {range: [1e-4, 1e-2], scale: log}, fixed: 3}
      none: {}
    weights: {sgd: 3}
  augment: {optional: {strength: {range: [1, 3]}}}
  head: {width: {choice: [64, 128]}, depth: $depth}
tie: {depth: {choice: [1, 2]}}
evaluator: mine
objectives: [{maximize: score}]
budget: {trials: 100}
";

/// One of each kind of space.
pub const SPACES: [&str; 5] = [FLAT, CONDITIONAL, HIERARCHICAL, MIXED, NESTED];

/// The definition a spec leads to, with images of 16 by 16 where it names a data set.
pub fn definition(text: &str) -> Arc<Definition> {
    let spec = spec::read(text, "test.yaml").unwrap_or_else(|errors| panic!("{errors}"));
    let dataset = spec.dataset.clone().map(|reference| DatasetInfo {
        fingerprint: Digest::of(reference.path.as_bytes()),
        reference,
        input: Shape::image(1, 16, 16),
        classes: 10,
        vocabulary: None,
        train: 1000,
        validation: 100,
        test: 100,
    });
    Arc::new(Definition::new(spec, text.to_owned(), dataset, None))
}

/// The definition with another searcher, budget of trials and seed.
pub fn definition_with(text: &str, searcher: &str, trials: u32, seed: u64) -> Arc<Definition> {
    let mut definition = definition(&format!("{text}\nsearcher: {searcher}\nseed: {seed}\n"));
    Arc::make_mut(&mut definition).spec.budget.trials = Some(trials);
    definition
}

/// A worker.
pub fn worker(number: u128) -> WorkerId {
    WorkerId(Uuid::from_u128(number))
}

/// Every trial that waits and failed on some worker before.
pub fn retries(search: &Search) -> BTreeSet<TrialNumber> {
    let waiting = search.waiting().retries;
    waiting.iter().map(|retry| retry.trial).collect()
}

/// A completion with a score, as an evaluator would bring it.
pub fn completion(metric: &str, score: f64) -> Completion {
    Completion {
        measurements: vec![Measurement {
            step: 1,
            metrics: Metrics::from([(metric, score)]),
        }],
        seconds: 1.0,
        ..Completion::default()
    }
}

/// A made-up score: the share of decisions that are right, with a bonus for neighbours in the order of
/// the paths that are both right, so that decisions depend on one another.
pub fn toy_score(candidate: &Candidate) -> f64 {
    let right: Vec<bool> = candidate
        .0
        .iter()
        .enumerate()
        .map(|(index, (_, value))| match value {
            Value::Integer(number) => *number == (index as i64 * 7 + 3) % 4,
            _ => false,
        })
        .collect();
    let single = right.iter().filter(|right| **right).count();
    let pairs = right.windows(2).filter(|pair| pair[0] && pair[1]).count();
    (single + pairs) as f64 / (2 * right.len() - 1) as f64
}

/// A search with its proposer, and the events a journal would hold.
pub struct Run {
    /// The state.
    pub search: Search,
    /// The searcher's side.
    pub proposer: Proposer,
    /// Every event with its time.
    pub journal: Vec<(Event, u64)>,
    /// Answers on their way to the state machine.
    pub in_flight: VecDeque<Answer>,
    /// The time.
    pub now_ms: u64,
    make: fn(&Arc<Definition>) -> Proposer,
}

impl Run {
    /// A new search.
    pub fn new(definition: &Arc<Definition>) -> Self {
        Self::with_proposer(definition, Proposer::new)
    }

    /// A new search whose proposer is made otherwise.
    pub fn with_proposer(
        definition: &Arc<Definition>,
        make: fn(&Arc<Definition>) -> Proposer,
    ) -> Self {
        let event = Event::SearchCreated {
            definition: Box::new(definition.as_ref().clone()),
        };
        Self {
            search: Search::from_first_event(SearchId(Uuid::from_u128(1)), &event, 0).unwrap(),
            proposer: make(definition),
            make,
            journal: vec![(event, 0)],
            in_flight: VecDeque::new(),
            now_ms: 0,
        }
    }

    /// Gives a command, as the search's actor does: state, then journal, then the proposer's queue.
    pub fn command(&mut self, command: Command) -> Result<Step, Rejection> {
        let step = step(&mut self.search, command, self.now_ms)?;
        for event in &step.events {
            self.journal.push((event.clone(), self.now_ms));
            self.proposer.recorded(event);
        }
        tell(&mut self.proposer, &step.effects);
        Ok(step)
    }

    /// Asks for one more proposal; its answer stays on its way.
    pub fn ask(&mut self) -> Answer {
        let number = self.search.next_ask() + self.in_flight.len() as u64;
        let answer = self.proposer.ask(number);
        self.in_flight.push_back(answer.clone());
        answer
    }

    /// Delivers the oldest answer on its way.
    pub fn deliver(&mut self) -> Option<Step> {
        let answer = self.in_flight.pop_front()?;
        Some(self.command(answer.into()).unwrap())
    }

    /// Leases jobs to a worker.
    pub fn lease(&mut self, number: u128, slots: u32) -> Vec<LeasedJob> {
        let retries = retries(&self.search);
        let command = Command::LeaseJobs {
            worker: worker(number),
            slots,
            can_test: true,
            can_resume: false,
            retries,
        };
        match self.command(command).unwrap().reply {
            Reply::Leased(jobs) => jobs,
            other => panic!("a lease is answered with {other:?}"),
        }
    }

    /// Completes a leased job with a score.
    pub fn complete(&mut self, number: u128, job: &LeasedJob, score: f64) -> Step {
        let command = Command::CompleteJob {
            worker: worker(number),
            trial: job.trial,
            attempt: job.attempt,
            completion: completion(&job.objective.metric, score),
        };
        self.command(command).unwrap()
    }

    /// Runs to the end with so many slots, scoring candidates by `score`; the best score.
    pub fn run_to_the_end(&mut self, slots: usize, score: impl Fn(&Candidate) -> f64) -> f64 {
        let mut jobs: VecDeque<LeasedJob> = VecDeque::new();
        loop {
            while jobs.len() < slots && self.search.proposals_wanted() > 0 {
                self.ask();
                self.deliver();
                jobs.extend(self.lease(1, 1));
            }
            let Some(job) = jobs.pop_front() else {
                break;
            };
            let score = score(&job.decisions);
            self.complete(1, &job, score);
        }
        self.search.best().map_or(f64::NAN, |best| best.score)
    }

    /// What a coordinator that starts again has: state and proposer read from the journal, no asks.
    pub fn replayed(&self) -> (Search, Proposer) {
        let ((first, time), rest) = self.journal.split_first().unwrap();
        let mut search = Search::from_first_event(self.search.id(), first, *time).unwrap();
        let mut proposer = (self.make)(search.definition());
        for (event, time) in rest {
            proposer.recorded(event);
            let effects = search.apply(event, *time);
            tell(&mut proposer, &effects);
        }
        (search, proposer)
    }
}

fn tell(proposer: &mut Proposer, effects: &[Effect]) {
    for effect in effects {
        if let Effect::Tell(observation) = effect {
            proposer.tell(observation);
        }
    }
}
