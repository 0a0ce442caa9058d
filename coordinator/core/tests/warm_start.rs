//! Searches that begin with what is known: told before anything else, tried first, and no trials.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use espalier_common::candidate::Candidate;
use espalier_common::known::Known;
use espalier_core::search::{Definition, Event};
use espalier_core::searcher::rng_for;
use support::{FLAT, MIXED, Run, definition_with, toy_score};

const SEARCHERS: [&str; 11] = [
    "random",
    "{grid: {points: 2}}",
    "local-search",
    "{evolution: {population: 8, tournament: 4}}",
    "{tpe: {start: 6}}",
    "{bananas: {start: 6, candidates: 20}}",
    "bayesian",
    "{bayesian: {kernel: rbf}}",
    "{reinforce: {batch: 2}}",
    "{ppo: {batch: 3}}",
    "{evolution: {crossover: 1}}",
];

/// The definition with so many candidates at random and their scores, and those to be tried first.
fn warm(text: &str, searcher: &str, scored: u32, first: &[Candidate]) -> Arc<Definition> {
    let definition = definition_with(text, searcher, 8, 5);
    let mut rng = rng_for(11, 0, 0);
    let space = definition.spec.space.clone();
    let mut known: Vec<Known> = (0..scored)
        .map(|_| space.sample(&mut rng))
        .map(|decisions| Known {
            score: Some(toy_score(&decisions)),
            decisions,
        })
        .collect();
    known.extend(first.iter().map(|candidate| Known {
        decisions: candidate.clone(),
        score: None,
    }));
    Arc::new(Arc::unwrap_or_clone(definition).with_known(known))
}

fn proposed(run: &Run) -> Vec<Candidate> {
    let of = |(event, _): &(Event, u64)| match event {
        Event::TrialProposed { proposal, .. } => Some(proposal.candidate.clone()),
        _ => None,
    };
    run.journal.iter().filter_map(of).collect()
}

#[test]
fn every_searcher_takes_what_is_known_and_a_restart_begins_alike() {
    for searcher in SEARCHERS {
        // A grid of so many hyperparameters with any values would be too large.
        let text = if searcher.contains("grid") {
            "name: small\nhyperparameters: {a: {choice: [0, 1, 2, 3]}, b: {choice: [0, 1, 2, 3]}}\nevaluator: mine\nobjectives: [{maximize: score}]\nbudget: {trials: 8}\n"
        } else {
            MIXED
        };
        let mut run = Run::new(&warm(text, searcher, 12, &[]));
        run.run_to_the_end(2, toy_score);
        let counts = run.search.counts();
        assert!(
            counts.accepted <= 8 && counts.completed == counts.accepted,
            "{searcher}: {counts:?}"
        );
        assert!(counts.completed > 0, "{searcher}");
        let best = run.search.best().unwrap();
        assert!(best.trial.0 > 0, "{searcher}: what is known is no trial");
        let mut cold = Run::new(&definition_with(text, searcher, 8, 5));
        cold.run_to_the_end(2, toy_score);
        let learns = !["random"].contains(&searcher) && !searcher.contains("ppo");
        if learns && !searcher.contains("reinforce") {
            assert_ne!(
                proposed(&run),
                proposed(&cold),
                "{searcher} makes nothing of what is known"
            );
        }
        let (search, mut again) = run.replayed();
        assert_eq!(search, run.search, "{searcher}");
        let next = run.search.next_ask();
        assert_eq!(again.ask(next), run.proposer.ask(next), "{searcher}");
    }
}

#[test]
fn a_model_needs_no_random_trials_when_enough_is_known() {
    let mut run = Run::new(&warm(FLAT, "bayesian", 40, &[]));
    let answer = run.ask();
    let origin = answer.outcome.unwrap().origin;
    assert_eq!(origin.searcher, "bayesian");
    assert!(origin.predicted.is_some());
}

#[test]
fn what_has_no_score_is_tried_first_in_its_order() {
    let space = definition_with(FLAT, "random", 8, 5).spec.space.clone();
    let mut rng = rng_for(3, 0, 0);
    let mut first: Vec<Candidate> = (0..3).map(|_| space.sample(&mut rng)).collect();
    // One of them twice: the second time it is a duplicate, and the searcher is asked.
    first.insert(2, first[0].clone());
    let mut run = Run::new(&warm(FLAT, "evolution", 4, &first));
    // Two asks are under way at a time, as with several slots.
    for _ in 0..2 {
        run.ask();
        run.ask();
        run.deliver();
        run.deliver();
    }
    let proposals = proposed(&run);
    assert_eq!(proposals[..2], first[..2]);
    assert_ne!(proposals[2], first[2]);
    assert_eq!(proposals[3], first[3]);
    let origins: Vec<String> = run
        .journal
        .iter()
        .filter_map(|(event, _)| match event {
            Event::TrialProposed { proposal, .. } => Some(proposal.origin.searcher.clone()),
            _ => None,
        })
        .collect();
    assert_eq!([&origins[0], &origins[1], &origins[3]], ["warm_start"; 3]);
    let (_, mut again) = run.replayed();
    assert_eq!(again.ask(5), run.proposer.ask(5));
}
