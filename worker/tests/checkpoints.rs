//! A worker that ends in the middle of a job: it hands the job back with a checkpoint, in time, or without one; and a
//! job that goes on from one.

// The lint knows tests by their attribute, not the helpers beside them.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use espalier_common::ids::Digest;
use espalier_common::job::{Job, LeasedJob};
use espalier_proto::attempt_to_wire;
use support::{Bench, Running, State, job};
use tonic::Code;

const HALF: &[u8] = b"half a network";

/// A worker whose evaluator does `what` when it is asked for a checkpoint, and which runs a job.
async fn running(what: &str, drain: Duration) -> (Bench, Running) {
    let bench = Bench::new();
    std::fs::write(bench.path("checkpoints"), what).unwrap();
    let mut config = bench.config();
    config.drain_timeout = drain;
    let worker = Running::of(config);
    bench.fake.grant(job(1, "wait"));
    let measured = |state: &State| state.reports.len() == 1;
    bench.fake.until("it runs", measured).await;
    (bench, worker)
}

async fn ended(what: &str) -> Bench {
    let (bench, worker) = running(what, Duration::from_secs(10)).await;
    worker.end().await.unwrap();
    assert!(bench.path("asked").exists());
    bench
}

fn goes_on(from: u32, checkpoint: Digest) -> LeasedJob {
    LeasedJob {
        job: Job::Train {
            from,
            to: 3,
            checkpoint: Some(checkpoint),
        },
        ..job(1, "wait")
    }
}

fn assert_released(state: &State) {
    assert_eq!(state.releases, [attempt_to_wire(job(1, "").key())]);
    assert!(state.uploads.is_empty() && state.fails.is_empty());
    assert!(state.completes.is_empty());
}

#[tokio::test]
async fn the_end_hands_a_job_back_with_its_checkpoint() {
    let bench = ended("write").await;
    let state = bench.fake.lock();
    assert!(state.registers[0].evaluators[0].checkpoints);
    let header = &state.uploads[0];
    assert_eq!(header.attempt, Some(attempt_to_wire(job(1, "").key())));
    assert_eq!(header.checkpoint.as_ref().unwrap().step, 1);
    assert_eq!(state.artifacts[&header.digest], HALF);
    // The upload has handed it back.
    assert!(state.releases.is_empty() && state.fails.is_empty());
    assert_eq!(state.order, ["register", "upload", "leave"]);
}

#[tokio::test]
async fn what_was_measured_before_the_checkpoint_is_reported_before_it() {
    let bench = ended("measure").await;
    let state = bench.fake.lock();
    let steps: Vec<u32> = state
        .reports
        .iter()
        .filter_map(|report| Some(report.measurement.as_ref()?.step))
        .collect();
    assert_eq!(steps, [1, 2]);
    assert_eq!(state.uploads[0].checkpoint.as_ref().unwrap().step, 2);
}

#[tokio::test]
async fn a_job_that_is_done_when_its_checkpoint_is_asked_for_is_completed() {
    let bench = ended("finish").await;
    let state = bench.fake.lock();
    assert_eq!(state.completes.len(), 1);
    assert!(state.uploads.is_empty() && state.releases.is_empty());
}

#[tokio::test]
async fn a_job_without_anything_to_go_on_from_is_handed_back_as_it_began() {
    for what in ["nothing", "exit"] {
        let bench = ended(what).await;
        assert_released(&bench.fake.lock());
    }
}

#[tokio::test]
async fn an_evaluator_that_knows_no_checkpoints_is_not_asked_for_one() {
    let bench = Bench::new();
    let worker = bench.start();
    bench.fake.grant(job(1, "wait"));
    let measured = |state: &State| state.reports.len() == 1;
    bench.fake.until("it runs", measured).await;
    worker.end().await.unwrap();
    assert!(!bench.path("asked").exists());
    let state = bench.fake.lock();
    assert!(!state.registers[0].evaluators[0].checkpoints);
    assert_released(&state);
}

#[tokio::test]
async fn a_candidate_that_fails_when_its_checkpoint_is_asked_for_has_failed() {
    let bench = ended("diverge").await;
    let state = bench.fake.lock();
    assert_eq!(state.failure(0).kind, "diverged");
    assert!(state.releases.is_empty());
}

#[tokio::test]
async fn no_file_outside_of_the_scratch_folder_is_sent_as_a_checkpoint_and_none_of_a_job_that_is_over()
 {
    let bench = ended("steal").await;
    assert_released(&bench.fake.lock());
    let bench = ended("late").await;
    let state = bench.fake.lock();
    let message = &state.failure(0).message;
    assert!(
        message.contains("3 epochs in a job that ends with 3"),
        "{message}"
    );
    assert!(state.uploads.is_empty());
}

#[tokio::test]
async fn an_evaluator_that_writes_no_checkpoint_in_time_is_ended() {
    let (bench, worker) = running("deaf", Duration::from_secs(1)).await;
    let began = Instant::now();
    worker.end().await.unwrap();
    // Six tenths of the time are the evaluator's; then come its own end and the goodbye.
    assert!(began.elapsed() >= Duration::from_millis(600));
    assert_released(&bench.fake.lock());
}

#[tokio::test]
async fn a_checkpoint_that_the_coordinator_does_not_take_in_time_is_left() {
    let (bench, worker) = running("write", Duration::from_secs(2)).await;
    bench.fake.lock().stall_uploads = true;
    worker.end().await.unwrap();
    assert_released(&bench.fake.lock());

    let (bench, worker) = running("write", Duration::from_secs(10)).await;
    bench.fake.lock().refuse_uploads_with = Some(Code::FailedPrecondition);
    let began = Instant::now();
    worker.end().await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
    assert_released(&bench.fake.lock());
}

#[tokio::test]
async fn a_job_goes_on_from_its_checkpoint() {
    let bench = Bench::new();
    std::fs::write(bench.path("checkpoints"), "write").unwrap();
    let digest = Digest::of(HALF);
    let artifacts = [(digest.to_string(), HALF.to_vec())];
    bench.fake.lock().artifacts = artifacts.into();
    let worker = bench.start();
    bench.fake.grant(goes_on(1, digest));
    let done = |state: &State| state.completes.len() == 1;
    bench.fake.until("it is done", done).await;
    assert_eq!(std::fs::read(bench.path("resumed")).unwrap(), HALF);
    assert_eq!(bench.fake.lock().downloads, 1);
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_job_whose_checkpoint_cannot_be_had_begins_anew() {
    // The file is gone, or the evaluator is of another release and knows none.
    for knows in [true, false] {
        let bench = Bench::new();
        if knows {
            std::fs::write(bench.path("checkpoints"), "nothing").unwrap();
        }
        let worker = bench.start();
        bench.fake.grant(goes_on(1, Digest::of(HALF)));
        // Step 1 again: it was told to begin at 0.
        let measured = |state: &State| state.reports.len() == 1;
        bench.fake.until("it runs", measured).await;
        assert!(!bench.path("resumed").exists());
        worker.end().await.unwrap();
        assert_released(&bench.fake.lock());
    }
}
