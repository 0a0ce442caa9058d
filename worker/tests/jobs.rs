//! Jobs that go well and jobs that go wrong, in a worker against a coordinator that remembers every call.

// The lint knows tests by their attribute, not the helpers beside them.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use espalier_common::ids::Digest;
use espalier_common::job::LeasedJob;
use espalier_proto::attempt_to_wire;
use espalier_proto::v1::WeightsDecision;
use espalier_worker::{Program, WorkerError};
use support::{Bench, Running, dataset, is_running, job, test_job, until};

#[tokio::test]
async fn a_job_is_run_reported_and_completed_and_its_weights_are_uploaded() {
    let bench = Bench::new();
    bench.fake.lock().weights = WeightsDecision::Upload;
    let worker = bench.start();
    bench.fake.grant(job(1, "train"));
    let digest = Digest::of(b"some weights");
    bench
        .fake
        .until("the weights are there", |state| !state.artifacts.is_empty())
        .await;
    {
        let state = bench.fake.lock();
        let offer = &state.registers[0].evaluators[0];
        assert_eq!(
            (offer.name.as_str(), &offer.jobs[..]),
            ("mine", &["train".to_owned(), "test".to_owned()][..])
        );
        let complete = &state.completes[0];
        assert_eq!(complete.weights, digest.to_string());
        assert!(complete.seconds > 0.0);
        let reported = state
            .reports
            .iter()
            .filter_map(|report| report.measurement.as_ref());
        let steps: Vec<u32> = reported
            .chain(&complete.measurements)
            .map(|m| m.step)
            .collect();
        assert_eq!(steps, [1, 2]);
        assert_eq!(state.artifacts[&digest.to_string()], b"some weights");
        assert!(state.fails.is_empty());
    }

    // The test job reads what this machine made, in the same process as before.
    bench.fake.grant(test_job(1, digest));
    bench
        .fake
        .until("the test is complete", |state| state.completes.len() == 2)
        .await;
    {
        let state = bench.fake.lock();
        let metric = &state.completes[1].test_metrics[0];
        assert_eq!((metric.name.as_str(), metric.value), ("accuracy", 0.75));
        assert_eq!(state.downloads, 0);
    }
    assert_eq!(
        std::fs::read(bench.path("tested")).unwrap(),
        b"some weights"
    );
    assert_eq!(bench.pids("pids").len(), 1);
    let scratch = bench.path("work/scratch");
    until("the scratch is empty", || {
        std::fs::read_dir(&scratch).unwrap().count() == 0
    })
    .await;
    worker.end().await.unwrap();
}

