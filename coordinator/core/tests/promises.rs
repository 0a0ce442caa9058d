//! Promises of the state machine that once were broken: what a lease carries, that a search ends, which
//! trial is the best.

#![allow(clippy::unwrap_used)]

mod support;

use espalier_common::candidate::{DecisionPath, Value};
use espalier_common::ids::Digest;
use espalier_common::job::{Job, LeasedJob};
use espalier_core::search::{
    Command, Completion, FinishReason, Phase, ReleaseReason, Reply, TrialState, WeightsAnswer,
};
use support::{Run, completion, definition, worker};

/// A network with a test split, one trial.
const IMAGES: &str = "
name: images
dataset: {format: idx, path: images, validation: 100}
network: [{conv: {channels: {choice: [2, 4]}}}, global_avg_pool, {linear: {features: classes}}]
training: {epochs: 1}
objectives: [{maximize: accuracy}]
budget: {trials: 1}
";

const PLAIN: &str = "
name: plain
hyperparameters: {rate: {range: [0.0, 1.0]}}
evaluator: mine
objectives: [{maximize: score}]
";

fn propose(run: &mut Run) {
    run.ask().outcome.unwrap();
    run.deliver();
}

fn release(run: &mut Run, job: &LeasedJob, reason: ReleaseReason) {
    let (trial, attempt) = (job.trial, job.attempt);
    let command = Command::ReleaseJob {
        trial,
        attempt,
        reason,
    };
    run.command(command).unwrap();
}

/// Completes with weights that the store has not.
fn complete_with_weights(run: &mut Run, job: &LeasedJob) {
    let step = run
        .command(Command::CompleteJob {
            worker: worker(1),
            trial: job.trial,
            attempt: job.attempt,
            completion: Completion {
                weights: Some(Digest::of(b"weights")),
                ..completion(&job.objective.metric, 0.5)
            },
        })
        .unwrap();
    assert_eq!(step.reply, Reply::Weights(WeightsAnswer::Upload));
}

#[test]
fn uploads_that_are_given_up_do_not_train_the_best_for_ever() {
    let mut run = Run::new(&definition(IMAGES));
    propose(&mut run);
    let job = run.lease(1, 1).remove(0);
    complete_with_weights(&mut run, &job);
    release(&mut run, &job, ReleaseReason::ReplyLost);
    let mut trained_again = 0;
    while let Some(job) = run.lease(1, 1).pop() {
        assert!(matches!(job.job, Job::Train { .. }));
        trained_again += 1;
        assert!(trained_again <= 3, "the search never ends");
        complete_with_weights(&mut run, &job);
        release(&mut run, &job, ReleaseReason::ReplyLost);
    }
    assert!(trained_again > 0, "nothing was lost");
    assert_eq!(*run.search.phase(), Phase::Finished(FinishReason::Trials));
    assert!(run.search.shortfall().is_some(), "the user is not told");
}

#[test]
fn a_trial_that_kills_its_worker_again_and_again_is_given_up() {
    let mut run = Run::new(&definition(&format!("{PLAIN}budget: {{trials: 1}}\n")));
    propose(&mut run);
    for _ in 0..3 {
        let job = run.lease(1, 1).remove(0);
        release(&mut run, &job, ReleaseReason::WorkerRestarted);
    }
    let (_, trial) = run.search.trials().next().unwrap();
    assert_eq!(trial.state, TrialState::Failed);
    assert_eq!(*run.search.phase(), Phase::Finished(FinishReason::Trials));
}

#[test]
fn handing_back_costs_nothing_however_often() {
    let mut run = Run::new(&definition(&format!("{PLAIN}budget: {{trials: 1}}\n")));
    propose(&mut run);
    for reason in [
        ReleaseReason::Worker,
        ReleaseReason::ReplyLost,
        ReleaseReason::WorkerLeft,
    ] {
        for _ in 0..5 {
            let job = run.lease(1, 1).remove(0);
            release(&mut run, &job, reason);
        }
    }
    assert_eq!(run.search.queued(), 1);
}

#[test]
fn of_equal_scores_the_lower_number_is_the_best_and_no_progress() {
    let text = format!("{PLAIN}budget: {{trials: 4, patience: 3}}\n");
    let mut run = Run::new(&definition(&text));
    let jobs: Vec<LeasedJob> = (0..4)
        .map(|_| {
            propose(&mut run);
            run.lease(1, 1).remove(0)
        })
        .collect();
    for (job, best) in [(&jobs[2], 3), (&jobs[0], 1), (&jobs[1], 1), (&jobs[3], 1)] {
        run.complete(1, job, 0.5);
        assert_eq!(run.search.best().unwrap().trial.0, best);
    }
    assert_eq!(*run.search.phase(), Phase::Finished(FinishReason::Patience));
}

#[test]
fn a_lease_carries_fixed_hyperparameters_beside_the_decided_ones() {
    let definition = definition(
        "
name: fixed
hyperparameters: {rate: {range: [0.0, 1.0]}, data_version: 3}
evaluator: mine
objectives: [{maximize: score}]
budget: {trials: 1}
",
    );
    let mut run = Run::new(&definition);
    let proposed = run.ask().outcome.unwrap();
    run.deliver();
    let job = run.lease(1, 1).remove(0);
    let value = |name: &str| {
        job.decisions
            .get(&DecisionPath(format!("hyperparameters.{name}")))
    };
    assert_eq!(value("data_version"), Some(&Value::Integer(3)));
    let rate = DecisionPath("hyperparameters.rate".to_owned());
    assert_eq!(value("rate"), proposed.candidate.get(&rate));
    assert!(value("rate").is_some());
}
