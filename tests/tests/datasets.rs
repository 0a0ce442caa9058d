//! Data that are pushed to the coordinator instead of copied to every worker.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use espalier_tests::{Cluster, WorkerOptions, program, wait_until, write_tiny_idx};
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(60);
const SPEC: &str = "name: pushed
dataset: {format: idx, path: tiny, validation: 16}
hyperparameters: {x: {range: [0.0, 1.0]}, y: {choice: [1, 2, 3]}}
evaluator: scripted
training: {epochs: 1}
searcher: random
objectives: [{maximize: score}]
budget: {trials: 3}
seed: 7
";

fn files_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let counts = entries.map(|entry| match entry.path() {
        path if path.is_dir() => files_below(&path),
        _ => 1,
    });
    counts.sum()
}

#[tokio::test]
async fn a_worker_without_the_data_fetches_what_was_pushed_also_after_the_coordinator_was_killed()
-> Result<()> {
    let mut cluster = Cluster::start(2_000).await?;
    // The workers' data root is `data`, and stays empty.
    let here = cluster.path("here");
    write_tiny_idx(&here.join("tiny"), 64, 16)?;
    let here = here.to_string_lossy().into_owned();
    let spec = cluster.path("spec.yaml");
    std::fs::write(&spec, SPEC)?;
    cluster.json(&["submit", &spec.to_string_lossy(), "--data-root", &here])?;

    // Nobody has pushed them yet: the worker lacks them, and says so.
    let options = WorkerOptions::default();
    let first = cluster.start_worker("first", &options)?;
    let missing = wait_until("a worker that lacks data", LIMIT, || async {
        let status = cluster.json(&["status"])?;
        let missing = status["workers"][0]["missing_datasets"][0].as_str();
        Ok(missing.map(str::to_owned))
    })
    .await?;
    first.signal(Signal::SIGTERM)?;

    let pushed = cluster.json(&["dataset", "push", "tiny", "--data-root", &here])?;
    ensure!(pushed["fingerprint"] == missing.as_str(), "{pushed}");
    // The same again is no other one.
    cluster.json(&["dataset", "push", &format!("{here}/tiny")])?;
    cluster.kill_coordinator()?;
    let folder = cluster.path("coordinator").to_string_lossy().into_owned();
    let compacted = program("espalier")
        .args(["journal", "compact", "--data-dir", &folder])
        .output()?;
    ensure!(compacted.status.success(), "{compacted:?}");
    cluster.start_coordinator().await?;
    let kept = cluster.json(&["dataset", "list"])?;
    ensure!(kept.as_array().map(Vec::len) == Some(1), "{kept}");

    let second = cluster.start_worker("second", &options)?;
    let done = wait_until("the search's end", LIMIT, || async {
        let status = cluster.json(&["status", "pushed"])?;
        Ok((status["phase"] == "finished").then_some(()))
    });
    done.await.with_context(|| second.log())?;
    let fetched = cluster.path("cache/fetched").join(&missing);
    ensure!(
        files_below(&fetched) == files_below(Path::new(&here)),
        "{}",
        second.log()
    );

    let artifacts = cluster.path("coordinator/artifacts");
    ensure!(files_below(&artifacts) > 0);
    cluster.json(&["dataset", "remove", &missing[..8]])?;
    wait_until("the files' removal", LIMIT, || async {
        Ok((files_below(&artifacts) == 0).then_some(()))
    })
    .await?;
    let mut again = program("espalier");
    again.args([
        "--address",
        cluster.address(),
        "dataset",
        "remove",
        &missing,
    ]);
    ensure!(again.output()?.status.code() == Some(3));
    Ok(())
}

const TABLE_SPEC: &str = "name: looked-up
hyperparameters: {op: {choice: [none, skip, conv]}}
evaluator:
  table: {path: t.csv.gz, decisions: {op: op}, metrics: {accuracy: a}}
searcher: random
objectives: [{maximize: accuracy}]
budget: {trials: 3}
seed: 7
";

#[tokio::test]
async fn a_table_of_results_is_pushed_as_a_data_set_is() -> Result<()> {
    let cluster = Cluster::start(2_000).await?;
    let here = cluster.path("here");
    std::fs::create_dir(&here)?;
    let rows = "op,a\nnone,0.25\nskip,0.5\nconv,0.75\n";
    std::fs::write(here.join("t.csv"), rows)?;
    let packed = std::process::Command::new("gzip")
        .arg(here.join("t.csv"))
        .status()?;
    ensure!(packed.success());
    let here = here.to_string_lossy().into_owned();
    let spec = cluster.path("spec.yaml");
    std::fs::write(&spec, TABLE_SPEC)?;
    cluster.json(&["submit", &spec.to_string_lossy(), "--data-root", &here])?;
    let pushed = cluster.json(&["dataset", "push", "t.csv.gz", "--data-root", &here])?;
    // A file of another kind is none.
    let other = cluster.path("notes.txt");
    std::fs::write(&other, "nothing in columns\n")?;
    let refused = cluster.espalier(&["dataset", "push", &other.to_string_lossy()])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(2), "{said}");
    ensure!(
        said.contains("2 columns") && said.contains("notes.txt"),
        "{said}"
    );

    let options = WorkerOptions {
        arguments: &["--evaluator", "table"],
        ..WorkerOptions::default()
    };
    let worker = cluster.start_worker("node", &options)?;
    let done = wait_until("the search's end", LIMIT, || async {
        let status = cluster.json(&["status", "looked-up"])?;
        Ok((status["phase"] == "finished").then_some(status))
    });
    let status = done.await.with_context(|| worker.log())?;
    ensure!(status["best"]["score"] == 0.75, "{status}");
    let fingerprint = pushed["fingerprint"].as_str().context("a fingerprint")?;
    let fetched = cluster.path("cache/fetched").join(fingerprint);
    ensure!(fetched.join("t.csv.gz").is_file(), "{}", worker.log());
    let kept = cluster.json(&["dataset", "list"])?;
    ensure!(kept[0]["path"] == "t.csv.gz", "{kept}");
    cluster.json(&["dataset", "remove", &fingerprint[..8]])?;
    Ok(())
}
