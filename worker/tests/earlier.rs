//! What an earlier start left: results that a killed worker could not deliver.

// The lint knows tests by their attribute, not the helpers beside them.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use espalier_proto::v1::WeightsDecision;
use support::{Bench, Running, State, job, steps, until};

#[tokio::test]
async fn a_result_that_a_killed_worker_left_is_delivered_by_the_next_before_it_asks_for_jobs() {
    let bench = Bench::new();
    bench.fake.lock().complete_unavailable = true;
    bench.fake.lock().weights = WeightsDecision::Upload;
    let worker = bench.start();
    bench.fake.grant(job(1, "train"));
    bench
        .fake
        .until("it was tried", |state| state.order.contains(&"complete"))
        .await;
    worker.kill().await;
    let (first, leases) = {
        let mut state = bench.fake.lock();
        state.complete_unavailable = false;
        (state.registers[0].worker.clone(), state.leases.len())
    };

    let worker = bench.start();
    bench
        .fake
        .until("the weights are there", |state| !state.artifacts.is_empty())
        .await;
    {
        let state = bench.fake.lock();
        assert_ne!(state.registers[1].worker, first);
        assert_eq!(state.completes.len(), 1);
        assert_eq!(state.completes[0].worker, first);
        assert_eq!(steps(&state), [1, 2]);
        assert!(state.leases.len() <= leases + 1);
    }
    let spool = bench.path("work/spool/00000000-0000-0000-0000-000000000001");
    until("the spool is empty", || {
        std::fs::read_dir(&spool).unwrap().count() == 0
    })
    .await;
    worker.end().await.unwrap();
}

/// A worker was killed that could not deliver the result of such a job; its instance.
async fn killed_with_a_result(bench: &Bench, kind: &str) -> Vec<u8> {
    bench.fake.lock().complete_unavailable = true;
    let worker = bench.start();
    bench.fake.grant(job(1, kind));
    bench
        .fake
        .until("it was tried", |state| state.order.contains(&"complete"))
        .await;
    worker.kill().await;
    let mut state = bench.fake.lock();
    state.renews.clear();
    state.registers[0].worker.clone()
}

/// Whether both the lease of an earlier instance and another instance were renewed.
fn both_are_renewed(state: &State, first: &[u8]) -> bool {
    let mut of_first = state.renews.iter().filter(|renew| renew.worker == first);
    of_first.any(|renew| renew.held.len() == 1)
        && state.renews.iter().any(|renew| renew.worker != first)
}

#[tokio::test]
async fn while_a_result_of_an_earlier_start_cannot_be_delivered_its_lease_is_renewed() {
    let bench = Bench::new();
    let first = killed_with_a_result(&bench, "no weights").await;
    let worker = bench.start();
    let renewed = |state: &State| both_are_renewed(state, &first);
    bench.fake.until("both are renewed", renewed).await;
    {
        let mut state = bench.fake.lock();
        assert_eq!(state.registers[1].results.len(), 1);
        assert_eq!(state.registers[1].home, state.registers[0].home);
        assert_eq!(state.leases.len(), 1);
        // A coordinator that has forgotten the worker meanwhile is told once more.
        state.workers.clear();
    }
    bench
        .fake
        .until("it registers again", |state| state.registers.len() == 3)
        .await;
    {
        let mut state = bench.fake.lock();
        assert_eq!(state.registers[2].results.len(), 1);
        state.complete_unavailable = false;
    }
    bench
        .fake
        .until("it is complete and jobs are asked for", |state| {
            state.completes.len() == 1 && state.leases.len() > 1
        })
        .await;
    bench.fake.lock().workers.clear();
    bench
        .fake
        .until("it registers again", |state| state.registers.len() == 4)
        .await;
    assert!(bench.fake.lock().registers[3].results.is_empty());
    worker.end().await.unwrap();
}

