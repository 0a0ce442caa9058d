//! The one writer: a thread that takes all that is queued, commits it as one transaction (an fsync), and
//! then says so. The busier the coordinator, the more batches share an fsync.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use rusqlite::{Connection, Statement, params};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Semaphore, oneshot};

use super::error::JournalError;
use super::handle::{Batch, Health, Message};
use super::rows::{At, RowStatements};
use super::stream::{Hash, Head, SCHEMA, StreamId, genesis, record_hash, record_row};
use super::{Journal, reader};

/// The most batches of one transaction, so that the first of them does not wait long for the last.
const GROUP_BATCHES: usize = 1024;

/// Starts the thread.
pub(super) fn spawn(
    journal: Journal,
    receiver: UnboundedReceiver<Message>,
    room: Arc<Semaphore>,
    health: Arc<Health>,
) -> Result<(), JournalError> {
    let at = JournalError::at(journal.path());
    let heads = reader::heads(&journal.connection).map_err(at)?;
    std::thread::Builder::new()
        .name("journal".to_owned())
        .spawn(move || {
            let ending = Ending { room, health };
            run(journal, heads, receiver, &ending.health);
        })
        .map(drop)
        .map_err(JournalError::Thread)
}

/// However the thread ends, nobody waits for it any more.
struct Ending {
    room: Arc<Semaphore>,
    health: Arc<Health>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.health
                .fail("the thread of its writer ended unexpectedly; start the coordinator again");
        }
        self.room.close();
    }
}

/// Writes until the journal is closed or a commit fails, then closes the file and gives the folder back.
fn run(
    journal: Journal,
    heads: HashMap<StreamId, Head>,
    receiver: UnboundedReceiver<Message>,
    health: &Health,
) {
    let Journal {
        connection,
        reader,
        cluster,
        lock,
    } = journal;
    let waiting = match write(&connection, heads, genesis(cluster), receiver) {
        Ok(waiting) => waiting,
        Err(source) => {
            let error = JournalError::Sqlite {
                path: reader.path().to_owned(),
                source,
            };
            tracing::error!(
                journal = %reader.path().display(),
                "{error}. Nothing that was acknowledged is lost; nothing more is acknowledged"
            );
            health.fail(&error.to_string());
            None
        }
    };
    if let Err((_, error)) = connection.close() {
        tracing::warn!(journal = %reader.path().display(), "closing the journal: {error}");
    }
    drop(lock);
    if let Some(waiting) = waiting {
        // Whoever asked for the end may be gone.
        let _ = waiting.send(());
    }
}

/// Writes groups until there is no more to write. Returns who waits for the end, if somebody does.
fn write(
    connection: &Connection,
    heads: HashMap<StreamId, Head>,
    genesis: Hash,
    mut receiver: UnboundedReceiver<Message>,
) -> Result<Option<oneshot::Sender<()>>, rusqlite::Error> {
    let mut writer = Writer::new(connection, heads, genesis)?;
    let mut group = Vec::with_capacity(GROUP_BATCHES);
    let mut waiting = None;
    while waiting.is_none() {
        let Some(first) = receiver.blocking_recv() else {
            break;
        };
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Append(batch, permit) => group.push((batch, permit)),
                Message::Close(sender) => {
                    waiting = Some(sender);
                    break;
                }
            }
            if group.len() == GROUP_BATCHES {
                break;
            }
            next = receiver.try_recv().ok();
        }
        writer.commit(&group)?;
        for (batch, _permit) in group.drain(..) {
            if let Some(after) = batch.after {
                after();
            }
        }
    }
    Ok(waiting)
}

/// The writer's connection with its statements, and where each stream ends.
struct Writer<'c> {
    begin: Statement<'c>,
    commit: Statement<'c>,
    add_record: Statement<'c>,
    add_stream: Statement<'c>,
    move_head: Statement<'c>,
    rows: RowStatements<'c>,
    heads: HashMap<StreamId, Head>,
    /// The number of the next new stream.
    next: i64,
    genesis: Hash,
    /// Streams whose heads this transaction has moved, each once.
    moved: Vec<StreamId>,
}

impl<'c> Writer<'c> {
    fn new(
        connection: &'c Connection,
        heads: HashMap<StreamId, Head>,
        genesis: Hash,
    ) -> Result<Self, rusqlite::Error> {
        let next = heads.values().map(|head| head.number).max().unwrap_or(0) + 1;
        Ok(Self {
            // Immediate: there is no other writer, and this says so at once if there is one.
            begin: connection.prepare("BEGIN IMMEDIATE")?,
            commit: connection.prepare("COMMIT")?,
            add_record: connection.prepare(
                "INSERT INTO record (row, time_ms, schema, hash, body) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?,
            add_stream: connection.prepare(
                "INSERT INTO stream (number, name, sequence, hash) VALUES (?1, ?2, 0, ?3)",
            )?,
            move_head: connection
                .prepare("UPDATE stream SET sequence = ?2, hash = ?3 WHERE number = ?1")?,
            rows: RowStatements::prepare(connection)?,
            heads,
            next,
            genesis,
            moved: Vec::new(),
        })
    }

    /// Makes a group durable. After an error the connection is of no more use.
    fn commit<P>(&mut self, group: &[(Batch, P)]) -> Result<(), rusqlite::Error> {
        if group.iter().all(|(batch, _)| batch.records.is_empty()) {
            return Ok(());
        }
        self.begin.execute([])?;
        for (batch, _) in group {
            self.add(batch)?;
        }
        for stream in self.moved.drain(..) {
            if let Some(head) = self.heads.get(&stream) {
                let values = params![head.number, head.sequence as i64, &head.hash[..]];
                self.move_head.execute(values)?;
            }
        }
        self.commit.execute([]).map(drop)
    }

    fn add(&mut self, batch: &Batch) -> Result<(), rusqlite::Error> {
        if batch.records.is_empty() {
            return Ok(());
        }
        let head = match self.heads.entry(batch.stream) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let values = params![self.next, batch.stream.to_string(), &self.genesis[..]];
                self.add_stream.execute(values)?;
                self.next += 1;
                entry.insert(Head {
                    number: self.next - 1,
                    sequence: 0,
                    hash: self.genesis,
                })
            }
        };
        for record in &batch.records {
            let body = &record.body;
            head.sequence += 1;
            head.hash = record_hash(
                &head.hash,
                batch.stream,
                head.sequence,
                batch.time_ms,
                SCHEMA,
                body.as_bytes(),
            );
            self.add_record.execute(params![
                record_row(head.number, head.sequence),
                batch.time_ms as i64,
                SCHEMA,
                &head.hash[..],
                body
            ])?;
            let at = At {
                stream: head.number,
                sequence: head.sequence,
                time_ms: batch.time_ms,
            };
            for change in &record.rows {
                self.rows.apply(at, change)?;
            }
        }
        if !self.moved.contains(&batch.stream) {
            self.moved.push(batch.stream);
        }
        Ok(())
    }
}
