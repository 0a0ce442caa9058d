//! What candidates do wrong, in a whole system: each misdeed costs its trial one attempt, is told apart from the
//! others, and leaves no process behind; every trial counts once.

use std::time::Duration;

use anyhow::{Context as _, Result};
use espalier_tests::{Cluster, WorkerOptions, wait_until};
use nix::sys::signal::kill;
use nix::unistd::Pid;

const LIMIT: Duration = Duration::from_secs(60);
const TRIALS: u32 = 30;

/// What the evaluator is told to do, and the kind and the words that must come of it.
const MISDEEDS: [(&str, &str, &str); 6] = [
    (
        "memory",
        "out_of_memory",
        "256M of memory that --evaluator-memory allows",
    ),
    ("segfault", "crashed", "SIGSEGV"),
    ("endless", "hung", "3 s that --evaluator-time allows"),
    (
        "flood",
        "evaluator",
        "4M to stdout and stderr that --evaluator-output allows",
    ),
    ("disk", "disk", "a disk is full"),
    ("gpu", "out_of_memory", "memory of its GPU ran out"),
];

/// The failures of attempts in a worker's log: kind and reason.
fn failures(log: &str) -> Vec<(String, String)> {
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let of_line = |line: serde_json::Value| {
        let text = |field: &str| {
            line.get(field)
                .and_then(|value| value.as_str())
                .map(str::to_owned)
        };
        (text("message")? == "attempt failed").then(|| Some((text("kind")?, text("reason")?)))?
    };
    lines.filter_map(of_line).collect()
}

#[tokio::test]
async fn every_misdeed_of_a_candidate_costs_one_attempt_and_nothing_else() -> Result<()> {
    let cluster = Cluster::start(5_000).await?;
    let searches = cluster.searches()?;
    cluster.control("seconds", "0.2")?;
    const ARGUMENTS: &[&str] = &[
        "--evaluator-memory=256M",
        "--evaluator-time=3s",
        "--evaluator-output=4M",
    ];
    let options = WorkerOptions {
        arguments: ARGUMENTS,
        ..WorkerOptions::default()
    };
    let worker = cluster.start_worker("only", &options)?;
    let spec = format!(
        "name: misdeeds
hyperparameters: {{x: {{range: [0.0, 1.0]}}, y: {{choice: [1, 2, 3]}}}}
evaluator: scripted
training: {{epochs: 2}}
searcher: random
objectives: [{{maximize: score}}]
budget: {{trials: {TRIALS}}}
attempts: 10
seed: 7
"
    );
    // One trial may meet several of the misdeeds: it is the only one that waits, when the machine is slow.
    let search = searches.create(&spec, String::new()).await?;
    for (done, (misdeed, kind, words)) in MISDEEDS.into_iter().enumerate() {
        cluster.control(&format!("{misdeed}-once"), "")?;
        let failed = wait_until("the failure", LIMIT, || async {
            Ok(failures(&worker.log()).into_iter().nth(done))
        });
        let (told, reason) = failed.await.with_context(|| misdeed.to_owned())?;
        assert!(
            !cluster.has_control(&format!("{misdeed}-once")),
            "{misdeed} did not happen"
        );
        assert_eq!(told, kind, "{misdeed}: {reason}");
        assert!(reason.contains(words), "{misdeed}: {reason}");
        // Two failures in a row would pause the worker; a trial that is done between them shows that it goes on.
        let before = searches
            .status(&search)
            .await?
            .counts
            .unwrap_or_default()
            .completed;
        let next = || async {
            let counts = searches.status(&search).await?.counts.unwrap_or_default();
            Ok((counts.completed > before).then_some(()))
        };
        wait_until("the next result", LIMIT, next)
            .await
            .with_context(|| misdeed.to_owned())?;
    }
    let status = searches.finished(&search, LIMIT).await?;
    let trials = searches.trials(&search).await?;
    let numbers: Vec<u32> = trials.iter().map(|trial| trial.number).collect();
    assert_eq!(numbers, (1..=TRIALS).collect::<Vec<_>>());
    assert!(
        trials
            .iter()
            .all(|trial| trial.state == "completed" && trial.score.is_some())
    );
    let counts = status.counts.unwrap_or_default();
    assert_eq!(
        (counts.leased, counts.completed, counts.running),
        (TRIALS, TRIALS, 0)
    );
    let attempts: u32 = trials.iter().map(|trial| trial.attempts).sum();
    assert_eq!(attempts as usize, TRIALS as usize + MISDEEDS.len());
    assert_eq!(failures(&worker.log()).len(), MISDEEDS.len());
    worker.kill_9()?;
    for (_, _, evaluator) in cluster.all_started()? {
        let gone = || async { Ok(kill(Pid::from_raw(evaluator), None).is_err().then_some(())) };
        wait_until("the end of an evaluator", LIMIT, gone).await?;
    }
    Ok(())
}
