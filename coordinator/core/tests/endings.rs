//! Every way a search ends by itself, one test each.

#![allow(clippy::unwrap_used)]

mod support;

use espalier_common::candidate::{Candidate, Value};
use espalier_common::observation::Origin;
use espalier_common::spec;
use espalier_core::search::{Event, FinishReason, Phase, Steer};
use support::{Run, definition};

fn spec_with(budget: &str, more: &str) -> String {
    format!(
        "name: ends\nhyperparameters: {{a: {{choice: [0, 1, 2, 3]}}, b: {{choice: [0, 1, 2, 3]}}}}\n\
         evaluator: mine\nobjectives: [{{maximize: score}}]\nbudget: {budget}\n{more}"
    )
}

/// Runs with one slot until the search wants nothing more; its reason to end, and the trials it took.
fn ended(budget: &str, more: &str, score: impl Fn(u32) -> f64) -> (FinishReason, u32) {
    let mut run = Run::new(&definition(&spec_with(budget, more)));
    let mut done = 0;
    for _ in 0..1_000 {
        if let Phase::Finished(reason) = run.search.phase() {
            return (reason.clone(), run.search.counts().completed);
        }
        if run.search.proposals_wanted() > 0 {
            run.ask();
            run.deliver();
        }
        run.now_ms += 1_000;
        for job in run.lease(1, 1) {
            done += 1;
            run.complete(1, &job, score(done));
        }
    }
    panic!("it does not end: {:?}", run.search.phase());
}

#[test]
fn after_so_many_trials() {
    assert_eq!(
        ended("{trials: 7}", "searcher: random", |_| 0.5),
        (FinishReason::Trials, 7)
    );
}

#[test]
fn when_the_time_is_up() {
    let (reason, trials) = ended("{time: 5s}", "searcher: random", |_| 0.5);
    // A second passes before each lease, and the clock begins with the first.
    assert_eq!((reason, trials), (FinishReason::Time, 5));
}

#[test]
fn when_the_target_is_reached() {
    let budget = "{trials: 16, target: {score: 0.75}}";
    let found = ended(budget, "searcher: random", |trial| f64::from(trial) / 8.0);
    assert_eq!(found, (FinishReason::Target, 6));
}

#[test]
fn when_the_patience_is_at_an_end() {
    let budget = "{trials: 16, patience: 4}";
    let found = ended(budget, "searcher: random", |trial| {
        if trial == 3 { 1.0 } else { 0.5 }
    });
    assert_eq!(found, (FinishReason::Patience, 7));
}

#[test]
fn when_the_space_is_exhausted() {
    let (reason, trials) = ended("{trials: 100}", "searcher: random", |_| 0.5);
    assert!(matches!(reason, FinishReason::Exhausted(_)), "{reason}");
    assert_eq!(trials, 16);
}

#[test]
fn when_the_compute_is_used_up_and_running_trials_may_end() {
    // Every attempt takes a second.
    let found = ended("{trials: 16, compute: 4s}", "searcher: random", |_| 0.5);
    assert_eq!(found, (FinishReason::Compute, 4));

    let mut run = Run::new(&definition(&spec_with(
        "{trials: 16, compute: 1s}",
        "searcher: random",
    )));
    for _ in 0..3 {
        run.ask();
        run.deliver();
    }
    let jobs = run.lease(1, 2);
    run.complete(1, &jobs[0], 0.5);
    assert_eq!(*run.search.phase(), Phase::Finishing(FinishReason::Compute));
    assert_eq!(run.search.counts().cancelled, 1, "what waited is given up");
    run.complete(1, &jobs[1], 0.75);
    assert_eq!(*run.search.phase(), Phase::Finished(FinishReason::Compute));
    assert_eq!(run.search.best().unwrap().score, 0.75);
    assert_eq!(run.replayed().0, run.search);
}

/// The next proposal, of which so much is expected.
fn expect(run: &mut Run, improvement: Option<f64>) {
    let mut answer = run.ask();
    run.in_flight.clear();
    let proposal = answer.outcome.as_mut().unwrap();
    proposal.origin = Origin {
        improvement,
        ..proposal.origin.clone()
    };
    run.command(answer.into()).unwrap();
}

