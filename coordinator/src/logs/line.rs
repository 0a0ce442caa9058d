//! One line of the log, with what it is chosen by.

use std::io::{self, BufRead as _, BufReader};

use espalier_common::ids::{AttemptKey, SearchId};
use espalier_runtime::logging;
use serde::{Deserialize, Serialize};

/// The target of what evaluators print.
const EVALUATOR: &str = "evaluator";
/// The event after which nothing more comes of a search.
const LAST: &str = "search finished";

/// Where what a trial's evaluator prints is kept no further.
const CUT: &str = "what this trial's evaluator prints from here on is not kept: it is too much";

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Counts up in this process; 0 for one that was read from a file.
    pub(super) number: u64,
    pub(super) search: Option<SearchId>,
    pub(super) trial: Option<u32>,
    pub(super) worker: Option<String>,
    pub(super) timestamp: String,
    /// Whether an evaluator printed it.
    pub(super) printed: bool,
    /// Whether its search ends with it.
    pub(super) last: bool,
    /// One JSON object.
    pub(crate) text: String,
}

/// What a line is chosen by. Of other fields nothing is read.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    timestamp: String,
    #[serde(default)]
    target: String,
    #[serde(default)]
    message: String,
    search: Option<SearchId>,
    trial: Option<u32>,
    worker: Option<String>,
}

/// What an evaluator printed on a worker.
#[derive(Debug)]
pub(crate) struct EvaluatorLine {
    pub(crate) attempt: AttemptKey,
    /// The worker's name.
    pub(crate) worker: String,
    pub(crate) slot: u32,
    pub(crate) evaluator: String,
    pub(crate) level: &'static str,
    pub(crate) text: String,
}

/// The same as it is kept: with the fields that its worker's log has.
#[derive(Serialize)]
struct Printed<'a> {
    /// When it came: clocks of workers are not trusted.
    timestamp: &'a str,
    level: &'static str,
    message: &'a str,
    search: SearchId,
    trial: u32,
    attempt: u32,
    worker: &'a str,
    slot: u32,
    evaluator: &'a str,
    target: &'static str,
}

/// The lines of a file. What a crash cut off may end within a letter, so nothing is asked of what a line holds.
pub(super) fn texts(file: impl io::Read) -> impl Iterator<Item = io::Result<String>> {
    let lines = BufReader::new(file).split(b'\n');
    lines.map(|line| line.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

impl Line {
    /// A line as the logger wrote it; `None`: it is none.
    pub(super) fn of_own(text: &str) -> Option<Self> {
        let text = text.trim_end();
        let head: Head = serde_json::from_str(text).ok()?;
        Some(Self {
            number: 0,
            search: head.search,
            trial: head.trial,
            worker: head.worker,
            last: head.message == LAST && head.target != EVALUATOR,
            printed: head.target == EVALUATOR,
            timestamp: head.timestamp,
            text: text.to_owned(),
        })
    }

    /// What a file says where it keeps nothing more of what a trial's evaluator prints. Not by the logger: the line is
    /// the file's alone.
    pub(super) fn cut(search: SearchId, trial: u32) -> String {
        let timestamp = logging::timestamp();
        format!(
            "{{\"timestamp\":\"{timestamp}\",\"level\":\"WARN\",\"message\":\"{CUT}\",\"search\":\"{search}\",\
             \"trial\":{trial},\"target\":\"espalier_coordinator::logs\"}}"
        )
    }

    /// Whether it says so.
    pub(super) fn is_cut(&self) -> bool {
        !self.printed && self.text.contains(CUT)
    }

    /// What an evaluator printed.
    pub(crate) fn printed(line: &EvaluatorLine) -> Option<Self> {
        let timestamp = logging::timestamp();
        let key = &line.attempt;
        let text = serde_json::to_string(&Printed {
            timestamp: &timestamp,
            level: line.level,
            message: &line.text,
            search: key.search,
            trial: key.trial.0,
            attempt: key.attempt.0,
            worker: &line.worker,
            slot: line.slot,
            evaluator: &line.evaluator,
            target: EVALUATOR,
        });
        Some(Self {
            number: 0,
            search: Some(key.search),
            trial: Some(key.trial.0),
            worker: Some(line.worker.clone()),
            last: false,
            printed: true,
            timestamp,
            text: text.ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use espalier_common::ids::{AttemptNumber, TrialNumber};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_line_is_known_by_its_search_trial_and_worker() {
        let text = "{\"timestamp\":\"t\",\"level\":\"INFO\",\"message\":\"trial completed\",\
                    \"search\":\"00000000-0000-0000-0000-000000000001\",\"trial\":3,\"worker\":\"a\",\
                    \"target\":\"espalier_coordinator\"}\n";
        let line = Line::of_own(text).unwrap();
        assert_eq!(line.search, Some(SearchId(Uuid::from_u128(1))));
        assert_eq!((line.trial, line.worker.as_deref()), (Some(3), Some("a")));
        assert!(!line.last && !line.printed);
        assert_eq!(line.text, text.trim_end());
        assert_eq!(Line::of_own("no JSON"), None);
    }

    #[test]
    fn what_an_evaluator_prints_reads_back_as_it_was_and_ends_no_search() {
        let printed = EvaluatorLine {
            attempt: AttemptKey {
                search: SearchId(Uuid::from_u128(1)),
                trial: TrialNumber(3),
                attempt: AttemptNumber(2),
            },
            worker: "a".to_owned(),
            slot: 1,
            evaluator: "mine".to_owned(),
            level: "INFO",
            text: "search finished".to_owned(),
        };
        let line = Line::printed(&printed).unwrap();
        assert!(line.printed && !line.last);
        assert_eq!(Line::of_own(&line.text), Some(line));
    }
}
