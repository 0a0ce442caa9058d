//! The proposer's protocol: what is refused and told, and that a replayed proposer answers as the one that
//! lived through it all.

// Helpers stand outside of `#[test]` functions: a failure in them is to fail the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use espalier_common::candidate::Candidate;
use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::{Digest, TrialNumber};
use espalier_common::job::LeasedJob;
use espalier_common::observation::{Observation, Origin, Outcome, Proposal};
use espalier_core::search::{Command, Event, FinishReason, Phase, Refused, Steer};
use espalier_core::searcher::{AskContext, MAX_REFUSALS, MAX_SEARCHER_DRAWS, Proposer, Searcher};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::{FLAT, HIERARCHICAL, Run, SPACES, definition, definition_with, toy_score};

/// Six candidates.
const TINY: &str = "
name: tiny
hyperparameters: {a: {choice: [0, 1, 2]}, b: {choice: [true, false]}}
evaluator: mine
objectives: [{maximize: score}]
budget: {trials: 100}
";

/// What a scripted searcher was asked and told.
#[derive(Default)]
struct Heard {
    told: Vec<Observation>,
    pending: Vec<Vec<Candidate>>,
    refused: Vec<Vec<Observation>>,
}

/// Proposes the candidate at the place of its ask, again and again.
struct Scripted {
    script: Vec<Candidate>,
    heard: Arc<Mutex<Heard>>,
}

impl Searcher for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn tell(&mut self, observation: &Observation) {
        self.heard.lock().unwrap().told.push(observation.clone());
    }

    fn ask(&self, context: &AskContext<'_>, _rng: &mut ChaCha8Rng) -> Proposal {
        let mut heard = self.heard.lock().unwrap();
        let pending = context.pending.iter().copied().cloned().collect();
        heard.pending.push(pending);
        heard.refused.push(context.refused.to_vec());
        Proposal {
            candidate: self.script[context.number as usize - 1].clone(),
            origin: Origin::new("scripted", "script"),
            memo: Some(serde_json::json!({ "ask": context.number })),
        }
    }
}

fn scripted(text: &str, script: Vec<Candidate>) -> (Run, Arc<Mutex<Heard>>) {
    let definition = definition(text);
    let heard = Arc::new(Mutex::new(Heard::default()));
    let searcher = Scripted {
        script,
        heard: Arc::clone(&heard),
    };
    let mut run = Run::new(&definition);
    run.proposer = Proposer::with_searcher(&definition, Box::new(searcher));
    (run, heard)
}

/// Proposes by everything it was told, in its order, and by all that the context shows: the slightest
/// difference between two histories makes its proposals differ.
struct Sensitive(Digest);

impl Searcher for Sensitive {
    fn name(&self) -> &'static str {
        "sensitive"
    }

    fn tell(&mut self, observation: &Observation) {
        let said = serde_json::to_string(observation).unwrap();
        self.0 = Digest::of(format!("{}{said}", self.0).as_bytes());
    }

    fn ask(&self, context: &AskContext<'_>, rng: &mut ChaCha8Rng) -> Proposal {
        let seen = serde_json::to_string(&(context.pending, context.refused)).unwrap();
        let state = Digest::of(format!("{}{seen}{}", self.0, rng.next_u64()).as_bytes());
        Proposal {
            candidate: context.space.sample(&mut ChaCha8Rng::from_seed(state.0)),
            origin: Origin::new(self.name(), "random"),
            memo: Some(serde_json::json!(state.short())),
        }
    }
}

fn all_of(text: &str) -> Vec<Candidate> {
    definition(text).spec.space.enumerate(1000).unwrap()
}

#[test]
fn asks_in_flight_know_of_one_another() {
    let all = all_of(TINY);
    let script = vec![all[0].clone(), all[0].clone(), all[1].clone()];
    let (mut run, heard) = scripted(TINY, script);
    let first = run.ask();
    let second = run.ask();
    run.ask();
    let [first, second] = [first, second].map(|answer| answer.outcome.unwrap());
    assert_eq!(first.candidate, all[0]);
    assert_ne!(second.candidate, all[0]);
    assert_eq!(second.origin.searcher, "random", "chance took over");
    assert_eq!(
        heard.lock().unwrap().pending.last().unwrap(),
        &[first.candidate.clone(), second.candidate.clone()]
    );
    while run.deliver().is_some() {}
    assert_eq!(run.search.counts().accepted, 3);
    assert_eq!(
        run.search.counts().duplicates,
        0,
        "its trial had no number yet"
    );
}

