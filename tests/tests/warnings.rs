//! The lines that ask somebody to act, as real processes write them: each once, and with what to do. That of a search
//! which stands still is in `logs.rs`.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use espalier_tests::{
    Cluster, Process, WorkerOptions, command, not_tested, scripted_spec, serve_command, wait_until,
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

/// The lines of a log whose text begins so.
fn lines(log: &str, beginning: &str) -> Vec<Value> {
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let lines = lines.filter(|line: &Value| {
        let message = line["message"].as_str();
        message.is_some_and(|message| message.starts_with(beginning))
    });
    lines.collect()
}

/// The one line that begins so: a warning that says what to do.
fn warning(log: &str, beginning: &str, what_to_do: &str) -> Result<Value> {
    let found = lines(log, beginning);
    ensure!(found.len() == 1, "{beginning}: {found:?} in {log}");
    let line = found.into_iter().next().unwrap_or_default();
    let message = line["message"].as_str().unwrap_or_default();
    ensure!(line["level"] == "WARN", "{line}");
    ensure!(message.contains(what_to_do), "{line}");
    Ok(line)
}

#[tokio::test]
async fn a_worker_that_fails_everything_is_one_warning_for_each_pause() -> Result<()> {
    let cluster = Cluster::start(5_000).await?;
    cluster.control("crash", "")?;
    let worker = cluster.start_worker("sick", &WorkerOptions::default())?;
    let searches = cluster.searches()?;
    let search = searches
        .create(&scripted_spec("crashes", 1), String::new())
        .await?;
    let coordinator = cluster.coordinator.as_ref().context("a coordinator")?;
    const BEGINNING: &str = "jobs keep failing on this worker";
    wait_until("a warning", LIMIT, || async {
        Ok((!lines(&coordinator.log(), BEGINNING).is_empty()).then_some(()))
    })
    .await?;
    let said = warning(&coordinator.log(), BEGINNING, "its log says why")?;
    ensure!(said["worker"] == "sick" && said["to"] == "paused", "{said}");
    ensure!(said["duration_ms"] == 2_000, "{said}");
    // What it points to is there.
    let why = lines(&worker.log(), "attempt failed");
    ensure!(why.len() == 2, "{why:?}");
    for line in why {
        let reason = line["reason"].as_str().unwrap_or_default();
        ensure!(reason.contains("exited with code 3"), "{line}");
    }
    std::fs::remove_file(cluster.folder.path().join("control/crash"))?;
    searches.finished(&search, LIMIT).await?;
    warning(&coordinator.log(), BEGINNING, "its log says why")?;
    Ok(())
}

#[tokio::test]
async fn a_slow_journal_is_one_warning_however_many_commits_are_slow() -> Result<()> {
    let cluster = Cluster::start(30_000).await?;
    let searches = cluster.searches()?;
    let journal = cluster.folder.path().join("coordinator/journal.db");
    // To the writer whoever holds the file's lock is the same as a disk that takes its time.
    let hold = "import sqlite3, sys, time\n\
                journal = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)\n\
                journal.execute('begin immediate')\n\
                print('held', flush=True)\n\
                time.sleep(1.5)\n\
                journal.execute('rollback')\n";
    for name in ["one", "two"] {
        let mut holder = Command::new("python3")
            .args(["-c", hold])
            .arg(&journal)
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = holder.stdout.take().context("a pipe")?;
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)?;
        ensure!(line == "held\n", "{line:?}");
        // Answered when it is durable.
        searches
            .create(&scripted_spec(name, 1), String::new())
            .await?;
        ensure!(holder.wait()?.success());
    }
    let coordinator = cluster.coordinator.as_ref().context("a coordinator")?;
    let said = warning(&coordinator.log(), "a slow journal", "faster disk")?;
    ensure!(said["duration_ms"].as_u64() >= Some(1_000), "{said}");
    ensure!(said["commits"] == 1, "{said}");
    Ok(())
}

/// How a process gets mounts of its own here, if it may.
fn own_mounts() -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];
    ways.into_iter().find(|way| {
        let tried = Command::new("unshare")
            .args(*way)
            .args(["mount", "-t", "tmpfs", "none", "/mnt"])
            .output();
        tried.is_ok_and(|output| output.status.success())
    })
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_is_one_warning() -> Result<()> {
    let Some(way) = own_mounts() else {
        not_tested(
            "the warning of a disk that is nearly full",
            "no tmpfs can be mounted",
        );
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("coordinator");
    std::fs::create_dir(&data)?;
    // A disk of its own with room for a journal, and less than a twentieth of it.
    let script = "mount -t tmpfs -o size=64m none \"$DATA\"; \
                  head -c 62M /dev/zero > \"$DATA/ballast\"; exec \"$@\"";
    let serve = serve_command(folder.path(), "127.0.0.1:0", &[]);
    let mut own = command("unshare");
    own.args(way).args(["sh", "-e", "-c", script, "sh"]);
    own.arg(serve.get_program())
        .args(serve.get_args())
        .env("DATA", &data);
    let (coordinator, _) = Process::serve_by(folder.path(), own)?;
    const BEGINNING: &str = "the disk of the data folder is nearly full";
    wait_until("a warning", LIMIT, || async {
        Ok((!lines(&coordinator.log(), BEGINNING).is_empty()).then_some(()))
    })
    .await?;
    let said = warning(&coordinator.log(), BEGINNING, "make room")?;
    let bytes = |field: &str| said[field].as_u64().context(field.to_owned());
    ensure!(bytes("total_bytes")? == 64 << 20, "{said}");
    ensure!(bytes("free_bytes")? < 3 << 20, "{said}");
    Ok(())
}
