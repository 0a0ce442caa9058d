//! `espalier-trainer`: the evaluator process that `espalier-worker` starts for each of its slots.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use espalier_common::build::Build;

/// Trains networks with libtorch. Started by espalier-worker, which speaks the evaluator protocol with it
/// over stdin and stdout; there is nothing to do by hand.
#[derive(Parser)]
#[command(name = "espalier-trainer", version, long_version = build().long())]
struct Arguments {}

fn build() -> Build {
    Build {
        version: env!("CARGO_PKG_VERSION"),
        commit: option_env!("ESPALIER_BUILD_COMMIT"),
        date: option_env!("ESPALIER_BUILD_DATE"),
        // Not what a release says: what it was linked with.
        libtorch: Some(env!("ESPALIER_LIBTORCH_VERSION")),
    }
}

fn main() -> ExitCode {
    let Arguments {} = Arguments::parse();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("espalier-trainer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    if std::io::stdin().is_terminal() {
        eprintln!(
            "espalier-trainer waits for messages of the evaluator protocol; espalier-worker starts it by \
             itself (end: Ctrl-D)"
        );
    }
    if let Err(error) = espalier_trainer::device::load_cuda() {
        eprintln!("CUDA is there but cannot be loaded, so only the CPU is used: {error}");
    }
    // Must come before any work. Networks are computed node by node, so more would never be used.
    tch::set_num_interop_threads(1);
    let input = std::io::BufReader::new(std::io::stdin());
    espalier_trainer::serve(input, std::io::stdout().lock()).context("the worker is gone")
}
