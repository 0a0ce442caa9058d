//! The one writer: a thread that takes all that is queued, commits it as one transaction (an fsync), and
//! then says so. The busier the coordinator, the more batches share an fsync.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use espalier_runtime::logging::millis;
use rusqlite::{Connection, Statement, params};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::error::JournalError;
use super::handle::{Batch, Health, JournalMeters, Message};
use super::rows::{At, RowStatements};
use super::slow::SlowCommits;
use super::stream::{Hash, Head, SCHEMA, StreamId, genesis, record_hash, record_row};
use super::{Journal, reader};
use crate::steps::{Step, done};

/// The most batches of one transaction, so that the first of them does not wait long for the last.
const GROUP_BATCHES: usize = 1024;

/// The share of the last commit's duration that a group waits to become as large as the one before. Those
/// who were acknowledged together come back together: without the wait, the first of them takes an fsync
/// for itself and the others wait for two. One at a time never waits.
const PATIENCE: u32 = 4;

/// Starts the thread.
pub(super) fn spawn(
    journal: Journal,
    receiver: Receiver<Message>,
    room: Arc<Semaphore>,
    health: Arc<Health>,
    meters: JournalMeters,
) -> Result<(), JournalError> {
    let at = JournalError::at(journal.path());
    let heads = reader::heads(&journal.connection).map_err(at)?;
    std::thread::Builder::new()
        .name("journal".to_owned())
        .spawn(move || {
            // Outlives `ending`: whoever waits for a batch that is dropped unwritten finds the reason there.
            let mut queue = Queue {
                receiver,
                group: VecDeque::with_capacity(GROUP_BATCHES),
            };
            let ending = Ending { room, health };
            let waiting = run(journal, heads, &mut queue, &ending.health, &meters);
            drop(ending);
            drop(queue);
            if let Some(waiting) = waiting {
                // Whoever asked for the end may be gone.
                let _ = waiting.send(());
            }
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

/// What is to be written.
struct Queue {
    receiver: Receiver<Message>,
    /// What becomes durable together, with the room it takes in the queue.
    group: VecDeque<(Batch, OwnedSemaphorePermit)>,
}

impl Queue {
    /// Waits for the next group: for its first batch, and then no longer than `patience` for as many as
    /// were `expected`. Returns whether another one may follow, else who waits for the end.
    fn next(
        &mut self,
        expected: usize,
        patience: Duration,
    ) -> ControlFlow<Option<oneshot::Sender<()>>> {
        let Ok(mut message) = self.receiver.recv() else {
            return ControlFlow::Break(None);
        };
        let deadline = Instant::now() + patience;
        loop {
            match message {
                Message::Append(batch, permit) => self.group.push_back((batch, permit)),
                Message::Close(waiting) => return ControlFlow::Break(Some(waiting)),
            }
            if self.group.len() >= GROUP_BATCHES {
                return ControlFlow::Continue(());
            }
            let next = match self.receiver.try_recv() {
                Err(TryRecvError::Empty) if self.group.len() < expected => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    self.receiver.recv_timeout(left).ok()
                }
                next => next.ok(),
            };
            match next {
                Some(next) => message = next,
                None => return ControlFlow::Continue(()),
            }
        }
    }
}

/// Writes until the journal is closed or a commit fails, then closes the file and gives the folder back.
/// Returns who waits for that, if somebody does.
fn run(
    journal: Journal,
    heads: HashMap<StreamId, Head>,
    queue: &mut Queue,
    health: &Health,
    meters: &JournalMeters,
) -> Option<oneshot::Sender<()>> {
    let Journal {
        connection,
        reader,
        cluster,
        lock,
    } = journal;
    let waiting = match write(&connection, heads, genesis(cluster), queue, meters) {
        Ok(waiting) => {
            done(Step::CloseWritten);
            // So that the file alone is the whole journal, for who copies it. A reader that is at work
            // prevents it, which does no harm: the log is read at the next start.
            let moved = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            if let Err(error) = moved {
                tracing::warn!(path = %reader.path().display(), %error, "the journal was not closed in order; nothing is lost");
            }
            done(Step::CloseMoved);
            waiting
        }
        Err(source) => {
            let error = JournalError::at(reader.path())(source);
            tracing::error!(
                path = %reader.path().display(),
                %error,
                "the journal cannot be written any more. Nothing that was acknowledged is lost; nothing more is \
                 acknowledged, and the coordinator ends: mend what the error says and start it again"
            );
            health.fail(&error.to_string());
            None
        }
    };
    if let Err((_, error)) = connection.close() {
        tracing::warn!(path = %reader.path().display(), %error, "the journal was not closed in order; nothing is lost");
    }
    done(Step::CloseClosed);
    drop(lock);
    waiting
}

/// Writes groups until there is no more to write. Returns who waits for the end, if somebody does.
fn write(
    connection: &Connection,
    heads: HashMap<StreamId, Head>,
    genesis: Hash,
    queue: &mut Queue,
    meters: &JournalMeters,
) -> Result<Option<oneshot::Sender<()>>, rusqlite::Error> {
    let mut writer = Writer::new(connection, heads, genesis)?;
    let (mut expected, mut patience) = (0, Duration::ZERO);
    let mut slow = SlowCommits::default();
    loop {
        let flow = queue.next(expected, patience);
        expected = queue.group.len();
        let start = Instant::now();
        let records = writer.commit(queue.group.iter().map(|(batch, _)| batch))?;
        let took = start.elapsed();
        if records > 0 {
            meters.commit_seconds.observe(took.as_secs_f64());
            meters.records.inc_by(records as u64);
            if let Some(commits) = slow.note(took, Instant::now()) {
                tracing::warn!(
                    duration_ms = millis(took),
                    records,
                    commits,
                    "a slow journal: every answer waits for its commits. Give the data folder a faster disk, or \
                     one of its own"
                );
            }
        }
        patience = took / PATIENCE;
        while let Some((batch, _room)) = queue.group.pop_front() {
            if let Some(after) = batch.after {
                after();
                done(Step::CommitAcknowledged);
            }
        }
        if records > 0 {
            done(Step::CommitTold);
        }
        if let ControlFlow::Break(waiting) = flow {
            return Ok(waiting);
        }
    }
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

    /// Makes a group durable and says how many records it had. After an error the connection is of no more
    /// use.
    fn commit<'b>(
        &mut self,
        group: impl Iterator<Item = &'b Batch> + Clone,
    ) -> Result<usize, rusqlite::Error> {
        let records = group.clone().map(|batch| batch.records.len()).sum();
        if records == 0 {
            return Ok(0);
        }
        self.begin.execute([])?;
        done(Step::CommitBegun);
        for batch in group {
            self.add(batch)?;
            done(Step::CommitAdded);
        }
        for stream in self.moved.drain(..) {
            if let Some(head) = self.heads.get(&stream) {
                let values = params![head.number, head.sequence as i64, &head.hash[..]];
                self.move_head.execute(values)?;
            }
        }
        done(Step::CommitWritten);
        self.commit.execute([])?;
        done(Step::CommitDurable);
        Ok(records)
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
