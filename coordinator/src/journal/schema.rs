//! The tables, the settings of connections, and which versions are taken.

use std::path::Path;

use espalier_common::ids::ClusterId;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::error::JournalError;
use crate::private;

/// The format of the file. Raise it when the tables `journal`, `stream` or `record` change.
pub(super) const FORMAT: u32 = 1;
/// The version of the rows for listings. Raise it when their tables or `projection` change: they are made
/// again when the journal is next opened.
const PROJECTION: u32 = 4;
/// Marks the file as a journal of Espalier ("Espl"), so that no other database is taken for one.
const APPLICATION_ID: i32 = 0x4573_706c;

/// Pages of the write-ahead log at which they are moved into the database: 32 MiB. Rarer costs disk and
/// time at start, oftener costs an fsync of the database each time.
const CHECKPOINT_PAGES: u32 = 8192;
/// Above this the log's file is cut once it has been moved, after a long reader had held it up.
const LOG_BYTES: u32 = 128 * 1024 * 1024;
/// SQLite's page cache of the writer, in KiB: the tails of some hundred streams and the hot index pages.
const WRITER_CACHE_KIB: i32 = 16 * 1024;
/// SQLite's page cache of a reader, in KiB: a page of a listing.
const READER_CACHE_KIB: i32 = 2 * 1024;

// A row number holds the stream's number and the sequence (see `stream`). `record` is not WITHOUT ROWID:
// such a table keeps rows over a quarter of a page in pages of their own.
const RECORDS: &str = "
CREATE TABLE journal (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    format INTEGER NOT NULL,
    projection INTEGER NOT NULL,
    cluster TEXT NOT NULL
);
CREATE TABLE stream (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    sequence INTEGER NOT NULL,
    hash BLOB NOT NULL
);
CREATE TABLE record (
    row INTEGER PRIMARY KEY,
    time_ms INTEGER NOT NULL,
    schema INTEGER NOT NULL,
    hash BLOB NOT NULL,
    body TEXT NOT NULL
);
";

// What a trial's listing needs and its first event has (candidate, origin, size) is read from that event:
// `sequence` says which.
const PROJECTIONS: &str = "
DROP TABLE IF EXISTS search; -- of version 2
DROP TABLE IF EXISTS trial;
DROP TABLE IF EXISTS weights;
DROP TABLE IF EXISTS measurement;
DROP TABLE IF EXISTS result;
CREATE TABLE trial (
    row INTEGER PRIMARY KEY,
    sequence INTEGER NOT NULL,
    state INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    shown INTEGER NOT NULL,
    utility REAL,
    score REAL,
    seconds REAL NOT NULL,
    updated_ms INTEGER NOT NULL,
    worker BLOB,
    reason TEXT,
    key BLOB,
    from_search BLOB,
    from_trial INTEGER
);
CREATE TABLE weights (
    stream INTEGER PRIMARY KEY,
    trial INTEGER NOT NULL,
    digest BLOB NOT NULL
);
CREATE TABLE result (
    key BLOB PRIMARY KEY,
    trial INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    weights BLOB
) WITHOUT ROWID;
CREATE TABLE measurement (
    trial INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    step INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    metrics TEXT NOT NULL,
    PRIMARY KEY (trial, attempt, step)
) WITHOUT ROWID;
";

/// Opens the connection that writes.
pub(super) fn open_writer(path: &Path) -> Result<Connection, JournalError> {
    // SQLite gives its other files the mode of this one. What is wrong with the place SQLite says with more words.
    let _ = private::options().append(true).open(path);
    let open = || {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        // An event that was acknowledged survives a power failure.
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
        connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
        Ok(connection)
    };
    open().map_err(JournalError::at(path))
}

/// Opens a connection that reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    Ok(connection)
}

/// Makes the tables of a new file, or checks that an old one can be used. Returns its cluster.
pub(super) fn prepare(connection: &Connection, path: &Path) -> Result<ClusterId, JournalError> {
    let at = JournalError::at(path);
    let application: i32 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(&at)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(&at)?;
    if application == 0 && tables == 0 {
        create(connection, ClusterId(uuid::Uuid::new_v4())).map_err(&at)?;
    } else if application != APPLICATION_ID {
        return Err(JournalError::Foreign {
            path: path.to_owned(),
        });
    }
    cluster_of(connection, path)
}

/// The cluster of a file that is there, if it is a journal of a format that is known.
pub(super) fn identify(connection: &Connection, path: &Path) -> Result<ClusterId, JournalError> {
    let application: i32 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(JournalError::at(path))?;
    if application != APPLICATION_ID {
        return Err(JournalError::Foreign {
            path: path.to_owned(),
        });
    }
    cluster_of(connection, path)
}

fn cluster_of(connection: &Connection, path: &Path) -> Result<ClusterId, JournalError> {
    let at = JournalError::at(path);
    let (found, cluster): (u32, String) = connection
        .query_row("SELECT format, cluster FROM journal", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .map_err(&at)?;
    if found > FORMAT {
        return Err(JournalError::Newer {
            path: path.to_owned(),
            found,
            known: FORMAT,
        });
    }
    cluster.parse().map_err(|_| JournalError::Foreign {
        path: path.to_owned(),
    })
}

/// Makes the tables of a new file for a cluster, all or nothing.
pub(super) fn create(connection: &Connection, cluster: ClusterId) -> Result<(), rusqlite::Error> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(RECORDS)?;
    transaction.execute_batch(PROJECTIONS)?;
    transaction.execute(
        "INSERT INTO journal (one, format, projection, cluster) VALUES (1, ?1, ?2, ?3)",
        params![FORMAT, PROJECTION, cluster.to_string()],
    )?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.commit()
}

/// Whether the rows for listings are of this version.
pub(super) fn projections_are_current(
    connection: &Connection,
    path: &Path,
) -> Result<bool, JournalError> {
    let found: Option<u32> = connection
        .query_row("SELECT projection FROM journal", [], |row| row.get(0))
        .optional()
        .map_err(JournalError::at(path))?;
    Ok(found == Some(PROJECTION))
}

/// Makes empty tables for listings, where they are compared with those of a journal.
pub(super) fn create_projections(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.execute_batch(PROJECTIONS)
}

/// Empties the tables for listings, and marks them as not to be used until
/// [`mark_projections_current`] is called.
pub(super) fn drop_projections(connection: &Connection) -> Result<(), rusqlite::Error> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute("UPDATE journal SET projection = 0", [])?;
    transaction.execute_batch(PROJECTIONS)?;
    transaction.commit()
}

/// Marks the rows for listings as complete and of this version.
pub(super) fn mark_projections_current(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection
        .execute("UPDATE journal SET projection = ?1", [PROJECTION])
        .map(drop)
}
