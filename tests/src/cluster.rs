//! A coordinator and workers as real processes in a folder of their own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use crate::client::{Searches, wait_until};
use crate::process::{Process, binary};
use crate::repository;

/// How a worker is started.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Trials at one time.
    pub slots: u32,
    /// Silence that counts as a hang.
    pub silence_ms: u64,
    /// Whether the libtorch trainer is offered; else only the scripted evaluator.
    pub trainer: bool,
    /// What the operator says of it, each as `name=value`.
    pub labels: Vec<String>,
    /// Other options of `espalier-worker`.
    pub arguments: &'static [&'static str],
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            slots: 1,
            silence_ms: 60_000,
            trainer: false,
            labels: Vec::new(),
            arguments: &[],
        }
    }
}

/// A coordinator and workers; all end with it.
#[derive(Debug)]
pub struct Cluster {
    /// Folder of the test: journal, logs, control files.
    pub folder: TempDir,
    /// The coordinator, unless it was killed.
    pub coordinator: Option<Process>,
    address: String,
    lease_ttl_ms: u64,
}

impl Cluster {
    /// Starts a coordinator with leases of `lease_ttl_ms`.
    ///
    /// # Errors
    /// It does not answer within half a minute.
    pub async fn start(lease_ttl_ms: u64) -> Result<Self> {
        let folder = TempDir::new()?;
        std::fs::create_dir(folder.path().join("control"))?;
        std::fs::create_dir(folder.path().join("data"))?;
        // A port that was free a moment ago: the coordinator must come back on the same one.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("http://127.0.0.1:{port}");
        let mut cluster = Self {
            folder,
            coordinator: None,
            address,
            lease_ttl_ms,
        };
        cluster.start_coordinator().await?;
        Ok(cluster)
    }

    /// Starts the coordinator, again after it was killed.
    ///
    /// # Errors
    /// It does not answer within half a minute.
    pub async fn start_coordinator(&mut self) -> Result<()> {
        let mut command = Command::new(binary("espalier"));
        command
            .args([
                "serve",
                "--listen",
                self.address.trim_start_matches("http://"),
            ])
            .arg("--data-dir")
            .arg(self.path("coordinator"))
            .args(["--lease-ttl-ms", &self.lease_ttl_ms.to_string()]);
        self.coordinator = Some(Process::start(
            "coordinator",
            self.folder.path(),
            command,
            false,
        )?);
        let searches = self.searches()?;
        wait_until(
            "the coordinator's first answer",
            Duration::from_secs(30),
            || async { searches.cluster().await.map(Some) },
        )
        .await?;
        Ok(())
    }

    /// `kill -9` of the coordinator.
    ///
    /// # Errors
    /// It was not running.
    pub fn kill_coordinator(&mut self) -> Result<()> {
        self.coordinator
            .take()
            .map_or_else(|| anyhow::bail!("no coordinator runs"), Process::kill_9)
    }

    /// The coordinator's address, a URL.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A client of the search service.
    ///
    /// # Errors
    /// Never in practice: the address is this cluster's own.
    pub fn searches(&self) -> Result<Searches> {
        Searches::new(&self.address)
    }

    /// Starts a worker process with the scripted evaluator.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_worker(&self, name: &str, options: &WorkerOptions) -> Result<Process> {
        let script = repository().join("tests/evaluators/scripted.py");
        let mut command = Command::new(binary("espalier-worker"));
        command
            .args(["--join", &self.address, "--name", name])
            .args(["--slots", &options.slots.to_string(), "--threads", "1"])
            .args(["--evaluator-silence-ms", &options.silence_ms.to_string()])
            .args(options.arguments)
            .arg("--data-root")
            .arg(self.path("data"))
            .arg("--cache-dir")
            .arg(self.path("cache"))
            .arg("--work-dir")
            .arg(self.path(&format!("work-{name}")))
            .arg("--evaluator")
            .arg(format!("scripted=python3 {}", script.display()))
            .env("ESPALIER_TEST_CONTROL", self.path("control"));
        for label in &options.labels {
            command.args(["--label", label]);
        }
        if !options.trainer {
            command.arg("--trainer").arg(self.path("no-trainer"));
        }
        Process::start(name, self.folder.path(), command, false)
    }

    /// A path in the test's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Sets a control file of the scripted evaluator (see `evaluators/scripted.py`).
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn control(&self, name: &str, content: &str) -> Result<()> {
        Ok(std::fs::write(self.path("control").join(name), content)?)
    }

    /// Whether a control file is there.
    #[must_use]
    pub fn has_control(&self, name: &str) -> bool {
        self.path("control").join(name).exists()
    }

    /// Waits for the first started evaluation (not listed in `known`): `(trial, attempt, evaluator's process id)`.
    ///
    /// # Errors
    /// None starts within `limit`.
    pub async fn started(&self, known: &[(u32, u32)], limit: Duration) -> Result<(u32, u32, i32)> {
        let folder = self.path("control");
        wait_until("a started evaluation", limit, || async {
            let started = started_in(&folder)?;
            Ok(started
                .into_iter()
                .find(|(trial, attempt, _)| !known.contains(&(*trial, *attempt))))
        })
        .await
    }

    /// Every evaluation the scripted evaluator started.
    ///
    /// # Errors
    /// The control folder cannot be read.
    pub fn all_started(&self) -> Result<Vec<(u32, u32, i32)>> {
        started_in(&self.path("control"))
    }
}

/// Marker files are named `started-TRIAL-ATTEMPT-PID`.
fn started_in(folder: &Path) -> Result<Vec<(u32, u32, i32)>> {
    let mut started = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix("started-") else {
            continue;
        };
        let numbers: Vec<&str> = rest.split('-').collect();
        if let [trial, attempt, pid] = numbers[..] {
            started.push((trial.parse()?, attempt.parse()?, pid.parse()?));
        }
    }
    started.sort_unstable();
    Ok(started)
}
