//! Leases over gRPC against a coordinator in this process: what is lost, late, stale or not the worker's.

// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use espalier_common::ids::Digest;
use espalier_proto::v1;
use support::{TestServer, TestWorker, assert_exact, attempt, score, spec};
use tokio_stream::StreamExt;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_reply_returns_to_the_queue_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("lost", 1)).await;
    let mut worker = server.worker("lossy", 1).await;
    let lost = worker.one().await;
    assert_eq!(worker.renew(&[], worker.call).await, vec![]);
    let again = worker.one().await;
    assert_eq!(again.trial, lost.trial);
    assert!(again.attempt > lost.attempt);
    assert_eq!(again.seed, lost.seed);
    worker
        .complete(&again, score(&again.decisions))
        .await
        .unwrap();
    assert_exact(&server, "lost", 1).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_told_whether_it_was_forgotten_or_displaced() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    let mut first = server.worker("node", 1).await;
    server.stop().await;

    let server = TestServer::start(folder.path()).await;
    first.reconnect(server.channel.clone());
    let forgotten = first.lease(1, 0).await.unwrap_err();
    assert_eq!(forgotten.code(), Code::FailedPrecondition, "{forgotten}");
    first.register_again().await.unwrap();
    assert!(first.lease(1, 0).await.unwrap().is_empty());

    let mut second = server.worker("node", 1).await;
    let displaced = first.lease(1, 0).await.unwrap_err();
    assert_eq!(displaced.code(), Code::AlreadyExists, "{displaced}");
    assert!(displaced.message().contains("\"node\""), "{displaced}");
    assert!(second.lease(1, 0).await.unwrap().is_empty());
    server.stop().await;
}

/// A worker of this name that says where it runs, not registered yet.
fn at_home(server: &TestServer, name: &str, home: u8) -> TestWorker {
    let mut worker = TestWorker::unregistered(server.channel.clone(), name, 1);
    worker.home = vec![home; 16];
    worker
}

