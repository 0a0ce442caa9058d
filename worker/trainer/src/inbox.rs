//! What the worker says: a thread reads stdin all the time, so that `stop`, `checkpoint`, `shutdown` and the
//! end of the worker are noticed while a job runs.

use std::collections::VecDeque;
use std::io::{BufRead, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use espalier_common::evaluator::{Evaluate, Line, PROTOCOL_VERSION, ToEvaluator};
use espalier_common::ids::AttemptKey;
use serde_json::Value;

/// The longest line taken from the worker: a network of the most nodes is a few megabytes.
const MAX_COMMAND: u64 = 16 * 1024 * 1024;
/// Jobs that may wait. The worker sends one at a time; more is a mistake that must not fill the memory.
const MAX_WAITING: usize = 16;

/// Something that has to be answered, with the name that the worker gave to the attempt.
pub(crate) struct Request {
    pub(crate) attempt_id: Option<String>,
    pub(crate) job: Wanted,
}

/// A job to run, or why it could not be read: a job that is asked for is always answered.
pub(crate) enum Wanted {
    Evaluate(Box<Evaluate>),
    Unreadable(String),
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Request>,
    /// The attempt that was dropped last. Attempts have unique keys, so an old one does no harm.
    stopped: Option<AttemptKey>,
    /// The attempt of which a checkpoint was asked for last.
    broken_off: Option<AttemptKey>,
    /// `shutdown` came, or the worker is gone.
    ended: bool,
}

/// The worker's messages.
#[derive(Clone, Default)]
pub(crate) struct Inbox {
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Inbox {
    /// Reads from now on, in a thread of its own.
    pub(crate) fn start(from: impl BufRead + Send + 'static) -> std::io::Result<Self> {
        let inbox = Self::default();
        let reader = inbox.clone();
        std::thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || reader.read(from))?;
        Ok(inbox)
    }

    /// The next job; waits for one. `None` when there will be no more.
    pub(crate) fn next(&self) -> Option<Request> {
        let mut state = self.lock();
        loop {
            if state.ended {
                return None;
            }
            if let Some(request) = state.waiting.pop_front() {
                return Some(request);
            }
            state = self
                .shared
                .1
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether this attempt should end now.
    pub(crate) fn is_dropped(&self, attempt: AttemptKey) -> bool {
        let state = self.lock();
        state.ended || state.stopped == Some(attempt)
    }

    /// Whether this attempt should end with a checkpoint.
    pub(crate) fn is_to_break_off(&self, attempt: AttemptKey) -> bool {
        self.lock().broken_off == Some(attempt)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment or one push, so the state is good even after a panic.
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.shared.1.notify_all();
    }

    fn read(&self, mut from: impl BufRead) {
        loop {
            match read_line(&mut from) {
                Ok(Some(line)) => self.take(&line),
                // The worker closed the pipe: it is gone, and nobody waits for an answer.
                Ok(None) => break,
                Err(error) => {
                    eprintln!("stdin cannot be read: {error}");
                    break;
                }
            }
        }
        self.change(|state| state.ended = true);
    }

    fn take(&self, line: &[u8]) {
        match parse(line) {
            Parsed::Message(attempt_id, ToEvaluator::Evaluate(job)) => self.queue(Request {
                attempt_id,
                job: Wanted::Evaluate(job),
            }),
            Parsed::Message(_, ToEvaluator::Checkpoint { attempt }) => {
                self.change(|state| state.broken_off = Some(attempt));
            }
            Parsed::Message(_, ToEvaluator::Stop { attempt }) => {
                self.change(|state| state.stopped = Some(attempt));
            }
            Parsed::Message(_, ToEvaluator::Shutdown) => self.change(|state| state.ended = true),
            Parsed::BadJob(attempt_id, why) => self.queue(Request {
                attempt_id,
                job: Wanted::Unreadable(why),
            }),
            Parsed::Nothing => {}
            Parsed::Noise(why) => eprintln!("a line on stdin is ignored: {why}"),
        }
    }

    fn queue(&self, request: Request) {
        self.change(|state| {
            if state.waiting.len() < MAX_WAITING {
                state.waiting.push_back(request);
            } else {
                eprintln!("a job is ignored: {MAX_WAITING} are waiting already");
            }
        });
    }
}

/// A line without its end; `None` at the end of the input. What goes beyond [`MAX_COMMAND`] is skipped.
fn read_line(from: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if from.take(MAX_COMMAND).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') && line.len() as u64 == MAX_COMMAND {
        from.skip_until(b'\n')?;
        eprintln!("a line on stdin is longer than {MAX_COMMAND} bytes");
        line.clear();
    }
    Ok(Some(line))
}

enum Parsed {
    Message(Option<String>, ToEvaluator),
    BadJob(Option<String>, String),
    Noise(String),
    Nothing,
}

fn parse(line: &[u8]) -> Parsed {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Parsed::Nothing;
    }
    let why = match serde_json::from_slice::<Line<ToEvaluator>>(line) {
        Ok(line) if line.espalier == PROTOCOL_VERSION => {
            return Parsed::Message(line.attempt_id, line.message);
        }
        Ok(Line { espalier, .. }) => format!(
            "it speaks protocol {espalier}, and this evaluator {PROTOCOL_VERSION}; use a worker and a \
             trainer of one version"
        ),
        Err(error) => error.to_string(),
    };
    let value = serde_json::from_slice::<Value>(line).unwrap_or_default();
    if value.get("type").is_some_and(|kind| kind == "evaluate") {
        let attempt_id = value.get("attempt_id").and_then(Value::as_str);
        let why = format!("the job cannot be read: {why}");
        Parsed::BadJob(attempt_id.map(str::to_owned), why)
    } else {
        Parsed::Noise(why)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn an_overlong_line_is_skipped_and_the_next_one_read() {
        let mut bytes = vec![b'x'; MAX_COMMAND as usize + 100];
        bytes.extend(b"\nnext\n");
        let mut from = Cursor::new(bytes);
        assert_eq!(read_line(&mut from).unwrap().unwrap(), b"");
        assert_eq!(read_line(&mut from).unwrap().unwrap(), b"next\n");
        assert_eq!(read_line(&mut from).unwrap(), None);
    }

    #[test]
    fn a_job_that_cannot_be_read_is_still_a_job() {
        for line in [
            &br#"{"espalier":1,"type":"evaluate"}"#[..],
            br#"{"espalier":2,"type":"evaluate","search":1}"#,
        ] {
            assert!(matches!(parse(line), Parsed::BadJob(None, _)));
        }
        for line in [
            &b"hello"[..],
            b"[1]",
            br#"{"espalier":1,"type":"dance"}"#,
            b"\xff",
        ] {
            assert!(matches!(parse(line), Parsed::Noise(_)));
        }
        assert!(matches!(
            parse(br#"{"espalier":1,"type":"shutdown"}"#),
            Parsed::Message(None, ToEvaluator::Shutdown)
        ));
        let line = br#"{"espalier":2,"attempt_id":"a","type":"evaluate","search":1}"#;
        let Parsed::BadJob(Some(id), _) = parse(line) else {
            panic!("the answer must name the attempt");
        };
        assert_eq!(id, "a");
    }

    #[test]
    fn the_end_of_the_input_ends_every_attempt() {
        let inbox = Inbox::start(Cursor::new(Vec::new())).unwrap();
        assert!(inbox.next().is_none());
        let attempt = AttemptKey {
            search: espalier_common::ids::SearchId(
                "00000000-0000-0000-0000-000000000000".parse().unwrap(),
            ),
            trial: Default::default(),
            attempt: Default::default(),
        };
        assert!(inbox.is_dropped(attempt));
    }

    fn real_lines() -> Vec<serde_json::Value> {
        let attempt = r#""search":"00000000-0000-0000-0000-000000000007","trial":3,"attempt":1"#;
        let lines = [
            format!(
                r#"{{"espalier":1,"attempt_id":"7/3/1","type":"evaluate",{attempt},"search_name":"test","job":{{"train":{{"from":0,"to":3}}}},"evaluator":"trainer","network":null,"decisions":{{"x":1}},"training":{{"epochs":3,"batch_size":8,"optimizer":{{"adamw":{{"learning_rate":0.1,"weight_decay":0.0}}}},"schedule":{{"constant":{{"warmup_epochs":0.0}}}},"label_smoothing":0.0}},"dataset":null,"objective":{{"metric":"accuracy","direction":"maximize"}},"seed":1,"dataset_path":null,"weights_path":null,"scratch":"/tmp","threads":1,"device":"cpu"}}"#
            ),
            format!(r#"{{"espalier":1,"type":"stop","attempt":{{{attempt}}}}}"#),
            format!(r#"{{"espalier":1,"type":"checkpoint","attempt":{{{attempt}}}}}"#),
            r#"{"espalier":1,"type":"shutdown"}"#.to_owned(),
        ];
        let value = |line: &String| serde_json::from_str(line).unwrap();
        lines.iter().map(value).collect()
    }

    #[test]
    fn whatever_comes_a_job_is_answered_and_what_follows_is_read() {
        use proptest::prelude::*;

        let real = real_lines();
        for line in &real {
            let parsed = parse(line.to_string().as_bytes());
            assert!(matches!(parsed, Parsed::Message(..)), "{line}");
        }
        let texts = real
            .iter()
            .map(|line| line.to_string().into_bytes())
            .collect();
        let line = prop_oneof![
            espalier_fuzzing::changed(texts),
            espalier_fuzzing::changed_json(real).prop_map(|value| value.to_string().into_bytes()),
        ];
        let end = br#"{"espalier":1,"attempt_id":"last","type":"evaluate"}"#;
        espalier_fuzzing::check(1_500, proptest::collection::vec(line, 0..4), |lines| {
            let mut bytes = lines.join(&b"\n"[..]);
            let mut jobs = 0;
            for line in bytes.split(|&byte| byte == b'\n') {
                match parse(line) {
                    Parsed::Message(_, ToEvaluator::Evaluate(_)) | Parsed::BadJob(..) => jobs += 1,
                    _ => {}
                }
            }
            prop_assume!(jobs < MAX_WAITING);
            bytes.push(b'\n');
            bytes.extend(end);
            let inbox = Inbox::default();
            inbox.read(Cursor::new(bytes));
            let waiting = std::mem::take(&mut inbox.lock().waiting);
            prop_assert_eq!(waiting.len(), jobs + 1, "a job without an answer");
            let last = waiting.back().and_then(|last| last.attempt_id.as_deref());
            prop_assert_eq!(last, Some("last"));
            Ok(())
        });
    }
}
