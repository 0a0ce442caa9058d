//! `espalier journal`: checks, back-ups, export, import and compaction of a journal, beside its coordinator or
//! without one. May import the maintenance of the coordinator.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use espalier_coordinator::journal::{FILE, JournalError, JournalReader};
use espalier_coordinator::maintenance::{
    self, BackedUp, Checked, Compacted, Imported, Listings, Log, MaintenanceError,
};
use serde::Serialize;

use super::args::{BackupArgs, CompactArgs, ExportArgs, ImportArgs, JournalCommand, VerifyArgs};
use super::error::{CliError, say};
use super::output::{OutputArgs, stdout};
use super::render::clean;
use super::replay::folder_of;
use super::serve::default_data_dir;

/// Characters of a name from the journal.
const NAME: usize = 80;
/// Characters of a problem, which may quote what is in a damaged file.
const PROBLEM: usize = 2_000;

/// `espalier journal`.
pub(super) async fn journal(command: &JournalCommand) -> Result<(), CliError> {
    match command {
        JournalCommand::Verify(args) => verify(args),
        JournalCommand::Backup(args) => backup(args),
        JournalCommand::Export(args) => export(args),
        JournalCommand::Import(args) => import(args),
        JournalCommand::Compact(args) => compact(args).await,
    }
}

fn verify(args: &VerifyArgs) -> Result<(), CliError> {
    let file = match &args.file {
        Some(file) if !file.exists() => {
            return Err(CliError::NotFound(format!(
                "there is no file {}",
                file.display()
            )));
        }
        Some(file) => file.clone(),
        None => folder_of(args.folder.data_dir.as_deref())?.join(FILE),
    };
    let reader = JournalReader::open_file(&file).map_err(failed)?;
    let checked = maintenance::check(&reader).map_err(failed)?;
    print(args.output, &checked, || sound(&checked))?;
    match checked.problems.as_slice() {
        [] => Ok(()),
        problems => {
            if !args.output.json() {
                for problem in problems {
                    say(&clean(problem, PROBLEM));
                }
            }
            Err(CliError::Failed(format!(
                "{} is not sound; see \"Restore\" in docs/operations.md",
                file.display()
            )))
        }
    }
}

fn backup(args: &BackupArgs) -> Result<(), CliError> {
    let reader = open(args.folder.data_dir.as_deref())?;
    let done: BackedUp = maintenance::back_up(&reader, &args.file).map_err(refused)?;
    print(args.output, &done, || {
        let mut lines = sound(&done.checked);
        lines.push(format!("{} bytes", done.bytes));
        lines
    })
}

fn export(args: &ExportArgs) -> Result<(), CliError> {
    let reader = open(args.folder.data_dir.as_deref())?;
    if args.file == Path::new("-") {
        let mut text = BufWriter::new(std::io::stdout().lock());
        return match maintenance::export(&reader, &mut text) {
            Err(MaintenanceError::Text { source, .. })
                if source.kind() == std::io::ErrorKind::BrokenPipe =>
            {
                Err(CliError::StdoutClosed)
            }
            other => other.map(drop).map_err(refused),
        };
    }
    let done = maintenance::create_file(&args.file, |temporary| {
        let unwritable = |source| MaintenanceError::Io {
            what: "written",
            path: args.file.clone(),
            source,
        };
        let file = File::options()
            .write(true)
            .open(temporary)
            .map_err(unwritable)?;
        let mut text = BufWriter::new(file);
        let done = maintenance::export(&reader, &mut text)?;
        text.flush().map_err(unwritable)?;
        Ok(done)
    });
    let done = done.map_err(refused)?;
    say(&format!(
        "{} records of {} streams in {}",
        done.records,
        done.streams,
        args.file.display()
    ));
    Ok(())
}

fn import(args: &ImportArgs) -> Result<(), CliError> {
    let folder = args
        .folder
        .data_dir
        .clone()
        .unwrap_or_else(default_data_dir);
    let done: Result<Imported, MaintenanceError> = if args.file == Path::new("-") {
        maintenance::import(&mut std::io::stdin().lock(), &folder)
    } else {
        let file =
            File::open(&args.file).map_err(|error| CliError::io("read", &args.file, &error))?;
        maintenance::import(&mut BufReader::new(file), &folder)
    };
    let done = done.map_err(|error| match error {
        MaintenanceError::Line { .. } => {
            CliError::Failed(format!("{}: {error}", args.file.display()))
        }
        other => refused(other),
    })?;
    print(args.output, &done, || sound(&done.checked))
}

async fn compact(args: &CompactArgs) -> Result<(), CliError> {
    let folder = folder_of(args.folder.data_dir.as_deref())?;
    let done: Compacted = maintenance::compact(&folder).await.map_err(refused)?;
    print(args.output, &done, || {
        vec![
            format!(
                "{}: {} bytes, before {}; all {} records are kept",
                folder.join(FILE).display(),
                done.bytes,
                done.bytes_before,
                done.records
            ),
            format!(
                "{} artifacts that nothing refers to were removed",
                done.artifacts_removed
            ),
        ]
    })
}

fn open(named: Option<&Path>) -> Result<JournalReader, CliError> {
    let folder: PathBuf = folder_of(named)?;
    JournalReader::open(&folder).map_err(failed)
}

fn print<T: Serialize>(
    output: OutputArgs,
    done: &T,
    lines: impl FnOnce() -> Vec<String>,
) -> Result<(), CliError> {
    let mut out = stdout();
    if output.json() {
        out.json(done)?;
    } else {
        for line in lines() {
            out.line(&line)?;
        }
    }
    out.flush()
}

/// What is told of a journal that was read.
fn sound(checked: &Checked) -> Vec<String> {
    let mut lines = vec![format!(
        "{}: cluster {}, {} sound records of {} streams",
        checked.journal.display(),
        checked.cluster,
        checked.records,
        checked.streams
    )];
    lines.extend(checked.searches.iter().map(|search| {
        format!(
            "search {} ({}): {}, {} trials completed, {} records, the last one {}",
            clean(&search.name, NAME),
            search.search,
            search.phase,
            search.completed,
            search.records,
            &search.hash[..16]
        )
    }));
    if let Some(Log::Torn(from)) = checked.log {
        lines.push(format!(
            "the last commit in the log is not whole, from byte {from} on, and is left out: the coordinator was cut \
             off while it wrote it, so that nothing in it was acknowledged, or the file was damaged since"
        ));
    }
    lines.push(
        match checked.listings {
            Listings::Sound => "the listings are what the records give",
            Listings::Wrong => "the listings are not what the records give",
            Listings::ToBeMade => "the listings will be made when a coordinator opens the journal",
            Listings::Unknown => "the listings were not compared",
        }
        .to_owned(),
    );
    lines
}

fn failed(error: JournalError) -> CliError {
    refused(error.into())
}

fn refused(error: MaintenanceError) -> CliError {
    match error {
        MaintenanceError::Exists { .. }
        | MaintenanceError::Journal(JournalError::InUse { .. } | JournalError::Exists { .. }) => {
            CliError::Refused(error.to_string())
        }
        other => CliError::Failed(other.to_string()),
    }
}
