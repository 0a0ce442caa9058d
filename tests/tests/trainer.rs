//! The main job with the real trainer on a tiny data set: to the end with a test of the best, the trainer
//! killed in the middle of a trial, and the same run twice.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use espalier_proto::v1;
use espalier_tests::{Cluster, Process, WorkerOptions, program, wait_until, write_tiny_idx};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LIMIT: Duration = Duration::from_secs(120);

fn spec(trials: u32, epochs: u32) -> String {
    format!(
        "name: tiny
dataset: {{format: idx, path: tiny, validation: 128}}
network:
  - conv: {{channels: {{choice: [4, 8]}}, kernel: {{choice: [3, 5]}}, stride: 2}}
  - batch_norm
  - choice: [relu, silu]
  - optional: [{{dropout: {{rate: 0.1}}}}]
  - global_avg_pool
  - linear: {{features: classes}}
training:
  epochs: {epochs}
  batch_size: 32
  optimizer: {{sgd: {{learning_rate: {{range: [0.02, 0.2], scale: log}}, momentum: 0.9}}}}
searcher: {{evolution: {{population: 4, tournament: 2}}}}
objectives: [{{maximize: accuracy}}]
budget: {{trials: {trials}}}
seed: 5
"
    )
}

/// A worker that offers the libtorch trainer.
fn trains() -> WorkerOptions {
    WorkerOptions {
        trainer: true,
        ..WorkerOptions::default()
    }
}

/// Processes below another one, by the parents in `/proc/PID/stat`, whose program is `name`: between a worker
/// and its evaluator there is a guard.
fn below(ancestor: u32, name: &str) -> Result<Vec<i32>> {
    let mut processes = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        let Some((head, tail)) = stat.rsplit_once(')') else {
            continue;
        };
        let parent = tail.split_whitespace().nth(1);
        let Some(parent) = parent.and_then(|parent| parent.parse::<i32>().ok()) else {
            continue;
        };
        let program = head.split_once('(').map_or("", |(_, program)| program);
        processes.push((pid, parent, program.to_owned()));
    }
    let (mut found, mut ahead) = (Vec::new(), vec![i32::try_from(ancestor)?]);
    while let Some(above) = ahead.pop() {
        for (pid, _, program) in processes.iter().filter(|(_, parent, _)| *parent == above) {
            ahead.push(*pid);
            // The kernel keeps 15 characters of a program's name.
            if !program.is_empty() && name.starts_with(program.as_str()) {
                found.push(*pid);
            }
        }
    }
    Ok(found)
}

/// Submits the spec as a user does, so that the data are inspected where they lie.
fn submit(cluster: &Cluster, text: &str) -> Result<String> {
    let file = cluster.path("tiny.yaml");
    std::fs::write(&file, text)?;
    let output = program("espalier")
        .args([
            "submit",
            "--output",
            "json",
            "--address",
            cluster.address(),
            "--data-root",
        ])
        .arg(cluster.path("data"))
        .arg(&file)
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let submitted: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    Ok(submitted["id"]
        .as_str()
        .context("the search's id")?
        .to_owned())
}

#[tokio::test]
async fn the_trial_of_a_killed_trainer_runs_again_and_the_best_is_tested() -> Result<()> {
    let cluster = Cluster::start(10_000).await?;
    let searches = cluster.searches()?;
    write_tiny_idx(&cluster.path("data/tiny"), 2_048, 256)?;
    let options = trains();
    let worker = cluster.start_worker("only", &options)?;
    let search = submit(&cluster, &spec(3, 40))?;
    // The first trial has measured an epoch, so the trainer is in the middle of it.
    wait_until("a first measurement", LIMIT, || async {
        let trials = searches.trials(&search).await?;
        Ok(trials
            .first()
            .filter(|trial| trial.state == "running" && trial.step >= 1)
            .map(|_| ()))
    })
    .await?;
    let trainers = below(worker.id(), "espalier-trainer")?;
    let &[trainer] = trainers.as_slice() else {
        bail!("one trainer runs, found {trainers:?}")
    };
    kill(Pid::from_raw(trainer), Signal::SIGKILL)?;
    let status = searches.finished(&search, LIMIT).await?;
    let trials = searches.trials(&search).await?;
    let states: Vec<&str> = trials.iter().map(|trial| trial.state.as_str()).collect();
    assert_eq!(states, ["completed"; 3]);
    assert_eq!(
        trials.iter().map(|trial| trial.step).collect::<Vec<_>>(),
        [40; 3]
    );
    // Two attempts show that the fault fired; the best has one more, its test.
    let best = status.best_trial.context("a best trial")?;
    let first = u32::from(best == 1) + 2;
    assert_eq!(trials[0].attempts, first, "{trials:?}");
    let test = status
        .test_metrics
        .iter()
        .find(|metric| metric.name == "accuracy");
    assert!(
        test.is_some_and(|test| test.value > 0.9),
        "{:?}",
        status.test_metrics
    );
    assert_eq!(
        status.best_weights.len(),
        64,
        "the weights of the best are stored"
    );
    Ok(())
}