#[tokio::test]
async fn while_weights_of_an_earlier_start_are_uploaded_its_lease_is_renewed() {
    let bench = Bench::new();
    let first = killed_with_a_result(&bench, "train").await;
    {
        let mut state = bench.fake.lock();
        state.weights = WeightsDecision::Upload;
        state.stall_uploads = true;
        state.complete_unavailable = false;
    }
    let worker = bench.start();
    bench.fake.completed(1).await;
    bench.fake.lock().renews.clear();
    let renewed = |state: &State| both_are_renewed(state, &first);
    bench.fake.until("both are renewed", renewed).await;
    bench.fake.lock().stall_uploads = false;
    bench
        .fake
        .until("the weights are there", |state| !state.artifacts.is_empty())
        .await;
    worker.end().await.unwrap();
}

#[tokio::test]
async fn weights_of_an_earlier_start_are_waited_for_by_one_that_is_idle_or_ends() {
    for idle in [true, false] {
        let bench = Bench::new();
        killed_with_a_result(&bench, "train").await;
        {
            let mut state = bench.fake.lock();
            state.weights = WeightsDecision::Upload;
            state.stall_uploads = true;
            state.complete_unavailable = false;
        }
        let mut config = bench.config();
        config.until_idle = idle.then_some(Duration::from_millis(300));
        let worker = Running::of(config);
        bench.fake.completed(1).await;
        if !idle {
            // The answer is there, and the upload is under way.
            bench
                .fake
                .until("jobs are asked for", |state| state.leases.len() > 1)
                .await;
            worker.shutdown.request();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.fake.lock().stall_uploads = false;
        worker.wait().await.unwrap();
        assert_eq!(bench.fake.lock().artifacts.len(), 1, "idle: {idle}");
    }
}

#[tokio::test]
async fn a_worker_that_cannot_deliver_an_earlier_result_ends_when_it_is_to_end() {
    let bench = Bench::new();
    let first = killed_with_a_result(&bench, "no weights").await;
    let mut config = bench.config();
    config.until_idle = Some(Duration::from_millis(300));
    config.drain_timeout = Duration::from_millis(300);
    Running::of(config).wait().await.unwrap();
    assert_eq!(bench.fake.lock().leaves, 1);

    bench.fake.lock().renews.clear();
    let mut config = bench.config();
    config.drain_timeout = Duration::from_millis(300);
    let worker = Running::of(config);
    let renewed = |state: &State| both_are_renewed(state, &first);
    bench.fake.until("both are renewed", renewed).await;
    worker.end().await.unwrap();
    assert_eq!(bench.fake.lock().leaves, 2);

    let worker = {
        bench.fake.lock().complete_unavailable = false;
        bench.start()
    };
    bench.fake.completed(1).await;
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_result_of_another_name_stays_for_a_start_under_that_name() {
    let bench = Bench::new();
    killed_with_a_result(&bench, "no weights").await;
    {
        let mut state = bench.fake.lock();
        state.complete_unavailable = false;
        state.refuse_completes_with = Some(tonic::Code::PermissionDenied);
    }
    let worker = bench.start();
    bench
        .fake
        .until("it asks for jobs all the same", |state| {
            state.leases.len() > 1
        })
        .await;
    worker.end().await.unwrap();
    bench.fake.lock().refuse_completes_with = None;
    let worker = bench.start();
    bench.fake.completed(1).await;
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_completion_that_is_refused_without_end_is_kept_for_the_next_start() {
    let bench = Bench::new();
    bench.fake.lock().refuse_completes_with = Some(tonic::Code::Internal);
    let worker = bench.start();
    bench.fake.grant(job(1, "no weights"));
    bench.fake.grant(job(2, "wait"));
    // The slot gives up and takes the next job; the waits between the tries take longer than usual here.
    let given_up = async {
        while bench
            .fake
            .lock()
            .reports
            .last()
            .map(|report| report.attempt.as_ref().map_or(0, |attempt| attempt.trial))
            != Some(2)
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(90), given_up)
        .await
        .expect("the next job runs");
    worker.end().await.unwrap();
    assert!(bench.fake.lock().completes.is_empty());

    bench.fake.lock().refuse_completes_with = None;
    let worker = bench.start();
    bench.fake.completed(1).await;
    worker.end().await.unwrap();
}
