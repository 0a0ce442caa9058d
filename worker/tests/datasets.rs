//! Data that the coordinator keeps and this machine lacks.

// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::PathBuf;

use espalier_common::dataset::{DatasetFormat, DatasetInfo, DatasetReference};
use espalier_common::ids::Digest;
use espalier_common::job::LeasedJob;
use espalier_proto::v1;
use support::{Bench, Running, State, job};

/// A data set that lies elsewhere: its description, and its files.
fn elsewhere(first: u8) -> (DatasetInfo, Vec<(&'static str, Vec<u8>)>) {
    let mut labels = vec![0, 0, 8, 1, 0, 0, 0, 20];
    labels.extend((0..20).map(|number| number % 2));
    let mut images = vec![0, 0, 8, 3, 0, 0, 0, 20, 0, 0, 0, 2, 0, 0, 0, 2];
    images.extend(first..first + 80);
    let files = vec![
        ("train-images-idx3-ubyte", images),
        ("train-labels-idx1-ubyte", labels),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in &files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let reference = DatasetReference {
        format: DatasetFormat::Idx,
        path: ".".to_owned(),
        train: None,
        validation: 5,
        split_seed: 0,
    };
    let mut info = espalier_data::inspect(folder.path(), &reference).unwrap();
    info.reference.path = "elsewhere".to_owned();
    (info, files)
}

/// The coordinator keeps these files under that fingerprint.
fn keep(state: &mut State, fingerprint: Digest, files: &[(&str, Vec<u8>)], stored_ms: u64) {
    let file = |(name, content): &(&str, Vec<u8>)| v1::DatasetFile {
        name: (*name).to_owned(),
        digest: Digest::of(content).to_string(),
        size: content.len() as u64,
    };
    let dataset = v1::StoredDataset {
        fingerprint: fingerprint.to_string(),
        path: "elsewhere".to_owned(),
        files: files.iter().map(file).collect(),
        stored_ms,
    };
    state.datasets.insert(fingerprint.to_string(), dataset);
    for (_, content) in files {
        state
            .artifacts
            .insert(Digest::of(content).to_string(), content.clone());
    }
}

fn job_on(trial: u32, info: &DatasetInfo) -> LeasedJob {
    LeasedJob {
        dataset: Some(info.clone()),
        ..job(trial, "train")
    }
}

/// Has the worker run one more job, and waits until so many were done and handed back.
async fn run(bench: &Bench, job: LeasedJob, done: usize, released: usize) {
    bench.fake.lock().jobs.push_back(job);
    bench
        .fake
        .until("the job's end", |state| {
            state.completes.len() == done && state.releases.len() == released
        })
        .await;
}

fn fetched(bench: &Bench) -> Vec<PathBuf> {
    let entries = fs::read_dir(bench.path("cache/fetched"));
    let entries = entries.into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[tokio::test]
async fn data_that_are_kept_are_fetched_once_and_verified() {
    let bench = Bench::new();
    let (info, files) = elsewhere(0);
    keep(&mut bench.fake.lock(), info.fingerprint, &files, 1);
    let worker = bench.start();
    run(&bench, job_on(1, &info), 1, 0).await;
    run(&bench, job_on(2, &info), 2, 0).await;
    assert_eq!(bench.fake.lock().downloads, 2, "each file once");
    let folder = bench
        .path("cache/fetched")
        .join(info.fingerprint.to_string());
    assert_eq!(fetched(&bench), std::slice::from_ref(&folder));
    // Data that somebody changed are fetched anew.
    fs::write(folder.join("train-labels-idx1-ubyte"), "other").unwrap();
    run(&bench, job_on(3, &info), 3, 0).await;
    assert_eq!(bench.fake.lock().downloads, 4);
    worker.end().await.unwrap();
}

#[tokio::test]
async fn data_that_come_damaged_leave_nothing_and_the_job_goes_back() {
    let bench = Bench::new();
    let (info, files) = elsewhere(0);
    let digest = Digest::of(&files[1].1).to_string();
    keep(&mut bench.fake.lock(), info.fingerprint, &files, 1);
    bench.fake.lock().artifacts.insert(digest, vec![7; 28]);
    let worker = bench.start();
    run(&bench, job_on(1, &info), 0, 1).await;
    assert_eq!(fetched(&bench), Vec::<PathBuf>::new());
    let fingerprint = info.fingerprint.to_string();
    bench
        .fake
        .until("the worker says what it lacks", |state| {
            let lease = state.leases.last().unwrap();
            lease.missing_datasets == [fingerprint.clone()]
        })
        .await;
    worker.end().await.unwrap();
}

#[tokio::test]
async fn data_kept_under_the_wrong_fingerprint_are_fetched_once_until_they_are_pushed_anew() {
    let bench = Bench::new();
    let ((info, files), (_, other)) = (elsewhere(0), elsewhere(9));
    keep(&mut bench.fake.lock(), info.fingerprint, &other, 1);
    let worker = bench.start();
    run(&bench, job_on(1, &info), 0, 1).await;
    run(&bench, job_on(2, &info), 0, 2).await;
    assert_eq!(bench.fake.lock().downloads, 2, "each file once");
    assert_eq!(fetched(&bench), Vec::<PathBuf>::new());
    keep(&mut bench.fake.lock(), info.fingerprint, &files, 2);
    run(&bench, job_on(3, &info), 1, 2).await;
    worker.end().await.unwrap();
}

#[tokio::test]
async fn data_larger_than_the_cache_are_not_fetched() {
    let bench = Bench::new();
    let (info, files) = elsewhere(0);
    keep(&mut bench.fake.lock(), info.fingerprint, &files, 1);
    let mut config = bench.config();
    config.cache_bytes = 100;
    let worker = Running::of(config);
    run(&bench, job_on(1, &info), 0, 1).await;
    assert_eq!(bench.fake.lock().downloads, 0);
    worker.end().await.unwrap();
}