async fn registered_at_home(server: &TestServer, name: &str, home: u8) -> TestWorker {
    let mut worker = at_home(server, name, home);
    worker.register_again().await.unwrap();
    worker
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_of_a_name_is_refused_while_the_first_one_is_at_work() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    let mut first = registered_at_home(&server, "node", 1).await;
    server.create(&spec("clash", 1)).await;
    let job = first.one().await;

    let mut second = at_home(&server, "node", 2);
    let refused = second.register_again().await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    assert!(refused.message().contains("--name"), "{refused}");
    let free_after = refused.metadata().get(espalier_proto::FREE_AFTER_MS);
    assert_eq!(free_after.unwrap(), "30000");
    assert_eq!(first.renew(&[&job], first.call).await, vec![]);

    // Nor after a restart of the coordinator, which then knows the first one by its lease alone.
    server.stop().await;
    let server = TestServer::start(folder.path()).await;
    second.reconnect(server.channel.clone());
    let refused = second.register_again().await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");

    first.reconnect(server.channel.clone());
    first.register_again().await.unwrap();
    first.complete(&job, score(&job.decisions)).await.unwrap();
    let trials = server.trials("clash").await;
    assert_eq!(trials[0].attempts, 1, "{trials:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_started_again_takes_its_place_at_once_and_another_one_when_nothing_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start_with_leases(folder.path(), 1_000).await;
    let mut first = registered_at_home(&server, "node", 1).await;
    server.create(&spec("again", 1)).await;
    let lost = first.one().await;

    let mut again = registered_at_home(&server, "node", 1).await;
    let job = again.one().await;
    assert_eq!((job.trial, job.attempt.0), (lost.trial, lost.attempt.0 + 1));

    // Heard of now: its poll waited until the trial might go to the same machine again.
    assert_eq!(again.renew(&[&job], again.call).await, vec![]);
    let mut other = at_home(&server, "node", 2);
    let began = std::time::Instant::now();
    while let Err(refused) = other.register_again().await {
        assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
        assert!(began.elapsed() < Duration::from_secs(30), "{refused}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(began.elapsed() > Duration::from_millis(500));
    let job = other.one().await;
    other.complete(&job, score(&job.decisions)).await.unwrap();
    assert_exact(&server, "again", 1).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_stays_with_its_worker_through_a_restart_of_the_coordinator_though_it_holds_nothing()
{
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    let mut first = registered_at_home(&server, "node", 1).await;
    let mut second = at_home(&server, "node", 2);
    assert!(second.register_again().await.is_err());
    server.stop().await;

    let server = TestServer::start(folder.path()).await;
    second.reconnect(server.channel.clone());
    let refused = second.register_again().await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    first.reconnect(server.channel.clone());
    first.register_again().await.unwrap();
    // Of one that has said goodbye the name is free, also after a restart.
    first.leave().await;
    server.stop().await;
    let server = TestServer::start(folder.path()).await;
    second.reconnect(server.channel.clone());
    second.register_again().await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_never_delivered_holds_its_trial_for_one_more_time_to_live() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start_with_leases(folder.path(), 1_000).await;
    let mut worker = registered_at_home(&server, "node", 1).await;
    server.create(&spec("looping", 1)).await;
    let done = worker.one().await;
    // Dies, and is started again, more often than leases run out.
    let began = std::time::Instant::now();
    let mut other = server.worker("other", 1).await;
    let loops = async {
        loop {
            let mut again = at_home(&server, "node", 1);
            again.results = vec![attempt(&done)];
            again.register_again().await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let elsewhere = tokio::select! {
        job = other.one() => job,
        () = loops => unreachable!(),
    };
    assert_eq!(elsewhere.trial, done.trial);
    assert!(began.elapsed() >= Duration::from_millis(500));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_a_worker_brings_from_before_its_restart_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    let mut first = at_home(&server, "node", 1);
    first.slots = 2;
    first.register_again().await.unwrap();
    server.create(&spec("brought", 2)).await;
    let (done, lost) = (first.one().await, first.one().await);

    let mut again = at_home(&server, "node", 1);
    again.results = vec![attempt(&done)];
    again.register_again().await.unwrap();
    // As the instance that ran it: this is whose attempt it is.
    first.complete(&done, score(&done.decisions)).await.unwrap();
    let job = again.one().await;
    assert_eq!(job.trial, lost.trial);
    again.complete(&job, score(&job.decisions)).await.unwrap();
    let trials = assert_exact(&server, "brought", 2).await;
    let attempts = |number: u32| {
        trials
            .iter()
            .find(|trial| trial.number == number)
            .unwrap()
            .attempts
    };
    assert_eq!((attempts(done.trial.0), attempts(lost.trial.0)), (1, 2));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_its_worker_gave_up_takes_no_job() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    let mut worker = server.worker("hasty", 1).await;
    let mut impatient = worker.clone();
    let poll = impatient.lease(1, 30_000);
    assert!(
        tokio::time::timeout(Duration::from_millis(200), poll)
            .await
            .is_err()
    );
    server.create(&spec("hasty", 1)).await;
    worker.call = 1;
    let job = worker.one().await;
    assert!(job.attempt.0 <= 2, "{job:?}");
    worker.complete(&job, score(&job.decisions)).await.unwrap();
    assert_exact(&server, "hasty", 1).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_lease_runs_again_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start_with_leases(folder.path(), 500).await;
    server.create(&spec("expired", 1)).await;
    let lost = server.worker("silent", 1).await.one().await;
    let mut heir = server.worker("heir", 1).await;
    let again = heir.one().await;
    assert_eq!(again.trial, lost.trial);
    assert_eq!(again.attempt.0, lost.attempt.0 + 1);
    assert_eq!(again.decisions, lost.decisions);
    heir.complete(&again, score(&again.decisions))
        .await
        .unwrap();
    let trials = assert_exact(&server, "expired", 1).await;
    assert_eq!((trials[0].attempts, trials[0].worker.as_str()), (2, "heir"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_lease_outlives_its_first_time_to_live() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start_with_leases(folder.path(), 600).await;
    server.create(&spec("renewed", 1)).await;
    let mut worker = server.worker("steady", 1).await;
    let job = worker.one().await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(worker.renew(&[&job], worker.call).await, vec![]);
    }
    worker.complete(&job, score(&job.decisions)).await.unwrap();
    let trials = assert_exact(&server, "renewed", 1).await;
    assert_eq!(trials[0].attempts, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_report_is_refused_and_a_stale_completion_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start_with_leases(folder.path(), 500).await;
    server.create(&spec("stale", 1)).await;
    let mut slow = server.worker("slow", 1).await;
    let stale = slow.one().await;
    slow.report(&stale, 1, 0.1).await.unwrap();
    let mut quick = server.worker("quick", 1).await;
    let newer = quick.one().await;
    let refused = slow.report(&stale, 2, 0.1).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let failure = v1::FailRequest {
        worker: slow.id.clone(),
        attempt: Some(attempt(&stale)),
        failure: Some(v1::Failure {
            domain: "worker".to_owned(),
            kind: "crashed".to_owned(),
            message: "late".to_owned(),
            log_tail: String::new(),
        }),
    };
    let refused = slow.client.fail(failure).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    slow.report(&newer, 1, 0.2).await.unwrap_err();

    let result = score(&stale.decisions);
    slow.complete_with_step(&stale, 2, result).await.unwrap();
    slow.complete_with_step(&stale, 2, result).await.unwrap();
    let dropped = quick.renew(&[&newer], quick.call).await;
    assert_eq!(dropped, vec![attempt(&newer)]);
    let late = quick.complete(&newer, 0.9).await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition, "{late}");
    assert_exact(&server, "stale", 1).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_started_again_gives_back_what_its_older_instance_held() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("same", 1)).await;
    let held = server.worker("same", 1).await.one().await;
    let mut newer = server.worker("same", 1).await;
    let again = newer.one().await;
    assert_eq!(
        (again.trial, again.attempt.0),
        (held.trial, held.attempt.0 + 1)
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_started_again_while_the_coordinator_was_away_gives_back_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("away", 1)).await;
    let held = server.worker("same", 1).await.one().await;
    server.stop().await;
    let server = TestServer::start(folder.path()).await;
    let again = server.worker("same", 1).await.one().await;
    assert_eq!(
        (again.trial, again.attempt.0),
        (held.trial, held.attempt.0 + 1)
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_holds_is_prolonged_although_it_is_told_to_register_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start_with_leases(folder.path(), 500).await;
    server.create(&spec("busy", 1)).await;
    let mut worker = server.worker("busy", 1).await;
    let job = worker.one().await;
    server.stop().await;
    let server = TestServer::start_with_leases(folder.path(), 500).await;
    worker.reconnect(server.channel.clone());
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let unknown = worker.try_renew(&[&job], worker.call).await.unwrap_err();
        assert_eq!(unknown.code(), Code::FailedPrecondition, "{unknown}");
    }
    worker.register_again().await.unwrap();
    assert_eq!(worker.renew(&[&job], worker.call).await, vec![]);
    let cluster = server
        .searches()
        .get_cluster(v1::GetClusterRequest {})
        .await;
    let workers = cluster.unwrap().into_inner().workers;
    assert_eq!(workers[0].held, vec![attempt(&job)]);
    worker.complete(&job, score(&job.decisions)).await.unwrap();
    let trials = assert_exact(&server, "busy", 1).await;
    assert_eq!(trials[0].attempts, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_not_known_drops_what_it_is_to_drop_before_it_registers_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("cancelled", 1)).await;
    let mut worker = server.worker("only", 1).await;
    let job = worker.one().await;
    server.stop().await;
    let server = TestServer::start(folder.path()).await;
    worker.reconnect(server.channel.clone());
    let request = v1::CancelRequest {
        search: "cancelled".to_owned(),
        trial: job.trial.0,
    };
    server.searches().cancel(request).await.unwrap();
    assert_eq!(worker.renew(&[&job], worker.call).await, [attempt(&job)]);
    let unknown = worker.try_renew(&[], worker.call).await.unwrap_err();
    assert_eq!(unknown.code(), Code::FailedPrecondition, "{unknown}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_leaves_or_releases_costs_no_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    // One attempt: were a hand-back to count, the trial would fail.
    let text = spec("drain", 1) + "attempts: 1\n";
    server.create(&text).await;
    let mut leaver = server.worker("leaver", 1).await;
    let first = leaver.one().await;
    let release = v1::ReleaseRequest {
        worker: leaver.id.clone(),
        attempts: vec![attempt(&first)],
    };
    leaver.client.release(release.clone()).await.unwrap();
    leaver.client.release(release).await.unwrap(); // the acknowledgement was lost: once more
    let second = leaver.one().await;
    assert!(second.attempt > first.attempt);
    let worker = leaver.id.clone();
    leaver
        .client
        .leave(v1::LeaveRequest { worker })
        .await
        .unwrap();
    let mut heir = server.worker("heir", 1).await;
    heir.work(300, |_| {}).await;
    let trials = assert_exact(&server, "drain", 1).await;
    assert_eq!(trials[0].attempts, 3);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_fails_or_releases_the_attempt_of_another_worker() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("owned", 1)).await;
    let mut owner = server.worker("owner", 1).await;
    let job = owner.one().await;
    let mut thief = server.worker("thief", 1).await;
    let worker = thief.id.clone();
    let attempts = vec![attempt(&job)];
    let release = v1::ReleaseRequest { worker, attempts };
    thief.client.release(release).await.unwrap();
    thief.report(&job, 1, 0.3).await.unwrap_err();
    thief.complete(&job, 0.3).await.unwrap_err();
    assert_eq!(owner.renew(&[&job], owner.call).await, vec![]);
    owner.complete(&job, score(&job.decisions)).await.unwrap();
    let trials = assert_exact(&server, "owned", 1).await;
    assert_eq!(trials[0].attempts, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_weights_of_the_best_are_stored_once_and_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("weights", 2)).await;
    let mut worker = server.worker("only", 1).await;
    let content = b"some weights".as_slice();
    let digest = Digest::of(content).to_string();
    let job = worker.one().await;
    let refused = worker.upload(&job, &digest, content).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    let asked = worker.complete_with(&job, 0.5, &digest).await.unwrap();
    assert_eq!(asked, v1::WeightsDecision::Upload);
    let refused = worker
        .upload(&job, &digest, b"other weight")
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    worker.upload(&job, &digest, content).await.unwrap();
    worker.upload(&job, &digest, content).await.unwrap(); // the acknowledgement was lost
    let worse = worker.one().await;
    let asked = worker.complete_with(&worse, 0.4, &digest).await.unwrap();
    assert_eq!(asked, v1::WeightsDecision::Discard);
    let status = server.finished("weights").await;
    assert_eq!(status.best_weights, digest);
    let download = v1::DownloadRequest { digest };
    let mut pieces = server
        .searches()
        .download(download)
        .await
        .unwrap()
        .into_inner();
    let mut read = Vec::new();
    while let Some(piece) = pieces.next().await {
        read.extend(piece.unwrap().data);
    }
    assert_eq!(read, content);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_mean_nothing_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("odd", 1)).await;
    let mut worker = server.worker("odd", 1).await;
    let job = worker.one().await;
    let nan = worker.report(&job, 1, f64::NAN).await.unwrap_err();
    assert_eq!(nan.code(), Code::InvalidArgument, "{nan}");
    let mut unknown = job.clone();
    unknown.attempt.0 = 99;
    let refused = worker.complete(&unknown, 0.1).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
    unknown.search.0 = uuid::Uuid::from_u128(5);
    let refused = worker.complete(&unknown, 0.1).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
    worker.slots = 0;
    let refused = worker.register_again().await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert_eq!(server.status("odd").await.phase, "running");
    server.stop().await;
}
