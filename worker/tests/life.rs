//! A worker's life: a coordinator that goes away, restarts, workers that end and are killed.

// The lint knows tests by their attribute, not the helpers beside them.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use espalier_common::job::LeasedJob;
use espalier_proto::attempt_to_wire;
use support::{
    Bench, Running, State, dataset, ended, is_running, job, signal, start_process, steps, until,
};

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
    bench.fake.completed(1).await;
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
    bench.fake.completed(1).await;
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
    bench.fake.completed(1).await;
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
    let lines = ended(worker).await;
    assert_eq!(
        bench.fake.lock().releases,
        [attempt_to_wire(job(1, "").key())]
    );
    let released = lines.iter().find(|line| line["to"] == "released").unwrap();
    assert_eq!(
        (&released["trial"], &released["worker"]),
        (&1.into(), &"p1".into())
    );
}
