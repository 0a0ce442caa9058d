//! The options of `espalier dataset`.

use clap::{Args, Subcommand};

use super::DataArgs;
use crate::cli::output::OutputArgs;

/// Keep data sets and tables of results on the coordinator, for workers without them
#[derive(Debug, Args)]
pub(in crate::cli) struct DatasetArgs {
    #[command(subcommand)]
    pub(in crate::cli) command: DatasetCommand,
}

/// What to do about data sets.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum DatasetCommand {
    Push(DatasetPushArgs),
    /// List the data sets and tables that the coordinator keeps
    List(DatasetListArgs),
    Remove(DatasetRemoveArgs),
}

/// Send a data set or a table of results to the coordinator, which keeps it; workers without it fetch it from there
///
/// Workers know data by their fingerprint: whatever the path in a spec is, those with the same content are the same.
/// A folder is a data set, a file (CSV, CSV packed by gzip, Parquet) a table.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier dataset push fashion-mnist --data-root /data
  espalier dataset push /data/fashion-mnist
  espalier dataset push tables/nb201.csv.gz --data-root .")]
pub(in crate::cli) struct DatasetPushArgs {
    /// Its folder, as `dataset.path` in a spec, or its file, as `evaluator.table.path`: below --data-root, or absolute
    #[arg(value_name = "PATH")]
    pub(in crate::cli) path: String,
    #[command(flatten)]
    pub(in crate::cli) data: DataArgs,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

/// List data sets.
#[derive(Debug, Args)]
pub(in crate::cli) struct DatasetListArgs {
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

/// Keep a data set or a table no more; workers that have fetched it keep their copy
#[derive(Debug, Args)]
pub(in crate::cli) struct DatasetRemoveArgs {
    /// Its fingerprint, or a beginning of it that no other has
    #[arg(value_name = "FINGERPRINT")]
    pub(in crate::cli) fingerprint: String,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}
