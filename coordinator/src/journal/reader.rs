//! Reads the journal on connections of its own, beside the writer: streams, and the replay that checks
//! every record. Everything here blocks; in asynchronous code go through [`JournalReader::read`].

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use espalier_common::ids::ClusterId;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::chain::{Chain, End, StoredRecord};
use super::error::{JournalError, Refusal};
use super::schema;
use super::stream::{Head, StreamId, record_row, record_rows, sequence_of, stream_of};

/// Connections kept for the next reader. More may be open at one time; they are closed after use.
const IDLE_CONNECTIONS: usize = 4;

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
        Self::open_file(&folder.join(super::FILE))
    }

    /// Opens a journal's file to read it only, wherever it lies: a back-up, say.
    ///
    /// # Errors
    /// There is none, or it is of a newer version.
    pub fn open_file(file: &Path) -> Result<Self, JournalError> {
        let path: Arc<Path> = file.into();
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
        self.moment(|moment| moment.streams())
    }

    /// Reads several things of one moment, however long it takes.
    ///
    /// # Errors
    /// What `reading` returns, or what SQLite says.
    pub fn moment<T>(
        &self,
        reading: impl FnOnce(&Moment<'_>) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        self.snapshot(|connection| {
            reading(&Moment {
                reader: self,
                connection,
            })
        })
    }

    /// Reads a stream from its beginning, checks every record, and gives its sequence, time and body to
    /// `visit`. All of it is of one moment, however long it takes.
    ///
    /// # Errors
    /// The first record that is changed, missing, of a newer schema, or refused by `visit`.
    pub fn replay<F>(&self, stream: StreamId, visit: F) -> Result<End, JournalError>
    where
        F: FnMut(u64, u64, &str) -> Result<(), Refusal>,
    {
        self.moment(|moment| moment.replay(stream, visit))
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

/// The journal at one moment.
pub struct Moment<'c> {
    reader: &'c JournalReader,
    connection: &'c Connection,
}

impl Moment<'_> {
    /// See [`JournalReader::streams`].
    ///
    /// # Errors
    /// What SQLite says, a name that is none, or that a stream is gone.
    pub fn streams(&self) -> Result<Vec<StreamId>, JournalError> {
        match self.lost_stream()? {
            Some(number) => Err(JournalError::Lost { number }),
            None => self.streams_left(),
        }
    }

    /// The streams that are there, though another one may be gone.
    ///
    /// # Errors
    /// What SQLite says, or a name that is none.
    pub fn streams_left(&self) -> Result<Vec<StreamId>, JournalError> {
        let heads = self.heads()?;
        Ok(heads.into_iter().map(|(stream, _)| stream).collect())
    }

    /// The first number of a stream that is gone: they are numbered as they begin, and none ends.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn lost_stream(&self) -> Result<Option<u64>, JournalError> {
        let heads = self.heads()?;
        let gap = heads
            .iter()
            .zip(1..)
            .find(|((_, head), number)| head.number != *number);
        if let Some((_, number)) = gap {
            return Ok(Some(number as u64));
        }
        let last: Option<i64> = self
            .connection
            .query_row("SELECT max(row) FROM record", [], |row| row.get(0))
            .map_err(self.reader.at())?;
        let streams = heads.len() as i64;
        let lost = last.is_some_and(|row| stream_of(row) > streams);
        Ok(lost.then_some(streams as u64 + 1))
    }

    fn heads(&self) -> Result<Vec<(StreamId, Head)>, JournalError> {
        let found = heads(self.connection).map_err(self.reader.at())?;
        let mut heads: Vec<_> = found.into_iter().collect();
        heads.sort_by_key(|(_, head)| head.number);
        Ok(heads)
    }

    /// See [`JournalReader::replay`].
    ///
    /// # Errors
    /// The first record that is changed, missing, of a newer schema, or refused by `visit`.
    pub fn replay<F>(&self, stream: StreamId, mut visit: F) -> Result<End, JournalError>
    where
        F: FnMut(u64, u64, &str) -> Result<(), Refusal>,
    {
        self.records(stream, |record| {
            visit(record.sequence, record.time_ms, record.body)
        })
    }

    /// As [`Moment::replay`], with all that a record has.
    ///
    /// # Errors
    /// The same.
    pub fn records<F>(&self, stream: StreamId, mut visit: F) -> Result<End, JournalError>
    where
        F: FnMut(&StoredRecord<'_>) -> Result<(), Refusal>,
    {
        let at = self.reader.at();
        let head = head_of(self.connection, stream)
            .map_err(&at)?
            .ok_or(JournalError::NoStream(stream))?;
        let mut chain = Chain::new(stream, self.reader.cluster());
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT row, time_ms, schema, hash, body FROM record
                 WHERE row >= ?1 AND row < ?2 ORDER BY row",
            )
            .map_err(&at)?;
        let range = record_rows(head.number);
        let mut found = statement
            .query(params![range.start, range.end])
            .map_err(&at)?;
        while let Some(row) = found.next().map_err(|error| chain.unreadable(&error))? {
            let record = columns(row).map_err(|error| chain.unreadable(&error))?;
            chain.check(&record)?;
            visit(&record).map_err(|source| chain.refused(source))?;
        }
        chain.finish(&head)
    }

    /// The connection, for what is checked of the file beside its records.
    pub(super) fn connection(&self) -> &Connection {
        self.connection
    }

    /// Where it is read from.
    #[must_use]
    pub fn reader(&self) -> &JournalReader {
        self.reader
    }
}

/// The columns of a record.
fn columns<'r>(row: &'r Row<'_>) -> Result<StoredRecord<'r>, rusqlite::Error> {
    Ok(StoredRecord {
        sequence: sequence_of(row.get(0)?),
        time_ms: row.get::<_, i64>(1)? as u64,
        schema: row.get(2)?,
        hash: row.get(3)?,
        body: row.get_ref(4)?.as_str().map_err(rusqlite::Error::from)?,
    })
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
