//! Writes the lines of searches into their files. It does not log what it does: that would come back to it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use espalier_common::ids::SearchId;
use espalier_runtime::logging;
use tokio::sync::{mpsc, oneshot};

use super::kept::{Kept, Take};
use super::line::{Line, texts};
use super::{ToWriter, Written};
use crate::private;

/// Lines written at once.
const BATCH: usize = 4_096;
/// Searches whose counts lie in memory; when there are more, all are counted again from their files.
const MOST_KEPT: usize = 1_024;

/// The file of a search.
pub(super) fn file(folder: &Path, search: SearchId) -> PathBuf {
    folder.join(format!("{search}.jsonl"))
}

/// Writes until every sender is gone.
pub(super) async fn run(folder: PathBuf, mut queue: mpsc::Receiver<ToWriter>) {
    let mut state = State::default();
    let mut inbox = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut inbox, BATCH).await > 0 {
        let (batch, folder) = (std::mem::take(&mut inbox), folder.clone());
        let written = tokio::task::spawn_blocking(move || {
            write(&folder, batch, &mut state);
            state
        });
        match written.await {
            Ok(after) => state = after,
            Err(_) => return, // the coordinator ends
        }
        inbox.reserve(BATCH);
    }
}

/// What the writer remembers.
#[derive(Debug, Default)]
struct State {
    kept: HashMap<SearchId, Kept>,
    /// The number of the last line.
    last: u64,
}

fn write(folder: &Path, batch: Vec<ToWriter>, state: &mut State) {
    if state.kept.len() > MOST_KEPT {
        state.kept.clear();
    }
    let mut by_search: HashMap<SearchId, Vec<Arc<Line>>> = HashMap::new();
    let mut waiting: Vec<(Option<SearchId>, oneshot::Sender<Written>)> = Vec::new();
    for message in batch {
        match message {
            ToWriter::Line(line) => {
                state.last = line.number;
                if let Some(search) = line.search {
                    by_search.entry(search).or_default().push(line);
                }
            }
            ToWriter::Flush(search, done) => waiting.push((search, done)),
        }
    }
    for (search, lines) in by_search {
        let count = lines.len() as u64;
        if append(&file(folder, search), search, lines, &mut state.kept).is_err() {
            // Of what is half written the next reader sees that it is no line.
            logging::count_lost(count);
        }
    }
    for (search, done) in waiting {
        let size = |path: PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let written = Written {
            number: state.last,
            bytes: search.map_or(0, |search| size(file(folder, search))),
        };
        // Whoever waited may be gone.
        let _ = done.send(written);
    }
}

fn append(
    path: &Path,
    search: SearchId,
    lines: Vec<Arc<Line>>,
    kept: &mut HashMap<SearchId, Kept>,
) -> io::Result<()> {
    let kept = match kept.entry(search) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => entry.insert(count(path)?),
    };
    let mut text = String::new();
    for line in lines {
        match (kept.take(&line), line.trial) {
            (Take::Whole, _) => text.push_str(&line.text),
            (Take::Cut, Some(trial)) => text.push_str(&Line::cut(search, trial)),
            (Take::Cut | Take::Not, _) => continue,
        }
        text.push('\n');
    }
    if text.is_empty() {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        private::make_folder(folder)?;
    }
    let mut file = private::options().read(true).append(true).open(path)?;
    let before = file.metadata()?.len();
    if before > 0 && last_byte(&mut file)? != b'\n' {
        // A crash cut the last line off; what comes now is a line of its own.
        text.insert(0, '\n');
    }
    file.write_all(text.as_bytes()).inspect_err(|_| {
        let _ = file.set_len(before);
    })
}

fn last_byte(file: &mut File) -> io::Result<u8> {
    let mut last = [0];
    file.seek(io::SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last[0])
}

/// What a file of an earlier start has.
fn count(path: &Path) -> io::Result<Kept> {
    let mut kept = Kept::default();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(kept),
        Err(error) => return Err(error),
    };
    for line in texts(file) {
        if let Some(line) = Line::of_own(&line?) {
            kept.take(&line);
        }
    }
    Ok(kept)
}
