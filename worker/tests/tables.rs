//! Jobs that are looked up in a table of results: no program is started for them.

// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

mod support;

use espalier_common::candidate::{Candidate, DecisionPath, Value};
use espalier_common::job::LeasedJob;
use espalier_common::spec::{self, Spec};
use espalier_common::table::{TABLE, TableJob};
use espalier_proto::attempt_to_wire;
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
    let spec: Spec = spec::read(SPEC, "spec").unwrap();
    let columns = spec.evaluator.table().unwrap();
    let (submitted, beside) = (tempfile::tempdir().unwrap(), bench.path("nowhere"));
    std::fs::write(submitted.path().join("t.csv"), ROWS).unwrap();
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
    bench
        .fake
        .until("it is complete", |state| state.completes.len() == 1)
        .await;
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
