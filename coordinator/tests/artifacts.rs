//! Artifacts over gRPC against a coordinator in this process: which weights are kept, and a folder that
//! cannot take them.

// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use espalier_common::ids::Digest;
use espalier_common::job::LeasedJob;
use espalier_proto::v1;
use support::stored::{path, until_stored};
use support::{LIMIT, TestServer, TestWorker, attempt, spec};
use tonic::{Code, Status};

/// Completes a job with weights, and says whether they are wanted.
async fn complete(
    worker: &mut TestWorker,
    job: &LeasedJob,
    score: f64,
    content: &[u8],
) -> v1::WeightsDecision {
    let digest = Digest::of(content).to_string();
    worker.complete_with(job, score, &digest).await.unwrap()
}

async fn upload(worker: &mut TestWorker, job: &LeasedJob, content: &[u8]) -> Result<(), Status> {
    let digest = Digest::of(content).to_string();
    worker.upload(job, &digest, content).await
}

/// Completes a job that is the best so far, and uploads its weights.
async fn improve(worker: &mut TestWorker, score: f64, content: &[u8]) {
    let job = worker.one().await;
    let wanted = complete(worker, &job, score, content).await;
    assert_eq!(wanted, v1::WeightsDecision::Upload);
    upload(worker, &job, content).await.unwrap();
}

/// Makes the artifacts' folder one in which nothing can be begun; root may write everywhere, so a mode
/// would not do.
fn break_folder(data_dir: &Path) {
    let folder = data_dir.join("artifacts/tmp");
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "in the way").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_of_a_former_best_are_removed_once_those_of_a_better_one_are_stored() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("kept", 5)).await;
    let mut worker = server.worker("only", 1).await;
    improve(&mut worker, 0.1, b"first").await;
    until_stored(folder.path(), &[b"first"]).await;
    let job = worker.one().await;
    let wanted = complete(&mut worker, &job, 0.2, b"second").await;
    assert_eq!(wanted, v1::WeightsDecision::Upload);
    // Until the better ones are there, the former are the only ones.
    tokio::time::sleep(Duration::from_millis(100)).await;
    until_stored(folder.path(), &[b"first"]).await;
    upload(&mut worker, &job, b"second").await.unwrap();
    until_stored(folder.path(), &[b"second"]).await;
    let trials = server.trials("kept").await;
    let listed: Vec<&str> = trials.iter().map(|trial| trial.weights.as_str()).collect();
    assert_eq!(listed, ["", &Digest::of(b"second").to_string()]);
    let worse = worker.one().await;
    let wanted = complete(&mut worker, &worse, 0.15, b"worse").await;
    assert_eq!(wanted, v1::WeightsDecision::Discard);
    // The same weights again, in a better trial: there is nothing to upload, and nothing to remove.
    let same = worker.one().await;
    let wanted = complete(&mut worker, &same, 0.3, b"second").await;
    assert_eq!(wanted, v1::WeightsDecision::Keep);
    tokio::time::sleep(Duration::from_millis(100)).await;
    until_stored(folder.path(), &[b"second"]).await;
    server.stop().await;
    until_stored(folder.path(), &[b"second"]).await;

    // What a crash may leave goes at the start; what the journal refers to stays.
    let orphan = path(folder.path(), b"orphan");
    fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    fs::write(&orphan, "orphan").unwrap();
    let server = TestServer::start(folder.path()).await;
    until_stored(folder.path(), &[b"second"]).await;
    let mut worker = server.worker("again", 1).await;
    improve(&mut worker, 0.4, b"third").await;
    until_stored(folder.path(), &[b"third"]).await;
    let status = server.finished("kept").await;
    assert_eq!(status.best_weights, Digest::of(b"third").to_string());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_that_two_searches_share_stay_while_one_wants_them() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    let mut worker = server.worker("only", 1).await;
    server.create(&spec("first", 2)).await;
    improve(&mut worker, 0.1, b"shared").await;
    let open = worker.one().await;
    server.create(&spec("second", 1)).await;
    let job = worker.one().await;
    let wanted = complete(&mut worker, &job, 0.5, b"shared").await;
    assert_eq!(wanted, v1::WeightsDecision::Keep);
    let wanted = complete(&mut worker, &open, 0.2, b"better").await;
    assert_eq!(wanted, v1::WeightsDecision::Upload);
    upload(&mut worker, &open, b"better").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    until_stored(folder.path(), &[b"better", b"shared"]).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_written_is_tried_a_number_of_times_and_the_search_ends() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    let text = spec("broken", 1).replace("seed: 7", "seed: 7\nattempts: 2");
    server.create(&text).await;
    let mut worker = server.worker("only", 1).await;
    break_folder(folder.path());
    // The trial, and at the end of the search once more for its weights.
    for _ in 0..2 {
        let job = worker.one().await;
        let wanted = complete(&mut worker, &job, 0.5, b"weights").await;
        assert_eq!(wanted, v1::WeightsDecision::Upload);
        let mut tries = 0;
        let last = loop {
            tries += 1;
            let refused = upload(&mut worker, &job, b"weights").await.unwrap_err();
            match refused.code() {
                // What the worker tries again.
                Code::Internal if tries < 100 => {}
                _ => break refused,
            }
        };
        assert_eq!(last.code(), Code::FailedPrecondition, "{last}");
        assert!(last.message().contains("artifacts/tmp"), "{last}");
        assert!((5..=50).contains(&tries), "{tries} tries");
    }
    let status = server.finished("broken").await;
    assert!(
        status.reason.contains("could not be stored"),
        "{}",
        status.reason
    );
    assert_eq!(
        (status.best_score, status.best_weights.as_str()),
        (Some(0.5), "")
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_search_ends_without_weights_that_cannot_be_stored() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("stopped", 9)).await;
    let mut worker = server.worker("only", 1).await;
    break_folder(folder.path());
    let job = worker.one().await;
    complete(&mut worker, &job, 0.5, b"weights").await;
    let refused = upload(&mut worker, &job, b"weights").await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal, "{refused}");
    let search = "stopped".to_owned();
    let stop = v1::StopRequest { search };
    server.searches().stop(stop).await.unwrap();
    let refused = upload(&mut worker, &job, b"weights").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let status = server.finished("stopped").await;
    assert_eq!(status.reason, "stopped by the user");
    server.stop().await;
}

