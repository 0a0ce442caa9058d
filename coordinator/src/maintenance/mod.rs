//! Work on a data folder beside its coordinator: checks, back-ups, export, import, compaction. May import the
//! journal, the artifacts, the steps and what brings searches to where they were; everything here blocks.

mod backup;
mod check;
mod compact;
mod export;
mod import;
mod lines;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use crate::artifacts::ArtifactError;
use crate::journal::{JournalError, StreamId};
use crate::steps::{Step, done};

pub use backup::{BackedUp, back_up};
use check::sound_log;
pub use check::{Checked, CheckedSearch, Listings, Log, check};
pub use compact::{Compacted, compact};
pub use export::{Exported, export};
pub use import::{Imported, import};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The artifacts.
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    /// What is wrong with a journal that is to be relied on.
    #[error("{}: {}", path.display(), problems.join("; "))]
    Unsound {
        /// The file.
        path: PathBuf,
        /// Everything that was found.
        problems: Vec<String>,
    },
    /// A record cannot be written as one line of JSON.
    #[error(
        "record {sequence} of stream {stream} is not one line of JSON, so it cannot be exported; copy the file with `espalier journal backup` instead"
    )]
    NoLine {
        /// The stream.
        stream: StreamId,
        /// The record.
        sequence: u64,
    },
    /// A line that is not what an export has there.
    #[error("line {line}: {what}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// A file is there already.
    #[error("{} is there already, and nothing is overwritten; choose another name", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A new file could not be written to its end, so there is none.
    #[error(
        "{} could not be written: {}; nothing of it was left behind. Make room, or name a file on another disk",
        path.display(),
        match full {
            true => format!("the disk of {} is full", folder.display()),
            false => format!("the disk of {} fails or is full ({reason})", folder.display()),
        }
    )]
    NotWritten {
        /// The file.
        path: PathBuf,
        /// Where it was to be.
        folder: PathBuf,
        /// Whether it is known that there is no room.
        full: bool,
        /// What the system, or SQLite, says.
        reason: String,
    },
    /// A file cannot be used.
    #[error("{} cannot be {what}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The text could not be read or written.
    #[error("the export cannot be {what}: {source}")]
    Text {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MaintenanceError {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::AlreadyExists => MaintenanceError::Exists { path },
        _ => MaintenanceError::Io { what, path, source },
    }
}

/// What an error while a new file was written comes to, if it is the disk's.
fn not_written(
    error: MaintenanceError,
    temporary: &Path,
    path: &Path,
    folder: &Path,
) -> MaintenanceError {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};

    let (full, reason) = match &error {
        MaintenanceError::Journal(journal) => match journal.of_the_disk(temporary) {
            Some((full, reason)) => (full, reason),
            None => return error,
        },
        MaintenanceError::Io { source, .. } | MaintenanceError::Text { source, .. } => {
            let full = matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge);
            match full {
                true => (true, source.to_string()),
                false => return error,
            }
        }
        _ => return error,
    };
    MaintenanceError::NotWritten {
        path: path.to_owned(),
        folder: folder.to_owned(),
        full,
        reason,
    }
}

/// Writes a new file, whole and durable or not at all. Only its owner may read it: a journal says who may do
/// what.
pub fn create_file<T>(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<T, MaintenanceError>,
) -> Result<T, MaintenanceError> {
    if path.symlink_metadata().is_ok() {
        return Err(MaintenanceError::Exists {
            path: path.to_owned(),
        });
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let temporary = tempfile::Builder::new()
        .prefix(".espalier-")
        .tempfile_in(folder)
        .map_err(io_error("written", folder))?;
    done(Step::FileBegun);
    let written = write(temporary.path());
    // By its own name: the other one means nothing to whoever asked.
    let written = written.map_err(|error| not_written(error, temporary.path(), path, folder))?;
    done(Step::FileWritten);
    temporary
        .as_file()
        .sync_all()
        .map_err(io_error("written", path))
        .map_err(|error| not_written(error, temporary.path(), path, folder))?;
    done(Step::FileSynced);
    temporary
        .persist_noclobber(path)
        .map_err(|refused| io_error("written", path)(refused.error))?;
    done(Step::FileNamed);
    std::fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io_error("written", folder))?;
    done(Step::FileDurable);
    Ok(written)
}
