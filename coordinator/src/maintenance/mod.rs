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
    let written = write(temporary.path())?;
    done(Step::FileWritten);
    temporary
        .as_file()
        .sync_all()
        .map_err(io_error("written", path))?;
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
