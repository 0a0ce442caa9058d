//! `espalier-worker`: flags and environment, logging and signals; the library does the rest.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use espalier_runtime::{Shutdown, logging};
use espalier_worker::{Args, WorkerConfig};

/// For blocking work at the end (hashing, a file system that hangs): what it holds up is done by then, and
/// its results are of no use any more.
const BLOCKING_END_LIMIT: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    // Before anything else: a guard is a small process, without a runtime.
    #[cfg(target_os = "linux")]
    if let Some(code) = espalier_worker::run_if_asked(std::env::args_os()) {
        return code;
    }
    let args = Args::parse();
    // Built by hand: its end would otherwise wait for blocking work without limit.
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let ended = runtime.block_on(start(args));
    runtime.shutdown_timeout(BLOCKING_END_LIMIT);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("espalier-worker: {error:#}");
    ExitCode::FAILURE
}

async fn start(args: Args) -> anyhow::Result<()> {
    logging::init(args.log.log_format)?;
    let config = WorkerConfig::from_args(args)?;
    let shutdown = Shutdown::on_signals()?;
    espalier_worker::run(config, shutdown).await?;
    Ok(())
}
