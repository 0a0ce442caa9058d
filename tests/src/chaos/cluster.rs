//! The cluster under attack: a coordinator, and workers that reach it through a proxy each. May import this
//! crate's processes and std.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use super::disk::{self, Disk};
use super::proxy::Proxy;
use super::schedule::LEASE_TTL_MS;
use crate::client::{Searches, wait_until};
use crate::cluster::free_address;
use crate::process::{Process, binary, program, scripted};

/// Workers of the cluster, with two slots each: enough that one can be away.
pub(super) const WORKERS: usize = 3;
/// Jobs at one time.
pub(super) const SLOTS: usize = 2 * WORKERS;
/// An evaluator that is silent for so long is killed.
pub(super) const SILENCE: Duration = Duration::from_millis(3_000);
/// A start, on a machine that does much else.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A worker's process, its proxy and its disk.
#[derive(Debug)]
pub(super) struct Worker {
    /// Its name.
    pub(super) name: String,
    /// The process, unless it was ended.
    pub(super) process: Option<Process>,
    /// What it takes for the coordinator.
    pub(super) proxy: Arc<Proxy>,
    /// Of its folders.
    pub(super) disk: Disk,
}

/// A job that an evaluator has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Begun {
    /// Its process.
    pub(super) evaluator: u32,
    /// When.
    pub(super) at: SystemTime,
}

/// The processes of one run. Fields end in this order: processes first, then disks, the folder last.
#[derive(Debug)]
pub(super) struct Cluster {
    /// The coordinator's process, unless it was ended.
    pub(super) coordinator: Option<Process>,
    /// The workers.
    pub(super) workers: Vec<Worker>,
    /// Of the journal.
    pub(super) disk: Disk,
    address: SocketAddr,
    folder: TempDir,
}

