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
use support::{Bench, Running, State, ended, job, signal, start_process};

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

/// What came damaged is taken away beside the job's going back, not before it.
async fn until_nothing_is_left(bench: &Bench) {
    for _ in 0..200 {
        if fetched(bench).is_empty() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("still there: {:?}", fetched(bench));
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
    until_nothing_is_left(&bench).await;
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
    until_nothing_is_left(&bench).await;
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

/// The digest of the first file, which is fetched first.
fn first_file(files: &[(&str, Vec<u8>)]) -> String {
    Digest::of(&files[0].1).to_string()
}

#[tokio::test]
async fn data_that_take_long_to_fetch_hold_up_nobody_who_wants_others() {
    let bench = Bench::new();
    let ((large, large_files), (small, small_files)) = (elsewhere(0), elsewhere(9));
    {
        let mut state = bench.fake.lock();
        keep(&mut state, large.fingerprint, &large_files, 1);
        keep(&mut state, small.fingerprint, &small_files, 1);
        state.held.insert(first_file(&large_files));
    }
    let mut config = bench.config();
    config.slots = 2;
    let worker = Running::of(config);
    bench.fake.grant(job_on(1, &large));
    bench
        .fake
        .until("the large one is asked for", |state| state.downloads == 1)
        .await;
    // One that is fetched, and then the same from the cache.
    run(&bench, job_on(2, &small), 1, 0).await;
    run(&bench, job_on(3, &small), 2, 0).await;
    assert_eq!(bench.fake.lock().downloads, 3);
    let held = first_file(&large_files);
    bench.fake.lock().held.remove(&held);
    bench
        .fake
        .until("the first job's end", |state| state.completes.len() == 3)
        .await;
    assert_eq!(bench.fake.lock().downloads, 4);
    worker.end().await.unwrap();
}

#[tokio::test]
async fn only_a_few_data_sets_are_fetched_at_once_and_each_by_one() {
    let bench = Bench::new();
    let all: Vec<_> = (0..6).map(elsewhere).collect();
    {
        let mut state = bench.fake.lock();
        for (info, files) in &all {
            keep(&mut state, info.fingerprint, files, 1);
            state.held.insert(first_file(files));
        }
    }
    let mut config = bench.config();
    config.slots = 8;
    let worker = Running::of(config);
    // The first of them is wanted by three slots.
    let wanted = [0, 0, 0, 1, 2, 3, 4, 5];
    for (trial, place) in (1..).zip(wanted) {
        bench.fake.grant(job_on(trial, &all[place].0));
    }
    bench
        .fake
        .until("four of them are asked for", |state| state.downloads == 4)
        .await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(bench.fake.lock().downloads, 4, "more than four at once");
    bench.fake.lock().held.clear();
    bench
        .fake
        .until("every job's end", |state| state.completes.len() == 8)
        .await;
    assert_eq!(bench.fake.lock().downloads, 12, "each file once");
    worker.end().await.unwrap();
}

#[tokio::test]
async fn data_that_find_no_room_beside_others_wait_until_those_have_come() {
    let bench = Bench::new();
    let ((one, one_files), (other, other_files)) = (elsewhere(0), elsewhere(9));
    {
        let mut state = bench.fake.lock();
        keep(&mut state, one.fingerprint, &one_files, 1);
        keep(&mut state, other.fingerprint, &other_files, 1);
        state.held.insert(first_file(&one_files));
    }
    let mut config = bench.config();
    config.slots = 2;
    // Each has 124 bytes.
    config.cache_bytes = 200;
    let worker = Running::of(config);
    bench.fake.grant(job_on(1, &one));
    bench
        .fake
        .until("one is asked for", |state| state.downloads == 1)
        .await;
    bench.fake.grant(job_on(2, &other));
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(bench.fake.lock().downloads, 1, "there was room for one");
    bench.fake.lock().held.clear();
    bench
        .fake
        .until("both jobs' end", |state| state.completes.len() == 2)
        .await;
    assert_eq!(fetched(&bench).len(), 1, "the bound is kept");
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_cache_that_takes_nothing_is_said_once_and_jobs_go_on_when_it_does() {
    let bench = Bench::new();
    let (info, files) = elsewhere(0);
    keep(&mut bench.fake.lock(), info.fingerprint, &files, 1);
    // As on a disk that is full: nothing can be made in it.
    fs::create_dir_all(bench.path("cache")).unwrap();
    fs::write(bench.path("cache/fetched"), "").unwrap();
    let worker = start_process(&bench);
    run(&bench, job_on(1, &info), 0, 1).await;
    run(&bench, job_on(2, &info), 0, 2).await;
    fs::remove_file(bench.path("cache/fetched")).unwrap();
    run(&bench, job_on(3, &info), 1, 2).await;
    signal(&worker, nix::sys::signal::Signal::SIGTERM);
    let lines = ended(worker).await;
    let said = lines.iter().filter(|line| {
        let message = line["message"].as_str().unwrap_or_default();
        message.contains("cannot be fetched") && line["level"] == "WARN"
    });
    assert_eq!(said.count(), 1, "{lines:?}");
}
