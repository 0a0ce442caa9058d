//! A journal made of records that come from elsewhere. It lies beside its place until all of it is there and
//! was checked, so that a coordinator never finds half of one.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use espalier_common::ids::ClusterId;
use rusqlite::{Connection, params};

use super::chain::{Chain, StoredRecord};
use super::error::JournalError;
use super::lock::FolderLock;
use super::log::log_of;
use super::reader::JournalReader;
use super::stream::{StreamId, record_row};
use super::{FILE, rebuild, schema};
use crate::private;
use crate::steps::{Step, done};

/// The file until it is whole. Left behind by an import that was cut off, it is removed by the next one.
const UNFINISHED: &str = "journal.db.importing";

/// A journal that is being made.
pub struct Import {
    connection: Connection,
    cluster: ClusterId,
    folder: PathBuf,
    file: PathBuf,
    streams: HashSet<StreamId>,
    current: Option<Stream>,
    /// Until the end: a coordinator that starts meanwhile is refused.
    _lock: FolderLock,
}

struct Stream {
    id: StreamId,
    number: i64,
    chain: Chain,
}

impl Import {
    /// Begins a journal of `cluster` in `folder`, which may be there and must hold no journal.
    ///
    /// # Errors
    /// There is one, somebody is at work in the folder, or it cannot be written.
    pub fn begin(folder: &Path, cluster: ClusterId) -> Result<Self, JournalError> {
        let unusable = |source| JournalError::Folder {
            folder: folder.to_owned(),
            source,
        };
        private::make_data_folder(folder).map_err(unusable)?;
        let lock = FolderLock::take(folder)?;
        // A log without its journal would be taken for the new one's.
        for path in with_log(folder.join(FILE)) {
            if path.try_exists().map_err(unusable)? {
                return Err(JournalError::Exists { path });
            }
        }
        let file = folder.join(UNFINISHED);
        for path in with_log(folder.join(UNFINISHED)) {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(unusable(error));
                }
                _ => {}
            }
        }
        let connection = schema::open_writer(&file)?;
        schema::create(&connection, cluster).map_err(JournalError::at(&file))?;
        connection
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(JournalError::at(&file))?;
        done(Step::ImportBegun);
        Ok(Self {
            connection,
            cluster,
            folder: folder.to_owned(),
            file,
            streams: HashSet::new(),
            current: None,
            _lock: lock,
        })
    }

    /// Adds the next record: of the stream of the one before, or of a stream that has none yet.
    ///
    /// # Errors
    /// It does not follow the record before it, or cannot be written.
    pub fn add(&mut self, stream: StreamId, record: &StoredRecord<'_>) -> Result<(), JournalError> {
        if self
            .current
            .as_ref()
            .is_none_or(|current| current.id != stream)
        {
            self.end_stream()?;
            if !self.streams.insert(stream) {
                return Err(JournalError::Scattered(stream));
            }
            self.current = Some(Stream {
                id: stream,
                number: self.streams.len() as i64,
                chain: Chain::new(stream, self.cluster),
            });
        }
        let Some(current) = &mut self.current else {
            return Err(JournalError::NoStream(stream));
        };
        current.chain.check(record)?;
        let row = record_row(current.number, record.sequence);
        let time = record.time_ms as i64;
        self.connection
            .prepare_cached(
                "INSERT INTO record (row, time_ms, schema, hash, body) VALUES (?1, ?2, ?3, ?4, ?5)",
            )
            .and_then(|mut add| {
                let hash = &record.hash[..];
                add.execute(params![row, time, record.schema, hash, record.body])
            })
            .map_err(JournalError::at(&self.file))?;
        done(Step::ImportAdded);
        Ok(())
    }

    /// Notes where the stream at work ends.
    fn end_stream(&mut self) -> Result<(), JournalError> {
        let Some(Stream { id, number, chain }) = self.current.take() else {
            return Ok(());
        };
        let end = chain.end();
        self.connection
            .execute(
                "INSERT INTO stream (number, name, sequence, hash) VALUES (?1, ?2, ?3, ?4)",
                params![number, id.to_string(), end.sequence as i64, &end.hash[..]],
            )
            .map(drop)
            .map_err(JournalError::at(&self.file))
    }

    /// Makes the rows for listings, lets `check` look at the whole, and puts it into its place, durably.
    ///
    /// # Errors
    /// What `check` finds, a record that cannot be read, or a folder that cannot be written.
    pub fn finish<E: From<JournalError>>(
        mut self,
        check: impl FnOnce(&JournalReader) -> Result<(), E>,
    ) -> Result<(), E> {
        self.end_stream()?;
        let at = JournalError::at(&self.file);
        self.connection.execute_batch("COMMIT").map_err(&at)?;
        done(Step::ImportCommitted);
        let reader = JournalReader::new(Arc::from(self.file.as_path()), self.cluster);
        rebuild::rebuild(&mut self.connection, &reader)?;
        check(&reader)?;
        done(Step::ImportChecked);
        // All connections are closed, so that the file is whole without its log.
        drop(reader);
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(&at)?;
        self.connection.close().map_err(|(_, error)| at(error))?;
        done(Step::ImportClosed);
        put(&self.folder, &self.file).map_err(|source| {
            E::from(JournalError::Folder {
                folder: self.folder.clone(),
                source,
            })
        })
    }
}

/// A file, and the log beside it.
fn with_log(file: PathBuf) -> [PathBuf; 2] {
    let log = log_of(&file);
    [file, log]
}

fn put(folder: &Path, file: &Path) -> std::io::Result<()> {
    if log_of(&folder.join(UNFINISHED)).exists() {
        return Err(std::io::Error::other(
            "another program has the unfinished journal open",
        ));
    }
    std::fs::File::open(file)?.sync_all()?;
    done(Step::ImportSynced);
    std::fs::rename(file, folder.join(FILE))?;
    done(Step::ImportNamed);
    std::fs::File::open(folder)?.sync_all()?;
    done(Step::ImportDurable);
    Ok(())
}
