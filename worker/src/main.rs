//! `espalier-worker`: flags, environment and file, logging and signals; the library does the rest.

use std::process::ExitCode;
use std::time::Duration;

use espalier_runtime::config::ConfigError;
use espalier_runtime::{Shutdown, logging};
use espalier_worker::{Args, WorkerConfig};

/// What clap ends with when the command line is wrong; a file that is wrong is the same to whoever asks.
const WRONG_USAGE: u8 = 2;
/// For blocking work at the end (hashing, a file system that hangs): what it holds up is done by then, and
/// its results are of no use any more.
const BLOCKING_END_LIMIT: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    // Before anything else: a guard is a small process, without a runtime.
    #[cfg(target_os = "linux")]
    if let Some(code) = espalier_worker::run_if_asked(std::env::args_os()) {
        return code;
    }
    if let Err(error) = espalier_runtime::secrets::hide_from_process_list() {
        eprintln!(
            "espalier-worker: the token cannot be hidden: {error}; give it in ESPALIER_TOKEN"
        );
        return ExitCode::FAILURE;
    }
    let args = match Args::read(std::env::args_os()) {
        Ok(args) => args,
        Err(ConfigError::CommandLine(error)) => error.exit(),
        Err(error) => {
            eprintln!("espalier-worker: {error}");
            return ExitCode::from(WRONG_USAGE);
        }
    };
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
    let _spans = logging::init(&args.log, "espalier-worker")?;
    let config = WorkerConfig::from_args(args)?;
    let shutdown = Shutdown::on_signals()?;
    espalier_worker::run(config, shutdown).await?;
    Ok(())
}
