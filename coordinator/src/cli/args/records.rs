//! The commands that look back at what a search did and why. May import clap.

use std::path::PathBuf;

use clap::Args;

use super::super::output::OutputArgs;

/// Explain a trial: who proposed it and from what, what was expected of it, and what came
///
/// Shows the searcher, the parents and what changed decision by decision; of searchers with a model what was
/// predicted against what came, the acquisition value and the place among the alternatives that were considered;
/// of policies the probability.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier explain fashion-mnist 12
  espalier explain 3f2a 12 --output json | jq .predicted")]
pub(in crate::cli) struct ExplainArgs {
    /// The search: its id, a beginning of the id, or its name
    #[arg(value_name = "SEARCH")]
    pub(in crate::cli) search: String,
    /// The trial's number
    #[arg(value_name = "TRIAL", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) trial: u32,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

/// Derive every proposal of a search again from its journal, and say where, if anywhere, it differs
///
/// Reads the journal of a coordinator or of a run, whether or not it is running, and changes nothing. The same
/// version on the same kind of processor finds no difference, however many workers there were. Exits with 1 if
/// something differs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier replay fashion-mnist
  espalier replay 3f2a --data-dir /var/lib/espalier
  espalier replay fashion-mnist --data-dir espalier-runs/fashion-mnist")]
pub(in crate::cli) struct ReplayArgs {
    /// The search: its id, a beginning of the id, or its name
    #[arg(value_name = "SEARCH")]
    pub(in crate::cli) search: String,
    /// Folder of the coordinator or of the run [default: espalier in the XDG data folder]
    #[arg(long, env = "ESPALIER_DATA_DIR", value_name = "DIR")]
    pub(in crate::cli) data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}