#[test]
fn a_duplicate_is_refused_by_name_and_told_the_stored_result() {
    let all = all_of(TINY);
    let script = vec![all[3].clone(), all[3].clone(), all[3].clone()];
    let (mut run, heard) = scripted(TINY, script);
    run.ask();
    run.deliver();
    let refused = Refused::Duplicate { of: TrialNumber(1) };
    // While the trial is out there is nothing to tell.
    let answer = run.ask();
    assert_eq!(answer.refused.len(), 1, "the same candidate is listed once");
    assert_eq!(answer.refused[0].refused, refused);
    run.deliver();
    assert_eq!(heard.lock().unwrap().told, []);
    let jobs = run.lease(1, 1);
    run.complete(1, &jobs[0], 0.75);
    let outcome = Outcome::Scored {
        utility: 0.75,
        fidelity: 1,
    };
    let answer = run.ask();
    assert_eq!(answer.told, 1);
    assert_eq!(answer.refused[0].refused, refused);
    {
        let heard = heard.lock().unwrap();
        assert_eq!(heard.told.len(), 1, "an ask tells nothing");
        let seen = heard.refused.last().unwrap();
        assert_eq!(seen[0].outcome, outcome, "but shows what will be told");
    }
    run.deliver();
    let told = &heard.lock().unwrap().told;
    assert_eq!(told.len(), 2);
    assert_eq!(told[1].trial, None);
    assert_eq!(told[1].candidate, all[3]);
    assert_eq!(told[1].outcome, outcome);
    assert_eq!(told[1].memo, Some(serde_json::json!({"ask": 3})));
}

#[test]
fn an_infeasible_proposal_becomes_a_trial_and_is_told() {
    let space = &definition(HIERARCHICAL).spec.space;
    // Three rounds of shrinking by 4 leave nothing of an image of 8 by 8.
    let too_small = (0..10_000)
        .map(|number| space.sample(&mut espalier_core::searcher::rng_for(1, number, 0)))
        .find(|candidate| {
            let shrinks = candidate
                .0
                .values()
                .filter(|value| value.to_string() == "shrink");
            shrinks.count() == 3
                && candidate
                    .0
                    .iter()
                    .filter(|(path, value)| path.0.contains("shrink") && value.to_string() == "4")
                    .count()
                    == 3
        })
        .unwrap();
    let (mut run, heard) = scripted(HIERARCHICAL, vec![too_small.clone(), too_small.clone()]);
    run.ask();
    let step = run.deliver().unwrap();
    let Event::ProposalRefused { refusal, .. } = &step.events[0] else {
        panic!("{step:?}");
    };
    let Refused::Infeasible {
        trial,
        candidate_id,
        reason,
    } = &refusal.refused
    else {
        panic!("{refusal:?}");
    };
    assert_eq!((*trial, *candidate_id), (TrialNumber(1), None));
    assert!(reason.contains("max_pool"), "{reason}");
    assert_eq!(
        heard.lock().unwrap().told[0],
        Observation {
            trial: Some(TrialNumber(1)),
            candidate: too_small,
            outcome: Outcome::Infeasible,
            memo: Some(serde_json::json!({"ask": 1})),
        }
    );
    // The same again is a duplicate of that trial.
    let answer = run.ask();
    assert_eq!(
        answer.refused[0].refused,
        Refused::Duplicate { of: TrialNumber(1) }
    );
    run.deliver();
    assert_eq!(heard.lock().unwrap().told[1].outcome, Outcome::Infeasible);
}

#[test]
fn a_broken_constraint_says_which_and_how() {
    let text = HIERARCHICAL.replace("at_most: 60k", "at_most: 10");
    let definition = definition_with(&text, "random", 100, 1);
    let answer = Proposer::new(&definition).ask(1);
    let refused = answer
        .refused
        .iter()
        .filter_map(|refusal| match &refusal.refused {
            Refused::Infeasible {
                candidate_id: Some(_),
                reason,
                ..
            } => Some(reason),
            _ => None,
        });
    for reason in refused {
        assert!(
            reason.starts_with("constraints: parameters is "),
            "{reason}"
        );
        assert!(reason.ends_with("the spec allows at most 10"), "{reason}");
    }
    let reason = answer.outcome.unwrap_err();
    assert!(
        reason.starts_with("1000 proposals in a row were refused"),
        "{reason}"
    );
    assert!(answer.refused.len() <= MAX_REFUSALS as usize);
}

#[test]
fn chance_takes_over_from_a_searcher_that_repeats_itself() {
    let definition = definition(FLAT);
    let candidate = definition.spec.space.first();
    let (mut run, heard) = scripted(FLAT, vec![candidate.clone(), candidate]);
    run.ask();
    run.deliver();
    let answer = run.ask();
    assert_eq!(answer.outcome.unwrap().origin.searcher, "random");
    let asks = heard.lock().unwrap().pending.len();
    assert_eq!(asks, 1 + MAX_SEARCHER_DRAWS as usize);
}

#[test]
fn the_exhaustion_of_a_small_space_is_found_exactly() {
    for searcher in ["random", "evolution"] {
        let mut run = Run::new(&definition_with(TINY, searcher, 100, 1));
        run.run_to_the_end(1, toy_score);
        assert_eq!(run.search.counts().completed, 6);
        assert_eq!(
            *run.search.phase(),
            Phase::Finished(FinishReason::Exhausted(
                "all 6 candidates of the space have been proposed".to_owned()
            ))
        );
    }
}