/// What comes of an upload of what a completed job left, with these parts after its header.
async fn uploaded(
    worker: &mut TestWorker,
    job: &LeasedJob,
    content: &[u8],
    parts: impl Iterator<Item = Vec<u8>> + Send + 'static,
) -> Result<(), Status> {
    use v1::upload_artifact_request::Part;
    let header = v1::UploadHeader {
        worker: worker.id.clone(),
        attempt: Some(attempt(job)),
        digest: Digest::of(content).to_string(),
        size: content.len() as u64,
        checkpoint: None,
    };
    let parts = std::iter::once(Part::Header(header)).chain(parts.map(Part::Data));
    let parts = parts.map(|part| v1::UploadArtifactRequest { part: Some(part) });
    let call = worker.client.upload_artifact(tokio_stream::iter(parts));
    let ended = tokio::time::timeout(LIMIT, call).await;
    ended.expect("the upload goes on").map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_of_parts_without_data_or_of_more_than_was_announced_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("strict", 2)).await;
    let mut worker = server.worker("only", 1).await;
    let job = worker.one().await;
    let wanted = complete(&mut worker, &job, 0.5, b"weights").await;
    assert_eq!(wanted, v1::WeightsDecision::Upload);
    let endless = std::iter::repeat_with(Vec::new);
    let empty = uploaded(&mut worker, &job, b"weights", endless).await;
    let empty = empty.unwrap_err();
    assert_eq!(empty.code(), Code::InvalidArgument, "{empty}");
    assert!(empty.message().contains("without data"), "{empty}");
    let endless = std::iter::repeat_with(|| b"weights".to_vec());
    let more = uploaded(&mut worker, &job, b"weights", endless).await;
    let more = more.unwrap_err();
    assert_eq!(more.code(), Code::InvalidArgument, "{more}");
    assert!(more.message().contains("7 bytes, but more came"), "{more}");
    until_stored(folder.path(), &[]).await;
    // Neither has used up the upload.
    upload(&mut worker, &job, b"weights").await.unwrap();
    until_stored(folder.path(), &[b"weights"]).await;
    server.stop().await;
}

/// What comes of a push of two files, of which the first is empty, with these parts after the header.
async fn pushed(
    server: &TestServer,
    parts: impl Iterator<Item = &'static [u8]> + Send + 'static,
) -> Result<v1::StoredDataset, Status> {
    use v1::push_dataset_request::Part;
    let file = |name: &str, content: &[u8]| v1::DatasetFile {
        name: name.to_owned(),
        digest: Digest::of(content).to_string(),
        size: content.len() as u64,
    };
    let header = v1::StoredDataset {
        fingerprint: Digest::of(b"data").to_string(),
        path: "tiny".to_owned(),
        files: vec![file("empty.csv", b""), file("rows.csv", b"rows")],
        stored_ms: 0,
    };
    let data = parts.map(|part| Part::Data(part.to_vec()));
    let parts = std::iter::once(Part::Header(header)).chain(data);
    let parts = parts.map(|part| v1::PushDatasetRequest { part: Some(part) });
    let mut searches = server.searches();
    let call = searches.push_dataset(tokio_stream::iter(parts));
    let ended = tokio::time::timeout(LIMIT, call).await;
    Ok(ended.expect("the push goes on")?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_parts_without_data_or_of_more_than_was_announced_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    let nothing: &[u8] = b"";
    let endless = std::iter::once(b"ro".as_slice()).chain(std::iter::repeat(nothing));
    let empty = pushed(&server, endless).await.unwrap_err();
    assert_eq!(empty.code(), Code::InvalidArgument, "{empty}");
    assert!(empty.message().contains("without data"), "{empty}");
    let endless = std::iter::repeat(b"rows".as_slice());
    for (case, parts) in [
        ("in the same part", vec![b"rows and more".as_slice()]),
        ("in another one", vec![b"rows".as_slice(), b"more"]),
        ("without data", vec![b"rows".as_slice(), b""]),
    ] {
        let more = pushed(&server, parts.into_iter()).await.unwrap_err();
        assert_eq!(more.code(), Code::InvalidArgument, "{case}: {more}");
        assert!(more.message().contains("more came"), "{case}: {more}");
    }
    let more = pushed(&server, endless).await.unwrap_err();
    assert!(more.message().contains("more came"), "{more}");
    until_stored(folder.path(), &[]).await;
    let stored = pushed(&server, [b"ro".as_slice(), b"ws"].into_iter()).await;
    assert_eq!(stored.unwrap().files.len(), 2);
    until_stored(folder.path(), &[b"", b"rows"]).await;
    server.stop().await;
}
