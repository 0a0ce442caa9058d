//! `espalier-worker`: flags, environment and file, logging and signals; the library does the rest.

use std::process::ExitCode;
use std::time::Duration;

use espalier_runtime::Shutdown;
use espalier_runtime::config::ConfigError;
use espalier_runtime::ending;
use espalier_runtime::logging::{self, LoggingError};
use espalier_worker::{Args, WorkerConfig, WorkerError};

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
            return ExitCode::from(ending::WRONG_SETTINGS);
        }
    };
    // Built by hand: its end would otherwise wait for blocking work without limit.
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&Failure::System(error)),
    };
    let ended = runtime.block_on(start(args));
    runtime.shutdown_timeout(BLOCKING_END_LIMIT);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// Says why this worker ends: in the log, which may be a file, and on stderr, where whoever started it looks.
fn failed(failure: &Failure) -> ExitCode {
    let exit_code = ending::code(failure.is_lasting());
    tracing::error!(reason = %failure, exit_code, "worker ends with an error");
    eprintln!("espalier-worker: {failure}");
    ExitCode::from(exit_code)
}

/// Why this process ends with an error.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Logging(#[from] LoggingError),
    #[error(transparent)]
    Worker(#[from] WorkerError),
    #[error(transparent)]
    System(#[from] std::io::Error),
}

impl Failure {
    /// Whether another start would end like this too.
    fn is_lasting(&self) -> bool {
        match self {
            Self::Logging(error) => error.is_lasting(),
            Self::Worker(error) => error.is_lasting(),
            Self::System(_) => false,
        }
    }
}

async fn start(args: Args) -> Result<(), Failure> {
    let _spans = logging::init(&args.log, "espalier-worker")?;
    let config = WorkerConfig::from_args(args).map_err(WorkerError::from)?;
    let shutdown = Shutdown::on_signals()?;
    espalier_worker::run(config, shutdown).await?;
    Ok(())
}
