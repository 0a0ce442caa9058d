//! `espalier run` with real workers and a program of the user's, given inline: to the end, killed in the
//! middle, interrupted in the middle. Its evaluators must never outlive it.

// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use espalier_tests::{program, repository};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const TRIALS: usize = 6;
/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

struct Run {
    folder: tempfile::TempDir,
}

impl Run {
    fn new(seconds: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = repository().join("tests/evaluators/scripted.py");
        let spec = format!(
            "name: inline\n\
             hyperparameters: {{x: {{range: [0.0, 1.0]}}, y: {{choice: [1, 2, 3]}}}}\n\
             evaluator: {{command: [python3, {}]}}\n\
             training: {{epochs: 2}}\n\
             objectives: [{{maximize: score}}]\n\
             budget: {{trials: {TRIALS}}}\n",
            script.display()
        );
        std::fs::write(folder.path().join("spec.yaml"), spec).unwrap();
        std::fs::create_dir(folder.path().join("control")).unwrap();
        let run = Self { folder };
        run.pace(seconds);
        run
    }

    /// How long an epoch takes.
    fn pace(&self, seconds: &str) {
        std::fs::write(self.control().join("seconds"), seconds).unwrap();
    }

    fn control(&self) -> PathBuf {
        self.folder.path().join("control")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program("espalier");
        command
            .args(["run", "spec.yaml", "--output", "json", "--threads", "1"])
            .args(arguments)
            .current_dir(self.folder.path())
            .env("ESPALIER_TEST_CONTROL", self.control());
        command
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// The evaluations that were started: trial and process.
    fn started(&self) -> Vec<(u32, Pid)> {
        started_in(&self.control())
    }

    /// Waits until so many evaluations were started.
    fn wait_for_evaluations(&self, count: usize) -> Vec<(u32, Pid)> {
        wait_for("evaluations", || {
            let started = self.started();
            (started.len() >= count).then_some(started)
        })
    }
}

fn started_in(control: &Path) -> Vec<(u32, Pid)> {
    std::fs::read_dir(control)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter_map(|name| {
            let mut parts = name.strip_prefix("started-")?.split('-');
            let trial = parts.next()?.parse().ok()?;
            let process = parts.nth(1)?.parse().ok()?;
            Some((trial, Pid::from_raw(process)))
        })
        .collect()
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process runs: not gone, and no zombie that nobody has waited for.
fn runs(pid: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
}

fn all_gone(evaluations: &[(u32, Pid)]) {
    wait_for("the evaluators' end", || {
        evaluations.iter().all(|&(_, pid)| !runs(pid)).then_some(())
    });
}

/// The result of a run that went well: every trial once, and the best one first.
fn check_result(output: &Output) -> serde_json::Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["search"]["phase"], "finished");
    assert_eq!(result["search"]["trials"]["completed"], TRIALS);
    assert_eq!(result["search"]["trials"]["leased"], TRIALS);
    let best = result["best"].as_array().unwrap();
    let trials: BTreeSet<u64> = best
        .iter()
        .map(|trial| trial["trial"].as_u64().unwrap())
        .collect();
    assert_eq!(trials, (1..=TRIALS as u64).collect());
    let scores: Vec<f64> = best
        .iter()
        .map(|trial| trial["score"].as_f64().unwrap())
        .collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    let candidate = result["candidate"].as_str().unwrap();
    assert!(Path::new(candidate).is_file());
    result
}

fn coordinator_log(result: &serde_json::Value) -> String {
    let logs = Path::new(result["logs"].as_str().unwrap());
    std::fs::read_to_string(logs.join("coordinator.log")).unwrap()
}

#[test]
fn a_run_with_an_inline_program_ends_with_its_best_trial_and_tells_it_again() {
    let run = Run::new("0");
    let first = check_result(&run.command(&[]).output().unwrap());
    let evaluations = run.started();
    assert_eq!(evaluations.len(), TRIALS);
    all_gone(&evaluations);
    let again = check_result(&run.command(&["--resume"]).output().unwrap());
    assert_eq!(first["best"], again["best"]);
    assert_eq!(run.started().len(), TRIALS, "something was evaluated again");
}

#[cfg(target_os = "linux")]
#[test]
fn a_killed_run_leaves_no_process_and_resume_completes_its_budget() {
    let run = Run::new("0.3");
    let mut child = run.start(&[]);
    let evaluations = run.wait_for_evaluations(3);
    child.kill().unwrap();
    child.wait().unwrap();
    all_gone(&evaluations);
    run.pace("0");
    let result = check_result(&run.command(&["--resume"]).output().unwrap());
    // The fault fired: what ran when it came had to be evaluated again.
    let attempts = result["search"]["trials"]["attempts"].as_u64().unwrap();
    assert!(attempts > TRIALS as u64, "{attempts}");
}

#[test]
fn an_interrupted_run_hands_its_trials_back_and_resume_completes_its_budget() {
    let run = Run::new("0.3");
    let child = run.start(&[]);
    let evaluations = run.wait_for_evaluations(3);
    kill(
        Pid::from_raw(child.id().try_into().unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    all_gone(&evaluations);
    run.pace("0");
    let result = check_result(&run.command(&["--resume"]).output().unwrap());
    let attempts = result["search"]["trials"]["attempts"].as_u64().unwrap();
    assert!(attempts > TRIALS as u64, "{attempts}");
    // The workers had handed their trials back: no lease was left to expire.
    assert!(!coordinator_log(&result).contains("lease expired"));
}
