//! Reads the journal on connections of its own, beside the writer: streams, and the replay that checks
//! every record. Everything here blocks; in asynchronous code go through [`JournalReader::read`].

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use espalier_common::ids::ClusterId;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::error::{JournalError, Refusal};
use super::schema;
use super::stream::{
    Head, SCHEMA, StreamId, genesis, record_hash, record_row, record_rows, sequence_of,
};

/// Connections kept for the next reader. More may be open at one time; they are closed after use.
const IDLE_CONNECTIONS: usize = 4;

/// Where a replayed stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The last record's sequence; 0 when there is none.
    pub sequence: u64,
    /// The last record's hash.
    pub hash: [u8; 32],
    /// The last record's time in Unix milliseconds; 0 when there is none.
    pub time_ms: u64,
}

/// Reads the journal. Cheap to clone; any number of threads may read at one time.
#[derive(Clone, Debug)]
pub struct JournalReader {
    pool: Arc<Pool>,
}

#[derive(Debug)]
struct Pool {
    path: Arc<Path>,
    cluster: ClusterId,
    idle: Mutex<Vec<Connection>>,
}

impl JournalReader {
    pub(super) fn new(path: Arc<Path>, cluster: ClusterId) -> Self {
        Self {
            pool: Arc::new(Pool {
                path,
                cluster,
                idle: Mutex::new(Vec::new()),
            }),
        }
    }

