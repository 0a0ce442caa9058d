//! `espalier run` as a process: its folder, its children, its signals. The workers here are shell scripts
//! beside a link to the program, so that what they do is known; real workers run in the whole-system tests.

// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

mod cli_support;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cli_support::{SPEC, program, write_spec};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// A worker that tells its process id, and ends when asked.
const OBEDIENT: &str = "trap 'exit 0' TERM\necho $$ > \"$PIDS/$$\"\nwhile :; do sleep 0.05; done";
/// One that does not.
const DEAF: &str = "trap '' TERM\necho $$ > \"$PIDS/$$\"\nwhile :; do sleep 0.05; done";

struct Run {
    folder: tempfile::TempDir,
    espalier: PathBuf,
    spec: PathBuf,
}

impl Run {
    fn new(worker: &str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let espalier = folder.path().join("espalier");
        let built = env!("CARGO_BIN_EXE_espalier");
        // The folders may lie on different file systems.
        if std::fs::hard_link(built, &espalier).is_err() {
            std::fs::copy(built, &espalier).unwrap();
        }
        let script = folder.path().join("espalier-worker");
        std::fs::write(&script, format!("#!/bin/sh\n{worker}\n")).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(folder.path().join("pids")).unwrap();
        let spec = write_spec(folder.path(), SPEC);
        Self {
            folder,
            espalier,
            spec,
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(&self.espalier);
        command
            .arg("run")
            .arg(&self.spec)
            .args(["--evaluator", "mine=true"])
            .args(arguments)
            .current_dir(self.folder.path())
            .env("PIDS", self.folder.path().join("pids"));
        command
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// The workers that were started, once there are so many.
    fn workers(&self, count: usize) -> Vec<Pid> {
        wait_for("workers", || {
            let pids = pids(&self.path("pids"));
            (pids.len() >= count).then_some(pids)
        })
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

fn pids(folder: &Path) -> Vec<Pid> {
    std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok())
        .filter_map(|text| text.trim().parse().ok())
        .map(Pid::from_raw)
        .collect()
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process runs: not gone, and no zombie that nobody has waited for.
fn runs(pid: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
}

fn all_gone(workers: &[Pid]) {
    wait_for("the workers' end", || {
        workers.iter().all(|&pid| !runs(pid)).then_some(())
    });
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

#[test]
fn ctrl_c_ends_a_run_in_order_and_resume_goes_on_with_the_same_search() {
    let run = Run::new(OBEDIENT);
    let child = run.start(&["--workers", "2"]);
    let workers = run.workers(2);
    send(&child, Signal::SIGINT);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("--resume"), "{text}");
    assert!(output.stdout.is_empty());
    all_gone(&workers);

    let record = |run: &Run| std::fs::read(run.path("espalier-runs/tiny/search.json")).unwrap();
    let before = record(&run);
    let again = run.command(&[]).output().unwrap();
    assert_eq!(again.status.code(), Some(5));
    let child = run.start(&["--resume", "--workers", "1"]);
    run.workers(3);
    send(&child, Signal::SIGTERM);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(record(&run), before);
}

#[test]
fn a_second_ctrl_c_ends_at_once_and_leaves_no_worker() {
    let run = Run::new(DEAF);
    let mut child = run.start(&["--workers", "2"]);
    let workers = run.workers(2);
    let started = Instant::now();
    send(&child, Signal::SIGINT);
    // The second one counts once the first was taken.
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let told = stderr
        .lines()
        .map(Result::unwrap)
        .find(|line| line.contains("ending in order"));
    assert!(told.is_some());
    send(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    // The deaf workers would have been waited for.
    assert!(started.elapsed() < Duration::from_secs(10));
    all_gone(&workers);
}

#[cfg(target_os = "linux")]
#[test]
fn no_worker_survives_a_run_that_is_killed() {
    let run = Run::new(DEAF);
    let mut child = run.start(&["--workers", "2"]);
    let workers = run.workers(2);
    child.kill().unwrap();
    child.wait().unwrap();
    all_gone(&workers);
}

#[test]
fn workers_that_keep_dying_end_the_run_with_their_last_words() {
    let run = Run::new("echo cannot find the moon >&2; exit 7");
    let output = run.command(&["--workers", "1"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("cannot find the moon") && text.contains("worker-1.log"),
        "{text}"
    );
    let log = std::fs::read_to_string(run.path("espalier-runs/tiny/logs/worker-1.log")).unwrap();
    assert!(log.lines().count() > 1, "it was started once only");
    let log = std::fs::read_to_string(run.path("espalier-runs/tiny/logs/coordinator.log")).unwrap();
    assert!(log.contains("worker died"), "{log}");
}

#[test]
fn a_dead_worker_is_started_again() {
    // The first one dies at once; the marker tells the second.
    let worker = format!("if mkdir \"$PIDS/../first\"; then exit 1; fi\n{OBEDIENT}");
    let run = Run::new(&worker);
    let child = run.start(&["--workers", "1"]);
    run.workers(1);
    assert!(run.path("first").is_dir());
    send(&child, Signal::SIGINT);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
}

#[test]
fn another_spec_is_not_run_in_the_folder_of_a_search() {
    let run = Run::new(OBEDIENT);
    let child = run.start(&["--workers", "1"]);
    run.workers(1);
    send(&child, Signal::SIGINT);
    child.wait_with_output().unwrap();
    write_spec(run.folder.path(), &SPEC.replace("trials: 3", "trials: 4"));
    let output = run.command(&["--resume"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("- budget: {trials: 3}") && text.contains("+ budget: {trials: 4}"),
        "{text}"
    );
}

#[test]
fn a_missing_worker_program_is_named() {
    let run = Run::new(OBEDIENT);
    std::fs::remove_file(run.path("espalier-worker")).unwrap();
    let output = run.command(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("espalier-worker"), "{text}");
    assert!(!run.path("espalier-runs").exists());
}
