//! Bayesian optimisation as a searcher sees it: asks and tells, without a coordinator.

use std::sync::Arc;

use espalier_common::candidate::{Candidate, DecisionPath, Value};
use espalier_common::ids::TrialNumber;
use espalier_common::observation::{Observation, Outcome};

use super::*;
use crate::search::Definition;
use crate::searcher::{AskContext, Random, rng_for};

fn definition(space: &str) -> Arc<Definition> {
    let text = format!(
        "name: toy\n{space}\nevaluator: own\nsearcher: bayesian\nobjectives: [{{maximize: score}}]\n\
         budget: {{trials: 1000}}\nseed: 3\n"
    );
    let spec = espalier_common::spec::read(&text, "toy.yaml").expect("a spec");
    Arc::new(Definition::new(spec, text, None, None))
}

const FLAT: &str = "hyperparameters:\n  a: {range: [0.0, 1.0]}\n  b: {range: [0.0, 1.0]}\n  \
                    c: {choice: [x, y, z]}";
const SMALL: &str =
    "hyperparameters:\n  a: {range: [0, 9]}\n  b: {range: [0, 9]}\n  c: {choice: [x, y, z]}";

fn number(candidate: &Candidate, name: &str) -> f64 {
    match candidate.get(&DecisionPath(format!("hyperparameters.{name}"))) {
        Some(Value::Real(number)) => *number,
        Some(Value::Integer(number)) => *number as f64 / 9.0,
        other => panic!("{name} is {other:?}"),
    }
}

/// Greatest, at zero, where `a` is 0.7, `b` is 0.2 and `c` is `y`.
fn score(candidate: &Candidate) -> f64 {
    let c = candidate.get(&DecisionPath("hyperparameters.c".to_owned()));
    let off = if c == Some(&Value::Text("y".to_owned())) {
        0.0
    } else {
        0.3
    };
    -(number(candidate, "a") - 0.7).powi(2) - (number(candidate, "b") - 0.2).powi(2) - off
}

/// Asks and tells in turn.
struct Run {
    definition: Arc<Definition>,
    searcher: Box<dyn Searcher>,
    seed: u64,
    told: Vec<Observation>,
}

impl Run {
    fn new(space: &str, seed: u64) -> Self {
        let definition = definition(space);
        Self {
            searcher: Box::new(Bayesian::new(
                &definition,
                Kernel::Network,
                5,
                &Arc::default(),
            )),
            definition,
            seed,
            told: Vec::new(),
        }
    }

    fn ask(&self, pending: &[&Candidate]) -> Proposal {
        let number = (self.told.len() + pending.len()) as u64;
        let context = AskContext {
            space: &self.definition.spec.space,
            number,
            pending,
            refused: &[],
        };
        self.searcher
            .ask(&context, &mut rng_for(self.seed, number, 0))
    }

    fn tell(&mut self, candidate: Candidate, outcome: Outcome) {
        let observation = Observation {
            trial: Some(TrialNumber(self.told.len() as u32)),
            candidate,
            outcome,
            memo: None,
        };
        self.searcher.tell(&observation);
        self.told.push(observation);
    }

    fn go(&mut self, trials: usize, outcome: impl Fn(&Candidate) -> Outcome) -> f64 {
        let mut best = f64::NEG_INFINITY;
        for _ in 0..trials {
            let candidate = self.ask(&[]).candidate;
            let outcome = outcome(&candidate);
            if let Outcome::Scored { utility, .. } = outcome {
                best = best.max(utility);
            }
            self.tell(candidate, outcome);
        }
        best
    }
}

fn scored(utility: f64) -> Outcome {
    Outcome::Scored {
        utility,
        fidelity: 1,
    }
}

