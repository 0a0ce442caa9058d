//! A worker's life: a coordinator that goes away, restarts, workers that end and are killed.

// The lint knows tests by their attribute, not the helpers beside them.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use espalier_common::job::LeasedJob;
use espalier_proto::attempt_to_wire;
use espalier_proto::v1::WeightsDecision;
use espalier_worker::WorkerError;
use support::{Bench, Running, State, dataset, is_running, job, until};

fn steps(state: &State) -> Vec<u32> {
    let reported = state
        .reports
        .iter()
        .filter_map(|report| report.measurement.as_ref());
    let completed = state
        .completes
        .iter()
        .flat_map(|complete| &complete.measurements);
    reported
        .chain(completed)
        .map(|measurement| measurement.step)
        .collect()
}

#[tokio::test]
async fn training_goes_on_while_the_coordinator_is_away_and_everything_arrives_later() {
    let mut bench = Bench::new();
    let worker = bench.start();
    bench.fake.grant(job(1, "slow"));
    bench
        .fake
        .until("the first step is there", |state| steps(state) == [1])
        .await;
    bench.fake.go_away();
    std::fs::write(bench.path("go"), "").unwrap();
    let spool = bench.path("work/spool/00000000-0000-0000-0000-000000000001");
    let on_disk = || std::fs::read_dir(&spool).is_ok_and(|files| files.count() == 1);
    until("the result is on disk", on_disk).await;
    bench.fake.come_back();
    bench
        .fake
        .until("it is complete", |state| state.completes.len() == 1)
        .await;
    assert_eq!(steps(&bench.fake.lock()), [1, 2, 3]);
    until("the spool is empty", || !on_disk()).await;
    // The same instance goes on.
    bench.fake.grant(job(2, "no weights"));
    bench
        .fake
        .until("the next is complete", |state| state.completes.len() == 2)
        .await;
    assert_eq!(bench.fake.lock().registers.len(), 1);
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_worker_waits_for_a_coordinator_that_is_not_there_yet() {
    let mut bench = Bench::new();
    bench.fake.go_away();
    let worker = bench.start();
    until("the evaluator runs", || bench.path("pids").exists()).await;
    bench.fake.come_back();
    bench.fake.grant(job(1, "no weights"));
    bench
        .fake
        .until("it is complete", |state| state.completes.len() == 1)
        .await;
    worker.end().await.unwrap();
}

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

#[tokio::test]
async fn the_end_hands_running_jobs_back_and_says_goodbye() {
    let bench = Bench::new();
    let worker = bench.start();
    bench.fake.grant(job(1, "hang"));
    bench
        .fake
        .until("it runs", |state| state.reports.len() == 1)
        .await;
    both_sleepers_run(&bench).await;
    worker.end().await.unwrap();
    {
        let state = bench.fake.lock();
        assert_eq!(state.releases, [attempt_to_wire(job(1, "").key())]);
        assert_eq!(state.order.last(), Some(&"leave"));
        assert!(state.fails.is_empty() && state.completes.is_empty());
    }
    // It did not read `shutdown`, so it was sent SIGTERM before everything was killed.
    assert!(bench.path("terms").exists());
    all_gone(&bench).await;
}

#[tokio::test]
async fn the_end_waits_for_results_no_longer_than_it_may() {
    let bench = Bench::new();
    bench.fake.lock().complete_unavailable = true;
    let mut config = bench.config();
    config.drain_timeout = Duration::from_millis(300);
    let worker = Running::of(config);
    bench.fake.grant(job(1, "no weights"));
    bench
        .fake
        .until("it was tried", |state| state.order.contains(&"complete"))
        .await;
    let began = std::time::Instant::now();
    worker.end().await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(300));
    // It stays on disk for the next start.
    let spool = bench.path("work/spool/00000000-0000-0000-0000-000000000001");
    assert_eq!(std::fs::read_dir(spool).unwrap().count(), 1);
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
    bench
        .fake
        .until("it is complete", |state| state.completes.len() == 1)
        .await;
    {
        let state = bench.fake.lock();
        assert_eq!(state.registers[0].worker, state.registers[1].worker);
        assert_eq!(state.registers[1].cluster, 1_u128.to_be_bytes());
        assert_eq!(bench.pids("pids").len(), 1);
    }
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
    bench
        .fake
        .until("it is complete", |state| state.completes.len() == 1)
        .await;
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_worker_whose_name_another_one_has_waits_until_it_is_free() {
    let bench = Bench::new();
    bench.fake.lock().name_taken = 1;
    let worker = bench.start();
    bench.fake.grant(job(1, "no weights"));
    bench
        .fake
        .until("it is complete", |state| state.completes.len() == 1)
        .await;
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
async fn while_a_result_of_an_earlier_start_cannot_be_delivered_its_lease_is_renewed() {
    let bench = Bench::new();
    bench.fake.lock().complete_unavailable = true;
    let worker = bench.start();
    bench.fake.grant(job(1, "no weights"));
    bench
        .fake
        .until("it was tried", |state| state.order.contains(&"complete"))
        .await;
    worker.kill().await;
    let first = {
        let mut state = bench.fake.lock();
        state.renews.clear();
        state.registers[0].worker.clone()
    };

    let worker = bench.start();
    let renewed = |state: &State| {
        let mut of_first = state.renews.iter().filter(|renew| renew.worker == first);
        of_first.any(|renew| renew.held.len() == 1)
            && state.renews.iter().any(|renew| renew.worker != first)
    };
    bench.fake.until("both are renewed", renewed).await;
    {
        let mut state = bench.fake.lock();
        assert_eq!(state.registers[1].results.len(), 1);
        assert_eq!(state.registers[1].home, state.registers[0].home);
        state.complete_unavailable = false;
    }
    bench
        .fake
        .until("it is complete", |state| state.completes.len() == 1)
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
async fn a_worker_that_never_meets_its_coordinator_ends_after_its_idle_time() {
    let mut bench = Bench::new();
    bench.fake.go_away();
    let mut config = bench.config();
    config.until_idle = Some(Duration::from_millis(300));
    let began = std::time::Instant::now();
    Running::of(config).wait().await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(300));
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
    bench
        .fake
        .until("it is delivered", |state| state.completes.len() == 1)
        .await;
    worker.end().await.unwrap();
}

#[tokio::test]
async fn reports_that_are_refused_without_end_travel_with_the_completion() {
    let bench = Bench::new();
    bench.fake.lock().refuse_reports_with = Some(tonic::Code::Unknown);
    let worker = bench.start();
    bench.fake.grant(job(1, "slow"));
    let refused = |state: &State| {
        let tries = state.order.iter().filter(|call| **call == "refused report");
        tries.count()
    };
    let given_up = async {
        while refused(&bench.fake.lock()) < 8 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(90), given_up)
        .await
        .expect("eight tries");
    std::fs::write(bench.path("go"), "").unwrap();
    bench
        .fake
        .until("it is complete", |state| state.completes.len() == 1)
        .await;
    assert_eq!(steps(&bench.fake.lock()), [1, 2, 3]);
    assert_eq!(refused(&bench.fake.lock()), 8);
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_worker_ends_by_itself_after_an_idle_time() {
    let bench = Bench::new();
    let mut config = bench.config();
    config.until_idle = Some(Duration::from_millis(400));
    bench.fake.grant(job(1, "no weights"));
    Running::of(config).wait().await.unwrap();
    let state = bench.fake.lock();
    assert_eq!((state.completes.len(), state.leaves), (1, 1));
}

fn start_process(bench: &Bench) -> Child {
    let program = bench.script();
    let line = program.command.iter().map(|word| format!("'{word}'"));
    Command::new(env!("CARGO_BIN_EXE_espalier-worker"))
        .args(["--name", "p1", "--slots", "1", "--join"])
        .arg(bench.fake.url())
        .arg("--evaluator")
        .arg(format!("mine={}", line.collect::<Vec<_>>().join(" ")))
        .arg("--cache-dir")
        .arg(bench.path("cache"))
        .arg("--data-root")
        .arg(bench.path("data"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn signal(child: &Child, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, signal).unwrap();
}

async fn both_sleepers_run(bench: &Bench) {
    until("both sleepers run", || bench.pids("sleepers").len() == 2).await;
    for pid in bench.pids("sleepers") {
        assert!(is_running(pid));
    }
}

/// The evaluators and whatever they started, one that left their process group included.
async fn all_gone(bench: &Bench) {
    for pid in [bench.pids("pids"), bench.pids("sleepers")].concat() {
        until("the evaluator and its children are gone", || {
            !is_running(pid)
        })
        .await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn nothing_of_an_evaluator_survives_a_worker_that_is_killed() {
    let bench = Bench::new();
    let mut worker = start_process(&bench);
    bench.fake.grant(job(1, "hang"));
    both_sleepers_run(&bench).await;
    signal(&worker, nix::sys::signal::Signal::SIGKILL);
    worker.wait().unwrap();
    all_gone(&bench).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn nothing_of_an_evaluator_survives_a_second_interrupt() {
    use nix::sys::signal::Signal::SIGINT;

    let bench = Bench::new();
    let mut worker = start_process(&bench);
    bench.fake.grant(job(1, "hang"));
    both_sleepers_run(&bench).await;
    signal(&worker, SIGINT);
    // The evaluator does not listen, so ending in order takes two seconds.
    tokio::time::sleep(Duration::from_millis(300)).await;
    signal(&worker, SIGINT);
    assert_eq!(worker.wait().unwrap().code(), Some(130));
    all_gone(&bench).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_evaluator_that_crashes_leaves_nothing_behind_and_a_guard_that_is_killed_takes_it_along()
{
    let bench = Bench::new();
    let worker = bench.start();
    bench.fake.grant(job(1, "hang"));
    both_sleepers_run(&bench).await;
    bench
        .fake
        .until("it runs", |state| state.reports.len() == 1)
        .await;
    let evaluator = nix::unistd::Pid::from_raw(bench.pids("pids")[0]);
    nix::sys::signal::kill(evaluator, nix::sys::signal::Signal::SIGSEGV).unwrap();
    bench
        .fake
        .until("it failed", |state| state.fails.len() == 1)
        .await;
    {
        let state = bench.fake.lock();
        let failure = state.failure(0);
        assert_eq!(failure.kind, "crashed");
        assert!(failure.message.contains("SIGSEGV"), "{}", failure.message);
    }
    all_gone(&bench).await;

    bench.fake.grant(job(2, "wait"));
    bench
        .fake
        .until("the next runs", |state| state.reports.len() == 2)
        .await;
    let evaluator = bench.pids("pids")[1];
    let stat = std::fs::read_to_string(format!("/proc/{evaluator}/stat")).unwrap();
    let guard = stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap();
    let guard = nix::unistd::Pid::from_raw(guard.parse().unwrap());
    nix::sys::signal::kill(guard, nix::sys::signal::Signal::SIGKILL).unwrap();
    bench
        .fake
        .until("it failed", |state| state.fails.len() == 2)
        .await;
    all_gone(&bench).await;
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_file_system_that_does_not_answer_does_not_hold_up_the_end() {
    let bench = Bench::new();
    let data = bench.path("data/nowhere");
    std::fs::create_dir_all(&data).unwrap();
    // Opening a pipe that nobody writes to waits, as a dead server does.
    let pipe = data.join("train-images-idx3-ubyte");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut worker = start_process(&bench);
    bench.fake.grant(LeasedJob {
        dataset: Some(dataset()),
        ..job(1, "train")
    });
    bench
        .fake
        .until("it is held", |state| {
            let renew = state.renews.last();
            renew.is_some_and(|renew| !renew.held.is_empty())
        })
        .await;
    // It may only just have been handed to the slot.
    tokio::time::sleep(Duration::from_millis(200)).await;
    signal(&worker, nix::sys::signal::Signal::SIGTERM);
    let mut status = None;
    until("the worker ends", || {
        status = worker.try_wait().unwrap();
        status.is_some()
    })
    .await;
    assert!(status.unwrap().success());
    assert_eq!(
        bench.fake.lock().releases,
        [attempt_to_wire(job(1, "").key())]
    );
}

#[tokio::test]
async fn the_program_ends_in_order_on_sigterm_and_logs_json_lines() {
    let bench = Bench::new();
    let worker = start_process(&bench);
    bench.fake.grant(job(1, "wait"));
    bench
        .fake
        .until("it runs", |state| state.reports.len() == 1)
        .await;
    signal(&worker, nix::sys::signal::Signal::SIGTERM);
    let output = tokio::task::spawn_blocking(|| worker.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{log}");
    assert_eq!(
        bench.fake.lock().releases,
        [attempt_to_wire(job(1, "").key())]
    );
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let released = lines.iter().find(|line| line["to"] == "released").unwrap();
    assert_eq!(
        (&released["trial"], &released["worker"]),
        (&1.into(), &"p1".into())
    );
}
