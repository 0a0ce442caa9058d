//! Checkpoints over gRPC against a coordinator in this process: a job that is handed back with one is gone on with, the
//! file stays for as long as its trial may need it, and nobody else can put one there.

// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;

use espalier_common::ids::{AttemptNumber, Digest};
use espalier_common::job::{Job, LeasedJob};
use espalier_proto::v1;
use support::stored::until_stored;
use support::{TestServer, TestWorker, spec};
use tonic::Code;

const HALF: &[u8] = b"half a network";

fn three_epochs(name: &str, trials: u32) -> String {
    spec(name, trials).replace("epochs: 1", "epochs: 3")
}

/// A worker whose evaluator knows checkpoints.
async fn able(server: &TestServer, name: &str) -> TestWorker {
    let mut worker = TestWorker::unregistered(server.channel.clone(), name, 1);
    worker.checkpoints = true;
    worker.register_again().await.unwrap();
    worker
}

fn goes_on(from: u32, content: &[u8]) -> Job {
    Job::Train {
        from,
        to: 3,
        checkpoint: Some(Digest::of(content)),
    }
}

async fn download(worker: &mut TestWorker, content: &[u8]) -> Vec<u8> {
    let request = v1::DownloadArtifactRequest {
        digest: Digest::of(content).to_string(),
    };
    let mut pieces = worker
        .client
        .download_artifact(request)
        .await
        .unwrap()
        .into_inner();
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.message().await.unwrap() {
        bytes.extend(piece.data);
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_goes_on_elsewhere_from_the_checkpoint_with_which_it_was_handed_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&three_epochs("moved", 1)).await;
    let (mut one, mut two) = (able(&server, "one").await, able(&server, "two").await);
    let first = one.one().await;
    assert_eq!(first.job, Job::train(3));
    one.report(&first, 1, 0.5).await.unwrap();
    one.break_off(&first, 1, HALF).await.unwrap();
    // It has handed itself back with that.
    let late = one.report(&first, 2, 0.5).await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition);

    let second = two.one().await;
    assert_eq!((second.trial, second.seed), (first.trial, first.seed));
    assert_eq!(second.attempt, AttemptNumber(2));
    assert_eq!(second.job, goes_on(1, HALF));
    assert_eq!(download(&mut two, HALF).await, HALF);
    // Once more, further on: the former file is not needed any more.
    two.report(&second, 2, 0.5).await.unwrap();
    two.break_off(&second, 2, b"most of it").await.unwrap();
    until_stored(folder.path(), &[b"most of it"]).await;

    let third = one.one().await;
    assert_eq!(third.job, goes_on(2, b"most of it"));
    one.complete_with_step(&third, 3, 0.75).await.unwrap();
    server.finished("moved").await;
    until_stored(folder.path(), &[]).await;
    let trials = server.trials("moved").await;
    assert_eq!((trials.len(), trials[0].score), (1, Some(0.75)));
    // Handing back costs nothing.
    assert_eq!(trials[0].attempts, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_knows_no_checkpoints_begins_anew_and_another_one_may_still_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&three_epochs("mixed", 1)).await;
    let (mut able, mut unable) = (able(&server, "one").await, server.worker("two", 1).await);
    let job = able.one().await;
    able.break_off(&job, 2, HALF).await.unwrap();
    let anew = unable.one().await;
    assert_eq!(anew.job, Job::train(3));
    unable.report(&anew, 1, 0.5).await.unwrap();
    unable.release(&anew).await;
    let on = able.one().await;
    assert_eq!(on.job, goes_on(2, HALF));
    // A failure may be the checkpoint's fault.
    able.fail(&on).await.unwrap();
    until_stored(folder.path(), &[]).await;
    let anew = unable.one().await;
    assert_eq!(anew.job, Job::train(3));
    unable.complete_with_step(&anew, 3, 0.5).await.unwrap();
    server.finished("mixed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_outlives_the_coordinator_and_a_lost_worker() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&three_epochs("kept", 1)).await;
    let mut worker = able(&server, "one").await;
    let job = worker.one().await;
    worker.break_off(&job, 1, HALF).await.unwrap();
    server.stop().await;

    let server = TestServer::start(folder.path()).await;
    until_stored(folder.path(), &[HALF]).await;
    let mut worker = able(&server, "one").await;
    let job = worker.one().await;
    assert_eq!(job.job, goes_on(1, HALF));
    worker.release(&job).await;
    // One that began anew, and failed: that says nothing about the checkpoint.
    let mut unable = server.worker("two", 1).await;
    let anew = unable.one().await;
    assert_eq!(anew.job, Job::train(3));
    unable.fail(&anew).await.unwrap();
    let job = worker.one().await;
    assert_eq!(job.job, goes_on(1, HALF));
    // The process is started again: what it held is lost, what it went on from is not.
    let mut again = able(&server, "one").await;
    let job = again.one().await;
    assert_eq!(
        (job.attempt, job.job.clone()),
        (AttemptNumber(5), goes_on(1, HALF))
    );
    again.complete_with_step(&job, 3, 0.5).await.unwrap();
    server.finished("kept").await;
    until_stored(folder.path(), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_taken_from_the_attempt_that_trains_only_and_a_repeated_one_is_acknowledged()
 {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&three_epochs("strict", 2)).await;
    let (mut one, mut two) = (able(&server, "one").await, able(&server, "two").await);
    let job = one.one().await;
    let others = two
        .break_off(&job, 1, b"of somebody else")
        .await
        .unwrap_err();
    assert_eq!(others.code(), Code::FailedPrecondition, "{others}");
    let over = one.break_off(&job, 3, HALF).await.unwrap_err();
    assert!(over.message().contains("a trial has 3"), "{over}");
    let unknown = LeasedJob {
        attempt: AttemptNumber(9),
        ..job.clone()
    };
    assert!(one.break_off(&unknown, 1, HALF).await.is_err());
    // Weights were not asked for.
    assert!(
        one.upload(&job, &Digest::of(HALF).to_string(), HALF)
            .await
            .is_err()
    );
    until_stored(folder.path(), &[]).await;

    one.break_off(&job, 1, HALF).await.unwrap();
    one.break_off(&job, 1, HALF).await.unwrap(); // the acknowledgement was lost
    let on = two.one().await;
    assert_eq!(on.job, goes_on(1, HALF));
    let stale = one.break_off(&job, 2, b"too late").await.unwrap_err();
    assert_eq!(stale.code(), Code::FailedPrecondition, "{stale}");
    two.complete_with_step(&on, 3, 0.5).await.unwrap();
    let closed = two.break_off(&on, 2, b"too late").await.unwrap_err();
    assert_eq!(closed.code(), Code::FailedPrecondition, "{closed}");
    until_stored(folder.path(), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_takes_no_checkpoint_costs_the_progress_and_no_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    let text = three_epochs("full", 1) + "attempts: 1\n";
    server.create(&text).await;
    let mut worker = able(&server, "one").await;
    let job = worker.one().await;
    break_folder(folder.path());
    let refused = worker.break_off(&job, 1, HALF).await.unwrap_err();
    // Final: the worker has no time to wait for an operator.
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    worker.release(&job).await;
    let anew = worker.one().await;
    assert_eq!(anew.job, Job::train(3));
    worker.complete_with_step(&anew, 3, 0.5).await.unwrap();
    server.finished("full").await;
}

/// Makes the artifacts' folder one in which nothing can be begun.
fn break_folder(data_dir: &Path) {
    let folder = data_dir.join("artifacts/tmp");
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "in the way").unwrap();
}
