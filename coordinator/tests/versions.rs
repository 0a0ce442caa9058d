//! Workers of other releases: served when they speak the same protocol, else refused with what to do.

// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

mod support;

use espalier_proto::PROTOCOL_VERSION;
use support::TestServer;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_another_protocol_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    let mut worker = server.worker("other", 1).await;
    worker.protocol = PROTOCOL_VERSION + 1;
    let refused = worker.register_again().await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let text = refused.message();
    assert!(
        text.contains("on the worker's machine, or bring the coordinator up to date first"),
        "{text}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_from_before_protocols_were_stated_is_served_and_told_what_is_spoken_here() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    let mut worker = server.worker("old", 1).await;
    worker.protocol = 0;
    let welcome = worker.register_again().await.unwrap();
    assert_eq!(welcome.protocol, PROTOCOL_VERSION);
    assert_eq!(welcome.version, env!("CARGO_PKG_VERSION"));
    server.stop().await;
}
