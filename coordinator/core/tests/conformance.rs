//! What every searcher keeps, whatever it does inside: one table of searchers, one suite.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use espalier_common::candidate::Candidate;
use espalier_common::ids::TrialNumber;
use espalier_common::job::LeasedJob;
use espalier_common::observation::{Observation, Outcome, Proposal};
use espalier_common::space::Space;
use espalier_core::search::{Event, FinishReason, Phase};
use espalier_core::searcher::{AskContext, Searcher, create, rng_for};
use rand::RngExt;
use support::{
    CONDITIONAL, FLAT, HIERARCHICAL, MIXED, NESTED, Run, SPACES, definition, definition_with,
    toy_score,
};

/// A flat space small enough for a grid.
const SMALL: &str = "
name: small
hyperparameters: {a: {choice: [0, 1, 2, 3]}, b: {choice: [0, 1, 2, 3]}, c: {choice: [0, 1, 2, 3]}}
evaluator: mine
objectives: [{maximize: score}]
budget: {trials: 100}
";

/// A space with one member.
const ONE: &str = "
name: one
hyperparameters: {a: {choice: [7]}}
evaluator: mine
objectives: [{maximize: score}]
budget: {trials: 5}
";

/// A searcher of the table.
struct Case {
    /// As a spec has it.
    searcher: &'static str,
    /// The spaces it is tried on: one of each kind.
    spaces: [&'static str; 5],
    /// By how much its best score after 60 trials must exceed that of random search on the flat space, in
    /// the mean over ten seeds: about half of what was measured. Absent for those that do not learn.
    margin: Option<f64>,
}

const CASES: [Case; 12] = [
    case("random", None),
    Case {
        searcher: "{grid: {points: 3}}",
        spaces: [SMALL, CONDITIONAL, HIERARCHICAL, MIXED, NESTED],
        margin: None,
    },
    case("local-search", Some(0.1)),
    case("evolution", Some(0.08)),
    case(
        "{evolution: {population: 5, tournament: 3, crossover: 1.0, mutate_ranges: 3}}",
        Some(0.08),
    ),
    case("bayesian", Some(0.1)),
    case("{bayesian: {kernel: rbf}}", Some(0.1)),
    case("{bananas: {start: 8, candidates: 40}}", Some(0.1)),
    case("tpe", Some(0.1)),
    case("reinforce", Some(0.05)),
    case("{ppo: {batch: 6}}", Some(0.05)),
    case("{tpe: {gamma: 0.3, candidates: 5, start: 4}}", Some(0.08)),
];

const fn case(searcher: &'static str, margin: Option<f64>) -> Case {
    Case {
        searcher,
        spaces: SPACES,
        margin,
    }
}

/// Every searcher on every space.
fn everywhere() -> impl Iterator<Item = (&'static Case, &'static str)> {
    CASES
        .iter()
        .flat_map(|case| case.spaces.iter().map(move |space| (case, *space)))
}

/// A score for candidates of any space.
fn score(candidate: &Candidate) -> f64 {
    toy_score(candidate) + candidate.0.len() as f64
}

fn observation(trial: Option<u32>, candidate: &Candidate, outcome: Outcome) -> Observation {
    Observation {
        trial: trial.map(TrialNumber),
        candidate: candidate.clone(),
        outcome,
        memo: None,
    }
}

fn scored(utility: f64) -> Outcome {
    Outcome::Scored {
        utility,
        fidelity: 1,
    }
}

fn ask(searcher: &dyn Searcher, space: &Space, number: u64, pending: &[&Candidate]) -> Proposal {
    let context = AskContext {
        space,
        number,
        pending,
        refused: &[],
    };
    searcher.ask(&context, &mut rng_for(5, number, 0))
}

/// Fails unless the proposal is a member of the space, told with finite numbers.
fn check(proposal: &Proposal, space: &Space, what: &str) {
    let resolved = space.resolve(&proposal.candidate);
    assert!(resolved.is_ok(), "{what}: {resolved:?}");
    let numbers = proposal
        .origin
        .predicted
        .map_or(vec![], |(a, b)| vec![a, b]);
    for number in numbers.into_iter().chain(proposal.origin.acquisition) {
        assert!(number.is_finite(), "{what}: {:?}", proposal.origin);
    }
    // JSON has no NaN: one in a memo would come back as null, or as nothing.
    let memo = serde_json::to_string(&proposal.memo).unwrap();
    let again: Option<serde_json::Value> = serde_json::from_str(&memo).unwrap();
    assert_eq!(again, proposal.memo, "{what}");
}

/// Runs to the end with so many slots; results come back in an order drawn at random.
fn run_out_of_order(run: &mut Run, slots: usize) {
    let mut rng = rng_for(77, 0, 0);
    let mut jobs: Vec<LeasedJob> = Vec::new();
    loop {
        while jobs.len() < slots && run.search.proposals_wanted() > 0 {
            run.ask();
            run.deliver();
            jobs.extend(run.lease(1, 1));
        }
        if jobs.is_empty() {
            break;
        }
        let job = jobs.swap_remove(rng.random_range(0..jobs.len()));
        let score = score(&job.decisions);
        run.complete(1, &job, score);
    }
}

fn proposals(run: &Run) -> Vec<Proposal> {
    let of = |event: &Event| match event {
        Event::TrialProposed { proposal, .. } => Some(Proposal {
            candidate: proposal.candidate.clone(),
            origin: proposal.origin.clone(),
            memo: proposal.memo.clone(),
        }),
        _ => None,
    };
    run.journal
        .iter()
        .filter_map(|(event, _)| of(event))
        .collect()
}

#[test]
fn every_proposal_is_a_new_member_of_the_space_however_late_results_come() {
    for (case, space) in everywhere() {
        let definition = definition_with(space, case.searcher, 40, 3);
        let mut run = Run::new(&definition);
        run_out_of_order(&mut run, 6);
        let proposals = proposals(&run);
        assert!(
            proposals.len() >= 30,
            "{}: {}",
            case.searcher,
            proposals.len()
        );
        let mut seen = Vec::new();
        for proposal in proposals {
            check(&proposal, &definition.spec.space, case.searcher);
            assert!(!seen.contains(&proposal.candidate), "{}", case.searcher);
            seen.push(proposal.candidate);
        }
        assert!(matches!(run.search.phase(), Phase::Finished(_)));
    }
}

#[test]
fn equal_histories_give_equal_proposals_and_another_seed_gives_others() {
    for (case, space) in everywhere() {
        let journal = |seed| {
            let mut run = Run::new(&definition_with(space, case.searcher, 24, seed));
            run.run_to_the_end(2, score);
            run.journal
        };
        let first = journal(11);
        assert_eq!(first, journal(11), "{}", case.searcher);
        assert_ne!(first[1..], journal(12)[1..], "{}", case.searcher);
    }
}

#[test]
fn an_ask_changes_nothing_and_depends_on_nothing_but_what_was_told() {
    for (case, text) in everywhere() {
        let definition = definition_with(text, case.searcher, 60, 1);
        let space = &definition.spec.space;
        let (mut one, mut two) = (
            create(&definition, &Arc::default()),
            create(&definition, &Arc::default()),
        );
        for trial in 1..=20 {
            let candidate = space.sample(&mut rng_for(9, trial, 0));
            let told = observation(Some(trial as u32), &candidate, scored(score(&candidate)));
            one.tell(&told);
            // The other one is asked all the time.
            ask(&*two, space, trial, &[&candidate]);
            two.tell(&told);
        }
        for number in 21..26 {
            let first = ask(&*one, space, number, &[]);
            assert_eq!(first, ask(&*one, space, number, &[]), "{}", case.searcher);
            assert_eq!(first, ask(&*two, space, number, &[]), "{}", case.searcher);
        }
    }
}

#[test]
fn the_journal_read_again_gives_the_same_next_proposal() {
    for (case, space) in everywhere() {
        let mut run = Run::new(&definition_with(space, case.searcher, 40, 5));
        let mut jobs = Vec::new();
        for round in 0..24 {
            run.ask();
            run.deliver();
            jobs.extend(run.lease(1, 1));
            if round % 3 != 0 && !jobs.is_empty() {
                let job = jobs.swap_remove(0);
                let score = score(&job.decisions);
                run.complete(1, &job, score);
            }
            if round % 6 == 5 {
                let (search, mut proposer) = run.replayed();
                assert_eq!(search, run.search, "{}", case.searcher);
                let number = search.next_ask();
                let answer = proposer.ask(number);
                assert_eq!(answer, run.proposer.ask(number), "{}", case.searcher);
            }
        }
    }
}

#[test]
fn many_workers_do_not_get_copies_of_one_candidate() {
    for case in &CASES {
        let definition = definition_with(case.spaces[0], case.searcher, 60, 8);
        let space = &definition.spec.space;
        let mut searcher = create(&definition, &Arc::default());
        for trial in 1..=25 {
            let candidate = space.sample(&mut rng_for(3, trial, 0));
            let outcome = scored(score(&candidate));
            searcher.tell(&observation(Some(trial as u32), &candidate, outcome));
        }
        let mut pending: Vec<Candidate> = Vec::new();
        for number in 26..42 {
            let out: Vec<&Candidate> = pending.iter().collect();
            pending.push(ask(&*searcher, space, number, &out).candidate);
        }
        let different: BTreeSet<String> = pending
            .iter()
            .map(|candidate| format!("{candidate:?}"))
            .collect();
        // Those that do not look at what is pending repeat themselves by chance alone; what is repeated is
        // asked again.
        let looks = ["bayesian", "grid"]
            .iter()
            .any(|name| case.searcher.contains(name));
        assert!(
            different.len() >= if looks { 16 } else { 13 },
            "{}: {}",
            case.searcher,
            different.len()
        );
    }
}

fn mean_best(searcher: &str) -> f64 {
    let best = |seed| {
        let definition = definition_with(FLAT, searcher, 60, seed);
        Run::new(&definition).run_to_the_end(2, toy_score)
    };
    (0..10).map(best).sum::<f64>() / 10.0
}

#[test]
fn what_learns_beats_random_search() {
    let random = mean_best("random");
    for case in &CASES {
        if let Some(margin) = case.margin {
            let found = mean_best(case.searcher);
            println!("{}: {found:.3} against {random:.3}", case.searcher);
            assert!(
                found - random >= margin,
                "{}: {found:.3} against {random:.3}",
                case.searcher
            );
        }
    }
}

/// Tells a searcher of so many trials and checks what it proposes then.
fn told(case: &Case, text: &str, trials: u64, outcome: impl Fn(u64, &Candidate) -> Outcome) {
    let definition = definition_with(text, case.searcher, 60, 2);
    let space = &definition.spec.space;
    let mut searcher = create(&definition, &Arc::default());
    for trial in 1..=trials {
        let proposal = ask(&*searcher, space, trial, &[]);
        check(&proposal, space, case.searcher);
        let told = Observation {
            memo: proposal.memo,
            ..observation(
                Some(trial as u32),
                &proposal.candidate,
                outcome(trial, &proposal.candidate),
            )
        };
        searcher.tell(&told);
        // A duplicate carries the result of its twin.
        searcher.tell(&Observation {
            trial: None,
            ..told
        });
    }
    for number in trials + 1..trials + 6 {
        check(&ask(&*searcher, space, number, &[]), space, case.searcher);
    }
}

#[test]
fn constant_scores_and_duplicates_do_no_harm() {
    for (case, space) in everywhere() {
        told(case, space, 24, |_, _| scored(0.5));
    }
}

#[test]
fn one_observation_is_enough_to_go_on_and_none_is_too() {
    for (case, space) in everywhere() {
        told(case, space, 0, |_, _| scored(0.5));
        told(case, space, 1, |_, _| scored(0.5));
    }
}

#[test]
fn huge_scores_do_no_harm() {
    for (case, space) in everywhere() {
        told(case, space, 30, |trial, candidate| match trial % 7 {
            3 => scored(1e300),
            5 => scored(-1e300),
            6 => scored(f64::MAX),
            _ => scored(score(candidate)),
        });
    }
}

#[test]
fn a_search_in_which_nothing_gets_a_score_goes_on() {
    for (case, space) in everywhere() {
        told(case, space, 20, |_, _| Outcome::Failed);
        told(case, space, 20, |trial, _| {
            if trial % 2 == 0 {
                Outcome::Infeasible
            } else {
                Outcome::Cancelled
            }
        });
    }
}

#[test]
fn where_nothing_keeps_the_constraints_the_search_ends_with_the_reason() {
    let text = HIERARCHICAL.replace("at_most: 60k", "at_most: 1");
    for case in &CASES {
        let mut run = Run::new(&definition_with(&text, case.searcher, 40, 5));
        run.run_to_the_end(2, score);
        let Phase::Finished(FinishReason::Exhausted(reason)) = run.search.phase() else {
            panic!("{}: {:?}", case.searcher, run.search.phase());
        };
        assert!(reason.contains("in a row were refused"), "{reason}");
    }
}

#[test]
fn a_space_with_one_member_is_searched_with_one_trial() {
    for case in &CASES {
        let mut run = Run::new(&definition_with(ONE, case.searcher, 5, 5));
        run.run_to_the_end(2, |_| 0.25);
        assert_eq!(run.search.counts().completed, 1, "{}", case.searcher);
        assert!(matches!(
            run.search.phase(),
            Phase::Finished(FinishReason::Exhausted(_))
        ));
    }
}

#[test]
fn a_grid_is_gone_through_once_and_ends_the_search() {
    let mut run = Run::new(&definition_with(MIXED, "{grid: {points: 2}}", 1000, 5));
    run.run_to_the_end(3, score);
    let expected = 2 * 2 * 2 * 3 * 2 * 3;
    assert_eq!(run.search.counts().completed, expected);
    let Phase::Finished(FinishReason::Exhausted(reason)) = run.search.phase() else {
        panic!("{:?}", run.search.phase());
    };
    assert_eq!(reason, "all 144 candidates of the grid have been proposed");
    assert_eq!(definition(MIXED).spec.space.grid(2).unwrap().len(), 144);
}
