//! A coordinator with TLS and the programs of its clients, as real processes in a folder of their own. May import
//! std and this crate's processes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use serde_json::Value;
use tempfile::TempDir;

use crate::client::wait_until;
use crate::cluster::free_address;
use crate::process::{Process, program, scripted_spec, scripted_worker, token};

const LIMIT: Duration = Duration::from_secs(60);

/// A coordinator with TLS on loopback, and the files of its clients.
#[derive(Debug)]
pub struct Secured {
    /// Folder of the test: journal, logs, control files.
    pub folder: TempDir,
    /// The coordinator.
    pub coordinator: Process,
    /// `127.0.0.1:port`.
    pub host: String,
    /// What it printed at its first start.
    pub ready: Value,
}

impl Secured {
    /// Starts a coordinator with leases of two seconds and these options.
    ///
    /// # Errors
    /// It ends before it is ready, or speaks no TLS.
    pub fn start(options: &[&str]) -> Result<Self> {
        let folder = test_folder()?;
        let listen = free_address()?.to_string();
        let (coordinator, ready) = serve_secured(folder.path(), &listen, options)?;
        Self::of(folder, coordinator, ready)
    }

    /// As [`Secured::start`], with leases that live for `ttl_ms`.
    ///
    /// # Errors
    /// It ends before it is ready.
    pub fn start_with_leases(ttl_ms: u64) -> Result<Self> {
        let folder = test_folder()?;
        let listen = free_address()?.to_string();
        let options = ["--tls", "on", "--lease-ttl-ms", &ttl_ms.to_string()];
        let (coordinator, ready) = Process::serve(folder.path(), &listen, &options)?;
        Self::of(folder, coordinator, ready)
    }

    /// Around a coordinator that was started in another way.
    ///
    /// # Errors
    /// It speaks no TLS.
    pub fn of(folder: TempDir, coordinator: Process, ready: Value) -> Result<Self> {
        let address = ready["address"].as_str().context("an address")?;
        let host = address.strip_prefix("https://").context("https")?;
        Ok(Self {
            folder,
            coordinator,
            host: host.to_owned(),
            ready,
        })
    }

    /// The token of a role that was printed at the first start.
    ///
    /// # Panics
    /// None was.
    #[must_use]
    pub fn token(&self, role: &str) -> String {
        token(&self.ready, role).expect("a first start prints a token for each role")
    }

    /// Ends the coordinator and starts it again on its data and its address.
    ///
    /// # Errors
    /// It does not end, or does not start.
    pub fn restart(&mut self, options: &[&str]) -> Result<Value> {
        self.coordinator.signal(nix::sys::signal::Signal::SIGTERM)?;
        self.coordinator.wait(Duration::from_secs(20))?;
        let (coordinator, ready) = serve_secured(self.folder.path(), &self.host, options)?;
        self.coordinator = coordinator;
        Ok(ready)
    }

    /// Runs `espalier` with a token, or without one.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn espalier(&self, token: Option<&str>, arguments: &[&str]) -> Result<Output> {
        let mut command = self.program("espalier");
        if let Some(token) = token {
            command.env("ESPALIER_TOKEN", token);
        }
        Ok(command.args(arguments).output()?)
    }

    /// What such a command of an admin says in JSON.
    ///
    /// # Errors
    /// It cannot be started.
    ///
    /// # Panics
    /// It fails.
    pub fn admin(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.admin_command(arguments).output()?;
        let errors = stderr(&output);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// A command of an admin on the coordinator, with JSON as its output.
    #[must_use]
    pub fn admin_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program("espalier");
        command
            .args(["--address", &format!("https://{}", self.host)])
            .args(arguments)
            .args(["--output", "json"])
            .env("ESPALIER_TOKEN", self.token("admin"));
        command
    }

    fn program(&self, name: &str) -> Command {
        let mut command = program(name);
        command.env("XDG_CONFIG_HOME", self.path("config"));
        command
    }

    /// A path in the test's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A worker that has `token`, or has joined before.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn worker(&self, name: &str, token: Option<&str>) -> Result<Process> {
        let mut command = self.worker_command(name, &self.host);
        if let Some(token) = token {
            command.args(["--token", token]);
        }
        Process::start(name, self.folder.path(), command, false)
    }

    /// A worker with the scripted evaluator that joins at `host`.
    #[must_use]
    pub fn worker_command(&self, name: &str, host: &str) -> Command {
        let mut command = self.program("espalier-worker");
        command.args(["--join", host]).arg("--trainer");
        command.arg(self.path("no-trainer"));
        scripted_worker(&mut command, (name, name), self.folder.path());
        command
    }

    /// Sets a control file of the scripted evaluator (see `evaluators/scripted.py`).
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn control(&self, name: &str, content: &str) -> Result<()> {
        Ok(std::fs::write(self.path("control").join(name), content)?)
    }

    /// The spec of a search for the scripted evaluator, in a file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn spec(&self, name: &str, trials: u32) -> Result<PathBuf> {
        let spec = self.path(&format!("{name}.yaml"));
        std::fs::write(&spec, scripted_spec(name, trials))?;
        Ok(spec)
    }

    /// Creates a search for the scripted evaluator.
    ///
    /// # Errors
    /// The coordinator refuses it.
    pub fn submit(&self, name: &str, trials: u32) -> Result<()> {
        let spec = self.spec(name, trials)?;
        self.admin(&["submit", &spec.to_string_lossy()])?;
        Ok(())
    }

    /// Waits for the end of a search; its status.
    ///
    /// # Errors
    /// It does not end within a minute.
    pub async fn finished(&self, name: &str) -> Result<Value> {
        wait_until("the search's end", LIMIT, || async {
            let status = self.admin(&["status", name])?;
            Ok((status["phase"] == "finished").then_some(status))
        })
        .await
    }

    /// The names of the workers that are registered.
    ///
    /// # Errors
    /// The coordinator does not answer.
    pub fn workers(&self) -> Result<Vec<String>> {
        let cluster = self.admin(&["status"])?;
        let workers = cluster["workers"].as_array().context("workers")?.clone();
        let name = |worker: &Value| worker["name"].as_str().map(str::to_owned);
        Ok(workers.iter().filter_map(name).collect())
    }
}

/// The folder of a test, with a place for control files.
///
/// # Errors
/// It cannot be made.
pub fn test_folder() -> Result<TempDir> {
    let folder = TempDir::new()?;
    std::fs::create_dir(folder.path().join("control"))?;
    Ok(folder)
}

/// Starts a coordinator with TLS, whose leases last two seconds.
///
/// # Errors
/// It ends before it is ready.
pub fn serve_secured(folder: &Path, listen: &str, options: &[&str]) -> Result<(Process, Value)> {
    let secured = ["--tls", "on", "--lease-ttl-ms", "2000"];
    Process::serve(folder, listen, &[&secured, options].concat())
}

/// What a command wrote to stderr.
#[must_use]
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A token with another secret and the same authority (what a guess would be): `byte` 40; or with the same secret and
/// another authority: `byte` 3. Its checksum is right, as whoever forges a token would make it.
///
/// # Errors
/// It was none.
pub fn forged(token: &str, byte: usize) -> Result<String> {
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let encoded = token.strip_prefix("espalier1_").context("a prefix")?;
    let mut bytes = engine.decode(encoded)?;
    bytes[byte] ^= 1;
    let (said, check) = bytes.split_at_mut(64);
    let digest = ring::digest::digest(&ring::digest::SHA256, said);
    check.copy_from_slice(&digest.as_ref()[..4]);
    Ok(format!("espalier1_{}", engine.encode(bytes)))
}
