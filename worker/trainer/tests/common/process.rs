//! An evaluator process as a worker has it: messages in, messages out.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use espalier_common::evaluator::{Evaluate, FromEvaluator, LINE_PREFIX, Line, Ready, ToEvaluator};

/// Far longer than anything here takes, on a machine that is busy with other things too.
const PATIENCE: Duration = Duration::from_secs(120);

/// An evaluator as a child process; it is killed when this is dropped.
pub struct Evaluator {
    process: Child,
    pub input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Evaluator {
    /// Starts the process and reads its `ready`.
    pub fn start(mut command: Command) -> (Self, Ready) {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let evaluator = Self {
            input: process.stdin.take(),
            process,
            lines,
        };
        match evaluator.next() {
            FromEvaluator::Ready(ready) => (evaluator, ready),
            other => panic!("ready comes first, not {other:?}"),
        }
    }

    pub fn write(&mut self, text: &str) {
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{text}").unwrap();
        input.flush().unwrap();
    }

    pub fn send(&mut self, message: ToEvaluator) {
        let attempt = match &message {
            ToEvaluator::Evaluate(job) => Some(job.job.key()),
            ToEvaluator::Checkpoint { attempt } | ToEvaluator::Stop { attempt } => Some(*attempt),
            ToEvaluator::Shutdown => None,
        };
        let line = Line::new(attempt.map(|key| key.to_string()), message);
        self.write(&serde_json::to_string(&line).unwrap());
    }

    pub fn evaluate(&mut self, job: &Evaluate) {
        self.send(ToEvaluator::Evaluate(Box::new(job.clone())));
    }

    pub fn next(&self) -> FromEvaluator {
        self.next_line().message
    }

    /// The next message with the attempt that it names.
    pub fn next_line(&self) -> Line<FromEvaluator> {
        let line = self.lines.recv_timeout(PATIENCE).expect("a line in time");
        assert!(line.starts_with(LINE_PREFIX), "{line}");
        serde_json::from_str(&line).unwrap()
    }

    /// The attempts that the messages up to the last one name.
    pub fn named_attempts(&self) -> Vec<Option<String>> {
        let mut named = Vec::new();
        loop {
            let line = self.next_line();
            named.push(line.attempt_id);
            if is_last(&line.message) {
                return named;
            }
        }
    }

    /// Every message up to the last one.
    pub fn answer(&self) -> Vec<FromEvaluator> {
        let mut messages = vec![self.next()];
        while !messages.last().is_some_and(is_last) {
            messages.push(self.next());
        }
        messages
    }

    pub fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "the evaluator does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Whether a job ends with this message.
fn is_last(message: &FromEvaluator) -> bool {
    use FromEvaluator::{Checkpoint, Done, Failed};
    matches!(message, Checkpoint { .. } | Done(_) | Failed { .. })
}

impl Drop for Evaluator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
