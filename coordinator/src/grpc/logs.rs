//! The log over the wire: what workers send of it, and what users read.

use std::pin::Pin;

use espalier_common::ids::{AttemptKey, WorkerId};
use espalier_proto::{attempt_from_wire, v1};
use futures::{Stream, StreamExt as _};
use tonic::Status;

use crate::actors::{CallError, DispatcherHandle, Searches, WorkerNames};
use crate::logs::{EvaluatorLine, Filter, Line, LogBook, Piece, Place, ReadError, read};

/// The most lines of one message.
const MAX_LINES: usize = 1_024;
/// The longest line, in bytes: what a worker sends of one has 4,096 characters at most.
const MAX_LINE_BYTES: usize = 16 * 1_024;
const MAX_NAME_BYTES: usize = 64;
/// The longest name of a worker in a request.
const MAX_FILTER_BYTES: usize = 256;
/// The most lines that are asked for by number; they lie in memory for a moment.
const MAX_LAST: u32 = 1_000_000;

/// What a reader gets.
pub(super) type Lines = Pin<Box<dyn Stream<Item = Result<v1::LogsReply, Status>> + Send>>;

/// Takes in what evaluators of a worker printed. Lines about attempts that are not the worker's are left out.
pub(super) async fn take(
    book: &LogBook,
    dispatcher: &DispatcherHandle,
    names: &WorkerNames,
    worker: WorkerId,
    request: v1::LogRequest,
) -> Result<(), CallError> {
    if request.lines.len() > MAX_LINES {
        let message = format!("lines: at most {MAX_LINES} are taken in one message");
        return Err(CallError::Invalid(message));
    }
    let name = names.name(worker);
    let keys: Vec<AttemptKey> = request
        .lines
        .iter()
        .map(|line| attempt_from_wire(line.attempt.as_ref()))
        .collect::<Result<_, _>>()?;
    let held = dispatcher.held(worker, keys.clone()).await?;
    for ((line, attempt), held) in request.lines.into_iter().zip(keys).zip(held) {
        let line = EvaluatorLine {
            attempt,
            worker: name.clone(),
            slot: line.slot,
            level: level(&line.level)?,
            evaluator: at_most("evaluator", line.evaluator, MAX_NAME_BYTES)?,
            text: at_most("text", line.text, MAX_LINE_BYTES)?,
        };
        if held && let Some(line) = Line::printed(&line) {
            book.add(line);
        }
    }
    if request.lost > 0 {
        tracing::warn!(
            worker = name,
            lines = request.lost,
            "lines of evaluators were lost on their way here: the coordinator was away, or too many came"
        );
    }
    Ok(())
}

fn level(text: &str) -> Result<&'static str, CallError> {
    let known = ["DEBUG", "INFO", "WARN", "ERROR"];
    let found = known.into_iter().find(|level| *level == text);
    found.ok_or_else(|| CallError::Invalid("level: one of DEBUG, INFO, WARN, ERROR".to_owned()))
}

fn at_most(what: &str, text: String, most: usize) -> Result<String, CallError> {
    if text.len() > most {
        let message = format!("{what}: at most {most} bytes");
        return Err(CallError::Invalid(message));
    }
    Ok(text)
}

/// The lines that a user asks for.
pub(super) fn show(
    book: LogBook,
    searches: &Searches,
    request: v1::LogsRequest,
) -> Result<Lines, CallError> {
    let search = match request.search.as_str() {
        "" => None,
        name => Some(searches.find(name)?.profile().id),
    };
    if search.is_none() && request.trial.is_some() {
        return Err(CallError::Invalid("trial: of which search?".to_owned()));
    }
    let from = match request.from.as_str() {
        "" => None,
        text => Some(place(text, search.is_some())?),
    };
    let worker = at_most("worker", request.worker, MAX_FILTER_BYTES)?;
    let filter = Filter {
        search,
        trial: request.trial,
        worker: Some(worker).filter(|worker| !worker.is_empty()),
        from,
        last: request.last.map(|last| last.min(MAX_LAST) as usize),
        follow: request.follow,
    };
    let replies = read(book, filter).map(|piece| match piece {
        Ok(Piece { lines, place }) => Ok(v1::LogsReply {
            lines,
            place: place.map_or_else(String::new, |place| place.to_string()),
        }),
        Err(ReadError::Stopping) => Err(CallError::Stopping.into()),
        Err(error) => Err(Status::internal(error.to_string())),
    });
    Ok(Box::pin(replies))
}

/// A place that was given with lines of the same kind.
fn place(text: &str, of_search: bool) -> Result<Place, CallError> {
    let place = text.parse().ok();
    let fits = |place: &Place| matches!(place, Place::File { .. }) == of_search;
    place.filter(fits).ok_or_else(|| {
        let message =
            "from: the `place` of a reply with lines of the same log, as it was".to_owned();
        CallError::Invalid(message)
    })
}
