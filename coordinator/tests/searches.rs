//! A coordinator in this process with synthetic workers over gRPC: searches from their creation to their
//! end, and what users can do with them.

// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use espalier_coordinator::server::{self, ServerConfig, ServerError, TlsMode};
use espalier_proto::v1;
use espalier_proto::v1::search_service_client::SearchServiceClient;
use espalier_runtime::Shutdown;
use support::{TestServer, assert_exact, spec};
use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_search_runs_to_its_end_and_every_trial_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    let created = server.create(&spec("happy", 30)).await;
    assert_eq!(created.phase, "running");
    let mut workers = tokio::task::JoinSet::new();
    for name in ["a", "b", "c"] {
        let mut worker = server.worker(name, 2).await;
        workers.spawn(async move {
            let mut ran = Vec::new();
            worker.work(300, |job| ran.push(job.trial.0)).await;
            ran
        });
    }
    let mut ran: Vec<u32> = workers.join_all().await.into_iter().flatten().collect();
    ran.sort_unstable();
    assert_eq!(ran, (1..=30).collect::<Vec<_>>());
    let trials = assert_exact(&server, "happy", 30).await;
    assert!(trials.iter().all(|trial| trial.attempts == 1));
    let names: BTreeSet<&str> = trials.iter().map(|trial| trial.worker.as_str()).collect();
    assert!(
        names.is_subset(&BTreeSet::from(["a", "b", "c"])),
        "{names:?}"
    );
    let best = v1::BestRequest {
        search: "happy".to_owned(),
        count: 3,
    };
    let best = server.searches().best(best).await.unwrap().into_inner();
    let scores: Vec<f64> = best.trials.iter().filter_map(|trial| trial.score).collect();
    assert_eq!(scores.len(), 3);
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_slot_and_one_seed_give_the_same_trials_twice() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let server = TestServer::start(folder.path()).await;
        let text = spec("again", 12).replace("searcher: random", "searcher: evolution");
        server.create(&text).await;
        let mut worker = server.worker("only", 1).await;
        worker.work(300, |_| {}).await;
        let trials = assert_exact(&server, "again", 12).await;
        let outline = |trial: v1::Trial| (trial.candidate_json, trial.score, trial.origin_json);
        runs.push(trials.into_iter().map(outline).collect::<Vec<_>>());
        server.stop().await;
    }
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_coordinator_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("restart", 10)).await;
    let mut worker = server.worker("only", 2).await;
    for _ in 0..4 {
        let job = worker.one().await;
        worker
            .complete(&job, support::score(&job.decisions))
            .await
            .unwrap();
    }
    let held = worker.one().await;
    let before = server.trials("restart").await;
    let events = server.status("restart").await.events;
    server.stop().await;

    let server = TestServer::start(folder.path()).await;
    worker.reconnect(server.channel.clone());
    let after = server.status("restart").await;
    assert_eq!(
        after.events,
        events + 1,
        "one event says that it was recovered"
    );
    assert_eq!(server.trials("restart").await, before);
    // A worker that is busy only renews: it must learn at once that it is not known here.
    let unknown = worker.try_renew(&[&held], worker.call).await.unwrap_err();
    assert_eq!(unknown.code(), Code::FailedPrecondition, "{unknown}");
    let unknown = worker.lease(1, 0).await.unwrap_err();
    assert_eq!(unknown.code(), Code::FailedPrecondition, "{unknown}");
    assert!(unknown.message().contains("register again"), "{unknown}");
    worker.register_again().await.unwrap();
    let score = support::score(&held.decisions);
    worker.complete(&held, score).await.unwrap();
    worker.work(300, |_| {}).await;
    let trials = assert_exact(&server, "restart", 10).await;
    assert!(trials.iter().all(|trial| trial.attempts == 1));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_searches_share_one_worker() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("first", 12)).await;
    server.create(&spec("second", 12)).await;
    let mut worker = server.worker("only", 1).await;
    let mut order = Vec::new();
    worker
        .work(300, |job| order.push(job.search_name.clone()))
        .await;
    assert_exact(&server, "first", 12).await;
    assert_exact(&server, "second", 12).await;
    let firsts = order[..12].iter().filter(|name| *name == "first").count();
    assert!((1..12).contains(&firsts), "not shared: {order:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_coordinator_on_one_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("mine", 1)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = ServerConfig::new(folder.path());
    let refused = server::run(config, listener, Shutdown::new()).await;
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("in use by another coordinator"),
        "{message}"
    );
    server.stop().await;
}

