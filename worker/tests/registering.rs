//! Registering, once and again: names that another worker has, and coordinators that have forgotten this one.

// The lint knows tests by their attribute, not the helpers beside them.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use espalier_worker::WorkerError;
use support::{Bench, Running, job, steps, until};

#[tokio::test]
async fn a_worker_whose_name_another_one_has_waits_until_it_is_free() {
    let bench = Bench::new();
    bench.fake.lock().name_taken = 1;
    let worker = bench.start();
    bench.fake.grant(job(1, "no weights"));
    bench.fake.completed(1).await;
    // One that finds out later, since it was silent for long, asks for its name again too.
    {
        let mut state = bench.fake.lock();
        state.displaced = true;
        state.name_taken = 1;
        state.workers.clear();
    }
    bench
        .fake
        .until("it registers again", |state| {
            state.name_taken == 0 && state.registers.len() == 2
        })
        .await;
    worker.end().await.unwrap();
}

#[tokio::test]
async fn the_time_that_a_coordinator_was_away_is_none_in_which_a_name_was_taken() {
    let mut bench = Bench::new();
    bench.fake.go_away();
    bench.fake.lock().name_taken = 1;
    let mut config = bench.config();
    config.name_patience = Duration::from_millis(500);
    let worker = Running::of(config);
    until("the evaluator runs", || bench.path("pids").exists()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.fake.come_back();
    bench
        .fake
        .until("it is registered", |state| state.registers.len() == 1)
        .await;
    worker.end().await.unwrap();
}

#[tokio::test]
async fn the_jobs_of_a_worker_that_waits_for_its_name_go_on_and_are_renewed() {
    let bench = Bench::new();
    let mut config = bench.config();
    config.name_patience = Duration::from_millis(10);
    let worker = Running::of(config);
    bench.fake.grant(job(1, "slow"));
    bench
        .fake
        .until("the first step is there", |state| steps(state) == [1])
        .await;
    {
        let mut state = bench.fake.lock();
        state.displaced = true;
        state.name_taken = 2;
        state.workers.clear();
        state.renews.clear();
    }
    // It asks for its name every two seconds, and ends for want of it only when it holds nothing.
    bench
        .fake
        .until("it is renewed meanwhile", |state| {
            let held = state.renews.iter().filter(|renew| renew.held.len() == 1);
            held.count() >= 2 && state.registers.len() == 1
        })
        .await;
    bench
        .fake
        .until("it is registered again", |state| state.registers.len() == 2)
        .await;
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_worker_whose_name_stays_taken_says_so_and_ends() {
    let bench = Bench::new();
    bench.fake.lock().name_taken = usize::MAX;
    let mut config = bench.config();
    config.name_patience = Duration::from_millis(10);
    let error = Running::of(config).wait().await.unwrap_err();
    assert!(matches!(error, WorkerError::NameInUse { .. }), "{error}");
    assert!(error.to_string().contains("--name"), "{error}");
}

#[tokio::test]
async fn a_refusal_that_may_be_over_by_the_next_start_is_told_from_one_that_lasts() {
    use tonic::Code;

    for (code, lasting) in [
        // Another release, while an upgrade is under way, or another cluster.
        (Code::FailedPrecondition, false),
        (Code::Unimplemented, false),
        (Code::PermissionDenied, true),
        (Code::InvalidArgument, true),
    ] {
        let bench = Bench::new();
        bench.fake.lock().refuse_registers_with = Some(code);
        let error = bench.start().wait().await.unwrap_err();
        assert!(matches!(error, WorkerError::Refused { .. }), "{error}");
        assert_eq!(error.is_lasting(), lasting, "{code:?}");
    }
}

#[tokio::test]
async fn a_forgotten_worker_registers_again_and_its_job_goes_on() {
    let bench = Bench::new();
    let worker = bench.start();
    bench.fake.grant(job(1, "slow"));
    bench
        .fake
        .until("it runs", |state| state.reports.len() == 1)
        .await;
    bench.fake.lock().workers.clear();
    bench
        .fake
        .until("it registers again", |state| state.registers.len() == 2)
        .await;
    std::fs::write(bench.path("go"), "").unwrap();
    bench.fake.completed(1).await;
    {
        let state = bench.fake.lock();
        assert_eq!(state.registers[0].worker, state.registers[1].worker);
        assert_eq!(state.registers[1].cluster, 1_u128.to_be_bytes());
        assert_eq!(bench.pids("pids").len(), 1);
    }
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_worker_that_is_forgotten_again_and_again_registers_again_every_time() {
    let bench = Bench::new();
    let worker = bench.start();
    for restarts in 1..=7 {
        bench
            .fake
            .until("it asks for jobs", |state| {
                let newest = state.registers.last();
                newest.is_some_and(|newest| state.workers.contains(&newest.worker))
            })
            .await;
        bench.fake.lock().workers.clear();
        bench
            .fake
            .until("it registers again", |state| {
                state.registers.len() == restarts + 1
            })
            .await;
    }
    bench.fake.grant(job(1, "no weights"));
    bench.fake.completed(1).await;
    worker.end().await.unwrap();
}

#[tokio::test]
async fn another_cluster_at_the_same_address_ends_the_worker() {
    let bench = Bench::new();
    let worker = bench.start();
    bench
        .fake
        .until("it asks for jobs", |state| !state.leases.is_empty())
        .await;
    {
        let mut state = bench.fake.lock();
        state.cluster = 2;
        state.workers.clear();
    }
    let error = worker.wait().await.unwrap_err();
    assert!(matches!(error, WorkerError::OtherCluster { .. }), "{error}");
}
