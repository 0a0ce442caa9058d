//! Reading the log: what lies there, and what comes after it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use espalier_common::ids::SearchId;
use futures::Stream;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, mpsc};

use super::line::Line;
use super::place::Place;
use super::{LogBook, Written};

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
    /// Those after this place; for a reader that was cut off.
    pub(crate) from: Option<Place>,
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

/// Lines that are sent together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) lines: Vec<String>,
    /// Where the reader is with them, if that is known.
    pub(crate) place: Option<Place>,
}

/// The lines that are wanted, in pieces. With `follow` they end with their search.
pub(crate) fn read(
    book: LogBook,
    filter: Filter,
) -> impl Stream<Item = Result<Piece, ReadError>> + Send {
    async_stream::try_stream! {
        let (recent, receiver) = book.subscribe();
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
                let piece = piece?;
                over = matches!(piece.place, Some(Place::File { over: true, .. }));
                yield piece;
            }
        } else {
            for piece in newest(&book, &filter, recent, seen) {
                yield piece;
            }
        }
        let (held, behind) = (VecDeque::new(), false);
        let mut coming = Coming { receiver, search: filter.search, seen, held, behind };
        while filter.follow && !over {
            let goes_on = coming.gather(&book).await;
            let written = match filter.search {
                // What is sent lies in the file, so that its place there is known.
                Some(search) if !coming.held.is_empty() => Some(book.written(Some(search)).await),
                _ => None,
            };
            for piece in coming.take(&book, &filter, written) {
                over = matches!(piece.place, Some(Place::File { over: true, .. }));
                yield piece;
            }
            if !goes_on && !over {
                Err(ReadError::Stopping)?;
            }
        }
    }
}

/// The newest lines about everything that are wanted; the last piece has the place behind them, and may be empty.
fn newest(book: &LogBook, filter: &Filter, recent: Vec<Arc<Line>>, seen: u64) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut wanted = recent;
    // Of another start everything is new.
    if let Some(Place::Memory { start, number }) = filter.from
        && start == book.start
    {
        let oldest = wanted.first().map_or(seen + 1, |line| line.number);
        let gone = oldest.saturating_sub(number + 1);
        if gone > 0 {
            pieces.push(Piece {
                lines: vec![left_out(gone)],
                place: None,
            });
        }
        wanted.retain(|line| line.number > number);
    }
    wanted.retain(|line| filter.takes(line));
    let skip = filter
        .last
        .map_or(0, |last| wanted.len().saturating_sub(last));
    let texts: Vec<String> = wanted[skip..]
        .iter()
        .map(|line| line.text.clone())
        .collect();
    let start = book.start;
    let place = Place::Memory {
        start,
        number: seen,
    };
    pieces.extend(in_pieces(texts, place));
    pieces
}

/// Lines in pieces, of which the last says where the reader is then.
fn in_pieces(lines: Vec<String>, place: Place) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = lines
        .chunks(PIECE_LINES)
        .map(|lines| Piece {
            lines: lines.to_vec(),
            place: None,
        })
        .collect();
    match pieces.last_mut() {
        Some(last) => last.place = Some(place),
        None => pieces.push(Piece {
            lines: Vec::new(),
            place: Some(place),
        }),
    }
    pieces
}

/// What comes after what lies there.
struct Coming {
    receiver: broadcast::Receiver<Arc<Line>>,
    search: Option<SearchId>,
    /// Lines up to this one have been sent, or lay there.
    seen: u64,
    held: VecDeque<Item>,
    /// Of everything more has come than is sent at once: there is nothing to wait for.
    behind: bool,
}

/// What came.
enum Item {
    Line(Arc<Line>),
    /// So many lines were missed.
    Missed(u64),
}