#[tokio::test]
async fn serving_beyond_loopback_without_tls_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let mut config = ServerConfig::new(folder.path());
    config.tls = TlsMode::Off;
    let refused = server::run(config, listener, Shutdown::new()).await;
    assert!(matches!(refused, Err(ServerError::Exposed { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_search_leases_nothing_until_it_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("pausing", 3)).await;
    let mut worker = server.worker("only", 1).await;
    let job = worker.one().await;
    let search = "pausing".to_owned();
    let pause = v1::PauseRequest { search };
    let paused = server.searches().pause(pause).await.unwrap().into_inner();
    assert_eq!(paused.phase, "paused");
    let score = support::score(&job.decisions);
    worker.complete(&job, score).await.unwrap();
    assert_eq!(worker.lease(1, 200).await.unwrap(), vec![]);
    let cluster = server
        .searches()
        .get_cluster(v1::GetClusterRequest {})
        .await;
    let waiting = cluster.unwrap().into_inner().waiting;
    assert!(waiting[0].reason.contains("paused"), "{waiting:?}");
    let search = "pausing".to_owned();
    let resume = v1::ResumeRequest { search };
    server.searches().resume(resume).await.unwrap();
    worker.work(300, |_| {}).await;
    assert_exact(&server, "pausing", 3).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_search_drops_what_runs_and_cancels_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("stopping", 10)).await;
    let mut worker = server.worker("only", 3).await;
    let jobs = worker.lease(3, 5_000).await.unwrap();
    let search = "stopping".to_owned();
    let stop = v1::StopRequest { search };
    let stopped = server.searches().stop(stop).await.unwrap().into_inner();
    assert_eq!(stopped.phase, "finished");
    let held: Vec<_> = jobs.iter().collect();
    let dropped = worker.renew(&held, worker.call).await;
    assert_eq!(dropped.len(), jobs.len());
    let stop = worker.report(&jobs[0], 1, 0.5).await.unwrap();
    assert!(stop, "the next report says that the attempt is not needed");
    let late = worker.complete(&jobs[0], 0.5).await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition, "{late}");
    let counts = server.status("stopping").await.counts.unwrap();
    assert_eq!(counts.completed + counts.running + counts.queued, 0);
    assert_eq!(counts.cancelled, counts.proposed);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_sees_the_present_state_and_then_every_change() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("watched", 4)).await;
    let search = "watched".to_owned();
    let watch = v1::WatchRequest { search };
    let mut changes = server.searches().watch(watch).await.unwrap().into_inner();
    let first = changes.next().await.unwrap().unwrap();
    assert_eq!(first.status.unwrap().phase, "running");
    let mut worker = server.worker("only", 1).await;
    worker.work(300, |_| {}).await;
    let mut completed = Vec::new();
    let mut last = None;
    let watching = async {
        while let Some(reply) = changes.next().await {
            let reply = reply.unwrap();
            let done = reply.changes.iter().filter(|c| c.state == "completed");
            completed.extend(done.map(|change| change.trial));
            last = reply.status;
        }
    };
    tokio::time::timeout(support::LIMIT, watching)
        .await
        .unwrap();
    assert_eq!(completed, vec![1, 2, 3, 4]);
    assert_eq!(last.unwrap().phase, "finished");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_does_not_read_slows_nobody_and_still_sees_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("ignored", 400)).await;
    let search = "ignored".to_owned();
    let watch = v1::WatchRequest { search };
    // A small window: what is not read soon fills it, and the coordinator cannot send more.
    let narrow = server.endpoint.clone().initial_stream_window_size(16_384);
    let mut watcher = SearchServiceClient::new(narrow.connect().await.unwrap());
    let mut changes = watcher.watch(watch).await.unwrap().into_inner();
    changes.next().await.unwrap().unwrap();
    let mut worker = server.worker("only", 4).await;
    worker.work(300, |_| {}).await;
    assert_eq!(server.finished("ignored").await.phase, "finished");
    let mut seen = Vec::new();
    let reading = async {
        while let Some(reply) = changes.next().await {
            let reply = reply.unwrap();
            seen.push((reply.status.unwrap(), reply.changes.len()));
        }
    };
    tokio::time::timeout(support::LIMIT, reading).await.unwrap();
    let (last, _) = seen.last().unwrap();
    assert_eq!(last.phase, "finished");
    assert_eq!(last.counts.unwrap().completed, 400);
    assert!(
        seen.is_sorted_by(|(a, _), (b, _)| a.events < b.events),
        "a state came twice, or an older one after a newer one"
    );
    // A proposal, a lease and a completion for each trial: some of them must have been passed over.
    let changes: usize = seen.iter().map(|(_, changes)| changes).sum();
    assert!(changes < 1_200, "nothing was passed over: {changes}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_ends_though_polls_and_watchers_wait() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server
        .create(&spec("waiting", 1).replace("scripted", "absent"))
        .await;
    let mut worker = server.worker("only", 1).await;
    let poll = tokio::spawn(async move { worker.lease(1, 30_000).await });
    let search = "waiting".to_owned();
    let watch = v1::WatchRequest { search };
    let mut changes = server.searches().watch(watch).await.unwrap().into_inner();
    changes.next().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = std::time::Instant::now();
    server.stop().await;
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    assert!(changes.next().await.unwrap().is_err());
    assert!(poll.await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_budget_ends_a_search_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    let text = spec("timed", 1).replace("{trials: 1}", "{time: 1s}");
    server.create(&text).await;
    let mut worker = server.worker("only", 1).await;
    let job = worker.one().await;
    let score = support::score(&job.decisions);
    worker.complete(&job, score).await.unwrap();
    let status = server.finished("timed").await;
    assert!(status.reason.contains("time"), "{}", status.reason);
    assert!(status.elapsed_ms >= 1_000, "{}", status.elapsed_ms);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_and_nothing_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    let wrong = [
        (spec("a", 1).replace("budget", "bugdet"), "spec.yaml:"),
        (spec("a", 1).replace("scripted", "trainer"), "network"),
        (
            spec("a", 1).replace("scripted", "{command: [python3, x.py]}"),
            "espalier run",
        ),
    ];
    for (text, expected) in wrong {
        let refused = server.try_create(&text).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains(expected), "{refused}");
    }
    let list = v1::ListRequest::default();
    let list = server.searches().list(list).await.unwrap().into_inner();
    assert_eq!(list.searches, vec![]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_is_found_by_id_by_its_beginning_or_by_a_unique_name() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    let first = server.create(&spec("twin", 1)).await;
    let second = server.create(&spec("twin", 1)).await;
    server.create(&spec("single", 1)).await;
    let id = |status: &v1::SearchStatus| uuid::Uuid::from_slice(&status.id).unwrap().to_string();
    assert_eq!(server.status(&id(&first)).await.id, first.id);
    assert_eq!(server.status(&id(&second)[..13]).await.id, second.id);
    assert_eq!(server.status("single").await.name, "single");
    let get = |search: &str| v1::GetRequest {
        search: search.to_owned(),
    };
    let ambiguous = server.searches().get(get("twin")).await.unwrap_err();
    assert!(ambiguous.message().contains(&id(&first)), "{ambiguous}");
    let unknown = server.searches().get(get("nobody")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound, "{unknown}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn creating_twice_with_one_id_creates_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    let mut request = v1::CreateRequest {
        spec: spec("once", 1),
        file: "spec.yaml".to_owned(),
        dataset_json: String::new(),
        table_json: String::new(),
        warm_start_json: String::new(),
        id: uuid::Uuid::new_v4().as_bytes().to_vec(),
    };
    server.searches().create(request.clone()).await.unwrap();
    server.searches().create(request.clone()).await.unwrap();
    let list = v1::ListRequest::default();
    let list = server.searches().list(list).await.unwrap().into_inner();
    assert_eq!(list.searches.len(), 1);
    request.spec = spec("other", 1);
    let refused = server.searches().create(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_search_is_paused_does_not_hang_on_the_words_of_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("paused", 3)).await;
    let mut worker = server.worker("only", 1).await;
    let job = worker.one().await;
    let failure = v1::Failure {
        domain: "user".to_owned(),
        kind: "data".to_owned(),
        message: "the program was ended by the user".to_owned(),
        log_tail: String::new(),
    };
    let fail = v1::FailRequest {
        worker: worker.id.clone(),
        attempt: Some(support::attempt(&job)),
        failure: Some(failure),
    };
    worker.client.fail(fail).await.unwrap();
    let paused = server.when("paused", "pause", |status| status.phase == "paused");
    let status = paused.await;
    assert!(status.reason.contains("by the user"), "{}", status.reason);
    assert_eq!(status.pause_cause(), v1::PauseCause::Failure);
    let search = || "paused".to_owned();
    let resume = v1::ResumeRequest { search: search() };
    let resumed = server.searches().resume(resume).await.unwrap().into_inner();
    assert_eq!(resumed.pause_cause(), v1::PauseCause::Unspecified);
    let pause = v1::PauseRequest { search: search() };
    let status = server.searches().pause(pause).await.unwrap().into_inner();
    assert_eq!(status.pause_cause(), v1::PauseCause::User);
    server.stop().await;
}
