//! `espalier serve`: the coordinator as a process of its own.

use std::path::{Path, PathBuf};

use espalier_coordinator::server::{self, ServerConfig};
use espalier_runtime::{Shutdown, logging};
use serde::Serialize;
use tokio::net::TcpListener;

use super::args::ServeArgs;
use super::client::Client;
use super::error::CliError;
use super::output::stdout;

/// The line that is printed once calls are taken. Its keys are stable.
#[derive(Serialize)]
struct Ready<'a> {
    address: &'a str,
    data_dir: &'a Path,
    pid: u32,
}

/// `espalier serve`.
pub(super) async fn serve(args: &ServeArgs) -> Result<(), CliError> {
    if !args.listen.ip().is_loopback() && !args.insecure {
        return Err(CliError::Usage(format!(
            "--listen {}: this address can be reached from other machines, and connections are neither \
             encrypted nor authenticated; listen on 127.0.0.1, or add --insecure on a network where \
             everyone is trusted",
            args.listen
        )));
    }
    logging::init(args.log.log_format).map_err(|error| CliError::Usage(error.to_string()))?;
    if let Some(path) = &args.config.config {
        tracing::info!(path = %path.display(), "settings read from a file");
    }
    let data_dir = match &args.data_dir {
        Some(folder) => folder.clone(),
        None => default_data_dir(),
    };
    let shutdown = Shutdown::on_signals()
        .map_err(|error| CliError::Failed(format!("cannot handle signals: {error}")))?;
    let unbound = |error| {
        CliError::Failed(format!(
            "cannot listen on {}: {error}; name another address or port with --listen",
            args.listen
        ))
    };
    let listener = TcpListener::bind(args.listen).await.map_err(unbound)?;
    let address = format!("http://{}", listener.local_addr().map_err(unbound)?);
    let mut config = ServerConfig::new(&data_dir);
    config.insecure = args.insecure;
    if let Some(ttl) = args.lease_ttl_ms {
        config.lease_ttl_ms = ttl;
    }
    if let Some(bytes) = args.max_artifact_bytes {
        config.max_artifact_bytes = bytes;
    }
    let mut server = std::pin::pin!(server::run(config, listener, shutdown.clone()));
    let served = tokio::select! {
        served = &mut server => served,
        () = announce(args, &address, &data_dir) => server.await,
    };
    served.map_err(|error| CliError::Failed(error.to_string()))?;
    match shutdown.failure() {
        Some(reason) => Err(CliError::Failed(reason.to_owned())),
        None => Ok(()),
    }
}

/// Prints where the coordinator is once it answers: it reads its journal first.
async fn announce(args: &ServeArgs, address: &str, data_dir: &Path) {
    Client::when_ready(address).await;
    let mut out = stdout();
    let printed = if args.output.json() {
        out.json_line(&Ready {
            address,
            data_dir,
            pid: std::process::id(),
        })
    } else {
        out.line(&format!(
            "coordinator at {address}, data in {}",
            data_dir.display()
        ))
    };
    if let Err(error) = printed.and_then(|()| out.flush()) {
        // Nobody reads where it is; whoever knows can use it all the same.
        tracing::warn!(%error, address, "the address cannot be printed");
    }
}

/// The folder of a coordinator when nobody says otherwise.
pub(super) fn default_data_dir() -> PathBuf {
    let folder = |variable: &str| {
        std::env::var_os(variable)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    folder("XDG_DATA_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".local/share")))
        .map_or_else(
            || PathBuf::from("espalier-data"),
            |data| data.join("espalier"),
        )
}