impl Cluster {
    /// Starts everything, without a fault yet.
    ///
    /// # Errors
    /// Something does not start.
    pub(super) async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("espalier-chaos-")
            .tempdir()?;
        std::fs::create_dir(folder.path().join("control"))?;
        // Long enough that faults find trials that run.
        std::fs::write(folder.path().join("control/seconds"), "0.25")?;
        // Files that take a moment on the way, so that some are cut off; of all searches they fit on the disk.
        for file in ["weights", "checkpoints"] {
            std::fs::write(folder.path().join("control").join(file), "1000000")?;
        }
        let address = free_address()?;
        let mut workers = Vec::new();
        for number in 1..=WORKERS {
            let name = format!("worker-{number}");
            workers.push(Worker {
                disk: Disk::new(folder.path().join(&name))?,
                proxy: Arc::new(Proxy::start(address).await?),
                process: None,
                name,
            });
        }
        let mut cluster = Self {
            coordinator: None,
            workers,
            disk: Disk::new(folder.path().join("coordinator"))?,
            address,
            folder,
        };
        cluster.start_coordinator().await?;
        for worker in 0..WORKERS {
            cluster.start_worker(worker)?;
        }
        Ok(cluster)
    }

    /// Starts the coordinator and waits until it answers.
    ///
    /// # Errors
    /// It does not.
    pub(super) async fn start_coordinator(&mut self) -> Result<()> {
        let mut command = disk::command(&binary("espalier"));
        command
            .args(["serve", "--listen", &self.address.to_string()])
            .args(["--lease-ttl-ms", &LEASE_TTL_MS.to_string(), "--data-dir"])
            .arg(self.disk.path());
        let process = Process::start("coordinator", self.path(), command, false)?;
        self.coordinator = Some(process);
        let searches = self.searches()?;
        wait_until("the coordinator's first answer", START_LIMIT, || async {
            searches.cluster().await.map(Some)
        })
        .await
        .with_context(|| format!("the coordinator's log: {}", self.last_words("coordinator")))?;
        Ok(())
    }

    /// Starts a worker.
    ///
    /// # Errors
    /// Its program cannot be started.
    pub(super) fn start_worker(&mut self, number: usize) -> Result<()> {
        let folder = self.folder.path().to_owned();
        let worker = &mut self.workers[number];
        let mut command = disk::command(&binary("espalier-worker"));
        command
            .args(["--join", &format!("http://{}", worker.proxy.address())])
            .args(["--name", &worker.name, "--slots", "2", "--threads", "1"])
            .args([
                "--evaluator-silence-ms",
                &SILENCE.as_millis().to_string(),
                "--data-root",
            ])
            .arg(worker.disk.path().join("data"))
            .arg("--cache-dir")
            .arg(worker.disk.path().join("cache"))
            .arg("--work-dir")
            .arg(worker.disk.path().join("work"))
            .arg("--trainer")
            .arg(folder.join("no-trainer"))
            .arg("--evaluator")
            .arg(scripted())
            .env("ESPALIER_TEST_CONTROL", folder.join("control"));
        worker.process = Some(Process::start(&worker.name, &folder, command, false)?);
        Ok(())
    }

    /// A client that reaches the coordinator without a proxy.
    ///
    /// # Errors
    /// Never in practice: the address is this cluster's own.
    pub(super) fn searches(&self) -> Result<Searches> {
        Searches::new(&format!("http://{}", self.address))
    }

    /// Where logs and disks lie.
    #[must_use]
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What a process wrote into its log, through all its starts.
    #[must_use]
    pub(super) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(format!("{name}.log"))).unwrap_or_default()
    }

    /// The end of a log.
    #[must_use]
    pub(super) fn last_words(&self, name: &str) -> String {
        let log = self.log(name);
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// The jobs that evaluators have begun: each leaves a marker `started-TRIAL-ATTEMPT-PID`. Of trials with the
    /// same number of two searches, the same evaluator leaves one marker.
    #[must_use]
    pub(super) fn begun(&self) -> BTreeSet<Begun> {
        let Ok(markers) = std::fs::read_dir(self.path().join("control")) else {
            return BTreeSet::new();
        };
        markers
            .filter_map(|marker| {
                let marker = marker.ok()?;
                let name = marker.file_name().into_string().ok()?;
                let (_, evaluator) = name.strip_prefix("started-")?.rsplit_once('-')?;
                Some(Begun {
                    evaluator: evaluator.parse().ok()?,
                    at: marker.metadata().ok()?.modified().ok()?,
                })
            })
            .collect()
    }

    /// The artifacts that the coordinator keeps.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(super) fn artifacts(&self) -> Result<BTreeSet<String>> {
        let mut kept = BTreeSet::new();
        for folder in std::fs::read_dir(self.disk.path().join("artifacts"))? {
            let folder = folder?;
            let first = folder.file_name().to_string_lossy().into_owned();
            if first == "tmp" {
                continue;
            }
            for file in std::fs::read_dir(folder.path())? {
                kept.insert(format!("{first}{}", file?.file_name().to_string_lossy()));
            }
        }
        Ok(kept)
    }

    /// Lines of all workers' logs, through all their starts, that hold these words.
    #[must_use]
    pub(super) fn said(&self, words: &[&str]) -> u64 {
        let of_one = |worker: &Worker| {
            let log = self.log(&worker.name);
            let lines = log
                .lines()
                .filter(|line| words.iter().all(|word| line.contains(word)));
            lines.count() as u64
        };
        self.workers.iter().map(of_one).sum()
    }

    /// `espalier replay` of a search: what it printed.
    ///
    /// # Errors
    /// It found a difference, or the journal is not sound.
    pub(super) fn replay(&self, search: &str) -> Result<String> {
        let output = program("espalier")
            .args(["replay", search, "--data-dir"])
            .arg(self.disk.path())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        anyhow::ensure!(
            output.status.success() && text.contains("none differs"),
            "espalier replay of {search}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(text)
    }

    /// `espalier journal verify` of the whole journal, beside the coordinator.
    ///
    /// # Errors
    /// What it found.
    pub(super) fn verify(&self) -> Result<()> {
        let output = program("espalier")
            .args(["journal", "verify", "--data-dir"])
            .arg(self.disk.path())
            .output()?;
        anyhow::ensure!(
            output.status.success(),
            "espalier journal verify: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// The events of every search, by its id, out of `espalier journal export`.
    ///
    /// # Errors
    /// The journal cannot be exported.
    pub(super) fn events(&self) -> Result<BTreeMap<String, Vec<Value>>> {
        let output = program("espalier")
            .args(["journal", "export", "-", "--data-dir"])
            .arg(self.disk.path())
            .output()?;
        anyhow::ensure!(
            output.status.success(),
            "espalier journal export: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let mut events: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for line in String::from_utf8(output.stdout)?.lines() {
            let mut record: Value = serde_json::from_str(line)?;
            // The first and the last line are none.
            if let Some(stream) = record["stream"].as_str().map(str::to_owned) {
                let stream = events.entry(stream).or_default();
                stream.push(record["body"].take());
            }
        }
        Ok(events)
    }

    /// Keeps the logs and the journal for a person: copies, since the disks end with this.
    #[must_use]
    pub(super) fn keep(&self) -> PathBuf {
        let kept = self.path().with_extension("kept");
        let _ = Command::new("cp")
            .arg("-a")
            .args([self.path(), &kept])
            .output();
        kept
    }
}
