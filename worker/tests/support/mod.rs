//! A coordinator for tests, in this process but on a runtime of its own, so that it can be taken away
//! with its connections and come back; and workers that run against it.
// Each test file is a crate of its own and uses a part of this.
#![allow(dead_code, unused_imports, missing_docs, unreachable_pub)]

mod fake;
mod jobs;

pub use fake::{Fake, State};
pub use jobs::{dataset, job, test_job};

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use espalier_runtime::Shutdown;
use espalier_worker::{Limits, Program, WorkerConfig, WorkerError};
use tokio::task::JoinHandle;

/// Longer than anything here takes on a busy machine; only a failing test waits for it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A worker with folders of its own.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub fake: Fake,
}

pub struct Running {
    pub shutdown: Shutdown,
    pub task: JoinHandle<Result<(), WorkerError>>,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = include_str!("evaluator.sh");
        std::fs::write(folder.path().join("evaluator.sh"), script).unwrap();
        Self {
            folder,
            fake: Fake::start(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn script(&self) -> Program {
        let script = self.path("evaluator.sh");
        let line = format!(
            "mine=sh '{}' '{}'",
            script.display(),
            self.folder.path().display()
        );
        Program::parse(&line).unwrap()
    }

    pub fn config(&self) -> WorkerConfig {
        WorkerConfig {
            tables_suffice: false,
            join: self.fake.url(),
            token: None,
            name: "w1".to_owned(),
            labels: Default::default(),
            slots: 1,
            threads: 1,
            device: "cpu".to_owned(),
            data_root: self.path("data"),
            cache_dir: self.path("cache"),
            cache_bytes: 1 << 30,
            work_dir: self.path("work"),
            evaluators: vec![self.script()],
            guard: env!("CARGO_BIN_EXE_espalier-worker").into(),
            evaluator_silence: Duration::from_secs(60),
            limits: Limits::default(),
            data_silence: Duration::from_secs(60),
            until_idle: None,
            drain_timeout: Duration::from_secs(10),
            name_patience: Duration::from_secs(60),
        }
    }

    pub fn start(&self) -> Running {
        Running::of(self.config())
    }

    /// Process ids that the script wrote down, one for each of its starts.
    pub fn pids(&self, file: &str) -> Vec<i32> {
        let text = std::fs::read_to_string(self.path(file)).unwrap_or_default();
        text.lines()
            .map(|line| line.trim().parse().unwrap())
            .collect()
    }
}

impl Running {
    pub fn of(config: WorkerConfig) -> Self {
        let shutdown = Shutdown::new();
        let task = tokio::spawn(espalier_worker::run(config, shutdown.clone()));
        Self { shutdown, task }
    }

    /// Asks the worker to end, and waits.
    pub async fn end(self) -> Result<(), WorkerError> {
        self.shutdown.request();
        self.wait().await
    }

    pub async fn wait(self) -> Result<(), WorkerError> {
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("the worker ends")
            .unwrap()
    }

    /// As SIGKILL would end it, as far as that is possible inside a process.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// Steps that were reported, or came with a completion.
pub fn steps(state: &State) -> Vec<u32> {
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

/// The program itself, with a log in JSON.
pub fn start_process(bench: &Bench) -> Child {
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

pub fn signal(child: &Child, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, signal).unwrap();
}

/// The lines of the log of a program that ends well.
pub async fn ended(worker: Child) -> Vec<serde_json::Value> {
    let output = tokio::task::spawn_blocking(|| worker.wait_with_output());
    let output = output.await.unwrap().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{log}");
    let lines = log.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// Waits until `check` holds.
pub async fn until(what: &str, mut check: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !check() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether a process runs; one that ended and waits for its parent does not.
pub fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| {
        let state = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next());
        !matches!(state, Some('Z' | 'X'))
    })
}
