//! Jobs that are looked up in a table of results: no program is started for them.

// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

mod support;

use espalier_common::candidate::{Candidate, DecisionPath, Value};
use espalier_common::ids::Digest;
use espalier_common::job::LeasedJob;
use espalier_common::spec::{self, Spec};
use espalier_common::table::{TABLE, TableJob};
use espalier_proto::{attempt_to_wire, v1};
use support::{Bench, Running, job};

const SPEC: &str = "\
name: t
hyperparameters: {op: {choice: [none, skip]}}
evaluator:
  table: {path: t.csv, decisions: {op: op}, metrics: {accuracy: {1: a1, 3: a3}}, cost: {column: s}}
objectives: [{maximize: accuracy}]
budget: {trials: 5}
";
const ROWS: &str = "op,a1,a3,s\n1,0.25,0.5,1200\n";

fn look_up(bench: &Bench, trial: u32, op: &str) -> LeasedJob {
    look_up_in(bench, trial, op, ROWS)
}

fn look_up_in(bench: &Bench, trial: u32, op: &str, rows: &str) -> LeasedJob {
    let spec: Spec = spec::read(SPEC, "spec").unwrap();
    let columns = spec.evaluator.table().unwrap();
    let (submitted, beside) = (tempfile::tempdir().unwrap(), bench.path("nowhere"));
    std::fs::write(submitted.path().join("t.csv"), rows).unwrap();
    let (info, _) = espalier_data::inspect_table(submitted.path(), &beside, columns).unwrap();
    let path = DecisionPath("hyperparameters.op".to_owned());
    let decisions = Candidate([(path, Value::Text(op.to_owned()))].into());
    LeasedJob {
        evaluator: TABLE.to_owned(),
        table: Some(TableJob::of(&info, columns, &spec.space, &decisions)),
        decisions,
        ..job(trial, "nothing")
    }
}

/// A worker that is the `count`th to register. Before that, the last poll of the one before could take its job.
async fn registered(bench: &Bench, count: usize) -> Running {
    let worker = without_programs(bench);
    bench
        .fake
        .until("it is registered", |state| state.registers.len() == count)
        .await;
    worker
}

/// The coordinator keeps a file under the fingerprint of a job's table; its digest is the answer.
fn keep(bench: &Bench, job: &LeasedJob, content: &str) -> String {
    let fingerprint = job.table.as_ref().unwrap().info.fingerprint.to_string();
    let digest = Digest::of(content.as_bytes()).to_string();
    let file = v1::DatasetFile {
        name: "t.csv".to_owned(),
        digest: digest.clone(),
        size: content.len() as u64,
    };
    let kept = v1::StoredDataset {
        fingerprint: fingerprint.clone(),
        path: "elsewhere/t.csv".to_owned(),
        files: vec![file],
        stored_ms: 1,
    };
    let mut state = bench.fake.lock();
    state.datasets.insert(fingerprint, kept);
    let content = content.as_bytes().to_vec();
    state.artifacts.insert(digest.clone(), content);
    digest
}

fn without_programs(bench: &Bench) -> Running {
    let mut config = bench.config();
    config.evaluators.clear();
    config.tables_suffice = true;
    Running::of(config)
}