#[test]
fn when_too_little_is_expected_of_three_proposals_in_a_row() {
    let budget = "{trials: 16, expected_improvement: 0.01}";
    let mut run = Run::new(&definition(&spec_with(budget, "searcher: bayesian")));
    // A good one, and one of which nothing is said, begin the count anew.
    for expected in [
        Some(0.001),
        Some(0.0),
        Some(0.5),
        Some(0.001),
        Some(0.001),
        None,
    ] {
        expect(&mut run, expected);
        assert!(run.search.proposals_wanted() > 0);
    }
    for _ in 0..3 {
        expect(&mut run, Some(0.0099));
    }
    assert_eq!(run.search.proposals_wanted(), 0);
    assert_eq!(*run.search.phase(), Phase::Running, "what is open may end");
    for _ in 0..9 {
        let job = run.lease(1, 1).remove(0);
        run.complete(1, &job, 0.5);
    }
    assert_eq!(
        *run.search.phase(),
        Phase::Finished(FinishReason::Improvement)
    );
    assert_eq!(run.replayed().0, run.search);
}

/// 512 candidates on a slope with one top, which is 1.
fn slope(candidate: &Candidate) -> f64 {
    let off: f64 = (candidate.0.values().zip([5.0, 2.0, 6.0]))
        .map(|(value, top)| match value {
            Value::Integer(number) => (*number as f64 - top).powi(2),
            other => panic!("{other}"),
        })
        .sum();
    1.0 - off / 100.0
}

#[test]
fn a_bayesian_search_ends_when_its_model_expects_nothing_more_and_not_before() {
    for seed in 1..=3 {
        let text = format!(
            "name: ends\nhyperparameters: {{a: {{range: [0, 7]}}, b: {{range: [0, 7]}}, c: {{range: [0, 7]}}}}\n\
             evaluator: mine\nobjectives: [{{maximize: score}}]\nsearcher: bayesian\nseed: {seed}\n\
             budget: {{trials: 200, expected_improvement: 0.005}}\n"
        );
        let mut run = Run::new(&definition(&text));
        run.run_to_the_end(1, slope);
        let expected = run.journal.iter().filter_map(|(event, _)| match event {
            Event::TrialProposed { proposal, .. } => Some(proposal.origin.improvement),
            _ => None,
        });
        let expected: Vec<Option<f64>> = expected.collect();
        // A model of few points is not asked.
        assert!(expected[..20].iter().all(Option::is_none), "{expected:?}");
        let said: Vec<f64> = expected.into_iter().flatten().collect();
        assert!(said.iter().all(|one| (0.0..1.0).contains(one)), "{said:?}");
        let small = |three: &[f64]| three.iter().all(|one| *one < 0.005);
        assert!(small(&said[said.len() - 3..]), "{said:?}");
        let earlier = said[..said.len() - 1].windows(3);
        assert_eq!(earlier.filter(|three| small(three)).count(), 0);
        assert_eq!(
            *run.search.phase(),
            Phase::Finished(FinishReason::Improvement)
        );
        let trials = run.search.counts().completed;
        assert!((23..150).contains(&trials), "{trials}");
        let best = run.search.best().unwrap().score;
        assert!(best > 0.98, "seed {seed}: {best} after {trials} trials");
    }
}

#[test]
fn a_searcher_without_a_model_refuses_to_end_by_expectations() {
    let text = spec_with(
        "{trials: 9, expected_improvement: 0.01}",
        "searcher: evolution",
    );
    let refused = spec::read(&text, "x.yaml").unwrap_err().to_string();
    assert!(
        refused.contains("x.yaml:5:43: budget.expected_improvement"),
        "{refused}"
    );
    assert!(refused.contains("`evolution` has no model"), "{refused}");
}

#[test]
fn when_the_user_stops_it() {
    let mut run = Run::new(&definition(&spec_with("{trials: 9}", "searcher: random")));
    run.command(Steer::Stop.into()).unwrap();
    assert_eq!(*run.search.phase(), Phase::Finished(FinishReason::Stopped));
}
