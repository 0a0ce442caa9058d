//! The log as users read it from here: this process's own lines and what evaluators print on workers. The newest
//! lines lie in memory, those of a search also in a file beside the journal, bounded for each trial. Nothing here is
//! truth: what cannot be kept is lost and counted. May import the runtime's logging and the file system.

mod kept;
mod line;
mod place;
mod read;
mod remembered;
mod writer;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use espalier_common::ids::SearchId;
use espalier_runtime::{Shutdown, logging};
use tokio::sync::{broadcast, mpsc, oneshot};

pub(crate) use line::{EvaluatorLine, Line};
pub(crate) use place::Place;
pub(crate) use read::{Filter, Piece, ReadError, read};
pub(crate) use remembered::Remembered;

/// Within the data folder.
const FOLDER: &str = "logs";
/// Lines that wait to be written: a second of a very busy coordinator.
const QUEUE: usize = 16_384;
/// Lines that a slow reader may be behind.
const BEHIND: usize = 4_096;
/// Lines of everything that lie in memory, and their bytes.
const RECENT_LINES: usize = 10_000;
const RECENT_BYTES: usize = 8 << 20;

/// What the writer is sent.
#[derive(Debug)]
enum ToWriter {
    Line(Arc<Line>),
    /// Answered once everything before lies in the files.
    Flush(Option<SearchId>, oneshot::Sender<Written>),
}

/// How far the writer is.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    /// The number of the last line that it has taken.
    number: u64,
    /// What the file of the search has with that line; what comes after it in the file has a higher number.
    bytes: u64,
}

/// The newest lines.
#[derive(Debug, Default)]
struct Recent {
    lines: VecDeque<Arc<Line>>,
    bytes: usize,
}

/// The log. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct LogBook {
    folder: Arc<Path>,
    next: Arc<AtomicU64>,
    /// Which start of the coordinator this is: numbers of lines begin anew with each.
    start: u64,
    recent: Arc<Mutex<Recent>>,
    followers: broadcast::Sender<Arc<Line>>,
    writer: mpsc::Sender<ToWriter>,
    shutdown: Shutdown,
}

impl LogBook {
    /// Opens the log in a data folder; from now on the lines of this process go there too.
    pub(crate) fn open(data_dir: &Path, shutdown: &Shutdown) -> Self {
        let folder: PathBuf = data_dir.join(FOLDER);
        let (writer, queue) = mpsc::channel(QUEUE);
        let book = Self {
            folder: folder.clone().into(),
            next: Arc::new(AtomicU64::new(1)),
            start: uuid::Uuid::new_v4().as_u64_pair().0,
            recent: Arc::default(),
            followers: broadcast::channel(BEHIND).0,
            writer,
            shutdown: shutdown.clone(),
        };
        espalier_runtime::spawn_named("log writer", writer::run(folder, queue));
        book
    }

    /// Takes in the lines that this process logs from now on.
    pub(crate) fn tap(&self) {
        let book = self.clone();
        // Nothing in there logs: it would come back here.
        logging::tap(move |text| {
            if let Some(line) = Line::of_own(text) {
                book.add(line);
            }
        });
    }

    /// Adds a line. Never waits.
    pub(crate) fn add(&self, mut line: Line) {
        // One after another, so that the numbers are in the order in which readers get the lines.
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        line.number = self.next.fetch_add(1, Ordering::Relaxed);
        let line = Arc::new(line);
        recent.bytes += line.text.len();
        recent.lines.push_back(Arc::clone(&line));
        while recent.lines.len() > RECENT_LINES || recent.bytes > RECENT_BYTES {
            let Some(oldest) = recent.lines.pop_front() else {
                break;
            };
            recent.bytes -= oldest.text.len();
        }
        // Nobody may follow.
        let _ = self.followers.send(Arc::clone(&line));
        if line.search.is_some() && self.writer.try_send(ToWriter::Line(line)).is_err() {
            logging::count_lost(1);
        }
    }

    /// The newest lines, and every one after them.
    fn subscribe(&self) -> (Vec<Arc<Line>>, broadcast::Receiver<Arc<Line>>) {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        (
            recent.lines.iter().cloned().collect(),
            self.followers.subscribe(),
        )
    }

    /// Whether one of the newest lines is about a worker of this name.
    pub(crate) fn mentions(&self, worker: &str) -> bool {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = recent.lines.iter();
        lines.any(|line| line.worker.as_deref() == Some(worker))
    }

    /// Waits until the lines so far lie in the files.
    pub(crate) async fn flush(&self) {
        self.written(None).await;
    }

    async fn written(&self, search: Option<SearchId>) -> Written {
        let (done, written) = oneshot::channel();
        if self
            .writer
            .send(ToWriter::Flush(search, done))
            .await
            .is_err()
        {
            return Written::default();
        }
        // The writer ends with the coordinator.
        written.await.unwrap_or_default()
    }

    fn file(&self, search: SearchId) -> PathBuf {
        writer::file(&self.folder, search)
    }
}