#[tokio::test]
async fn a_result_comes_from_the_table_with_the_tables_time() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("data")).unwrap();
    std::fs::write(bench.path("data").join("t.csv"), ROWS).unwrap();
    let worker = without_programs(&bench);
    bench.fake.grant(look_up(&bench, 1, "skip"));
    bench.fake.completed(1).await;
    {
        let state = bench.fake.lock();
        assert_eq!(state.completes[0].seconds, 1200.0);
        let reported = state
            .reports
            .iter()
            .filter_map(|report| report.measurement.as_ref());
        let measured: Vec<_> = reported
            .chain(&state.completes[0].measurements)
            .map(|measurement| (measurement.step, measurement.metrics[0].value))
            .collect();
        assert_eq!(measured, [(1, 0.25), (3, 0.5)]);
    }
    bench.fake.grant(look_up(&bench, 2, "none"));
    bench
        .fake
        .until("the one without a row has failed", |state| {
            state.fails.len() == 1
        })
        .await;
    let failure = bench.fake.lock().failure(0).clone();
    assert_eq!(
        (failure.domain.as_str(), failure.kind.as_str()),
        ("candidate", "data")
    );
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_worker_with_another_table_hands_the_job_back_and_says_what_it_lacks() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("data")).unwrap();
    std::fs::write(
        bench.path("data").join("t.csv"),
        "op,a1,a3,s\n1,0.25,0.75,1200\n",
    )
    .unwrap();
    let worker = without_programs(&bench);
    let wanted = look_up(&bench, 1, "skip");
    let fingerprint = wanted.table.as_ref().unwrap().info.fingerprint.to_string();
    bench.fake.grant(wanted.clone());
    bench
        .fake
        .until("the next Lease names the table", |state| {
            state
                .leases
                .iter()
                .any(|lease| lease.missing_datasets == [fingerprint.clone()])
        })
        .await;
    assert_eq!(bench.fake.lock().releases, [attempt_to_wire(wanted.key())]);
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_worker_with_nothing_to_run_says_so_unless_tables_are_all_it_is_for() {
    let bench = Bench::new();
    let mut config = bench.config();
    config.evaluators.clear();
    let error = Running::of(config).wait().await.unwrap_err().to_string();
    assert!(error.contains("--evaluator table"), "{error}");
    let worker = without_programs(&bench);
    bench
        .fake
        .until("it is registered", |state| !state.registers.is_empty())
        .await;
    let offered: Vec<_> = bench.fake.lock().registers[0]
        .evaluators
        .iter()
        .map(|offer| offer.name.clone())
        .collect();
    assert_eq!(offered, [TABLE]);
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_table_that_is_kept_is_fetched_once_also_for_the_next_worker_on_this_machine() {
    let bench = Bench::new();
    let first = look_up(&bench, 1, "skip");
    keep(&bench, &first, ROWS);
    for trial in 1..=2 {
        let worker = registered(&bench, trial as usize).await;
        bench.fake.grant(look_up(&bench, trial, "skip"));
        let trial = trial as usize;
        bench.fake.completed(trial).await;
        worker.end().await.unwrap();
    }
    assert_eq!(bench.fake.lock().downloads, 1);
    assert_eq!(bench.fake.lock().completes[1].seconds, 1200.0);
    // What somebody has changed since is fetched anew.
    let fingerprint = first.table.as_ref().unwrap().info.fingerprint.to_string();
    let fetched = bench.path("cache/fetched").join(fingerprint).join("t.csv");
    std::fs::write(fetched, "op,a1,a3,s\n1,0,0,0\n").unwrap();
    let worker = registered(&bench, 3).await;
    bench.fake.grant(look_up(&bench, 3, "skip"));
    bench.fake.completed(3).await;
    assert_eq!(bench.fake.lock().downloads, 2);
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_table_kept_under_the_wrong_fingerprint_is_fetched_once_and_the_jobs_go_back() {
    let bench = Bench::new();
    let job = look_up(&bench, 1, "skip");
    keep(&bench, &job, "op,a1,a3,s\n1,0.25,0.75,1200\n");
    let worker = without_programs(&bench);
    for trial in 1..=2 {
        bench.fake.grant(look_up(&bench, trial, "skip"));
        let trial = trial as usize;
        bench
            .fake
            .until("it is handed back", |state| state.releases.len() == trial)
            .await;
    }
    assert_eq!(bench.fake.lock().downloads, 1);
    let entries = std::fs::read_dir(bench.path("cache/fetched")).unwrap();
    assert_eq!(entries.count(), 0);
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_table_that_takes_long_to_fetch_holds_up_nobody_who_wants_another() {
    let bench = Bench::new();
    let large = look_up(&bench, 1, "skip");
    let held = keep(&bench, &large, ROWS);
    bench.fake.lock().held.insert(held);
    let mut config = bench.config();
    config.slots = 2;
    let worker = Running::of(config);
    bench.fake.grant(large);
    bench
        .fake
        .until("it is asked for", |state| state.downloads == 1)
        .await;
    let rows = "op,a1,a3,s\n1,0.125,0.5,7\n";
    let other = look_up_in(&bench, 2, "skip", rows);
    keep(&bench, &other, rows);
    bench.fake.grant(other);
    bench
        .fake
        .until("the other is complete", |state| state.completes.len() == 1)
        .await;
    assert_eq!(bench.fake.lock().completes[0].seconds, 7.0);
    bench.fake.lock().held.clear();
    bench
        .fake
        .until("both are complete", |state| state.completes.len() == 2)
        .await;
    worker.end().await.unwrap();
}
