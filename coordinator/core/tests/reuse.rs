//! Results of other searches: what makes two results one, and what becomes of a trial that gets one.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use espalier_common::ids::{Digest, SearchId, TrialNumber};
use espalier_common::job::Job;
use espalier_common::metrics::{Measurement, Metrics};
use espalier_common::observation::Outcome;
use espalier_core::search::{
    Command, Effect, Event, FinishReason, Phase, Step, StoredResult, TrialOf, TrialState,
};
use support::{Run, definition};
use uuid::Uuid;

const SPEC: &str = "
name: second
hyperparameters: {rate: {range: [0.0, 1.0]}}
evaluator: mine
searcher: random
objectives: [{maximize: score}]
budget: {trials: 2, patience: 2}
reuse: true
";

const IMAGES: &str = "
name: images
dataset: {format: idx, path: images, validation: 100}
network: [{conv: {channels: {choice: [2, 4]}}}, global_avg_pool, {linear: {features: classes}}]
training: {epochs: 1}
searcher: random
objectives: [{maximize: accuracy}]
budget: {trials: 1}
reuse: true
";

fn found(metric: &str, score: f64) -> StoredResult {
    StoredResult {
        from: TrialOf {
            search: SearchId(Uuid::from_u128(9)),
            trial: TrialNumber(4),
        },
        measurement: Measurement {
            step: 3,
            metrics: Metrics::from([(metric, score)]),
        },
        weights: None,
        stored: false,
    }
}

/// One more proposal, with the result that was found for it.
fn propose(run: &mut Run, result: Option<StoredResult>) -> Step {
    run.ask();
    let answer = run.in_flight.pop_front().unwrap();
    let mut command = answer.into();
    if let Command::RecordProposal { stored, .. } = &mut command {
        *stored = result.map(Box::new);
    }
    run.command(command).unwrap()
}

#[test]
fn a_reused_result_is_a_trial_that_costs_nothing_and_is_told() {
    let mut run = Run::new(&definition(SPEC));
    let step = propose(&mut run, Some(found("score", 0.7)));
    assert!(matches!(
        step.events[1],
        Event::TrialReused {
            trial: TrialNumber(1),
            score: 0.7,
            ..
        }
    ));
    let [Effect::Tell(told)] = step.effects.as_slice() else {
        panic!("{:?}", step.effects);
    };
    assert_eq!(
        told.outcome,
        Outcome::Scored {
            utility: 0.7,
            fidelity: 3
        }
    );
    let trial = run.search.trial(TrialNumber(1)).unwrap();
    assert_eq!(
        (trial.state, trial.score, trial.attempts),
        (TrialState::Completed, Some(0.7), 0)
    );
    let counts = run.search.counts();
    assert_eq!((counts.completed, counts.reused, counts.leased), (1, 1, 0));
    assert_eq!(run.search.proposals_wanted(), 2, "the budget is untouched");
    assert!(run.lease(1, 1).is_empty(), "there is nothing to train");
    // Worse ones use up no patience, however many.
    for _ in 0..5 {
        propose(&mut run, Some(found("score", 0.5)));
    }
    assert_eq!(*run.search.phase(), Phase::Running);
    for _ in 0..2 {
        propose(&mut run, None);
        let job = run.lease(1, 1).remove(0);
        run.complete(1, &job, 0.6);
    }
    assert_eq!(run.search.best().unwrap().trial, TrialNumber(1));
    assert!(matches!(
        run.search.phase(),
        Phase::Finished(FinishReason::Patience)
    ));
    assert_eq!(run.replayed().0, run.search);
}

#[test]
fn a_result_without_the_metric_that_is_sought_is_none() {
    let mut run = Run::new(&definition(SPEC));
    propose(&mut run, Some(found("loss", 0.7)));
    assert_eq!(run.search.queued(), 1);
}

#[test]
fn nothing_is_reused_by_a_search_that_does_not_say_so() {
    let mut run = Run::new(&definition(&SPEC.replace("reuse: true", "reuse: false")));
    propose(&mut run, Some(found("score", 0.7)));
    assert_eq!((run.search.queued(), run.search.counts().reused), (1, 0));
}

#[test]
fn a_reused_best_whose_weights_are_there_is_tested_with_them_and_else_trained_once_more() {
    for stored in [true, false] {
        let weights = Digest::of(b"theirs");
        let text = IMAGES.replace("trials: 1", "trials: 1, target: {accuracy: 0.6}");
        let mut run = Run::new(&definition(&text));
        let result = StoredResult {
            weights: Some(weights),
            stored,
            ..found("accuracy", 0.7)
        };
        let step = propose(&mut run, Some(result));
        let kept = step
            .events
            .iter()
            .any(|event| matches!(event, Event::WeightsStored { .. }));
        assert_eq!(kept, stored);
        let (trial, job) = run.search.final_job().unwrap();
        assert_eq!(trial, TrialNumber(1));
        if stored {
            assert_eq!(job, Job::Test { weights });
            continue;
        }
        assert_eq!(job, Job::train(1));
        let job = run.lease(1, 1).remove(0);
        assert_eq!(job.attempt.0, 1);
        assert_eq!(
            run.search.counts().leased,
            0,
            "the budget does not count it"
        );
    }
}

#[test]
fn results_are_one_only_under_equal_circumstances() {
    let circumstances = |text: &str| definition(text).circumstances().unwrap();
    let base = circumstances(IMAGES);
    // Of the same data, split, evaluator and fidelity, whatever else differs.
    for same in [
        IMAGES.replace("images\ndataset", "other\ndataset"),
        IMAGES.replace("choice: [2, 4]", "choice: [2, 4, 8]"),
        IMAGES.replace("trials: 1", "trials: 100"),
        format!("{IMAGES}seed: 7\n"),
    ] {
        assert_eq!(circumstances(&same), base, "{same}");
    }
    for other in [
        IMAGES.replace("path: images", "path: others"),
        IMAGES.replace("validation: 100", "validation: 100, split_seed: 1"),
        IMAGES.replace("epochs: 1", "epochs: 2"),
        format!("{IMAGES}evaluator: mine\n"),
        format!("{IMAGES}repeat: by-decisions\n"),
    ] {
        assert_ne!(circumstances(&other), base, "{other}");
    }
    let mut released = Arc::unwrap_or_clone(definition(IMAGES));
    released.release = "0.0.1".to_owned();
    assert_ne!(released.circumstances(), Some(base));
    released.release = String::new();
    assert_eq!(
        released.circumstances(),
        None,
        "of before releases were recorded"
    );
}
