//! `espalier serve`: the coordinator as a process of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use espalier_coordinator::journal::JournalError;
use espalier_coordinator::server::{self, Ready, ServerConfig, ServerError};
use espalier_coordinator::{CertificateSource, Role, raise_open_files};
use espalier_runtime::{Shutdown, ending, logging};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::args::ServeArgs;
use super::error::CliError;
use super::output::stdout;

/// A limit on open files for fewer workers than this is said: a cluster may have thousands.
const FEW_CONNECTIONS: u64 = 2_500;

/// The line that is printed once calls are taken. Its keys are stable.
#[derive(Serialize)]
struct ReadyLine<'a> {
    address: &'a str,
    data_dir: &'a Path,
    pid: u32,
    tls: bool,
    /// The tokens made just now; they are printed this once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tokens: Vec<TokenLine<'a>>,
}

#[derive(Serialize)]
struct TokenLine<'a> {
    role: &'a str,
    token: &'a str,
}

/// `espalier serve`.
pub(super) async fn serve(args: &ServeArgs) -> Result<(), CliError> {
    // Before anything else, so that what is wrong is in the log too.
    let _spans = logging::init(&args.log, "espalier")
        .map_err(|error| ended(error.is_lasting(), error.to_string()))?;
    let served = coordinate(args).await;
    if let Err(error) = &served {
        let exit_code = error.code();
        tracing::error!(reason = %error, exit_code, "coordinator ends with an error");
    }
    served
}

/// A coordinator from its start to its end.
async fn coordinate(args: &ServeArgs) -> Result<(), CliError> {
    let mode = args.tls.tls.mode();
    // Before anything is done.
    let usage = |error: &dyn std::fmt::Display| {
        CliError::Usage(format!("--listen {}: {error}", args.listen))
    };
    let tls = mode.at(args.listen).map_err(|error| usage(&error))?;
    let certificate = args.tls.certificate().map_err(CliError::Usage)?;
    if !tls && certificate != CertificateSource::Made {
        return Err(usage(
            &"without TLS a certificate is of no use; add --tls on",
        ));
    }
    if let Some(path) = &args.config.config {
        tracing::info!(path = %path.display(), "settings read from a file");
    }
    if !tls && args.tls.token_dir.is_some() {
        tracing::warn!(
            address = %args.listen,
            "no tokens are made: on loopback without TLS nobody needs one, and no other machine can join; listen on \
             0.0.0.0:7777, or set tls to on"
        );
    }
    make_room_for_connections();
    let data_dir = match &args.data_dir {
        Some(folder) => folder.clone(),
        None => default_data_dir(),
    };
    let shutdown = Shutdown::on_signals()
        .map_err(|error| CliError::Failed(format!("cannot handle signals: {error}")))?;
    let unbound = |error: std::io::Error| {
        let what = format!(
            "cannot listen on {}: {error}; name another address or port with --listen",
            args.listen
        );
        ended(ending::is_lasting(&error), what)
    };
    let listener = TcpListener::bind(args.listen).await.map_err(unbound)?;
    let address = listener.local_addr().map_err(unbound)?;
    let mut config = ServerConfig::new(&data_dir);
    config.tls = mode;
    config.certificate = certificate;
    config.token_dir.clone_from(&args.tls.token_dir);
    if let Some(lifetime) = args.tls.worker_certificate_ms {
        config.worker_certificate_ms = lifetime;
    }
    if let Some(ttl) = args.lease_ttl_ms {
        config.lease_ttl_ms = ttl;
    }
    if let Some(bytes) = args.max_artifact_bytes {
        config.max_artifact_bytes = bytes;
    }
    let (sender, ready) = oneshot::channel();
    let mut server = std::pin::pin!(server::run_and_tell(
        config,
        listener,
        shutdown.clone(),
        sender
    ));
    let served = tokio::select! {
        served = &mut server => served,
        Ok(ready) = ready => {
            announce(args, &ready, address, &data_dir);
            server.await
        }
    };
    served.map_err(|error| match &error {
        ServerError::Journal(JournalError::InUse { .. }) => CliError::Refused(error.to_string()),
        _ => ended(error.is_lasting(), error.to_string()),
    })?;
    match shutdown.failure() {
        Some(reason) => Err(CliError::Failed(reason.to_owned())),
        None => Ok(()),
    }
}

/// The end of a coordinator, by whether another start would end like it.
fn ended(lasting: bool, what: String) -> CliError {
    if lasting {
        CliError::Usage(what)
    } else {
        CliError::Failed(what)
    }
}

/// Each worker is a connection, and each connection an open file.
fn make_room_for_connections() {
    match raise_open_files() {
        Ok(files) if files.connections() < FEW_CONNECTIONS => tracing::warn!(
            open_files = files.now,
            "the limit on open files leaves room for few workers, since each is a connection; raise it (ulimit -Hn, or \
             LimitNOFILE of a systemd unit)"
        ),
        Ok(files) if files.before < files.now => tracing::info!(
            open_files = files.now,
            "limit on open files raised, since each worker is a connection"
        ),
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(%error, "the limit on open files cannot be raised; it is as the shell had it")
        }
    }
}

/// Prints where the coordinator is once it takes calls, and at its first start how to join it.
fn announce(args: &ServeArgs, ready: &Ready, address: SocketAddr, data_dir: &Path) {
    let scheme = if ready.tls { "https" } else { "http" };
    let host = reachable(address);
    let address = format!("{scheme}://{address}");
    let mut out = stdout();
    let printed = if args.output.json() {
        let tokens = ready.tokens.iter().map(|(role, token)| TokenLine {
            role: role.word(),
            token,
        });
        out.json_line(&ReadyLine {
            address: &address,
            data_dir,
            pid: std::process::id(),
            tls: ready.tls,
            tokens: tokens.collect(),
        })
    } else {
        let mut text = format!("coordinator at {address}, data in {}\n", data_dir.display());
        if !ready.tokens.is_empty() {
            text.push_str("to join it (printed this once; the tokens are secrets):\n");
        }
        for (role, token) in &ready.tokens {
            text.push_str(&match role {
                Role::Worker => {
                    format!("  worker: espalier-worker --join {host} --token {token}\n")
                }
                Role::Admin | Role::Viewer => {
                    format!("  {role}: espalier login {host} --token {token}\n")
                }
            });
        }
        out.text(&text)
    };
    if let Err(error) = printed.and_then(|()| out.flush()) {
        // Nobody reads where it is; whoever knows can use it all the same.
        tracing::warn!(%error, address, "the address cannot be printed");
    }
}

/// How other machines may call it: an address that stands for all of this machine's says nothing to them.
fn reachable(address: SocketAddr) -> String {
    if !address.ip().is_unspecified() {
        return address.to_string();
    }
    let name = nix::unistd::gethostname().ok();
    let name = name.and_then(|name| name.into_string().ok());
    let name = name.filter(|name| !name.is_empty());
    format!("{}:{}", name.as_deref().unwrap_or("HOST"), address.port())
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