impl Coming {
    /// Waits for lines, and for what comes right after them. False: the coordinator ends, and nothing more comes.
    async fn gather(&mut self, book: &LogBook) -> bool {
        let goes_on = if self.held.is_empty() {
            let first = tokio::select! {
                first = self.receiver.recv() => first,
                () = book.shutdown.requested() => Err(RecvError::Closed),
            };
            self.hold(first)
        } else {
            !book.shutdown.is_requested()
        };
        if !self.behind {
            tokio::time::sleep(GATHER).await;
        }
        while self.held.len() < PIECE_LINES && self.hold_ready() {}
        self.behind = self.search.is_none() && self.held.len() >= PIECE_LINES;
        goes_on
    }

    /// Holds the next line, if it has come. False: none has.
    fn hold_ready(&mut self) -> bool {
        let next = match self.receiver.try_recv() {
            Ok(line) => Ok(line),
            Err(TryRecvError::Empty | TryRecvError::Closed) => return false,
            Err(TryRecvError::Lagged(missed)) => Err(RecvError::Lagged(missed)),
        };
        self.hold(next)
    }

    /// False: the last one has come.
    fn hold(&mut self, next: Result<Arc<Line>, RecvError>) -> bool {
        match next {
            Ok(line) => {
                let is_own = self.search.is_none() || line.search == self.search;
                if is_own && line.number > self.seen {
                    self.held.push_back(Item::Line(line));
                }
            }
            Err(RecvError::Lagged(missed)) => self.held.push_back(Item::Missed(missed)),
            Err(RecvError::Closed) => return false,
        }
        true
    }

    /// What is held as pieces: of a search, as far as the writer is, so that the place in the file is exact.
    fn take(&mut self, book: &LogBook, filter: &Filter, written: Option<Written>) -> Vec<Piece> {
        let upto = written.map_or(u64::MAX, |written| written.number);
        if written.is_some() {
            // What the writer has taken was sent to followers before.
            while self.holds_all_to(upto) && self.hold_ready() {}
        }
        let (mut lines, mut over) = (Vec::new(), false);
        while !over && let Some(item) = self.held.pop_front() {
            match item {
                Item::Line(line) if line.number > upto => {
                    self.held.push_front(Item::Line(line));
                    break;
                }
                Item::Line(line) => {
                    self.seen = line.number;
                    over = line.last && filter.search.is_some();
                    if filter.takes(&line) {
                        lines.push(line.text.clone());
                    }
                }
                Item::Missed(missed) => lines.push(left_out(missed)),
            }
        }
        // Without lines the reader is told no new place: it lies behind lines that are none of its own.
        if lines.is_empty() && !over {
            return Vec::new();
        }
        let place = match written {
            Some(Written { bytes, .. }) => Place::File { bytes, over },
            None => Place::Memory {
                start: book.start,
                number: self.seen,
            },
        };
        in_pieces(lines, place)
    }

    fn holds_all_to(&self, number: u64) -> bool {
        match self.held.back() {
            Some(Item::Line(line)) => line.number <= number,
            Some(Item::Missed(_)) | None => true,
        }
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

/// Reads a search's file on a thread that may wait for a disk. The last piece may be empty.
fn pieces(path: PathBuf, bytes: u64, filter: Filter) -> mpsc::Receiver<io::Result<Piece>> {
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
    mut send: impl FnMut(Piece) -> bool,
) -> io::Result<()> {
    // A file that has less is another one: somebody has removed the one of before.
    let (mut at, mut over) = match filter.from {
        Some(Place::File { bytes, over }) if bytes <= most => (bytes, over),
        _ => (0, false),
    };
    let mut file = match File::open(path) {
        Ok(file) => file,
        // Nothing was logged of it.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let place = Some(Place::File { bytes: at, over });
            send(Piece {
                place,
                ..Piece::default()
            });
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    // Counted first, so that the newest are never all in memory.
    let mut skipped = match filter.last {
        None => 0,
        Some(last) => {
            let mut count = 0_usize;
            let mut lines = Lines::of(&mut file, at, most)?;
            while let Some((_, line)) = lines.next()? {
                count += usize::from(line.is_some_and(|line| filter.takes(&line)));
            }
            count.saturating_sub(last)
        }
    };
    let (mut piece, mut bytes) = (Vec::new(), 0);
    let mut lines = Lines::of(&mut file, at, most)?;
    while let Some((length, line)) = lines.next()? {
        at += length;
        // What is no line was cut off by a crash.
        let Some(line) = line else { continue };
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
            let place = Some(Place::File { bytes: at, over });
            let lines = std::mem::take(&mut piece);
            if !send(Piece { lines, place }) {
                return Ok(());
            }
        }
    }
    let place = Some(Place::File { bytes: at, over });
    send(Piece {
        lines: piece,
        place,
    });
    Ok(())
}

/// The lines of a part of a file.
struct Lines<'f> {
    text: BufReader<io::Take<&'f mut File>>,
    buffer: Vec<u8>,
}

impl<'f> Lines<'f> {
    fn of(file: &'f mut File, from: u64, to: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(from))?;
        Ok(Self {
            text: BufReader::new(file.take(to.saturating_sub(from))),
            buffer: Vec::new(),
        })
    }

