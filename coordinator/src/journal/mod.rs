//! The journal: the append-only, durable record of events, and the only truth of a coordinator. One SQLite
//! file in the data folder; one stream of records per search and one for the cluster, each a hash chain.
//! Beside the records, in the same transactions, lie rows for listings that can be rebuilt from them.
//!
//! May import the core's events, the words of `espalier-common`, SQLite, `tokio::sync`, the instruments of
//! metrics and the steps; knows nothing of actors or gRPC.

mod backup;
mod chain;
mod error;
mod handle;
mod import;
mod inspect;
mod lock;
mod log;
mod projection;
mod query;
mod reader;
mod rebuild;
mod results;
mod rows;
mod schema;
mod slow;
mod stream;
#[cfg(test)]
pub(crate) mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use espalier_common::ids::ClusterId;
use rusqlite::Connection;

pub use chain::{End, StoredRecord};
pub use error::{JournalError, Refusal};
pub(crate) use handle::JournalMeters;
pub use handle::{After, Batch, JournalHandle, Record};
pub use import::Import;
pub use log::LogEnd;
pub(crate) use log::bytes;
pub use projection::{Listing, rows};
pub use query::{LastMeasurement, MAX_PAGE_BYTES, MAX_ROWS, States, TrialPage, TrialRow};
pub use reader::{JournalReader, Moment};
pub use results::FoundResult;
pub use rows::RowChange;
pub use stream::StreamId;

use crate::private;
use crate::steps::{Step, done};
use lock::FolderLock;

/// The name of the journal's file within the data folder.
pub const FILE: &str = "journal.db";

/// An open journal that nobody writes yet: the time to replay it.
#[derive(Debug)]
pub struct Journal {
    connection: Connection,
    reader: JournalReader,
    cluster: ClusterId,
    lock: FolderLock,
}

impl Journal {
    /// Opens the journal in `folder`, creating both if they are not there. The folder is this process's
    /// until the journal is closed.
    ///
    /// # Errors
    /// Another coordinator has the folder; it cannot be written; the file is not a journal, or is one of a
    /// newer version.
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        private::make_data_folder(folder).map_err(|source| JournalError::Folder {
            folder: folder.to_owned(),
            source,
        })?;
        let lock = FolderLock::take(folder)?;
        done(Step::OpenLocked);
        let path: Arc<Path> = folder.join(FILE).into();
        if let LogEnd::Torn(from) = sound_log(&path)? {
            tracing::warn!(
                path = %log::log_of(&path).display(),
                place = from,
                "the last commit in the journal's log is not whole and is left out: the coordinator was cut off \
                 while it wrote it, so that nothing in it was acknowledged, or the file was damaged since"
            );
        }
        let connection = schema::open_writer(&path)?;
        done(Step::OpenConnected);
        let cluster = schema::prepare(&connection, &path)?;
        done(Step::OpenPrepared);
        let reader = JournalReader::new(path, cluster);
        let mut journal = Self {
            connection,
            reader,
            cluster,
            lock,
        };
        if !schema::projections_are_current(&journal.connection, journal.path())? {
            journal.rebuild_projections()?;
        }
        Ok(journal)
    }

    /// The identity of this journal.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Reads the journal; also while it is written.
    #[must_use]
    pub fn reader(&self) -> &JournalReader {
        &self.reader
    }

    /// Throws the rows for listings away and makes them again from the records.
    ///
    /// # Errors
    /// A broken record, or what SQLite says.
    pub fn rebuild_projections(&mut self) -> Result<(), JournalError> {
        rebuild::rebuild(&mut self.connection, &self.reader)
    }

    /// Makes the file as small as its content, and moves the log into it. Every record stays.
    ///
    /// # Errors
    /// What SQLite says; a full disk, say, since the file is written anew beside itself.
    pub fn shrink(&mut self) -> Result<(), JournalError> {
        let at = JournalError::at(self.path());
        self.connection.execute_batch("VACUUM").map_err(&at)?;
        done(Step::CompactRewritten);
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(&at)?;
        done(Step::CompactMoved);
        Ok(())
    }

    /// Starts the writer on its own thread. The journal is closed by [`JournalHandle::close`], or when the
    /// last handle is gone.
    ///
    /// # Errors
    /// The heads of the streams cannot be read, or the thread cannot be started.
    pub fn start(self) -> Result<JournalHandle, JournalError> {
        handle::start(self)
    }

    fn path(&self) -> &Path {
        self.reader.path()
    }

    /// Lets no more than `pages` pages be in the file: the disk is full, as far as SQLite knows.
    #[cfg(test)]
    fn limit_pages(&self, pages: u32) {
        self.connection
            .pragma_update(None, "max_page_count", pages)
            .unwrap();
    }
}

/// How the log beside a journal's file ends, while nobody writes it.
///
/// # Errors
/// It is damaged before its last commit, or cannot be read.
fn sound_log(file: &Path) -> Result<LogEnd, JournalError> {
    match log::end_of_log(file) {
        Ok(LogEnd::Damaged(from)) => Err(JournalError::DamagedLog {
            path: log::log_of(file),
            from,
        }),
        Ok(end) => Ok(end),
        Err(source) => Err(JournalError::Folder {
            folder: folder_of(file),
            source,
        }),
    }
}

/// How the log of the journal in `folder` ends; `None` while a coordinator writes it.
///
/// # Errors
/// It is damaged before its last commit, or cannot be read.
pub fn end_of_log(folder: &Path) -> Result<Option<LogEnd>, JournalError> {
    if lock::is_held(folder) {
        return Ok(None);
    }
    let end = sound_log(&folder.join(FILE));
    // One that has started meanwhile writes the log that was read, and what was seen of it says nothing.
    if lock::is_held(folder) {
        return Ok(None);
    }
    end.map(Some)
}

/// The folder that holds the file at `path`, for error messages.
fn folder_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_owned()
}
