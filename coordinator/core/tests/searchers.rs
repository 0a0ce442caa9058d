//! What single searchers promise; what all of them keep is in `conformance.rs`.

mod support;

use espalier_common::candidate::Candidate;
use espalier_common::ids::TrialNumber;
use espalier_common::observation::{Observation, Outcome};
use espalier_core::search::Event;
use espalier_core::searcher::{AskContext, Evolution, Rates, Searcher, rng_for};
use support::{FLAT, Run, definition, definition_with, toy_score};

/// Every decision is as likely to be changed as every other.
const EVEN: Rates = Rates {
    choices: 1.0,
    ranges: 1.0,
};

fn scored(trial: u32, candidate: &Candidate, utility: f64) -> Observation {
    Observation {
        trial: Some(TrialNumber(trial)),
        candidate: candidate.clone(),
        outcome: Outcome::Scored {
            utility,
            fidelity: 1,
        },
        memo: None,
    }
}

fn best_scores(searcher: &str, trials: u32, slots: usize) -> Vec<f64> {
    (0..20)
        .map(|seed| {
            let definition = definition_with(FLAT, searcher, trials, seed);
            Run::new(&definition).run_to_the_end(slots, toy_score)
        })
        .collect()
}

fn mean(scores: &[f64]) -> f64 {
    scores.iter().sum::<f64>() / scores.len() as f64
}

/// The margins are about half of what was measured with these seeds (scores lie between 0 and 1).
#[test]
fn evolution_beats_random_over_twenty_seeds() {
    let cases = [
        (24, 1, 0.09),
        (24, 4, 0.02),
        (100, 1, 0.17),
        (200, 16, 0.17),
    ];
    for (trials, slots, margin) in cases {
        let evolved = mean(&best_scores("evolution", trials, slots));
        let random = mean(&best_scores("random", trials, slots));
        assert!(
            evolved - random >= margin,
            "{trials} trials, {slots} slots: {evolved:.3} against {random:.3}"
        );
    }
}

#[test]
fn a_small_budget_leaves_the_random_phase_after_a_third() {
    let definition = definition_with(FLAT, "evolution", 24, 1);
    let mut run = Run::new(&definition);
    run.run_to_the_end(1, toy_score);
    let methods: Vec<String> = run
        .journal
        .iter()
        .filter_map(|(event, _)| match event {
            Event::TrialProposed { proposal, .. } => Some(proposal.origin.method.clone()),
            _ => None,
        })
        .collect();
    assert!(methods[..8].iter().all(|method| method == "random"));
    assert!(methods[8..].iter().all(|method| method != "random"));
    assert!(methods.iter().any(|method| method == "mutation"));
}

#[test]
fn the_oldest_member_dies_and_failed_trials_push_nobody_out() {
    let definition = definition(FLAT);
    let space = &definition.spec.space;
    let candidates: Vec<Candidate> = (0..4)
        .map(|number| space.sample(&mut rng_for(5, number, 0)))
        .collect();
    let mut evolution = Evolution::new(2, 20, 0.0, EVEN, None);
    let parents = |evolution: &Evolution| {
        let context = AskContext {
            space,
            number: 1,
            pending: &[],
            refused: &[],
        };
        evolution
            .ask(&context, &mut rng_for(1, 1, 0))
            .origin
            .parents
    };
    evolution.tell(&scored(1, &candidates[0], 1.0));
    assert_eq!(
        parents(&evolution),
        [],
        "one trial does not fill a population of two"
    );
    evolution.tell(&scored(2, &candidates[1], 0.5));
    assert_eq!(parents(&evolution), [TrialNumber(1)]);
    let mut failed = scored(3, &candidates[2], 0.0);
    failed.outcome = Outcome::Failed;
    evolution.tell(&failed);
    assert_eq!(parents(&evolution), [TrialNumber(1)]);
    // A duplicate's result has no trial of its own.
    let mut duplicate = scored(0, &candidates[1], 0.5);
    duplicate.trial = None;
    evolution.tell(&duplicate);
    assert_eq!(parents(&evolution), [TrialNumber(1)]);
    evolution.tell(&scored(4, &candidates[3], 0.4));
    assert_eq!(
        parents(&evolution),
        [TrialNumber(2)],
        "the first is too old, however good"
    );
}
