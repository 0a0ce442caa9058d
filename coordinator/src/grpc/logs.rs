//! The log over the wire: what workers send of it, and what users read.

use std::pin::Pin;

use espalier_common::ids::{AttemptKey, WorkerId};
use espalier_proto::{attempt_from_wire, v1};
use futures::{Stream, StreamExt as _};
use tonic::Status;

use crate::actors::{CallError, DispatcherHandle, SearchHandle, Searches, WorkerNames};
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

/// The most names that a refusal lists.
const SHOWN_NAMES: usize = 10;

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
pub(super) async fn show(
    book: LogBook,
    searches: &Searches,
    names: &WorkerNames,
    request: v1::LogsRequest,
) -> Result<Lines, CallError> {
    let search = match request.search.as_str() {
        "" => None,
        name => Some(searches.find(name)?),
    };
    match (&search, request.trial) {
        (None, Some(_)) => return Err(CallError::Invalid("trial: of which search?".to_owned())),
        (Some(search), Some(trial)) => check_trial(search, trial).await?,
        (_, None) => {}
    }
    let search = search.map(|search| search.profile().id);
    let from = match request.from.as_str() {
        "" => None,
        text => Some(place(text, search.is_some())?),
    };
    let worker = at_most("worker", request.worker, MAX_FILTER_BYTES)?;
    if !worker.is_empty() && !book.mentions(&worker) {
        check_worker(names, &worker)?;
    }
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

/// Of a trial that is not there no line would ever come.
async fn check_trial(search: &SearchHandle, trial: u32) -> Result<(), CallError> {
    let proposed = search.status().await?.counts.trials();
    if (1..=proposed).contains(&trial) {
        return Ok(());
    }
    let there_are = match proposed {
        0 => "it has none yet".to_owned(),
        1 => "it has trial 1 so far".to_owned(),
        last => format!("it has trials 1 to {last} so far"),
    };
    let name = &search.profile().name;
    Err(CallError::NotThere(format!(
        "{name} has no trial {trial}; {there_are}"
    )))
}

/// The same of a worker that was never here; one that has left is known.
fn check_worker(names: &WorkerNames, worker: &str) -> Result<(), CallError> {
    let all = names.all();
    if all.contains(worker) {
        return Ok(());
    }
    let shown: Vec<&str> = all.iter().take(SHOWN_NAMES).map(AsRef::as_ref).collect();
    let there_are = match (all.len(), all.len() - shown.len()) {
        (0, _) => "none has so far".to_owned(),
        (_, 0) => format!("there are {}", shown.join(", ")),
        (_, more) => format!("there are {} and {more} more", shown.join(", ")),
    };
    Err(CallError::NotThere(format!(
        "no worker {worker:?} has registered here; {there_are}"
    )))
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