#[tokio::test]
async fn weights_that_another_machine_made_are_fetched_once_and_checked() {
    let bench = Bench::new();
    let (right, wrong) = (Digest::of(b"from afar"), Digest::of(b"something else"));
    {
        let mut state = bench.fake.lock();
        state
            .artifacts
            .insert(right.to_string(), b"from afar".to_vec());
        state
            .artifacts
            .insert(wrong.to_string(), b"damaged".to_vec());
    }
    let worker = bench.start();
    bench.fake.grant(test_job(1, right));
    bench.fake.completed(1).await;
    assert_eq!(std::fs::read(bench.path("tested")).unwrap(), b"from afar");
    bench.fake.grant(test_job(2, wrong));
    bench
        .fake
        .until("it failed", |state| state.fails.len() == 1)
        .await;
    {
        let state = bench.fake.lock();
        let failure = state.failure(0);
        assert_eq!(
            (failure.domain.as_str(), failure.kind.as_str()),
            ("internal", "data")
        );
        assert!(failure.message.contains("digest"), "{}", failure.message);
    }
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_hung_evaluator_is_killed_with_what_it_started_and_the_next_job_gets_a_new_one() {
    let bench = Bench::new();
    let mut config = bench.config();
    config.evaluator_silence = Duration::from_millis(300);
    let worker = Running::of(config);
    bench.fake.grant(job(1, "hang"));
    bench
        .fake
        .until("it failed", |state| state.fails.len() == 1)
        .await;
    {
        let state = bench.fake.lock();
        let failure = state.failure(0);
        assert_eq!(
            (failure.domain.as_str(), failure.kind.as_str()),
            ("worker", "hung")
        );
        assert!(failure.message.contains("300 ms"), "{}", failure.message);
    }
    let sleeper = bench.pids("sleepers")[0];
    until("the sleeper is gone", || !is_running(sleeper)).await;

    bench.fake.grant(job(2, "no weights"));
    bench
        .fake
        .until("the next is complete", |state| state.completes.len() == 1)
        .await;
    assert_eq!(bench.pids("pids").len(), 2);
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_progress_bar_on_stderr_is_a_sign_of_life() {
    let bench = Bench::new();
    let mut config = bench.config();
    config.evaluator_silence = Duration::from_millis(700);
    let worker = Running::of(config);
    bench.fake.grant(job(1, "progress bar"));
    bench
        .fake
        .until("it is over", |state| {
            state.completes.len() + state.fails.len() == 1
        })
        .await;
    assert!(
        bench.fake.lock().fails.is_empty(),
        "{:?}",
        bench.fake.lock().fails
    );
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_crash_costs_one_attempt_and_its_last_words_travel() {
    let bench = Bench::new();
    let worker = bench.start();
    bench.fake.grant(job(1, "crash"));
    bench.fake.grant(job(2, "no weights"));
    bench
        .fake
        .until("both are over", |state| {
            state.fails.len() == 1 && state.completes.len() == 1
        })
        .await;
    {
        let state = bench.fake.lock();
        let failure = state.failure(0);
        assert_eq!(
            (failure.domain.as_str(), failure.kind.as_str()),
            ("worker", "crashed")
        );
        assert!(failure.message.contains("code 3"), "{}", failure.message);
        assert_eq!(failure.log_tail, "the last words\n");
    }
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_process_that_broke_inside_runs_no_other_job_and_one_whose_candidate_failed_does() {
    let bench = Bench::new();
    let worker = bench.start();
    for (index, (what, processes)) in [("diverge", 1), ("broken inside", 1), ("diverge", 2)]
        .into_iter()
        .enumerate()
    {
        bench.fake.grant(job(index as u32 + 1, what));
        bench
            .fake
            .until("it failed", |state| state.fails.len() == index + 1)
            .await;
        assert_eq!(bench.pids("pids").len(), processes, "{what}");
    }
    let pids = bench.pids("pids");
    assert!(!is_running(pids[0]) && is_running(pids[1]));
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_program_that_dies_for_want_of_memory_is_told_from_a_crash() {
    let bench = Bench::new();
    let worker = bench.start();
    bench.fake.grant(job(1, "memory"));
    bench
        .fake
        .until("it failed", |state| state.fails.len() == 1)
        .await;
    {
        let state = bench.fake.lock();
        let failure = state.failure(0);
        assert_eq!(
            (failure.domain.as_str(), failure.kind.as_str()),
            ("worker", "out_of_memory")
        );
    }
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_python_program_that_prints_nan_has_diverged() {
    let bench = Bench::new();
    let program = r#"
import json, sys
def say(**message): print(json.dumps({"espalier": 1, **message}), flush=True)
say(type="ready", protocol=1)
for line in sys.stdin:
    message = json.loads(line)
    if message["type"] == "evaluate":
        print("epoch 1")
        say(type="measurement", step=1, metrics={"accuracy": 0.5, "loss": float("nan")})
    else:
        say(type="done")
"#;
    std::fs::write(bench.path("evaluator.py"), program).unwrap();
    let mut config = bench.config();
    let line = format!("mine=python3 {}", bench.path("evaluator.py").display());
    config.evaluators = vec![Program::parse(&line).unwrap()];
    let worker = Running::of(config);
    bench.fake.grant(job(1, "anything"));
    bench
        .fake
        .until("it failed", |state| state.fails.len() == 1)
        .await;
    {
        let state = bench.fake.lock();
        let failure = state.failure(0);
        assert_eq!(
            (failure.domain.as_str(), failure.kind.as_str()),
            ("candidate", "diverged")
        );
        assert!(failure.message.contains("\"loss\""), "{}", failure.message);
        // It said nothing about jobs, so it trains only.
        assert_eq!(state.registers[0].evaluators[0].jobs, ["train"]);
    }
    worker.end().await.unwrap();
}

#[tokio::test]
async fn what_the_program_of_a_user_does_wrong_is_shown_to_the_user() {
    let bench = Bench::new();
    let worker = bench.start();
    let cases = [
        ("other metric", "\"precision\""),
        ("garbage", "\"step\":\"one\""),
        ("steal", "scratch folder"),
    ];
    for (index, (what, part)) in cases.into_iter().enumerate() {
        bench.fake.grant(job(index as u32 + 1, what));
        bench
            .fake
            .until("it failed", |state| state.fails.len() == index + 1)
            .await;
        let state = bench.fake.lock();
        let failure = state.failure(index);
        assert_eq!(
            (failure.domain.as_str(), failure.kind.as_str()),
            ("user", "evaluator"),
            "{what}"
        );
        assert!(
            failure.message.contains(part),
            "{what}: {}",
            failure.message
        );
    }
    assert!(bench.fake.lock().completes.is_empty());
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_dropped_attempt_stops_and_nothing_more_is_said_about_it() {
    let bench = Bench::new();
    let worker = bench.start();
    bench.fake.grant(job(1, "wait"));
    bench
        .fake
        .until("it runs", |state| state.reports.len() == 1)
        .await;
    bench.fake.lock().drop = vec![attempt_to_wire(job(1, "").key())];
    bench.fake.grant(job(2, "no weights"));
    bench
        .fake
        .until("the next is complete", |state| state.completes.len() == 1)
        .await;
    {
        let state = bench.fake.lock();
        assert_eq!(state.completes[0].attempt.as_ref().unwrap().trial, 2);
        assert!(state.fails.is_empty() && state.releases.is_empty());
    }
    // The evaluator was asked, answered, and stayed warm.
    assert!(bench.path("stops").exists());
    assert_eq!(bench.pids("pids").len(), 1);
    worker.end().await.unwrap();
}

#[tokio::test]
async fn late_words_about_a_stopped_attempt_are_not_credited_to_the_next_one() {
    let bench = Bench::new();
    let worker = bench.start();
    bench.fake.grant(job(1, "wait"));
    bench
        .fake
        .until("it runs", |state| state.reports.len() == 1)
        .await;
    bench.fake.lock().drop = vec![attempt_to_wire(job(1, "").key())];
    bench.fake.grant(job(2, "after late words"));
    bench
        .fake
        .until("the next is complete", |state| state.completes.len() == 1)
        .await;
    {
        let state = bench.fake.lock();
        let reported = state.reports[1..]
            .iter()
            .filter_map(|report| report.measurement.as_ref());
        let measured: Vec<(u32, f64)> = reported
            .chain(&state.completes[0].measurements)
            .map(|measurement| (measurement.step, measurement.metrics[0].value))
            .collect();
        assert_eq!(measured, [(1, 0.1)]);
        assert_eq!(bench.pids("pids").len(), 1);
    }
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_program_that_does_not_answer_a_stop_is_started_again_before_the_next_job() {
    let bench = Bench::new();
    let worker = bench.start();
    bench.fake.grant(job(1, "deaf"));
    bench
        .fake
        .until("it runs", |state| state.reports.len() == 1)
        .await;
    bench.fake.lock().drop = vec![attempt_to_wire(job(1, "").key())];
    bench.fake.grant(job(2, "no weights"));
    bench
        .fake
        .until("the next is complete", |state| state.completes.len() == 1)
        .await;
    let pids = bench.pids("pids");
    assert_eq!(pids.len(), 2);
    assert!(!is_running(pids[0]));
    worker.end().await.unwrap();
}

#[tokio::test]
async fn an_attempt_stops_when_a_report_is_stale_or_no_longer_wanted() {
    for stale in [true, false] {
        let bench = Bench::new();
        {
            let mut state = bench.fake.lock();
            state.refuse_reports = stale;
            state.stop_reports = !stale;
        }
        let worker = bench.start();
        bench.fake.grant(job(1, "wait"));
        until("the evaluator was stopped", || bench.path("stops").exists()).await;
        {
            let mut state = bench.fake.lock();
            state.refuse_reports = false;
            state.stop_reports = false;
        }
        bench.fake.grant(job(2, "no weights"));
        bench
            .fake
            .until("the next is complete", |state| state.completes.len() == 1)
            .await;
        assert!(bench.fake.lock().fails.is_empty());
        worker.end().await.unwrap();
    }
}

#[tokio::test]
async fn a_job_without_its_data_goes_back_and_the_data_are_not_asked_for_again() {
    let bench = Bench::new();
    let worker = bench.start();
    let needs_data = LeasedJob {
        dataset: Some(dataset()),
        ..job(1, "train")
    };
    bench.fake.grant(needs_data);
    let fingerprint = dataset().fingerprint.to_string();
    bench
        .fake
        .until("the next Lease names the data", |state| {
            state
                .leases
                .iter()
                .any(|lease| lease.missing_datasets == [fingerprint.clone()])
        })
        .await;
    assert_eq!(
        bench.fake.lock().releases,
        [attempt_to_wire(job(1, "").key())]
    );
    worker.end().await.unwrap();
}

#[tokio::test]
async fn all_slots_work_at_once_and_lease_calls_are_numbered() {
    let bench = Bench::new();
    let mut config = bench.config();
    config.slots = 3;
    let worker = Running::of(config);
    for trial in 1..=3 {
        bench.fake.grant(job(trial, "slow"));
    }
    bench
        .fake
        .until("all three run", |state| state.reports.len() == 3)
        .await;
    std::fs::write(bench.path("go"), "").unwrap();
    bench
        .fake
        .until("all are complete", |state| state.completes.len() == 3)
        .await;
    bench
        .fake
        .until("three slots are asked for again", |state| {
            state
                .leases
                .last()
                .is_some_and(|lease| lease.free_slots >= 1)
                && state
                    .renews
                    .last()
                    .is_some_and(|renew| renew.held.is_empty())
        })
        .await;
    {
        let state = bench.fake.lock();
        let calls: Vec<u64> = state.leases.iter().map(|lease| lease.call).collect();
        assert_eq!(calls, (1..=calls.len() as u64).collect::<Vec<_>>());
        assert_eq!(state.leases[0].free_slots, 3);
        // The open call has not ended.
        let last = state.renews.last().unwrap();
        assert_eq!(last.calls_ended, calls.len() as u64 - 1);
    }
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_program_that_starts_no_more_costs_one_attempt_and_the_slots_wait_until_it_does() {
    let bench = Bench::new();
    let mut config = bench.config();
    config.slots = 2;
    let worker = Running::of(config);
    // The first slot is warm; its program ends.
    bench.fake.grant(job(1, "crash"));
    bench
        .fake
        .until("it crashed", |state| state.fails.len() == 1)
        .await;
    let script = bench.path("evaluator.sh");
    std::fs::rename(&script, bench.path("elsewhere")).unwrap();
    for trial in 2..=5 {
        bench.fake.grant(job(trial, "no weights"));
    }
    bench
        .fake
        .until("both slots met it", |state| {
            (state.fails.len(), state.releases.len()) == (2, 1)
        })
        .await;
    {
        let state = bench.fake.lock();
        let failure = state.failure(1);
        assert_eq!(failure.domain, "worker");
        for part in ["\"mine\"", "evaluator.sh", "worker \"w1\""] {
            assert!(failure.message.contains(part), "{}", failure.message);
        }
    }
    // Long enough for several more failures, were there jobs.
    tokio::time::sleep(Duration::from_millis(500)).await;
    {
        let state = bench.fake.lock();
        assert_eq!((state.fails.len(), state.releases.len()), (2, 1));
        assert_eq!(state.jobs.len(), 2, "no slot asked for more");
    }
    std::fs::rename(bench.path("elsewhere"), &script).unwrap();
    bench
        .fake
        .until("the others are complete", |state| {
            state.completes.len() == 2
        })
        .await;
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_worker_whose_program_starts_no_more_still_ends_when_asked() {
    let bench = Bench::new();
    let worker = bench.start();
    bench.fake.grant(job(1, "crash"));
    bench
        .fake
        .until("it crashed", |state| state.fails.len() == 1)
        .await;
    std::fs::remove_file(bench.path("evaluator.sh")).unwrap();
    bench.fake.grant(job(2, "no weights"));
    bench
        .fake
        .until("it failed", |state| state.fails.len() == 2)
        .await;
    let began = std::time::Instant::now();
    worker.end().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_program_that_does_not_run_is_refused_at_the_start() {
    let bench = Bench::new();
    for (line, parts) in [
        ("mine=/nowhere/program", ["cannot start", "--evaluator"]),
        (
            "mine=sh -c 'echo no module torch >&2; exit 1'",
            ["code 1", "no module torch"],
        ),
    ] {
        let mut config = bench.config();
        config.evaluators = vec![Program::parse(line).unwrap()];
        let error = Running::of(config).wait().await.unwrap_err();
        assert!(matches!(error, WorkerError::Evaluator { .. }));
        let text = error.to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
    let mut config = bench.config();
    config.device = "cuda:0".to_owned();
    let text = Running::of(config).wait().await.unwrap_err().to_string();
    assert!(text.contains("cuda:0") && text.contains("cpu"), "{text}");
    assert!(bench.fake.lock().registers.is_empty());
}
