//! A worker and a coordinator of another release.

// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

mod support;

use espalier_worker::WorkerError;
use support::Bench;

#[tokio::test]
async fn a_coordinator_that_speaks_another_protocol_ends_the_worker_with_what_to_do() {
    let bench = Bench::new();
    bench.fake.lock().protocol = espalier_proto::PROTOCOL_VERSION + 1;
    let error = bench.start().wait().await.unwrap_err();
    assert!(matches!(error, WorkerError::Protocol { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("Espalier 0.0.9") && text.contains("install the coordinator's release"),
        "{text}"
    );
}

#[tokio::test]
async fn a_coordinator_from_before_protocols_were_stated_is_served() {
    let bench = Bench::new();
    bench.fake.lock().protocol = 0;
    let worker = bench.start();
    bench
        .fake
        .until("it asks for jobs", |state| !state.leases.is_empty())
        .await;
    worker.end().await.unwrap();
}
