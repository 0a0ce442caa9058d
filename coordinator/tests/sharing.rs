//! Several searches of one coordinator that share its workers.

// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

mod support;

use espalier_common::job::LeasedJob;
use espalier_proto::v1;
use support::{TestServer, TestWorker, score, spec};

/// Enqueues a candidate, the one of this number.
async fn enqueue(server: &TestServer, search: &str, number: u32) -> Result<(), tonic::Status> {
    let x = f64::from(number) / 100.0;
    let candidate = serde_json::json!({"hyperparameters.x": x, "hyperparameters.y": 1});
    let request = v1::EnqueueRequest {
        search: search.to_owned(),
        candidate_json: candidate.to_string(),
        first: false,
    };
    server.searches().enqueue(request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_are_shared_by_the_weights_of_searches_which_can_be_set_at_any_time() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    for search in ["first", "second"] {
        server.create(&spec(search, 50)).await;
    }
    let mut worker = server.worker("only", 8).await;
    let mut enqueued = 0;
    for (weights, expected) in [((1, 3), (2, 6)), ((3, 1), (6, 2)), ((1, 1), (4, 4))] {
        set_weights(&server, [("first", weights.0), ("second", weights.1)]).await;
        for search in ["first", "second"] {
            // Of both there are more jobs than slots: else what one lacks is the other's.
            for number in enqueued..enqueued + 8 {
                enqueue(&server, search, number).await.unwrap();
            }
            server
                .when(search, "queue", |status| {
                    status
                        .counts
                        .as_ref()
                        .is_some_and(|counts| counts.queued >= 8)
                })
                .await;
        }
        enqueued += 8;
        let jobs = fill(&mut worker).await;
        let granted = |search| jobs.iter().filter(|job| job.search_name == search).count();
        assert_eq!(
            (granted("first"), granted("second")),
            expected,
            "{weights:?}"
        );
        for job in &jobs {
            worker.complete(job, score(&job.decisions)).await.unwrap();
        }
    }
    server.stop().await;
}

/// Jobs for all eight slots of a worker; an answer has what is leased by then.
async fn fill(worker: &mut TestWorker) -> Vec<LeasedJob> {
    let mut jobs = Vec::new();
    while let free @ 1.. = 8 - u32::try_from(jobs.len()).unwrap() {
        jobs.extend(worker.lease(free, 10_000).await.unwrap());
    }
    jobs
}

/// Sets the weights of two searches.
async fn set_weights(server: &TestServer, weights: [(&str, u32); 2]) {
    for (search, weight) in weights {
        let request = v1::SetLimitsRequest {
            search: search.to_owned(),
            weight: Some(weight),
            ..Default::default()
        };
        server.searches().set_limits(request).await.unwrap();
    }
}

/// Ends the oldest of eight jobs and takes the next one, so many times; how many the second search has of all after each.
async fn replace(worker: &mut TestWorker, jobs: &mut Vec<LeasedJob>, times: usize) -> Vec<usize> {
    let mut held = Vec::new();
    for _ in 0..times {
        let job = jobs.remove(0);
        worker.complete(&job, score(&job.decisions)).await.unwrap();
        // What searches take to have the next proposal; jobs take longer.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        jobs.extend(worker.lease(1, 10_000).await.unwrap());
        let of_second = jobs.iter().filter(|job| job.search_name == "second");
        held.push(of_second.count());
    }
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_comes_later_gets_its_share_beside_a_busy_one_slot_by_slot() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("first", 500)).await;
    let mut worker = server.worker("only", 8).await;
    let mut jobs = fill(&mut worker).await;
    server.create(&spec("second", 500)).await;
    for (weights, share) in [((1, 1), 4), ((1, 3), 6), ((3, 1), 2)] {
        set_weights(&server, [("first", weights.0), ("second", weights.1)]).await;
        let held = replace(&mut worker, &mut jobs, 60).await;
        // A proposal may be late now and then.
        let last = held.last_chunk::<20>().unwrap();
        let mean = last.iter().sum::<usize>() as f64 / 20.0;
        assert!(
            (mean - f64::from(share)).abs() < 1.0,
            "{weights:?}: {held:?}"
        );
    }
    server.stop().await;
}
