//! The options of `journal`: checks, back-ups, export, import and compaction. May import clap.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::super::output::OutputArgs;

/// Check, back up, export, import or compact the journal in a coordinator's folder
#[derive(Debug, Args)]
pub(in crate::cli) struct JournalArgs {
    #[command(subcommand)]
    pub(in crate::cli) command: JournalCommand,
}

/// What is done with the journal.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum JournalCommand {
    Verify(VerifyArgs),
    Backup(BackupArgs),
    Export(ExportArgs),
    Import(ImportArgs),
    Compact(CompactArgs),
}

/// Which folder.
#[derive(Debug, Args)]
pub(in crate::cli) struct FolderArgs {
    /// Folder of the coordinator or of the run [default: espalier in the XDG data folder]
    #[arg(long, env = "ESPALIER_DATA_DIR", value_name = "DIR")]
    pub(in crate::cli) data_dir: Option<PathBuf>,
}

/// Check everything: the file, the hash of every record, every event, and the listings
///
/// Reads the journal, whether or not a coordinator is running, and changes nothing. Every search is replayed to
/// where it stands, and what a coordinator lists is compared with what the records give. Tells all that is wrong,
/// and exits with 1 if something is.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier journal verify --data-dir /var/lib/espalier
  espalier journal verify --file backup.db --output json")]
pub(in crate::cli) struct VerifyArgs {
    #[command(flatten)]
    pub(in crate::cli) folder: FolderArgs,
    /// Check this file instead: a back-up
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    pub(in crate::cli) file: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

/// Copy the journal into a new file, also while a coordinator writes it
///
/// The copy is of one moment and is checked before it gets its name. It is one file: put it as `journal.db` into
/// an empty folder and start a coordinator there. It needs room for a whole journal.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier journal backup /backup/espalier-$(date +%F).db --data-dir /var/lib/espalier")]
pub(in crate::cli) struct BackupArgs {
    /// The file to make; one that is there is not overwritten
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    #[command(flatten)]
    pub(in crate::cli) folder: FolderArgs,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

/// Write the journal as text, one JSON object a line, also while a coordinator writes it
///
/// The first line says what it is, then comes a line for every record with its hash, and the last line says that
/// nothing was cut off. `import` makes the same journal of it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier journal export journal.jsonl --data-dir /var/lib/espalier
  espalier journal export - | zstd > journal.jsonl.zst
  espalier journal export - | jq -c 'select(.body.trial_completed) | .body.trial_completed.score'")]
pub(in crate::cli) struct ExportArgs {
    /// The file to make, `-` for stdout; one that is there is not overwritten
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    #[command(flatten)]
    pub(in crate::cli) folder: FolderArgs,
}

/// Make a journal from an export, in a folder that has none
///
/// Every hash is checked, and then the whole as `verify` does it; before that there is no journal. Artifacts and
/// keys are not part of an export.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier journal import journal.jsonl --data-dir /var/lib/espalier-new
  zstd -dc journal.jsonl.zst | espalier journal import - --data-dir /var/lib/espalier-new")]
pub(in crate::cli) struct ImportArgs {
    /// The export, `-` for stdin
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    #[command(flatten)]
    pub(in crate::cli) folder: FolderArgs,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

/// Make the journal's file as small as its content, with the coordinator stopped
///
/// Removes no record: every start and `replay` need them all. Checks the journal (a damaged one is left alone),
/// makes the listings again, writes the file anew without the gaps that former versions of the listings left, and
/// removes artifacts that neither a search nor a data set refers to and uploads that never ended. It needs room for a second journal
/// meanwhile.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier journal compact --data-dir /var/lib/espalier")]
pub(in crate::cli) struct CompactArgs {
    #[command(flatten)]
    pub(in crate::cli) folder: FolderArgs,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}
