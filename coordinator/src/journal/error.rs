//! What can go wrong with a journal, and what to do about it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use espalier_runtime::ending;
use rusqlite::ErrorCode;

use super::folder_of;
use super::stream::StreamId;

/// Why whoever replays a stream refuses a record: an event it does not know, say.
pub type Refusal = Box<dyn std::error::Error + Send + Sync>;

/// What is wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The data folder cannot be made or written.
    #[error("the data folder {} cannot be used: {source}; create it, or give this user the right to write there", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process has the folder.
    #[error("the journal in {} is in use by another coordinator ({}); stop that one, or choose another data folder",
        folder.display(), match pid { Some(pid) => format!("process {pid}"), None => "process unknown".to_owned() })]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The other process, if it has said so.
        pid: Option<u32>,
    },
    /// The file is an SQLite database of something else.
    #[error("{} is not a journal of Espalier; choose another data folder", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a later version.
    #[error("{} has format {found}, and this espalier knows formats up to {known}; use the newer espalier that wrote it", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known.
        known: u32,
    },
    /// A record is not what was written.
    #[error(
        "the journal is damaged: record {sequence} of stream {stream}: {what}; restore the journal from a backup"
    )]
    Broken {
        /// The stream.
        stream: StreamId,
        /// The first sequence that is wrong.
        sequence: u64,
        /// What is wrong with it.
        what: String,
    },
    /// A stream is not there any more.
    #[error(
        "the journal is damaged: stream number {number} is missing; restore the journal from a backup"
    )]
    Lost {
        /// The stream's number.
        number: u64,
    },
    /// The log beside the file is damaged, and commits follow the damage.
    #[error(
        "the journal's log {path} is damaged at byte {from}, and acknowledged commits follow: restore the journal from \
         a backup, or go on from before the damage and lose what follows it: truncate -s {from} {path}",
        path = path.display()
    )]
    DamagedLog {
        /// The log.
        path: PathBuf,
        /// Where the first commit that is not whole begins.
        from: u64,
    },
    /// A record was written by a later version.
    #[error(
        "record {sequence} of stream {stream} has schema {found}, and this espalier knows schemas up to {known}; use the newer espalier that wrote it"
    )]
    NewerRecord {
        /// The stream.
        stream: StreamId,
        /// The record.
        sequence: u64,
        /// Its schema.
        found: u32,
        /// The newest schema known.
        known: u32,
    },
    /// A record is whole, but its reader cannot take it.
    #[error(
        "record {sequence} of stream {stream} cannot be read: {source}; it may come from a newer espalier"
    )]
    Refused {
        /// The stream.
        stream: StreamId,
        /// The record.
        sequence: u64,
        /// Why.
        source: Refusal,
    },
    /// There is no such stream.
    #[error("the journal has no stream {0}")]
    NoStream(StreamId),
    /// A stream goes on after another one has begun.
    #[error("the records of stream {0} do not lie together; make the export again")]
    Scattered(StreamId),
    /// A journal is where one should be made.
    #[error("{} is there already, and nothing is overwritten; choose another data folder", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// SQLite cannot be told the name.
    #[error("the name {} is not UTF-8; choose another one", path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// SQLite refused.
    #[error("the journal {}: {source}; {}", path.display(), advice(path, source))]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The writer's thread cannot be started.
    #[error("the thread of the journal's writer cannot be started: {0}")]
    Thread(std::io::Error),
    /// An earlier commit failed, so nothing is written any more.
    #[error("the journal is not written any more: {0}")]
    Failed(Arc<str>),
    /// The journal was closed.
    #[error("the journal is closed: the coordinator is stopping")]
    Closed,
    /// The thread that read the journal ended without an answer.
    #[error("reading the journal was cut off: {0}")]
    Interrupted(String),
}

impl JournalError {
    /// Whether it stays like this until somebody mends the journal or the settings; what the disk or another process does
    /// may be over by the next start.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Folder { source, .. } => ending::is_lasting(source),
            Self::Foreign { .. }
            | Self::Newer { .. }
            | Self::Broken { .. }
            | Self::Lost { .. }
            | Self::DamagedLog { .. }
            | Self::NewerRecord { .. }
            | Self::Refused { .. }
            | Self::NoStream(_)
            | Self::Scattered(_)
            | Self::Exists { .. }
            | Self::Name { .. } => true,
            Self::Sqlite { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
            ),
            Self::InUse { .. }
            | Self::Thread(_)
            | Self::Failed(_)
            | Self::Closed
            | Self::Interrupted(_) => false,
        }
    }

    /// Names the file of an SQLite error.
    pub(super) fn at(path: &Path) -> impl Fn(rusqlite::Error) -> Self {
        move |source| Self::Sqlite {
            path: path.to_owned(),
            source,
        }
    }

    /// Whether it is of the disk on which this file lies: if so, whether that is known to be full, and what SQLite says.
    pub(crate) fn of_the_disk(&self, file: &Path) -> Option<(bool, String)> {
        let Self::Sqlite { path, source } = self else {
            return None;
        };
        let code = source.sqlite_error_code().filter(|_| path == file)?;
        match code {
            ErrorCode::DiskFull => Some((true, source.to_string())),
            ErrorCode::SystemIoFailure => Some((false, source.to_string())),
            _ => None,
        }
    }
}

/// What the operator can do about an error of SQLite's.
fn advice(path: &Path, error: &rusqlite::Error) -> String {
    let folder = folder_of(path);
    let folder = folder.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            format!(
                "the disk of {folder} is full: free some space, then start the coordinator again"
            )
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            format!(
                "give this user the right to write in {folder}, then start the coordinator again"
            )
        }
        Some(ErrorCode::SystemIoFailure) => format!(
            "the disk of {folder} fails or is full: look at the system's log and at `df`, then start the coordinator again"
        ),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "the file is damaged: restore it from a backup".to_owned()
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program holds the file: end it, then start the coordinator again".to_owned()
        }
        _ => "start the coordinator again; if it happens again, this is a fault of Espalier"
            .to_owned(),
    }
}
