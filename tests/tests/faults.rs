//! Faults with real processes. Each test asserts that its fault fired, and the exact set of trials at the
//! end: every trial of the budget once, none lost, none twice.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use espalier_proto::v1;
use espalier_tests::chaos::Proxy;
use espalier_tests::{Cluster, Searches, WorkerOptions, scripted_spec, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LIMIT: Duration = Duration::from_secs(60);
const TRIALS: u32 = 6;

/// Every trial of the budget is there once and completed, and the counts agree with the list.
async fn assert_exact(searches: &Searches, search: &str, trials: u32) -> Result<Vec<v1::Trial>> {
    let status = searches.finished(search, LIMIT).await?;
    let counts = status.counts.unwrap_or_default();
    let listed = searches.trials(search).await?;
    let numbers: Vec<u32> = listed.iter().map(|trial| trial.number).collect();
    assert_eq!(numbers, (1..=trials).collect::<Vec<_>>());
    for trial in &listed {
        assert_eq!(
            trial.state, "completed",
            "trial {}: {}",
            trial.number, trial.reason
        );
        assert!(trial.score.is_some(), "trial {}", trial.number);
        assert_eq!(trial.step, 2, "trial {}", trial.number);
    }
    assert_eq!(
        (counts.leased, counts.completed, counts.running),
        (trials, trials, 0)
    );
    let best = listed
        .iter()
        .filter_map(|trial| trial.score)
        .fold(f64::MIN, f64::max);
    assert_eq!(status.best_score, Some(best));
    Ok(listed)
}

fn attempts(trials: &[v1::Trial], number: u32) -> u32 {
    trials
        .iter()
        .find(|trial| trial.number == number)
        .map_or(0, |trial| trial.attempts)
}

#[tokio::test]
async fn two_workers_complete_every_trial_once() -> Result<()> {
    let cluster = Cluster::start(5_000).await?;
    let searches = cluster.searches()?;
    let _first = cluster.start_worker("first", &WorkerOptions::default())?;
    let _second = cluster.start_worker("second", &WorkerOptions::default())?;
    let search = searches
        .create(&scripted_spec("happy", 8), String::new())
        .await?;
    let trials = assert_exact(&searches, &search, 8).await?;
    assert!(trials.iter().all(|trial| trial.attempts == 1));
    Ok(())
}

#[tokio::test]
async fn the_trial_of_a_killed_worker_runs_again_elsewhere() -> Result<()> {
    let cluster = Cluster::start(2_000).await?;
    let searches = cluster.searches()?;
    cluster.control("seconds", "0.4")?;
    let victim = cluster.start_worker("victim", &WorkerOptions::default())?;
    let search = searches
        .create(&scripted_spec("killed-worker", TRIALS), String::new())
        .await?;
    let (trial, _, evaluator) = cluster.started(&[], LIMIT).await?;
    victim.kill_9()?;
    wait_until(
        "the end of the dead worker's evaluator",
        Duration::from_secs(10),
        || async move { Ok(kill(Pid::from_raw(evaluator), None).is_err().then_some(())) },
    )
    .await?;
    let _heir = cluster.start_worker("heir", &WorkerOptions::default())?;
    let trials = assert_exact(&searches, &search, TRIALS).await?;
    assert!(
        attempts(&trials, trial) >= 2,
        "trial {trial} was not tried again"
    );
    Ok(())
}

#[tokio::test]
async fn a_second_worker_of_one_name_does_no_harm_and_is_its_heir() -> Result<()> {
    let cluster = Cluster::start(2_000).await?;
    let searches = cluster.searches()?;
    cluster.control("seconds", "2")?;
    let first = cluster.start_worker("twin", &WorkerOptions::default())?;
    let search = searches
        .create(&scripted_spec("twins", TRIALS), String::new())
        .await?;
    cluster.started(&[], LIMIT).await?;
    let second = cluster.start_worker_as("twin", "elsewhere", &WorkerOptions::default())?;
    let said = "another worker has this name";
    wait_until("the second one's warning", LIMIT, || async {
        Ok(second.log().contains(said).then_some(()))
    })
    .await?;
    // It asks every two seconds, and the first one goes on meanwhile.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let trials = searches.trials(&search).await?;
    assert!(trials.iter().all(|trial| trial.attempts <= 1), "{trials:?}");
    assert!(trials.iter().any(|trial| trial.attempts == 0) || trials.len() < TRIALS as usize);
    cluster.control("seconds", "0.05")?;
    first.kill_9()?;
    let trials = assert_exact(&searches, &search, TRIALS).await?;
    assert!(trials.iter().all(|trial| trial.attempts <= 2));
    let coordinator = cluster.coordinator.as_ref().map(|process| process.log());
    let refusals = coordinator.unwrap_or_default();
    let refusals = refusals.matches("a second worker of this name is refused");
    assert_eq!(refusals.count(), 1, "said once, not at every try");
    Ok(())
}

#[tokio::test]
async fn the_trial_of_a_killed_evaluator_runs_again() -> Result<()> {
    let cluster = Cluster::start(5_000).await?;
    let searches = cluster.searches()?;
    cluster.control("seconds", "0.4")?;
    let worker = cluster.start_worker("only", &WorkerOptions::default())?;
    let search = searches
        .create(&scripted_spec("killed-evaluator", TRIALS), String::new())
        .await?;
    let (trial, _, evaluator) = cluster.started(&[], LIMIT).await?;
    kill(Pid::from_raw(evaluator), Signal::SIGKILL)?;
    let trials = assert_exact(&searches, &search, TRIALS).await?;
    assert_eq!(attempts(&trials, trial), 2);
    assert!(worker.log().contains("crashed"), "{}", worker.log());
    Ok(())
}

#[tokio::test]
async fn a_silent_evaluator_is_killed_and_its_trial_runs_again() -> Result<()> {
    let cluster = Cluster::start(5_000).await?;
    let searches = cluster.searches()?;
    cluster.control("hang-once", "")?;
    let options = WorkerOptions {
        silence_ms: 1_000,
        ..WorkerOptions::default()
    };
    let _worker = cluster.start_worker("only", &options)?;
    let search = searches
        .create(&scripted_spec("hung", TRIALS), String::new())
        .await?;
    let (trial, _, evaluator) = cluster.started(&[], LIMIT).await?;
    let trials = assert_exact(&searches, &search, TRIALS).await?;
    assert!(!cluster.has_control("hang-once"), "nothing hung");
    assert_eq!(attempts(&trials, trial), 2);
    assert!(
        kill(Pid::from_raw(evaluator), None).is_err(),
        "the hung evaluator still runs"
    );
    Ok(())
}

#[tokio::test]
async fn a_killed_coordinator_goes_on_where_it_was() -> Result<()> {
    let mut cluster = Cluster::start(5_000).await?;
    let searches = cluster.searches()?;
    cluster.control("seconds", "0.3")?;
    let worker = cluster.start_worker(
        "only",
        &WorkerOptions {
            slots: 2,
            ..WorkerOptions::default()
        },
    )?;
    let search = searches
        .create(&scripted_spec("killed-coordinator", TRIALS), String::new())
        .await?;
    let before = searches
        .when(&search, "two completed trials", LIMIT, |status| {
            status
                .counts
                .as_ref()
                .is_some_and(|counts| counts.completed >= 2)
        })
        .await?;
    let listed_before = searches.trials(&search).await?;
    cluster.kill_coordinator()?;
    // Long enough that running trials end while nobody listens.
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.start_coordinator().await?;
    let after = searches.status(&search).await?;
    assert!(
        after.events > before.events,
        "the search was not read again"
    );
    let trials = assert_exact(&searches, &search, TRIALS).await?;
    for trial in listed_before
        .iter()
        .filter(|trial| trial.state == "completed")
    {
        let same = trials.iter().find(|other| other.number == trial.number);
        assert_eq!(
            same.and_then(|same| same.score),
            trial.score,
            "a result changed"
        );
    }
    // Evaluations are counted, not attempts: the kill may swallow the reply that granted a lease, and then
    // its trial is leased again although nobody began it.
    let evaluated: Vec<u32> = (cluster.all_started()?.iter())
        .map(|(trial, ..)| *trial)
        .collect();
    assert_eq!(
        evaluated,
        (1..=TRIALS).collect::<Vec<_>>(),
        "work was done twice:\n{}",
        worker.log()
    );
    Ok(())
}

#[tokio::test]
async fn a_coordinator_that_stood_still_counts_none_of_it_against_the_time_budget() -> Result<()> {
    let mut cluster = Cluster::start(5_000).await?;
    let searches = cluster.searches()?;
    cluster.control("seconds", "0.2")?;
    let _worker = cluster.start_worker("patient", &WorkerOptions::default())?;
    let spec = scripted_spec("still", 1).replace("trials: 1", "time: 9s");
    let search = searches.create(&spec, String::new()).await?;
    cluster.started(&[], LIMIT).await?;
    let Some(coordinator) = cluster.coordinator.as_mut() else {
        bail!("no coordinator runs");
    };
    coordinator.signal(Signal::SIGSTOP)?;
    tokio::time::sleep(Duration::from_secs(12)).await;
    coordinator.signal(Signal::SIGCONT)?;
    let status = searches.status(&search).await?;
    assert_eq!(status.phase, "running", "{status:?}");
    assert!(status.elapsed_ms < 9_000, "{status:?}");
    let ended = searches.finished(&search, LIMIT).await?;
    assert!(ended.elapsed_ms >= 9_000, "{ended:?}");
    let said = cluster.coordinator.as_ref().map(|process| process.log());
    let said = said.unwrap_or_default();
    assert!(said.contains("the clock jumped"), "{said}");
    // Twice a lease's life, in which nobody could have renewed.
    assert!(!said.contains("lease expired"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_worker_leaves_a_connection_that_is_dead_for_ever() -> Result<()> {
    let cluster = Cluster::start(5_000).await?;
    let searches = cluster.searches()?;
    let address = cluster.address().trim_start_matches("http://").parse()?;
    let proxy = Proxy::start(address).await?;
    let options = WorkerOptions {
        through: Some(proxy.address()),
        ..WorkerOptions::default()
    };
    let _worker = cluster.start_worker("far", &options)?;
    let before = searches
        .create(&scripted_spec("before", 1), String::new())
        .await?;
    searches.finished(&before, LIMIT).await?;
    let opened = || proxy.counters().opened.load(Ordering::Relaxed);
    let (connections, began) = (opened(), Instant::now());
    proxy.strand();
    assert!(proxy.counters().stranded.load(Ordering::Relaxed) > 0);
    let after = searches
        .create(&scripted_spec("after", 1), String::new())
        .await?;
    searches.finished(&after, LIMIT).await?;
    // Its keepalive asks every ten seconds, and waits for ten.
    assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
    assert!(opened() > connections, "by the dead connection");
    Ok(())
}

#[tokio::test]
async fn a_worker_outlives_many_restarts_of_the_coordinator_within_a_minute() -> Result<()> {
    let mut cluster = Cluster::start(5_000).await?;
    let worker = cluster.start_worker("only", &WorkerOptions::default())?;
    let registrations = || worker.log().matches("\"registered\"").count();
    for restarts in 0..6 {
        wait_until("the worker registers", LIMIT, || async {
            Ok((registrations() > restarts).then_some(()))
        })
        .await?;
        cluster.kill_coordinator()?;
        cluster.start_coordinator().await?;
    }
    let searches = cluster.searches()?;
    let search = searches
        .create(&scripted_spec("restarts", TRIALS), String::new())
        .await?;
    assert_exact(&searches, &search, TRIALS).await?;
    assert!(
        registrations() >= 7,
        "it was not forgotten:\n{}",
        worker.log()
    );
    Ok(())
}

#[tokio::test]
async fn a_worker_added_in_the_middle_takes_its_share() -> Result<()> {
    let cluster = Cluster::start(5_000).await?;
    let searches = cluster.searches()?;
    cluster.control("seconds", "0.2")?;
    let _first = cluster.start_worker("first", &WorkerOptions::default())?;
    let search = searches
        .create(&scripted_spec("added", 8), String::new())
        .await?;
    cluster.started(&[], LIMIT).await?;
    let _second = cluster.start_worker("second", &WorkerOptions::default())?;
    let trials = assert_exact(&searches, &search, 8).await?;
    for name in ["first", "second"] {
        assert!(
            trials.iter().any(|trial| trial.worker == name),
            "{name} ran nothing"
        );
    }
    Ok(())
}

/// What docs/deploy.md states is 3 s: 2 for the evaluator to end when it is asked to, 1 after SIGTERM, then it is killed.
/// The rest is for a busy machine, and far from the lease's end.
const HANDED_BACK_WITHIN: Duration = Duration::from_secs(8);
/// As stated there.
const GONE_WITHIN: Duration = Duration::from_secs(17);

#[tokio::test]
async fn sigterm_hands_a_running_trial_to_a_worker_that_waits_and_costs_no_attempt() -> Result<()> {
    // Two minutes: what runs elsewhere before has been handed back.
    let cluster = Cluster::start(120_000).await?;
    let searches = cluster.searches()?;
    cluster.control("seconds", "60")?;
    // The evaluator reads no message while it works, and does not heed SIGTERM.
    cluster.control("stubborn", "")?;
    let mut leaver = cluster.start_worker("leaver", &WorkerOptions::default())?;
    // One attempt: were the one that is handed back to count, the trial would fail.
    let text = scripted_spec("drain", 1) + "attempts: 1\n";
    let search = searches.create(&text, String::new()).await?;
    let (trial, attempt, _) = cluster.started(&[], LIMIT).await?;
    let heir = cluster.start_worker("heir", &WorkerOptions::default())?;
    wait_until("both workers", LIMIT, || async {
        let workers = searches.cluster().await?.workers.len();
        Ok((workers == 2).then_some(()))
    })
    .await?;
    cluster.control("seconds", "0")?;
    let asked = Instant::now();
    leaver.signal(Signal::SIGTERM)?;
    let known = [(trial, attempt)];
    let (again, _, _) = cluster.started(&known, HANDED_BACK_WITHIN).await?;
    assert_eq!(again, trial);
    let status = leaver.wait(GONE_WITHIN.saturating_sub(asked.elapsed()))?;
    assert!(status.success(), "{status}: {}", leaver.log());
    let trials = assert_exact(&searches, &search, 1).await?;
    assert_eq!(attempts(&trials, trial), attempt + 1, "{}", heir.log());
    assert_eq!(trials[0].worker, "heir");
    Ok(())
}

#[tokio::test]
async fn two_searches_share_the_workers() -> Result<()> {
    let cluster = Cluster::start(5_000).await?;
    let searches = cluster.searches()?;
    cluster.control("seconds", "0.1")?;
    let one = searches
        .create(&scripted_spec("one", TRIALS), String::new())
        .await?;
    let two = searches
        .create(&scripted_spec("two", TRIALS), String::new())
        .await?;
    let _worker = cluster.start_worker(
        "only",
        &WorkerOptions {
            slots: 2,
            ..WorkerOptions::default()
        },
    )?;
    let both_run = wait_until("both searches running at one time", LIMIT, || async {
        let (one, two) = (searches.status(&one).await?, searches.status(&two).await?);
        let running = |status: &v1::SearchStatus| {
            status
                .counts
                .as_ref()
                .is_some_and(|counts| counts.running > 0)
        };
        if one.phase == "finished" || two.phase == "finished" {
            return Ok(Some(false));
        }
        Ok((running(&one) && running(&two)).then_some(true))
    })
    .await?;
    assert!(both_run, "one search ended before the other had a worker");
    assert_exact(&searches, &one, TRIALS).await?;
    assert_exact(&searches, &two, TRIALS).await?;
    Ok(())
}

#[tokio::test]
async fn a_wrong_spec_is_refused_and_creates_nothing() -> Result<()> {
    let cluster = Cluster::start(5_000).await?;
    let searches = cluster.searches()?;
    let wrong = scripted_spec("wrong", 3).replace("epochs", "epocs");
    let Err(refusal) = searches.create(&wrong, String::new()).await else {
        bail!("the wrong spec was taken")
    };
    let message = refusal.to_string();
    assert!(
        message.contains("epocs") && message.contains("epochs"),
        "{message}"
    );
    assert!(
        searches.status("wrong").await.is_err(),
        "something was created"
    );
    Ok(())
}

#[tokio::test]
async fn a_second_coordinator_on_one_journal_is_refused() -> Result<()> {
    let cluster = Cluster::start(5_000).await?;
    let output = espalier_tests::program("espalier")
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(cluster.path("coordinator"))
        .output()?;
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("another coordinator"), "{message}");
    assert!(
        cluster.searches()?.cluster().await.is_ok(),
        "the first one was disturbed"
    );
    Ok(())
}
