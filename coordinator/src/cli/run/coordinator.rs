//! The coordinator inside a run: the same server that `espalier serve` starts, on a free loopback port,
//! with its logs in the run's folder.

use std::fs::OpenOptions;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use espalier_coordinator::server::{self, ServerConfig};
use espalier_runtime::logging::{self, LogFormat};
use espalier_runtime::{Shutdown, spawn_named};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::super::client::Client;
use super::super::error::{CliError, say};
use super::folder::RunFolder;

/// How long it may take until the server answers: it reads the journal first, which takes seconds for a
/// long search.
const START: Duration = Duration::from_secs(120);
/// Its leases are shorter than a cluster's: on one machine no network delays a renewal, and what a killed
/// run left running is free again this long after its `--resume`.
const LEASE_TTL_MS: u64 = 10_000;
/// How long its end may take: an fsync on a slow disk.
const END: Duration = Duration::from_secs(30);

/// A coordinator in this process.
#[derive(Debug)]
pub(super) struct Coordinator {
    /// Where it listens.
    pub(super) address: String,
    task: JoinHandle<Result<(), String>>,
    shutdown: Shutdown,
}

impl Coordinator {
    /// Starts it and waits until it answers.
    pub(super) async fn start(folder: &RunFolder) -> Result<(Self, Client), CliError> {
        let unbound =
            |error| CliError::Failed(format!("cannot listen on a port of 127.0.0.1: {error}"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(unbound)?;
        let address = format!("http://{}", listener.local_addr().map_err(unbound)?);
        let shutdown = Shutdown::new();
        let mut config = ServerConfig::new(folder.coordinator());
        config.lease_ttl_ms = LEASE_TTL_MS;
        // Its workers are this process's own children, and so is whatever they start.
        config.allow_inline_commands = true;
        let asked = shutdown.clone();
        let task = spawn_named("coordinator", async move {
            server::run(config, listener, asked)
                .await
                .map_err(|error| error.to_string())
        });
        let mut coordinator = Self {
            address,
            task,
            shutdown,
        };
        let client = coordinator.connect().await?;
        Ok((coordinator, client))
    }

    async fn connect(&mut self) -> Result<Client, CliError> {
        let address = self.address.clone();
        tokio::select! {
            client = Client::when_ready(&address) => Ok(client),
            reason = self.ended() => Err(CliError::Failed(format!("the coordinator cannot start: {reason}"))),
            () = tokio::time::sleep(START) => Err(CliError::Failed(format!(
                "the coordinator did not answer within {} s; logs/coordinator.log says more",
                START.as_secs()
            ))),
        }
    }

    /// Waits until it ends by itself, which it does only when it cannot go on, and says why.
    pub(super) async fn ended(&mut self) -> String {
        match (&mut self.task).await {
            Ok(Ok(())) => "it ended".to_owned(),
            Ok(Err(reason)) => reason,
            Err(error) => error.to_string(),
        }
    }

    /// Asks it to end and waits until the journal is closed.
    pub(super) async fn end(mut self) -> Result<(), CliError> {
        if self.task.is_finished() {
            return Ok(());
        }
        self.shutdown.request();
        match tokio::time::timeout(END, &mut self.task).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(reason))) => Err(CliError::Failed(format!("the coordinator: {reason}"))),
            Ok(Err(error)) => Err(CliError::Failed(format!("the coordinator: {error}"))),
            Err(_) => Err(CliError::Failed(format!(
                "the coordinator did not end within {} s",
                END.as_secs()
            ))),
        }
    }
}

/// Sends the logs of this process to a file: the terminal shows the progress.
pub(super) fn log_to(path: &Path) -> Result<(), CliError> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|error| CliError::io("write", path, &error))?;
    logging::init_with_writer(LogFormat::Json, Mutex::new(file))
        .map_err(|error| CliError::Usage(error.to_string()))?;
    // Logging has a panic tell the log; here it must tell the terminal too.
    let logged = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        say(&format!("espalier: {panic}; this is a bug"));
        logged(panic);
    }));
    Ok(())
}
