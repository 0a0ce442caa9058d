//! Promises of the state machine that once were broken: what a lease carries, that a search ends, which
//! trial is the best.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use espalier_common::candidate::{DecisionPath, Value};
use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::{Digest, TrialNumber};
use espalier_common::job::{Job, LeasedJob};
use espalier_common::metrics::{Measurement, Metrics};
use espalier_core::search::{
    Command, Completion, Effect, FinishReason, Phase, Rejection, ReleaseReason, Reply, Steer, Step,
    TrialState, WeightsAnswer,
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

fn failure(domain: FailureDomain) -> Failure {
    Failure::new(domain, FailureKind::Crashed, "it crashed")
}

fn fail(run: &mut Run, job: &LeasedJob, domain: FailureDomain) -> Result<Step, Rejection> {
    let (trial, attempt) = (job.trial, job.attempt);
    run.command(Command::FailJob {
        trial,
        attempt,
        failure: failure(domain),
    })
}

fn lease_named(run: &mut Run, number: u128, retries: BTreeSet<TrialNumber>) -> Vec<LeasedJob> {
    let command = Command::LeaseJobs {
        worker: worker(number),
        slots: 1,
        can_test: true,
        can_resume: false,
        retries,
    };
    match run.command(command).unwrap().reply {
        Reply::Leased(jobs) => jobs,
        other => panic!("{other:?}"),
    }
}

fn report(run: &mut Run, job: &LeasedJob, number: u32, step: u32) -> Result<Step, Rejection> {
    run.command(Command::ReportMeasurement {
        worker: worker(1),
        trial: job.trial,
        attempt: job.attempt,
        number,
        measurement: Measurement {
            step,
            metrics: Metrics::from([("score", 0.1)]),
        },
    })
}

#[test]
fn a_trial_that_failed_on_a_worker_is_leased_only_to_one_that_is_named_for_it() {
    let mut run = Run::new(&definition(&format!("{PLAIN}budget: {{trials: 2}}\n")));
    propose(&mut run);
    propose(&mut run);
    let first = run.lease(1, 1).remove(0);
    fail(&mut run, &first, FailureDomain::Worker).unwrap();
    let waiting = run.search.waiting();
    assert_eq!(waiting.training, 1);
    assert_eq!(waiting.retries.len(), 1);
    assert_eq!(waiting.retries[0].trial, first.trial);
    assert_eq!(waiting.retries[0].failures, 1);
    assert_eq!(waiting.retries[0].failed_on, BTreeSet::from([worker(1)]));
    // It stands first in the queue, and yet the other one is leased.
    let second = lease_named(&mut run, 1, BTreeSet::new()).remove(0);
    assert_ne!(second.trial, first.trial);
    assert_eq!(lease_named(&mut run, 1, BTreeSet::new()), []);
    let again = lease_named(&mut run, 2, BTreeSet::from([first.trial])).remove(0);
    assert_eq!(again.trial, first.trial);
}

#[test]
fn every_way_of_losing_a_worker_is_remembered_and_handing_back_is_not() {
    let mut run = Run::new(&definition(&format!(
        "{PLAIN}budget: {{trials: 1}}\nattempts: 9\n"
    )));
    propose(&mut run);
    for (number, reason) in [
        (1, ReleaseReason::Worker),
        (2, ReleaseReason::WorkerRestarted),
    ] {
        let job = run.lease(number, 1).remove(0);
        release(&mut run, &job, reason);
    }
    let job = run.lease(3, 1).remove(0);
    let (trial, attempt) = (job.trial, job.attempt);
    run.command(Command::ExpireLease { trial, attempt })
        .unwrap();
    let job = run.lease(4, 1).remove(0);
    fail(&mut run, &job, FailureDomain::User).unwrap();
    run.command(Steer::Resume.into()).unwrap();
    let failed_on = run.search.waiting().retries.remove(0).failed_on;
    assert_eq!(failed_on, BTreeSet::from([worker(2), worker(3)]));
}

#[test]
fn the_test_of_the_best_is_tried_elsewhere_too() {
    let mut run = Run::new(&definition(IMAGES));
    propose(&mut run);
    let job = run.lease(1, 1).remove(0);
    complete_with_weights(&mut run, &job);
    run.command(Command::RecordWeights {
        trial: job.trial,
        attempt: job.attempt,
        weights: Digest::of(b"weights"),
    })
    .unwrap();
    let test = run.lease(1, 1).remove(0);
    assert!(matches!(test.job, Job::Test { .. }));
    fail(&mut run, &test, FailureDomain::Worker).unwrap();
    assert!(!run.search.waiting().test);
    let retry = run.search.waiting().retries.remove(0);
    assert!(retry.test);
    assert_eq!(retry.failed_on, BTreeSet::from([worker(1)]));
    assert_eq!(lease_named(&mut run, 1, BTreeSet::new()), []);
}

#[test]
fn a_repeated_failure_is_acknowledged_again_and_changes_nothing() {
    for (domain, state) in [
        (FailureDomain::Worker, TrialState::Queued),
        (FailureDomain::Candidate, TrialState::Failed),
    ] {
        let text = format!("{PLAIN}budget: {{trials: 2}}\n");
        let mut run = Run::new(&definition(&text));
        propose(&mut run);
        let job = run.lease(1, 1).remove(0);
        fail(&mut run, &job, domain).unwrap();
        let before = run.search.clone();
        let again = fail(&mut run, &job, domain).unwrap();
        assert_eq!(again.events, []);
        assert_eq!(run.search, before);
        assert_eq!(run.search.trial(job.trial).unwrap().state, state);
    }
}

#[test]
fn a_failure_of_an_attempt_that_lost_its_lease_is_still_refused() {
    let mut run = Run::new(&definition(&format!("{PLAIN}budget: {{trials: 1}}\n")));
    propose(&mut run);
    let job = run.lease(1, 1).remove(0);
    let (trial, attempt) = (job.trial, job.attempt);
    run.command(Command::ExpireLease { trial, attempt })
        .unwrap();
    let refused = fail(&mut run, &job, FailureDomain::Worker).unwrap_err();
    assert!(matches!(refused, Rejection::NotHeld { .. }), "{refused}");
}

#[test]
fn steps_grow_within_an_attempt() {
    let mut run = Run::new(&definition(&format!("{PLAIN}budget: {{trials: 1}}\n")));
    propose(&mut run);
    let job = run.lease(1, 1).remove(0);
    report(&mut run, &job, 1, 3).unwrap();
    let repeated = report(&mut run, &job, 1, 3).unwrap();
    assert_eq!(repeated.events, [], "a repeated message is acknowledged");
    for step in [2, 3] {
        let refused = report(&mut run, &job, 2, step).unwrap_err();
        let text = refused.to_string();
        assert!(
            text.contains(&format!("step {step} after step 3")),
            "{text}"
        );
    }
    report(&mut run, &job, 2, 4).unwrap();
    // The next attempt begins anew.
    fail(&mut run, &job, FailureDomain::Worker).unwrap();
    let job = run.lease(1, 1).remove(0);
    report(&mut run, &job, 1, 1).unwrap();
}

/// A completion with the weights of `complete_with_weights`, once more.
fn repeat_completion(run: &mut Run, job: &LeasedJob, stored: bool) -> Result<Step, Rejection> {
    run.command(Command::CompleteJob {
        worker: worker(1),
        trial: job.trial,
        attempt: job.attempt,
        completion: Completion {
            weights: Some(Digest::of(b"weights")),
            weights_stored: stored,
            ..completion(&job.objective.metric, 0.5)
        },
    })
}

#[test]
fn an_interrupted_upload_of_the_best_is_taken_up_by_a_late_completion() {
    for while_it_trains_again in [false, true] {
        let mut run = Run::new(&definition(IMAGES));
        propose(&mut run);
        let job = run.lease(1, 1).remove(0);
        complete_with_weights(&mut run, &job);
        release(&mut run, &job, ReleaseReason::WorkerRestarted);
        let weights = Digest::of(b"weights");
        if while_it_trains_again {
            assert_eq!(run.lease(2, 1).len(), 1);
        }
        let step = repeat_completion(&mut run, &job, false).unwrap();
        assert_eq!(step.reply, Reply::Weights(WeightsAnswer::Upload));
        let dropped = |effect: &Effect| matches!(effect, Effect::Drop { .. });
        assert_eq!(step.effects.iter().any(dropped), while_it_trains_again);
        assert_eq!(run.lease(2, 1), [], "the best trains again for nothing");
        run.search
            .may_upload(worker(1), job.trial, job.attempt, weights)
            .unwrap();
        run.command(Command::RecordWeights {
            trial: job.trial,
            attempt: job.attempt,
            weights,
        })
        .unwrap();
        assert!(run.search.best().unwrap().stored);
        assert!(matches!(run.lease(2, 1)[0].job, Job::Test { .. }));
    }
}

#[test]
fn weights_that_the_best_lacks_are_taken_even_without_a_lease() {
    let mut run = Run::new(&definition(IMAGES));
    propose(&mut run);
    let job = run.lease(1, 1).remove(0);
    complete_with_weights(&mut run, &job);
    let (trial, attempt) = (job.trial, job.attempt);
    run.command(Command::ExpireLease { trial, attempt })
        .unwrap();
    let retraining = run.lease(2, 1).remove(0);
    let other = Digest::of(b"others");
    let refused = run.search.may_upload(worker(1), trial, attempt, other);
    assert!(matches!(refused, Err(Rejection::NotHeld { .. })));
    let weights = Digest::of(b"weights");
    run.search
        .may_upload(worker(1), trial, attempt, weights)
        .unwrap();
    let step = run
        .command(Command::RecordWeights {
            trial,
            attempt,
            weights,
        })
        .unwrap();
    let dropped = Effect::Drop {
        trial,
        attempt: retraining.attempt,
        worker: worker(2),
    };
    assert!(step.effects.contains(&dropped), "{:?}", step.effects);
    assert!(run.search.best().unwrap().stored);
}

#[test]
fn a_late_completion_whose_weights_are_there_already_needs_no_upload() {
    let mut run = Run::new(&definition(IMAGES));
    propose(&mut run);
    let job = run.lease(1, 1).remove(0);
    complete_with_weights(&mut run, &job);
    let (trial, attempt) = (job.trial, job.attempt);
    run.command(Command::ExpireLease { trial, attempt })
        .unwrap();
    let step = repeat_completion(&mut run, &job, true).unwrap();
    assert_eq!(step.reply, Reply::Weights(WeightsAnswer::Keep));
    assert!(run.search.best().unwrap().stored);
    let step = repeat_completion(&mut run, &job, true).unwrap();
    assert_eq!(step.events, []);
}

#[test]
fn running_time_goes_on_across_a_restart_but_for_the_time_the_coordinator_was_down() {
    let text = format!("{PLAIN}budget: {{time: 100s}}\n");
    let mut run = Run::new(&definition(&text));
    propose(&mut run);
    run.lease(1, 1);
    // Nothing happens for half a minute; the coordinator looks at the time when it is to.
    while run.now_ms < 30_000 {
        run.now_ms += run.search.time_to_look_ms(run.now_ms).unwrap();
        run.command(Command::CheckTime).unwrap();
    }
    assert!(
        run.journal.len() < 40,
        "the journal is filled with the time"
    );
    // It dies, and is started again ten minutes later.
    let (replayed, _) = run.replayed();
    run.search = replayed;
    run.now_ms += 600_000;
    run.command(Command::Recover).unwrap();
    let elapsed = run.search.elapsed_ms(run.now_ms);
    assert!((29_000..=31_000).contains(&elapsed), "{elapsed}");
}

#[test]
fn compute_counts_every_attempt_for_as_long_as_it_was_held() {
    let text = format!("{PLAIN}budget: {{trials: 9}}\nattempts: 9\n");
    let mut run = Run::new(&definition(&text));
    propose(&mut run);
    let close = |run: &Run, seconds: f64| {
        let counted = run.search.compute_seconds();
        assert!((counted - seconds).abs() < 1e-9, "{counted}, not {seconds}");
    };
    let failed = run.lease(1, 1).remove(0);
    run.now_ms += 5_000;
    fail(&mut run, &failed, FailureDomain::Worker).unwrap();
    close(&run, 5.0);
    let expired = run.lease(2, 1).remove(0);
    run.now_ms += 7_000;
    let (trial, attempt) = (expired.trial, expired.attempt);
    run.command(Command::ExpireLease { trial, attempt })
        .unwrap();
    close(&run, 12.0);
    run.lease(3, 1).remove(0);
    run.now_ms += 2_000;
    // The expired attempt completes after all, 9 s of evaluator in it: the newer one is superseded.
    run.command(Command::CompleteJob {
        worker: worker(2),
        trial,
        attempt,
        completion: Completion {
            seconds: 9.0,
            ..completion("score", 0.5)
        },
    })
    .unwrap();
    close(&run, 5.0 + 9.0 + 2.0);
    // A grant that never arrived ran nowhere.
    propose(&mut run);
    let lost = run.lease(1, 1).remove(0);
    run.now_ms += 3_000;
    release(&mut run, &lost, ReleaseReason::ReplyLost);
    close(&run, 16.0);
    // What runs when the search is stopped was compute as well.
    run.lease(1, 1).remove(0);
    run.now_ms += 4_000;
    run.command(Steer::Stop.into()).unwrap();
    close(&run, 20.0);
}