#[test]
fn it_finds_what_random_search_does_not() {
    for (space, close) in [(FLAT, 2e-3), (SMALL, 1e-9)] {
        let (mut regret, mut of_random) = (0.0, 0.0);
        let optimum = if space == SMALL {
            score_of_the_best_of_small()
        } else {
            0.0
        };
        for seed in 0..4 {
            let mut run = Run::new(space, seed);
            regret += optimum - run.go(35, |candidate| scored(score(candidate)));
            run = Run::new(space, seed);
            run.searcher = Box::new(Random);
            of_random += optimum - run.go(35, |candidate| scored(score(candidate)));
        }
        assert!(regret / 4.0 <= close, "{regret} in {space}");
        assert!(of_random / 4.0 > 3.0 * close, "{of_random} in {space}");
    }
}

fn score_of_the_best_of_small() -> f64 {
    let candidates = definition(SMALL).spec.space.enumerate(1_000).unwrap();
    candidates
        .iter()
        .map(score)
        .fold(f64::NEG_INFINITY, f64::max)
}

#[test]
fn pending_candidates_are_not_proposed_again_nor_crowded_around() {
    let mut run = Run::new(FLAT, 1);
    run.go(12, |candidate| scored(score(candidate)));
    let mut pending: Vec<Candidate> = Vec::new();
    for _ in 0..16 {
        let pending_now: Vec<&Candidate> = pending.iter().collect();
        let next = run.ask(&pending_now).candidate;
        assert!(!pending.contains(&next));
        pending.push(next);
    }
    let near = |a: &Candidate, b: &Candidate| {
        let apart = |name| (number(a, name) - number(b, name)).abs();
        apart("a") + apart("b") < 0.01 && score(a) > -0.3 && score(b) > -0.3
    };
    let pairs = (0..16).flat_map(|a| (0..a).map(move |b| (a, b)));
    let copies = pairs
        .filter(|&(a, b)| near(&pending[a], &pending[b]))
        .count();
    assert!(copies <= 4, "{copies} pairs are nearly alike");
}

