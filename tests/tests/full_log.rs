//! The disk that holds the logs is full: lines are lost, and nothing else.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use espalier_tests::{Searches, program, ready, scripted};

const SPEC: &str = "name: full-log
hyperparameters:
  x: {range: [0.0, 1.0]}
  y: {choice: [1, 2, 3]}
evaluator: scripted
training: {epochs: 1}
searcher: random
objectives: [{maximize: score}]
budget: {trials: 4}
seed: 5
";

/// Killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every write to this device fails as on a full disk.
fn start(mut command: Command) -> Result<Killed> {
    let full = File::options().write(true).open("/dev/full")?;
    command.stdin(Stdio::null()).stderr(full);
    Ok(Killed(command.spawn()?))
}

#[tokio::test]
async fn a_coordinator_and_a_worker_go_on_when_their_logs_cannot_be_written() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let control = folder.path().join("control");
    std::fs::create_dir(&control)?;
    let mut serve = program("espalier");
    serve
        .args(["serve", "--listen", "127.0.0.1:0", "--output", "json"])
        .arg("--data-dir")
        .arg(folder.path().join("coordinator"))
        .stdout(Stdio::piped());
    let mut coordinator = start(serve)?;
    let ready = ready(&mut coordinator.0)?;
    let address = ready["address"].as_str().context("an address")?;

    let mut join = program("espalier-worker");
    join.args(["--join", address, "--name", "only", "--trainer", "none"])
        .arg("--work-dir")
        .arg(folder.path().join("work"))
        .arg("--cache-dir")
        .arg(folder.path().join("cache"))
        .arg("--evaluator")
        .arg(scripted())
        .env("ESPALIER_TEST_CONTROL", &control)
        .stdout(Stdio::null());
    let mut worker = start(join)?;
    let searches = Searches::new(address)?;
    let search = searches.create(SPEC, String::new()).await?;
    let status = searches.finished(&search, Duration::from_secs(60)).await?;
    ensure!(status.counts.unwrap_or_default().completed == 4);
    ensure!(worker.0.try_wait()?.is_none(), "the worker ended");
    ensure!(coordinator.0.try_wait()?.is_none(), "the coordinator ended");
    Ok(())
}