#[test]
fn every_buildable_candidate_of_a_network_space_is_found_once() {
    let text = HIERARCHICAL
        .replace("range: [0, 3]", "range: [0, 2]")
        .replace("trials: 100", "trials: 1000");
    let definition = definition_with(&text, "random", 100_000, 1);
    let spec = &definition.spec;
    let all = spec.space.enumerate(10_000).unwrap();
    let wanted: BTreeSet<_> = all
        .iter()
        .filter_map(|candidate| {
            let built = spec.space.build(candidate, definition.dataset.as_ref());
            let keeps = |built: &_| spec.constraints.iter().all(|one| one.check(built).is_ok());
            built.ok().filter(keeps).map(|built| built.candidate_id)
        })
        .collect();
    let mut run = Run::new(&definition);
    run.run_to_the_end(1, toy_score);
    let found: Vec<_> = run
        .journal
        .iter()
        .filter_map(|(event, _)| match event {
            Event::TrialProposed { proposal, .. } => Some(proposal.candidate_id),
            _ => None,
        })
        .collect();
    assert_eq!(found.len(), wanted.len());
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), wanted);
    let Phase::Finished(FinishReason::Exhausted(reason)) = run.search.phase() else {
        panic!("{:?}", run.search.phase());
    };
    assert_eq!(
        *reason,
        format!(
            "all {} candidates of the space have been proposed",
            all.len()
        )
    );
}

/// One step of a random history.
#[derive(Clone, Copy, Debug)]
enum Move {
    Ask,
    Deliver,
    Lease,
    Complete(usize),
    Diverge(usize),
    Pause,
    Resume,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => Just(Move::Ask),
        4 => Just(Move::Deliver),
        3 => Just(Move::Lease),
        3 => (0_usize..8).prop_map(Move::Complete),
        1 => (0_usize..8).prop_map(Move::Diverge),
        1 => Just(Move::Pause),
        1 => Just(Move::Resume),
    ];
    prop::collection::vec(one, 0..80)
}

fn play(run: &mut Run, held: &mut Vec<LeasedJob>, one: Move) {
    match one {
        Move::Ask if run.in_flight.len() < 4 => {
            run.ask();
        }
        Move::Deliver => {
            run.deliver();
        }
        Move::Lease => held.extend(run.lease(1, 1)),
        Move::Complete(index) if index < held.len() => {
            let job = held.remove(index);
            let score = toy_score(&job.decisions);
            run.complete(1, &job, score);
        }
        Move::Diverge(index) if index < held.len() => {
            let job = held.remove(index);
            let (trial, attempt) = (job.trial, job.attempt);
            let failure = Failure::new(FailureDomain::Candidate, FailureKind::Diverged, "NaN");
            run.command(Command::FailJob {
                trial,
                attempt,
                failure,
            })
            .unwrap();
        }
        Move::Pause => {
            // Refused when the search has come to its end.
            let _ = run.command(Steer::Pause.into());
        }
        Move::Resume => {
            let _ = run.command(Steer::Resume.into());
        }
        Move::Ask | Move::Complete(_) | Move::Diverge(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        // The smallest failing input is printed; no file is left in the source tree.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_replayed_proposer_answers_as_the_one_that_lived_through_it(
        history in moves(),
        space in prop::sample::select(&[SPACES[0], SPACES[1], SPACES[2], SPACES[3], TINY][..]),
        sensitive in any::<bool>(),
        seed in 0_u64..100,
        lost in any::<bool>(),
    ) {
        let searcher = "{evolution: {population: 4, tournament: 2}}";
        let definition = definition_with(space, searcher, 50, seed);
        let mut run = if sensitive {
            Run::with_proposer(&definition, |definition| {
                let searcher = Sensitive(Digest::of(b"new"));
                Proposer::with_searcher(definition, Box::new(searcher))
            })
        } else {
            Run::new(&definition)
        };
        let mut held = Vec::new();
        for one in history {
            play(&mut run, &mut held, one);
        }
        if lost {
            // The coordinator went down with answers under way; they are asked again.
            run.in_flight.clear();
        } else {
            while run.deliver().is_some() {}
        }
        let (search, mut proposer) = run.replayed();
        prop_assert_eq!(&search, &run.search);
        for number in 0..3 {
            let number = search.next_ask() + number;
            prop_assert_eq!(proposer.ask(number), run.proposer.ask(number));
        }
    }

    #[test]
    fn no_candidate_is_proposed_twice(
        history in moves(),
        space in prop::sample::select(&[SPACES[2], TINY][..]),
        seed in 0_u64..100,
    ) {
        let mut run = Run::new(&definition_with(space, "evolution", 50, seed));
        let mut held = Vec::new();
        for one in history {
            play(&mut run, &mut held, one);
        }
        let mut seen = BTreeSet::new();
        for (event, _) in &run.journal {
            if let Event::TrialProposed { proposal, .. } = event {
                prop_assert!(seen.insert(proposal.candidate_id));
            }
        }
    }
}
