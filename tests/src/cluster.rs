//! A coordinator and workers as real processes in a folder of their own.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Searches, wait_until};
use crate::process::{Process, program, scripted_worker};

/// An address that nothing listens on, for a coordinator that comes back on it. It is not one of those that the
/// system gives to outgoing connections: while the coordinator is down, one of the workers' own could get it.
///
/// # Errors
/// A thousand are in use.
pub fn free_address() -> Result<SocketAddr> {
    // Processes of tests begin at different ports, and the tests of one get none twice.
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id() % 20_000;
    for _ in 0..1_000 {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed) % 20_000;
        let port = u16::try_from(10_000 + (first + given) % 20_000)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("1000 ports of loopback between 10000 and 30000 are in use")
}

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
    /// Where it finds the coordinator, if not at its own address.
    pub through: Option<SocketAddr>,
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
            through: None,
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
    /// Of the coordinator and all workers.
    environment: Vec<(&'static str, String)>,
}

impl Cluster {
    /// Starts a coordinator with leases of `lease_ttl_ms`.
    ///
    /// # Errors
    /// It does not answer within half a minute.
    pub async fn start(lease_ttl_ms: u64) -> Result<Self> {
        Self::start_with(lease_ttl_ms, Vec::new()).await
    }

    /// The same with these variables in the environment of the coordinator and of all workers.
    ///
    /// # Errors
    /// It does not answer within half a minute.
    pub async fn start_with(
        lease_ttl_ms: u64,
        environment: Vec<(&'static str, String)>,
    ) -> Result<Self> {
        let folder = TempDir::new()?;
        std::fs::create_dir(folder.path().join("control"))?;
        std::fs::create_dir(folder.path().join("data"))?;
        let address = format!("http://{}", free_address()?);
        let mut cluster = Self {
            folder,
            coordinator: None,
            address,
            lease_ttl_ms,
            environment,
        };
        cluster.start_coordinator().await?;
        Ok(cluster)
    }

    /// Starts the coordinator, again after it was killed.
    ///
    /// # Errors
    /// It does not answer within half a minute.
    pub async fn start_coordinator(&mut self) -> Result<()> {
        let mut command = program("espalier");
        command
            .args([
                "serve",
                "--listen",
                self.address.trim_start_matches("http://"),
            ])
            .arg("--data-dir")
            .arg(self.path("coordinator"))
            .args(["--lease-ttl-ms", &self.lease_ttl_ms.to_string()])
            .envs(self.environment.clone());
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

    /// Runs `espalier` on this coordinator, as a user `alice`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn espalier(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = program("espalier");
        command.env("ESPALIER_ADDRESS", &self.address);
        command.env("USER", "alice");
        Ok(command.args(arguments).output()?)
    }

    /// What such a command says in JSON.
    ///
    /// # Errors
    /// It fails, with what it said.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.espalier(&[arguments, &["--output", "json"]].concat())?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {errors}");
        Ok(serde_json::from_slice(&output.stdout)?)
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
        self.start_worker_as(name, name, options)
    }

    /// Starts such a worker, whose work folder and log are called `place`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_worker_as(
        &self,
        name: &str,
        place: &str,
        options: &WorkerOptions,
    ) -> Result<Process> {
        let through = options.through.map(|proxy| format!("http://{proxy}"));
        let mut command = program("espalier-worker");
        command
            .args(["--join", through.as_ref().unwrap_or(&self.address)])
            .args(["--slots", &options.slots.to_string()])
            .args(["--evaluator-silence-ms", &options.silence_ms.to_string()])
            .args(options.arguments)
            .envs(self.environment.clone());
        scripted_worker(&mut command, (name, place), self.folder.path());
        for label in &options.labels {
            command.args(["--label", label]);
        }
        if !options.trainer {
            command.arg("--trainer").arg(self.path("no-trainer"));
        }
        Process::start(place, self.folder.path(), command, false)
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