    /// The next line, with the bytes that it has in the file. What a crash cut off is none, and may end within a letter.
    fn next(&mut self) -> io::Result<Option<(u64, Option<Line>)>> {
        self.buffer.clear();
        let length = self.text.read_until(b'\n', &mut self.buffer)?;
        let line = Line::of_own(&String::from_utf8_lossy(&self.buffer));
        Ok((length > 0).then_some((length as u64, line)))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use espalier_runtime::Shutdown;
    use futures::StreamExt as _;

    use super::*;

    /// As many lines a second as a coordinator that does thousands of trials.
    #[tokio::test]
    async fn a_reader_that_keeps_up_misses_no_line_of_a_busy_coordinator() {
        let folder = tempfile::tempdir().unwrap();
        let book = LogBook::open(folder.path(), &Shutdown::new());
        let line = |number: u32| {
            let text = format!("{{\"timestamp\":\"t\",\"message\":\"trial {number} completed\"}}");
            Line::of_own(&text).unwrap()
        };
        let filter = Filter {
            follow: true,
            ..Filter::default()
        };
        let mut pieces = pin!(read(book.clone(), filter));
        tokio::spawn(async move {
            for number in 0..12_000 {
                book.add(line(number));
                if number % 500 == 0 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        });
        let mut read = 0;
        while read < 12_000 {
            for text in pieces.next().await.unwrap().unwrap().lines {
                assert!(text.contains(&format!("trial {read} ")), "{read}: {text}");
                read += 1;
            }
        }
    }

    #[tokio::test]
    async fn a_reader_that_is_too_slow_gets_one_line_with_the_number_of_those_it_missed() {
        let folder = tempfile::tempdir().unwrap();
        let book = LogBook::open(folder.path(), &Shutdown::new());
        let filter = Filter {
            follow: true,
            ..Filter::default()
        };
        let mut pieces = pin!(read(book.clone(), filter));
        // From here on it follows.
        let first = pieces.next().await.unwrap().unwrap();
        assert!(first.lines.is_empty(), "{first:?}");
        let total = 5_000;
        assert!(total > super::super::BEHIND);
        for number in 0..total {
            let text = format!("{{\"timestamp\":\"t\",\"message\":\"trial {number} completed\"}}");
            book.add(Line::of_own(&text).unwrap());
        }
        let (mut read, mut gaps) = (0, Vec::new());
        let last = format!("trial {} ", total - 1);
        let mut ended = false;
        while !ended {
            for text in pieces.next().await.unwrap().unwrap().lines {
                let line: serde_json::Value = serde_json::from_str(&text).unwrap();
                match line["missed"].as_u64() {
                    Some(missed) => gaps.push(usize::try_from(missed).unwrap()),
                    None => read += 1,
                }
                ended = text.contains(&last);
            }
        }
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        assert_eq!(gaps[0] + read, total, "{gaps:?}");
        assert_eq!(read, super::super::BEHIND);
    }
}
