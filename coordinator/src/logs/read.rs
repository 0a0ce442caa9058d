//! Reading the log: what lies there, and what comes after it.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use espalier_common::ids::SearchId;
use futures::Stream;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, mpsc};

use super::LogBook;
use super::line::{Line, texts};

/// Bytes of lines that are sent at once.
const PIECE_BYTES: usize = 64 << 10;
/// Lines that are sent at once: of the longest, what a message may have.
const PIECE_LINES: usize = 256;
/// Lines that come one by one are sent together: a busy search has thousands a second.
const GATHER: Duration = Duration::from_millis(50);
/// Pieces that wait for a slow reader while a file is read.
const PIECES: usize = 4;

/// Which lines are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) search: Option<SearchId>,
    pub(crate) trial: Option<u32>,
    pub(crate) worker: Option<String>,
    /// Later than this timestamp; for a reader that was cut off.
    pub(crate) after: String,
    /// So many of the lines that lie there.
    pub(crate) last: Option<usize>,
    /// And those that come.
    pub(crate) follow: bool,
}

impl Filter {
    fn takes(&self, line: &Line) -> bool {
        (self.search.is_none() || line.search == self.search)
            && (self.trial.is_none() || line.trial == self.trial)
            && (self.worker.is_none() || line.worker == self.worker)
            && line.timestamp > self.after
    }
}

/// Why reading ends before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The file of a search.
    #[error("the log of the search cannot be read: {0}")]
    File(#[from] io::Error),
    /// The coordinator ends.
    #[error("the coordinator is stopping")]
    Stopping,
}

/// The lines that are wanted, in pieces. With `follow` they end with their search.
pub(crate) fn read(
    book: LogBook,
    filter: Filter,
) -> impl Stream<Item = Result<Vec<String>, ReadError>> + Send {
    async_stream::try_stream! {
        let (recent, mut coming) = book.subscribe();
        // What has come by now; whatever has a higher number comes.
        let mut seen = recent.last().map_or(0, |line| line.number);
        let mut over = false;
        if let Some(search) = filter.search {
            drop(recent);
            // The file is read as far as the writer was at one time: what it has written since also comes.
            let written = book.written(Some(search)).await;
            seen = written.number;
            let mut pieces = pieces(book.file(search), written.bytes, filter.clone());
            while let Some(piece) = pieces.recv().await {
                let (lines, last) = piece?;
                over = last;
                if !lines.is_empty() {
                    yield lines;
                }
            }
        } else {
            let mut wanted = recent;
            wanted.retain(|line| filter.takes(line));
            let skip = filter.last.map_or(0, |last| wanted.len().saturating_sub(last));
            for piece in wanted[skip..].chunks(PIECE_LINES) {
                yield piece.iter().map(|line| line.text.clone()).collect();
            }
        }
        while filter.follow && !over {
            let first = tokio::select! {
                next = coming.recv() => next,
                () = book.shutdown.requested() => Err(RecvError::Closed),
            };
            if let Err(RecvError::Closed) = first {
                Err(ReadError::Stopping)?;
            }
            tokio::time::sleep(GATHER).await;
            let mut lines = Vec::new();
            let mut next = Some(first);
            while let Some(item) = next.take() {
                match item {
                    Ok(line) if line.number <= seen => {}
                    Ok(line) => {
                        over = line.last && filter.search.is_some() && line.search == filter.search;
                        if filter.takes(&line) {
                            lines.push(line.text.clone());
                        }
                    }
                    Err(RecvError::Lagged(missed)) => lines.push(left_out(missed)),
                    Err(RecvError::Closed) => break,
                }
                if !over && lines.len() < PIECE_LINES {
                    next = ready(&mut coming);
                }
            }
            if !lines.is_empty() {
                yield lines;
            }
        }
    }
}

/// The next line, if it has come.
fn ready(coming: &mut broadcast::Receiver<Arc<Line>>) -> Option<Result<Arc<Line>, RecvError>> {
    match coming.try_recv() {
        Ok(line) => Some(Ok(line)),
        Err(TryRecvError::Empty) => None,
        Err(TryRecvError::Closed) => Some(Err(RecvError::Closed)),
        Err(TryRecvError::Lagged(missed)) => Some(Err(RecvError::Lagged(missed))),
    }
}

/// In the place of lines for which the reader was too slow.
fn left_out(missed: u64) -> String {
    let timestamp = espalier_runtime::logging::timestamp();
    format!(
        "{{\"timestamp\":\"{timestamp}\",\"level\":\"WARN\",\"message\":\"lines are left out here: this reader is too slow\",\
         \"missed\":{missed},\"target\":\"espalier_coordinator::logs\"}}"
    )
}

type Piece = io::Result<(Vec<String>, bool)>;

/// Reads a search's file on a thread that may wait for a disk. Each piece says whether the search has ended in it.
fn pieces(path: PathBuf, bytes: u64, filter: Filter) -> mpsc::Receiver<Piece> {
    let (sender, pieces) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let sent = read_file(path, bytes, &filter, |piece| {
            sender.blocking_send(Ok(piece)).is_ok()
        });
        if let Err(error) = sent {
            // The reader may be gone.
            let _ = sender.blocking_send(Err(error));
        }
    });
    pieces
}

fn read_file(
    path: PathBuf,
    most: u64,
    filter: &Filter,
    mut send: impl FnMut((Vec<String>, bool)) -> bool,
) -> io::Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        // Nothing was logged of it.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    // What is no line was cut off by a crash.
    let lines = |file: &File| -> io::Result<_> {
        let mut file = file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(texts(file.take(most)).filter_map(|text| match text {
            Ok(text) => Line::of_own(&text).map(Ok),
            Err(error) => Some(Err(error)),
        }))
    };
    // Counted first, so that the newest are never all in memory.
    let mut skipped = match filter.last {
        None => 0,
        Some(last) => {
            let mut count = 0_usize;
            for line in lines(&file)? {
                count += usize::from(filter.takes(&line?));
            }
            count.saturating_sub(last)
        }
    };
    let (mut piece, mut bytes, mut over) = (Vec::new(), 0, false);
    for line in lines(&file)? {
        let line = line?;
        // A search may go on after its end, when it is given more.
        over = line.last || (over && line.printed);
        if !filter.takes(&line) {
            continue;
        }
        if skipped > 0 {
            skipped -= 1;
            continue;
        }
        bytes += line.text.len();
        piece.push(line.text);
        if bytes >= PIECE_BYTES {
            bytes = 0;
            if !send((std::mem::take(&mut piece), over)) {
                return Ok(());
            }
        }
    }
    send((piece, over));
    Ok(())
}
