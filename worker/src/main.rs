//! `espalier-worker`: flags and environment, logging and signals; the library does the rest.

use std::process::ExitCode;

use clap::Parser as _;
use espalier_runtime::{Shutdown, logging};
use espalier_worker::{Args, WorkerConfig};

#[tokio::main]
async fn main() -> ExitCode {
    match start(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("espalier-worker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn start(args: Args) -> anyhow::Result<()> {
    logging::init(args.log.log_format)?;
    let config = WorkerConfig::from_args(args)?;
    let shutdown = Shutdown::on_signals()?;
    espalier_worker::run(config, shutdown).await?;
    Ok(())
}
