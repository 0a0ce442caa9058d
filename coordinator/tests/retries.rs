//! What failed is tried elsewhere, a sick machine is left alone for a while, and an interrupted upload is taken
//! up again: over gRPC against a coordinator in this process.

// Helpers stand outside of `#[test]` functions: a failure in them is to fail the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use espalier_common::ids::Digest;
use espalier_proto::v1;
use espalier_proto::v1::upload_artifact_request::Part;
use support::{TestServer, TestWorker, assert_exact, attempt, score, spec};
use tonic::Code;

async fn reasons(server: &TestServer) -> Vec<String> {
    let request = v1::GetClusterRequest {};
    let cluster = server.searches().get_cluster(request).await.unwrap();
    let waiting = cluster.into_inner().waiting.into_iter();
    waiting.map(|waiting| waiting.reason).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_that_failed_on_a_worker_runs_on_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("elsewhere", 3)).await;
    let mut sick = server.worker("sick", 1).await;
    let mut well = server.worker("well", 1).await;
    let failed = sick.one().await;
    sick.fail(&failed).await.unwrap();
    // The trial stands first in the queue, and the other worker is not even waiting.
    let other = sick.one().await;
    assert_ne!(other.trial, failed.trial);
    let again = well.one().await;
    assert_eq!(again.trial, failed.trial);
    for (worker, job) in [(&mut sick, other), (&mut well, again)] {
        worker.complete(&job, score(&job.decisions)).await.unwrap();
    }
    well.work(300, |_| {}).await;
    let trials = assert_exact(&server, "elsewhere", 3).await;
    let first = &trials[failed.trial.0 as usize - 1];
    assert_eq!((first.attempts, first.worker.as_str()), (2, "well"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_worker_gets_a_failed_trial_again_after_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("alone", 1)).await;
    let mut worker = server.worker("alone", 1).await;
    let failed = worker.one().await;
    worker.fail(&failed).await.unwrap();
    let began = Instant::now();
    let again = worker.one().await;
    assert_eq!(again.trial, failed.trial);
    let waited = began.elapsed();
    assert!(waited > Duration::from_millis(700), "{waited:?}");
    assert!(waited < Duration::from_secs(8), "{waited:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_started_again_is_still_the_machine_on_which_it_failed() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("same", 1)).await;
    let failed = server.worker("sick", 1).await.one().await;
    let mut well = server.worker("well", 1).await;
    let mut sick = server.worker("sick", 1).await;
    // Long enough for a second try, were there no other worker.
    assert_eq!(sick.lease(1, 2_000).await.unwrap(), vec![]);
    let again = well.one().await;
    assert_eq!(again.trial, failed.trial);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_on_which_everything_fails_is_paused_and_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("pausing", 8)).await;
    let mut sick = server.worker("sick", 1).await;
    let mut well = server.worker("well", 1).await;
    for _ in 0..2 {
        let job = sick.one().await;
        sick.fail(&job).await.unwrap();
    }
    let mut waiting = sick.clone();
    let poll = tokio::spawn(async move { waiting.lease(1, 1_000).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let reasons = reasons(&server).await;
    assert!(reasons[0].contains("paused"), "{reasons:?}");
    assert_eq!(poll.await.unwrap().unwrap(), vec![]);
    sick.call += 1;
    // The pause is over after two seconds; a job that is done makes it well.
    let job = sick.one().await;
    sick.complete(&job, score(&job.decisions)).await.unwrap();
    for _ in 0..2 {
        let job = sick.lease(1, 500).await.unwrap();
        assert_eq!(job.len(), 1, "it is well, and waits");
        sick.complete(&job[0], score(&job[0].decisions))
            .await
            .unwrap();
    }
    well.work(300, |_| {}).await;
    let trials = assert_exact(&server, "pausing", 8).await;
    assert!(trials.iter().all(|trial| trial.attempts <= 2), "{trials:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_is_said_twice_is_acknowledged_twice_and_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&(spec("twice", 1) + "attempts: 2\n")).await;
    let mut worker = server.worker("only", 1).await;
    let failed = worker.one().await;
    worker.fail(&failed).await.unwrap();
    worker.fail(&failed).await.unwrap(); // the acknowledgement was lost
    let again = worker.one().await;
    worker.fail(&failed).await.unwrap();
    worker
        .complete(&again, score(&again.decisions))
        .await
        .unwrap();
    assert_exact(&server, "twice", 1).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_goes_back_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("steps", 1)).await;
    let mut worker = server.worker("only", 1).await;
    let job = worker.one().await;
    worker.report(&job, 3, 0.1).await.unwrap();
    worker.report(&job, 3, 0.1).await.unwrap(); // the same message once more
    let back = v1::ReportRequest {
        worker: worker.id.clone(),
        attempt: Some(attempt(&job)),
        measurement: Some(support::measurement(2, 0.1)),
        number: 4,
    };
    let refused = worker.client.report(back).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert!(refused.message().contains("must grow"), "{refused}");
    server.stop().await;
}

/// A worker that has completed the only trial, with weights that it was asked to upload, and was then started
/// again before they were stored. Answers with its old and its new instance.
async fn interrupted(server: &TestServer, content: &[u8]) -> (TestWorker, TestWorker, v1::Attempt) {
    let digest = Digest::of(content).to_string();
    let mut old = server.worker("same", 1).await;
    let job = old.one().await;
    let result = score(&job.decisions);
    let asked = old.complete_with(&job, result, &digest).await.unwrap();
    assert_eq!(asked, v1::WeightsDecision::Upload);
    let new = server.worker("same", 1).await;
    // What the old instance left on disk is delivered in its name.
    let asked = old.complete_with(&job, result, &digest).await.unwrap();
    assert_eq!(
        asked,
        v1::WeightsDecision::Upload,
        "the weights are still wanted"
    );
    (old, new, attempt(&job))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_upload_is_taken_up_again_and_nothing_is_trained_twice() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start_with_leases(folder.path(), 500).await;
    server.create(&spec("weights", 1)).await;
    let content = b"the weights".repeat(3);
    let digest = Digest::of(&content).to_string();
    let (mut old, mut new, attempt) = interrupted(&server, &content).await;
    // The upload takes three times as long as a lease lives, and nobody renews it.
    let (parts, stream) = tokio::sync::mpsc::channel(1);
    let header = v1::UploadHeader {
        worker: old.id.clone(),
        attempt: Some(attempt),
        digest: digest.clone(),
        size: content.len() as u64,
        checkpoint: None,
    };
    let pieces: Vec<Vec<u8>> = content.chunks(3).map(<[u8]>::to_vec).collect();
    tokio::spawn(async move {
        let data = pieces.into_iter().map(Part::Data);
        for part in std::iter::once(Part::Header(header)).chain(data) {
            let request = v1::UploadArtifactRequest { part: Some(part) };
            parts.send(request).await.unwrap();
            tokio::time::sleep(Duration::from_millis(130)).await;
        }
    });
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let upload = tokio::spawn(async move { old.client.upload_artifact(stream).await });
    assert_eq!(
        new.lease(1, 1_400).await.unwrap(),
        vec![],
        "it is trained again"
    );
    upload.await.unwrap().unwrap();
    let status = server.finished("weights").await;
    assert_eq!(status.best_weights, digest);
    assert_eq!(status.counts.unwrap().attempts, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_jobs_for_many_slots_come_in_several_replies_and_cost_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    // Every lease carries the fixed hyperparameters: about 700 kB.
    let padding: String = (0..700)
        .map(|index| format!("  p{index}: {}\n", "a".repeat(1_000)))
        .collect();
    let text = spec("large", 30).replace("  y:", &format!("{padding}  y:"));
    server.create(&text).await;
    let mut worker = server.worker("wide", 30).await;
    let (mut jobs, mut replies) = (Vec::new(), 0);
    while jobs.len() < 30 {
        let free = 30 - jobs.len() as u32;
        jobs.extend(worker.lease(free, 10_000).await.unwrap());
        replies += 1;
        assert!(replies < 30, "{} jobs", jobs.len());
    }
    assert!(
        replies > 2,
        "more than a message may have came in {replies}"
    );
    for job in &jobs {
        worker.complete(job, score(&job.decisions)).await.unwrap();
    }
    let trials = assert_exact(&server, "large", 30).await;
    assert!(trials.iter().all(|trial| trial.state == "completed"));
    server.stop().await;
}
