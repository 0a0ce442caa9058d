//! The handle that appends to the journal: a bounded queue before the writer's thread.

use std::path::Path;
use std::sync::{Arc, OnceLock, mpsc};

use espalier_common::ids::ClusterId;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use super::error::JournalError;
use super::reader::JournalReader;
use super::rows::RowChange;
use super::stream::StreamId;
use super::{Journal, writer};

/// The most that waits for the writer, in KiB: some hundred milliseconds of its work. Whoever would queue
/// more waits, and so do the peers that made the work.
const QUEUE_KIB: usize = 16 * 1024;

/// What is run once a batch is durable, on the writer's thread: it must not block. Sending on a channel is
/// what it is for.
pub type After = Box<dyn FnOnce() + Send>;

/// One record to append.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The event, as JSON.
    pub body: String,
    /// What it changes in the rows for listings.
    pub rows: Vec<RowChange>,
}

/// Records of one stream that become durable together. Without records it only waits for the batches
/// before it.
pub struct Batch {
    /// The stream. Each has one owner that appends to it; a stream begins with its first record.
    pub stream: StreamId,
    /// When the events happened, in Unix milliseconds.
    pub time_ms: u64,
    /// The records, in order.
    pub records: Vec<Record>,
    /// What is run once they are durable; dropped without being run when they are not.
    pub after: Option<After>,
}

impl Batch {
    /// About how much memory the batch holds.
    fn bytes(&self) -> usize {
        // 256 for the row changes of a record and the rest around it.
        self.records
            .iter()
            .map(|record| record.body.len() + 256)
            .sum()
    }
}

/// What is sent to the writer.
pub(super) enum Message {
    /// Append this.
    Append(Batch, OwnedSemaphorePermit),
    /// Close the file once everything before is durable.
    Close(oneshot::Sender<()>),
}

/// Whether the journal is still written.
#[derive(Debug, Default)]
pub(super) struct Health {
    failed: CancellationToken,
    reason: OnceLock<Arc<str>>,
}

impl Health {
    /// Nothing is written from now on, because of this.
    pub(super) fn fail(&self, reason: &str) {
        // The first reason is the one that counts, and it must be there before anyone is woken.
        self.reason.get_or_init(|| reason.into());
        self.failed.cancel();
    }

    /// The error of whoever finds the writer gone.
    fn error(&self) -> JournalError {
        match self.reason.get() {
            Some(reason) => JournalError::Failed(reason.clone()),
            None => JournalError::Closed,
        }
    }
}

/// What the writer measures of itself.
#[derive(Clone, Debug)]
pub(crate) struct JournalMeters {
    /// How long commits took, with their fsync.
    pub(crate) commit_seconds: Histogram,
    /// Records that have become durable.
    pub(crate) records: Counter,
}

impl Default for JournalMeters {
    fn default() -> Self {
        Self {
            // From a disk with a battery of its own to one that stalls: 0.25 ms to 8 s.
            commit_seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            records: Counter::default(),
        }
    }
}

/// Appends to the journal and reads it. Cheap to clone.
#[derive(Clone)]
pub struct JournalHandle {
    sender: mpsc::Sender<Message>,
    room: Arc<Semaphore>,
    health: Arc<Health>,
    reader: JournalReader,
    meters: JournalMeters,
}

impl JournalHandle {
    /// What the writer measures.
    pub(crate) fn meters(&self) -> &JournalMeters {
        &self.meters
    }

    /// Bytes that wait for the writer, in steps of 1 KiB.
    pub(crate) fn queued_bytes(&self) -> u64 {
        let free = self.room.available_permits().min(QUEUE_KIB);
        (QUEUE_KIB - free) as u64 * 1024
    }

    /// Bytes of the journal's file and of the log beside it that SQLite moves into it.
    pub(crate) fn bytes(&self) -> u64 {
        super::log::bytes(self.path()).unwrap_or(0)
    }

    /// Queues a batch, waiting while the queue is full. Batches become durable in the order in which they
    /// were queued; `after` tells when.
    ///
    /// # Errors
    /// The journal is closed, or an earlier commit failed.
    pub async fn append(&self, batch: Batch) -> Result<(), JournalError> {
        if self.health.failed.is_cancelled() {
            return Err(self.health.error());
        }
        // A batch larger than the queue takes the whole queue.
        let size = (batch.bytes() / 1024 + 1).min(QUEUE_KIB) as u32;
        let permit = Arc::clone(&self.room)
            .acquire_many_owned(size)
            .await
            .map_err(|_| self.health.error())?;
        self.sender
            .send(Message::Append(batch, permit))
            .map_err(|_| self.health.error())
    }

    /// Appends and waits until the records are durable and the batch's own `after` has run.
    ///
    /// # Errors
    /// As [`JournalHandle::append`], or the commit fails.
    pub async fn commit(&self, mut batch: Batch) -> Result<(), JournalError> {
        let (sender, receiver) = oneshot::channel();
        let own = batch.after.take();
        batch.after = Some(Box::new(move || {
            if let Some(own) = own {
                own();
            }
            // Whoever no longer waits needs no answer.
            let _ = sender.send(());
        }));
        self.append(batch).await?;
        receiver.await.map_err(|_| self.health.error())
    }

    /// Is cancelled when the journal can no longer be written: the coordinator must stop. Why, the error of
    /// every append says.
    #[must_use]
    pub fn failed(&self) -> CancellationToken {
        self.health.failed.clone()
    }

    /// Why the journal can no longer be written, if that is so.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<str>> {
        self.health.reason.get().cloned()
    }

    /// Reads the journal.
    #[must_use]
    pub fn reader(&self) -> &JournalReader {
        &self.reader
    }

    /// The identity of this journal.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.reader.cluster()
    }

    /// The journal's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.reader.path()
    }

    /// Makes everything queued so far durable, closes the file and gives the folder back. Later appends
    /// fail.
    pub async fn close(&self) {
        let (sender, receiver) = oneshot::channel();
        if self.sender.send(Message::Close(sender)).is_ok() {
            // An error means that the writer ended before: closed all the same.
            let _ = receiver.await;
        }
    }
}

/// Starts the writer of `journal`.
pub(super) fn start(journal: Journal) -> Result<JournalHandle, JournalError> {
    // Without a bound of its own: `room` is the bound, and a send never blocks.
    let (sender, receiver) = mpsc::channel();
    let room = Arc::new(Semaphore::new(QUEUE_KIB));
    let health = Arc::new(Health::default());
    let meters = JournalMeters::default();
    let handle = JournalHandle {
        sender,
        room: Arc::clone(&room),
        health: Arc::clone(&health),
        reader: journal.reader.clone(),
        meters: meters.clone(),
    };
    writer::spawn(journal, receiver, room, health, meters)?;
    Ok(handle)
}
