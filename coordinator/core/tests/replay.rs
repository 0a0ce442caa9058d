//! Every proposal derived again from the journal: equal where nothing was changed, and told where it was.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::VecDeque;

use espalier_common::ids::SearchId;
use espalier_common::job::LeasedJob;
use espalier_core::search::Event;
use espalier_core::searcher::{AskPlaces, Findings, Replay};
use support::{CONDITIONAL, FLAT, HIERARCHICAL, MIXED, Run, definition_with, toy_score};
use uuid::Uuid;

fn replay(journal: &[(Event, u64)]) -> Findings {
    let mut places = AskPlaces::default();
    for (event, _) in journal {
        places.read(event);
    }
    let ((first, time_ms), rest) = journal.split_first().unwrap();
    let id = SearchId(Uuid::from_u128(1));
    let mut replay = Replay::begin(id, first, *time_ms, places).unwrap();
    for (event, time_ms) in rest {
        replay.read(event, *time_ms);
    }
    replay.findings()
}

/// A search with several asks on their way at a time, results in another order than the jobs began, and a
/// restart now and then, with which asks that were not recorded are lost.
fn busy(text: &str, searcher: &str, trials: u32, slots: usize) -> Run {
    let mut run = Run::new(&definition_with(text, searcher, trials, 3));
    let mut jobs: VecDeque<LeasedJob> = VecDeque::new();
    for turn in 0..10_u32 * trials {
        while run.in_flight.len() < slots.div_ceil(2)
            && (run.in_flight.len() as u32) < run.search.proposals_wanted()
        {
            run.ask();
        }
        if turn % 7 == 3 {
            let (search, proposer) = run.replayed();
            assert_eq!(search, run.search);
            run.proposer = proposer;
            run.in_flight.clear();
            continue;
        }
        if turn % 3 != 1 {
            run.deliver();
        }
        jobs.extend(run.lease(1, u32::try_from(slots - jobs.len()).unwrap()));
        if turn % 2 == 0 {
            let place = turn as usize % jobs.len().max(1);
            if let Some(job) = jobs.remove(place) {
                run.complete(1, &job, toy_score(&job.decisions));
            }
        }
    }
    assert!(
        run.search.counts().completed >= trials / 2,
        "{:?}",
        run.search.counts()
    );
    run
}

fn comes_out_again(searcher: &str, trials: u32, text: &str, slots: usize) {
    let run = busy(text, searcher, trials, slots);
    let found = replay(&run.journal);
    assert_eq!(
        found.differing, 0,
        "{searcher} with {slots}: {:#?}",
        found.first
    );
    assert_eq!(
        (found.compared, found.unplaced),
        (run.search.next_ask() - 1, 0)
    );
}

#[test]
fn every_proposal_comes_out_again_with_one_worker_and_with_several_and_restarts_between() {
    for searcher in [
        "random",
        "local-search",
        "{evolution: {population: 8, tournament: 3}}",
        "{tpe: {start: 5}}",
        "{reinforce: {batch: 2}}",
        "{ppo: {batch: 3}}",
    ] {
        for (text, slots) in [(FLAT, 1), (HIERARCHICAL, 5), (CONDITIONAL, 3), (MIXED, 8)] {
            comes_out_again(searcher, 24, text, slots);
        }
    }
}

#[test]
fn so_do_those_of_searchers_with_a_dear_model() {
    for (searcher, text, slots) in [
        ("{bananas: {start: 5, candidates: 30}}", HIERARCHICAL, 4),
        ("bayesian", CONDITIONAL, 1),
        ("{bayesian: {kernel: rbf}}", MIXED, 6),
    ] {
        comes_out_again(searcher, 12, text, slots);
    }
}

/// Two choices of two: four candidates, of which two can be built.
const TINY: &str = "
name: tiny
hyperparameters: {a: {choice: [0, 1]}, b: {choice: [0, 1]}}
evaluator: mine
objectives: [{maximize: score}]
budget: {trials: 10}
";

#[test]
fn the_end_of_the_proposals_comes_out_again_and_refusals_on_the_way_do() {
    let mut run = Run::new(&definition_with(
        TINY,
        "{evolution: {population: 2}}",
        10,
        1,
    ));
    run.run_to_the_end(1, toy_score);
    while run.search.proposals_wanted() > 0 {
        run.ask();
        run.deliver();
    }
    let ended = |event: &Event| matches!(event, Event::ProposalsEnded { .. });
    assert!(run.journal.iter().any(|(event, _)| ended(event)));
    assert!(run.search.counts().duplicates > 0);
    let found = replay(&run.journal);
    assert_eq!(
        (found.compared, found.differing),
        (5, 0),
        "{:#?}",
        found.first
    );
}

#[test]
fn what_was_changed_is_found_with_the_number_of_its_ask() {
    let mut run = busy(FLAT, "evolution", 20, 2);
    let tenth = run.journal.iter_mut().filter_map(|(event, _)| match event {
        Event::TrialProposed { ask, proposal, .. } if *ask == 10 => Some(proposal),
        _ => None,
    });
    for proposal in tenth {
        "somebody else".clone_into(&mut proposal.origin.searcher);
    }
    let found = replay(&run.journal);
    assert_eq!(found.differing, 1);
    let first = found.first.unwrap();
    assert_eq!(first.ask, 10);
    let origins =
        [&first.recorded, &first.derived].map(|one| &one.outcome.as_ref().unwrap().origin.searcher);
    assert_eq!(origins[0], "somebody else");
    assert_ne!(origins[1], "somebody else");
}

#[test]
fn a_changed_score_shows_in_the_proposals_after_it() {
    let mut run = busy(FLAT, "{evolution: {population: 4, tournament: 4}}", 40, 1);
    let scores = run.journal.iter_mut().filter_map(|(event, _)| match event {
        Event::TrialCompleted { score, .. } => Some(score),
        _ => None,
    });
    for score in scores.skip(8).take(1) {
        *score = 100.0;
    }
    let found = replay(&run.journal);
    assert!(found.differing > 0);
    assert!(found.first.unwrap().ask > 9);
}

#[test]
fn a_journal_of_before_places_were_recorded_is_read_and_said_so() {
    let mut run = busy(FLAT, "random", 6, 1);
    for (event, _) in &mut run.journal {
        if let Event::TrialProposed { heard, .. } = event {
            *heard = None;
        }
    }
    let found = replay(&run.journal);
    assert_eq!((found.compared, found.differing), (0, 0));
    assert_eq!(found.unplaced, run.search.next_ask() - 1);
}