#[tokio::test]
async fn a_trial_whose_worker_is_ended_goes_on_elsewhere_and_has_the_same_score() -> Result<()> {
    let cluster = Cluster::start(10_000).await?;
    let searches = cluster.searches()?;
    write_tiny_idx(&cluster.path("data/tiny"), 2_048, 256)?;
    let options = trains();
    // An attempt that counted would end the trial.
    let text = spec(1, 60) + "attempts: 1\n";
    let first = cluster.start_worker("first", &options)?;
    let search = submit(&cluster, &text)?;
    let measured = async |least: u32| {
        wait_until("a measurement", LIMIT, || async {
            let trials = searches.trials(&search).await?;
            let reached = |trial: &v1::Trial| trial.state == "running" && trial.step >= least;
            Ok(trials
                .first()
                .filter(|trial| reached(trial))
                .map(|trial| trial.step))
        })
        .await
    };
    let reached = measured(3).await?;
    end(first)?;
    let second = cluster.start_worker("second", &options)?;
    // Again, and the third one is at it to the end.
    measured(reached + 3).await?;
    end(second)?;
    let _third = cluster.start_worker("third", &options)?;
    searches.finished(&search, LIMIT).await?;
    let broken_off = searches.trials(&search).await?.remove(0);
    let log = std::fs::read_to_string(cluster.path("coordinator.log"))?;
    assert_eq!(
        log.matches("checkpoint stored").count(),
        2,
        "it was broken off twice"
    );
    // Three attempts to train, and the test of the best.
    assert_eq!(broken_off.attempts, 4, "{broken_off:?}");
    let files = cluster.path("coordinator/artifacts");
    let stored = walk(&files)?;
    assert_eq!(stored, 1, "the weights are left, and no checkpoint");

    let search = submit(&cluster, &text)?;
    searches.finished(&search, LIMIT).await?;
    let whole = searches.trials(&search).await?.remove(0);
    assert_eq!(whole.attempts, 2, "{whole:?}");
    assert_eq!(
        (broken_off.score, broken_off.step),
        (whole.score, whole.step)
    );
    assert_eq!(broken_off.metrics, whole.metrics);
    Ok(())
}

/// SIGTERM, and the end that follows.
fn end(mut worker: Process) -> Result<()> {
    worker.signal(Signal::SIGTERM)?;
    let status = worker.wait(LIMIT)?;
    ensure!(status.success(), "{status}: {}", worker.log());
    Ok(())
}

/// Files below a folder.
fn walk(folder: &Path) -> Result<usize> {
    let mut files = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        files += if path.is_dir() { walk(&path)? } else { 1 };
    }
    Ok(files)
}

/// Candidates, scores and test metrics of a run with one worker of one slot, as JSON.
fn run_once(folder: &Path, name: &str) -> Result<(Vec<serde_json::Value>, serde_json::Value)> {
    std::fs::write(folder.join("tiny.yaml"), spec(8, 2))?;
    let started = Instant::now();
    let output = program("espalier")
        .args([
            "run",
            "tiny.yaml",
            "--workers",
            "1",
            "--threads",
            "1",
            "--output",
            "json",
        ])
        .args(["--data-root", "data", "--data-dir", name])
        .current_dir(folder)
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(started.elapsed() < LIMIT);
    let result: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let weights = result["weights"]
        .as_str()
        .context("where the weights are")?;
    assert!(folder.join(weights).metadata()?.len() > 0);
    let mut best = result["best"]
        .as_array()
        .context("the best trials")?
        .clone();
    assert_eq!(best.len(), 8);
    best.sort_by_key(|trial| trial["trial"].as_u64());
    let kept = [
        "trial",
        "score",
        "metrics",
        "decisions",
        "parameters",
        "macs",
    ];
    for trial in &mut best {
        let fields = trial.as_object_mut().context("a trial is an object")?;
        fields.retain(|key, _| kept.contains(&key.as_str()));
        assert!(
            fields.contains_key("score") && fields.contains_key("decisions"),
            "{fields:?}"
        );
    }
    Ok((best, result["search"]["best"]["test_metrics"].clone()))
}

#[test]
fn the_same_seed_with_one_slot_gives_the_same_candidates_and_scores_twice() -> Result<()> {
    let folder = tempfile::tempdir()?;
    write_tiny_idx(&folder.path().join("data/tiny"), 512, 128)?;
    let (first, first_test) = run_once(folder.path(), "first")?;
    let (second, second_test) = run_once(folder.path(), "second")?;
    assert_eq!(first, second);
    assert!(first_test["accuracy"].is_number(), "{first_test}");
    assert_eq!(first_test, second_test);
    Ok(())
}

#[tokio::test]
async fn a_stopped_search_ends_though_the_weights_of_its_best_cannot_be_stored() -> Result<()> {
    let cluster = Cluster::start(10_000).await?;
    let searches = cluster.searches()?;
    write_tiny_idx(&cluster.path("data/tiny"), 512, 128)?;
    // Where uploads begin there is a file now. (A mode would not do: root may write everywhere.)
    let uploads = cluster.path("coordinator/artifacts/tmp");
    std::fs::remove_dir_all(&uploads)?;
    std::fs::write(&uploads, "in the way")?;
    let options = trains();
    let _worker = cluster.start_worker("only", &options)?;
    let search = submit(&cluster, &spec(1, 1))?;
    let refused = "weights of the best trial cannot be stored";
    wait_until("a refused upload", LIMIT, || async {
        let log = std::fs::read_to_string(cluster.path("coordinator.log"))?;
        Ok(log.contains(refused).then_some(()))
    })
    .await?;
    let stop = program("espalier")
        .args(["stop", &search, "--address", cluster.address()])
        .output()?;
    ensure!(stop.status.success(), "{stop:?}");
    let status = searches.finished(&search, LIMIT).await?;
    let reason = &status.reason;
    ensure!(reason.starts_with("stopped by the user ("), "{reason}");
    assert_eq!(
        (status.best_trial, status.best_weights.as_str()),
        (Some(1), "")
    );
    Ok(())
}