    /// Opens the journal in `folder` to read it only, also while a coordinator writes it.
    ///
    /// # Errors
    /// There is none, or it is of a newer version.
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        let path: Arc<Path> = folder.join(super::FILE).into();
        let connection = schema::open_reader(&path).map_err(JournalError::at(&path))?;
        let cluster = schema::identify(&connection, &path)?;
        Ok(Self::new(path, cluster))
    }

    /// The body of a stream's first record, unchecked: enough to tell streams apart.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn first(&self, stream: StreamId) -> Result<Option<String>, JournalError> {
        self.with(|connection| match head_of(connection, stream)? {
            Some(head) => Self::body(connection, head.number, 1),
            None => Ok(None),
        })
    }

    /// The journal's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.pool.path
    }

    /// The identity of the journal.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.pool.cluster
    }

    /// Reads on a thread where blocking does no harm.
    ///
    /// # Errors
    /// What `reading` returns.
    pub async fn read<T, F>(&self, reading: F) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> Result<T, JournalError> + Send + 'static,
    {
        let reader = self.clone();
        tokio::task::spawn_blocking(move || reading(&reader))
            .await
            .unwrap_or_else(|error| Err(JournalError::Interrupted(error.to_string())))
    }

    /// The streams, in the order in which they began.
    ///
    /// # Errors
    /// What SQLite says, or a name that is none.
    pub fn streams(&self) -> Result<Vec<StreamId>, JournalError> {
        self.with(|connection| {
            let mut heads: Vec<_> = heads(connection)?.into_iter().collect();
            heads.sort_by_key(|(_, head)| head.number);
            Ok(heads.into_iter().map(|(stream, _)| stream).collect())
        })
    }

    /// Reads a stream from its beginning, checks every record, and gives its sequence, time and body to
    /// `visit`. All of it is of one moment, however long it takes.
    ///
    /// # Errors
    /// The first record that is changed, missing, of a newer schema, or refused by `visit`.
    pub fn replay<F>(&self, stream: StreamId, mut visit: F) -> Result<End, JournalError>
    where
        F: FnMut(u64, u64, &str) -> Result<(), Refusal>,
    {
        self.snapshot(|connection| {
            let head = head_of(connection, stream)
                .map_err(self.at())?
                .ok_or(JournalError::NoStream(stream))?;
            let mut chain = Chain {
                stream,
                end: End {
                    sequence: 0,
                    hash: genesis(self.cluster()),
                    time_ms: 0,
                },
            };
            let mut statement = connection
                .prepare_cached(
                    "SELECT row, time_ms, schema, hash, body FROM record
                     WHERE row >= ?1 AND row < ?2 ORDER BY row",
                )
                .map_err(self.at())?;
            let range = record_rows(head.number);
            let mut found = statement
                .query(params![range.start, range.end])
                .map_err(self.at())?;
            while let Some(row) = found.next().map_err(|error| chain.unreadable(&error))? {
                let body = chain.check(row)?;
                visit(chain.end.sequence, chain.end.time_ms, body)
                    .map_err(|source| chain.refused(source))?;
            }
            chain.finish(&head)
        })
    }

    /// The body of one record, unchecked: for what a replay has checked before.
    pub(super) fn body(
        connection: &Connection,
        stream: i64,
        sequence: u64,
    ) -> Result<Option<String>, rusqlite::Error> {
        connection
            .prepare_cached("SELECT body FROM record WHERE row = ?1")?
            .query_row([record_row(stream, sequence)], |row| row.get(0))
            .optional()
    }

    /// Runs `reading` on a connection of the pool.
    pub(super) fn with<T>(
        &self,
        reading: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, JournalError> {
        self.snapshot(|connection| reading(connection).map_err(self.at()))
    }

    /// Runs `reading` on a connection of the pool, in one transaction: it sees one moment of the journal.
    pub(super) fn snapshot<T>(
        &self,
        reading: impl FnOnce(&Connection) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => schema::open_reader(self.path()).map_err(self.at())?,
        };
        let result = {
            let transaction = connection.unchecked_transaction().map_err(self.at())?;
            reading(&transaction)
        };
        let mut idle = self.idle();
        if result.is_ok() && idle.len() < IDLE_CONNECTIONS {
            idle.push(connection);
        }
        result
    }

    /// An SQLite error of this file.
    pub(super) fn at(&self) -> impl Fn(rusqlite::Error) -> JournalError {
        JournalError::at(self.path())
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // Nothing is done under the lock that could leave the list half changed.
        self.pool
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream as far as it has been checked.
struct Chain {
    stream: StreamId,
    end: End,
}

impl Chain {
    /// Checks the next record and returns its body.
    fn check<'r>(&mut self, row: &'r Row<'_>) -> Result<&'r str, JournalError> {
        let sequence = self.end.sequence + 1;
        let (found, time_ms, schema, hash, body) =
            columns(row).map_err(|error| self.unreadable(&error))?;
        if found != sequence {
            return Err(self.broken(sequence, "it is missing"));
        }
        let whole = record_hash(
            &self.end.hash,
            self.stream,
            sequence,
            time_ms,
            schema,
            body.as_bytes(),
        );
        // Before the schema: a changed one is damage, not a newer version.
        if whole != hash {
            return Err(self.broken(sequence, "it does not match its hash"));
        }
        if schema > SCHEMA {
            return Err(JournalError::NewerRecord {
                stream: self.stream,
                sequence,
                found: schema,
                known: SCHEMA,
            });
        }
        self.end = End {
            sequence,
            hash,
            time_ms,
        };
        Ok(body)
    }

    /// Checks that the stream ends where it should.
    fn finish(self, head: &Head) -> Result<End, JournalError> {
        if self.end.sequence < head.sequence {
            return Err(self.broken(self.end.sequence + 1, "it is missing"));
        }
        if self.end.sequence > head.sequence {
            return Err(self.broken(head.sequence + 1, "it is beyond the end of the stream"));
        }
        if self.end.hash != head.hash {
            return Err(self.broken(head.sequence, "the end of the stream does not match it"));
        }
        Ok(self.end)
    }

    fn unreadable(&self, error: &rusqlite::Error) -> JournalError {
        self.broken(
            self.end.sequence + 1,
            &format!("it cannot be read: {error}"),
        )
    }

    fn broken(&self, sequence: u64, what: &str) -> JournalError {
        JournalError::Broken {
            stream: self.stream,
            sequence,
            what: what.to_owned(),
        }
    }

    fn refused(&self, source: Refusal) -> JournalError {
        JournalError::Refused {
            stream: self.stream,
            sequence: self.end.sequence,
            source,
        }
    }
}

/// The columns of a record: sequence, time, schema, hash, body.
fn columns<'r>(row: &'r Row<'_>) -> Result<(u64, u64, u32, [u8; 32], &'r str), rusqlite::Error> {
    let body = row.get_ref(4)?.as_str().map_err(rusqlite::Error::from)?;
    let time_ms = row.get::<_, i64>(1)? as u64;
    Ok((
        sequence_of(row.get(0)?),
        time_ms,
        row.get(2)?,
        row.get(3)?,
        body,
    ))
}

/// Where every stream ends.
pub(super) fn heads(connection: &Connection) -> Result<HashMap<StreamId, Head>, rusqlite::Error> {
    let mut statement = connection.prepare("SELECT name, number, sequence, hash FROM stream")?;
    let found = statement.query_map([], |row| {
        let name = row.get_ref(0)?.as_str()?;
        let stream = name.parse().map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(
                0,
                rusqlite::types::Type::Text,
                Box::new(error),
            )
        })?;
        Ok((stream, head(row)?))
    })?;
    found.collect()
}

/// Where one stream ends, if there is such a stream.
pub(super) fn head_of(
    connection: &Connection,
    stream: StreamId,
) -> Result<Option<Head>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT name, number, sequence, hash FROM stream WHERE name = ?1")?
        .query_row([stream.to_string()], head)
        .optional()
}

fn head(row: &Row<'_>) -> Result<Head, rusqlite::Error> {
    Ok(Head {
        number: row.get(1)?,
        sequence: row.get::<_, i64>(2)? as u64,
        hash: row.get(3)?,
    })
}