#[test]
fn workers_that_begin_together_get_candidates_that_are_far_apart() {
    let apart = |all: &[Candidate]| {
        let pairs = (0..all.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
        let distance = |(a, b): (usize, usize)| {
            let along = |name| (number(&all[a], name) - number(&all[b], name)).powi(2);
            let same = all[a].get(&c_of()) == all[b].get(&c_of());
            along("a") + along("b") + f64::from(u8::from(!same))
        };
        pairs.map(distance).fold(f64::INFINITY, f64::min)
    };
    let (mut designed, mut drawn) = (0.0, 0.0);
    for seed in 0..10 {
        let run = Run::new(FLAT, seed);
        let mut pending: Vec<Candidate> = Vec::new();
        for _ in 0..12 {
            let out: Vec<&Candidate> = pending.iter().collect();
            let proposal = run.ask(&out);
            assert_eq!(proposal.origin.method, "covers the space");
            assert!(!pending.contains(&proposal.candidate));
            pending.push(proposal.candidate);
        }
        designed += apart(&pending);
        let mut rng = rng_for(seed, 0, 0);
        let space = &run.definition.spec.space;
        let random: Vec<Candidate> = (0..12).map(|_| space.sample(&mut rng)).collect();
        drawn += apart(&random);
    }
    assert!(designed > 3.0 * drawn, "{designed} against {drawn}");
}

fn c_of() -> DecisionPath {
    DecisionPath("hyperparameters.c".to_owned())
}

#[test]
fn what_was_told_alone_decides_what_is_asked_next() {
    for space in [FLAT, SMALL] {
        let mut run = Run::new(space, 9);
        run.go(20, |candidate| scored(score(candidate)));
        let next = run.ask(&[]);
        assert_eq!(run.ask(&[]), next, "an ask changes nothing");
        let mut again = Run::new(space, 9);
        for observation in run.told.clone() {
            again.tell(observation.candidate, observation.outcome);
        }
        assert_eq!(again.ask(&[]), next, "{space}");
    }
}

#[test]
fn a_model_that_was_thinned_out_proposes_the_same_whether_it_was_asked_before_or_not() {
    let (mut asked, mut silent) = (Run::new(FLAT, 2), Run::new(FLAT, 2));
    let mut rng = rng_for(2, 2, 2);
    for trial in 0..430 {
        let candidate = asked.definition.spec.space.sample(&mut rng);
        // The later, the better: so the pool changes all the time.
        let outcome = scored(score(&candidate) + f64::from(trial) / 100.0);
        asked.tell(candidate.clone(), outcome.clone());
        silent.tell(candidate, outcome);
        // Among them the 385th, which thins the model out.
        if trial > 375 {
            asked.ask(&[]);
        }
    }
    for _ in 0..3 {
        let next = asked.ask(&[]);
        assert_eq!(next, silent.ask(&[]));
        asked.tell(next.candidate.clone(), scored(5.0));
        silent.tell(next.candidate, scored(5.0));
    }
}

#[test]
fn constant_failed_and_wild_outcomes_give_valid_proposals() {
    type Outcomes = fn(&Candidate) -> Outcome;
    let all: [Outcomes; 5] = [
        |_| scored(0.5),
        |_| Outcome::Failed,
        |candidate| {
            if number(candidate, "a") < 0.5 {
                Outcome::Failed
            } else {
                scored(1.0)
            }
        },
        |candidate| scored(1e300 * (number(candidate, "a") - 0.5)),
        |candidate| {
            if number(candidate, "b") < 0.5 {
                scored(f64::MIN)
            } else {
                scored(1e-300)
            }
        },
    ];
    for outcomes in all {
        for space in [FLAT, SMALL] {
            let mut run = Run::new(space, 5);
            run.go(25, outcomes);
            let proposal = run.ask(&[]);
            assert!(
                run.definition
                    .spec
                    .space
                    .resolve(&proposal.candidate)
                    .is_ok()
            );
            let origin = proposal.origin;
            assert!(origin.acquisition.is_none_or(f64::is_finite), "{origin:?}");
            let finite = |(mean, deviation): (f64, f64)| mean.is_finite() && deviation.is_finite();
            assert!(origin.predicted.is_none_or(finite), "{origin:?}");
        }
    }
}

#[test]
fn a_space_of_one_member_and_one_that_is_used_up_are_answered() {
    let mut run = Run::new("hyperparameters:\n  a: {choice: [1]}", 1);
    for _ in 0..3 {
        let candidate = run.ask(&[]).candidate;
        run.tell(candidate, scored(1.0));
    }
    let mut run = Run::new("hyperparameters:\n  a: {range: [1, 7]}", 1);
    run.go(6, |candidate| scored(number(candidate, "a")));
    let missing: Vec<Candidate> = (run.definition.spec.space.enumerate(7).unwrap().into_iter())
        .filter(|candidate| run.told.iter().all(|told| told.candidate != *candidate))
        .collect();
    // None comes twice, the ones that cover the space included.
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(missing.contains(&run.ask(&[]).candidate));
}

#[test]
fn thousands_of_observations_leave_a_model_of_bounded_size() {
    let definition = definition(FLAT);
    let mut searcher = Bayesian::new(&definition, Kernel::Network, 5, &Arc::default());
    let mut rng = rng_for(1, 1, 1);
    for trial in 0..1_500 {
        let candidate = definition.spec.space.sample(&mut rng);
        let outcome = scored(score(&candidate));
        searcher.tell(&Observation {
            trial: Some(TrialNumber(trial)),
            candidate,
            outcome,
            memo: None,
        });
    }
    assert!(searcher.model.points().len() <= 384);
    assert_eq!(searcher.model.seen(), 1_500);
    let best = searcher
        .model
        .utilities()
        .into_iter()
        .fold(f64::NEG_INFINITY, f64::max);
    assert!(best > -0.01, "the best is kept: {best}");
}
