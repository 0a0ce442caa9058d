//! The options of `espalier logs`. May import clap.

use clap::Args;

use super::super::output::OutputArgs;

/// The most lines that are asked for by number.
const MOST: u32 = 1_000_000;

/// Show the log: of the coordinator, of one search, or of one trial
///
/// With what evaluators print on workers, which is kept with its trial (256 KiB of each). Without a search, the
/// newest lines about everything (10,000 at most). With --output json the lines are the JSON objects that
/// docs/logs.md describes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier logs -f                                 everything, as it comes
  espalier logs fashion-mnist -f                   one search, to its end
  espalier logs fashion-mnist 7                    one trial, with what its evaluator printed
  espalier logs --worker node-3 --last 100
  espalier logs fashion-mnist --output json | jq -r 'select(.message == \"trial failed\") | .reason'")]
pub(in crate::cli) struct LogsArgs {
    /// The search: its id, a beginning of the id, or its name
    #[arg(value_name = "SEARCH")]
    pub(in crate::cli) search: Option<String>,
    /// The number of a trial of the search
    #[arg(value_name = "TRIAL", requires = "search", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) trial: Option<u32>,
    /// Only lines about the worker of this name
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) worker: Option<String>,
    /// Go on with the lines that come, until the search has ended
    #[arg(short, long)]
    pub(in crate::cli) follow: bool,
    /// Only so many of the lines that are there already
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(MOST)))]
    pub(in crate::cli) last: Option<u32>,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}
