//! What goes wrong with an evaluator process, in words that name it. May import common, tokio.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use espalier_common::evaluator::PROTOCOL_VERSION;
use espalier_common::failure::{
    Failure, FailureDomain, FailureKind, last_error, says_device_memory, says_disk_full,
    says_out_of_memory,
};
use nix::sys::signal::Signal;
use tokio::time::timeout;

use super::{Evaluator, LAST_OUTPUT_LIMIT, READY_LIMIT, process};
use crate::config::Program;
use crate::limits::size;

impl Evaluator {
    /// The failure of an evaluator that was silent for too long.
    pub(crate) fn hung(&self, silence: Duration) -> Failure {
        let message = format!(
            "evaluator {:?} wrote nothing for {} ms and was killed; if that is normal, let it write progress \
             lines or raise --evaluator-silence-ms",
            self.program.name,
            silence.as_millis()
        );
        self.with_tail(Failure::new(
            FailureDomain::Worker,
            FailureKind::Hung,
            message,
        ))
    }

    /// The failure of an evaluator that ended during a job.
    pub(crate) async fn crashed(&mut self, status: Option<ExitStatus>) -> Failure {
        let (kind, how) = self.how_it_ended(status).await;
        let message = format!("evaluator {:?} {how} without an answer", self.program.name);
        self.with_tail(Failure::new(FailureDomain::Worker, kind, message))
    }

    pub(super) async fn ended_before_ready(&mut self, status: Option<ExitStatus>) -> Failure {
        let (kind, how) = self.how_it_ended(status).await;
        let message = format!("it {how} before it said it was ready");
        self.with_tail(Failure::new(FailureDomain::Worker, kind, message))
    }

    /// Why it ended: by what is known for sure before what it said.
    async fn how_it_ended(&mut self, status: Option<ExitStatus>) -> (FailureKind, String) {
        let both = async {
            let _ = (&mut self.stdout_reader).await;
            let _ = (&mut self.stderr_reader).await;
        };
        let _ = timeout(LAST_OUTPUT_LIMIT, both).await;
        if let Some(limit) = self.memory.was_exceeded(status) {
            let how = format!(
                "used more than the {} of memory that --evaluator-memory allows, and was killed",
                size(limit)
            );
            return (FailureKind::OutOfMemory, how);
        }
        let killed = status.and_then(|status| status.signal()) == Some(Signal::SIGKILL as i32);
        let tail = self.tail.text();
        let (kind, why) = if killed && process::out_of_memory_kills() > self.oom_kills {
            let why = " (the kernel killed a process because memory ran out)";
            (FailureKind::OutOfMemory, why)
        } else {
            of_last_words(&tail)
        };
        (kind, format!("{}{why}", describe(status)))
    }
}

/// What a program's last words say about its end.
fn of_last_words(tail: &str) -> (FailureKind, &'static str) {
    let words = last_error(tail);
    if says_out_of_memory(words) && says_device_memory(words) {
        (FailureKind::OutOfMemory, " (memory of its GPU ran out)")
    } else if says_out_of_memory(words) {
        (FailureKind::OutOfMemory, " (memory ran out)")
    } else if says_disk_full(words) {
        (FailureKind::Disk, " (a disk is full)")
    } else {
        (FailureKind::Crashed, "")
    }
}

/// How a process ended; `None` when it only closed its stdout.
pub(super) fn describe(status: Option<ExitStatus>) -> String {
    match status {
        None => "closed its stdout".to_owned(),
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exited with code {code}"),
            (None, Some(number)) => {
                let name = Signal::try_from(number).map_or("unknown", Signal::as_str);
                format!("was killed by signal {number} ({name})")
            }
            (None, None) => "ended".to_owned(),
        },
    }
}

/// The failure of an evaluator that does not start, with the program and the machine: another machine may
/// have it installed.
pub(super) fn not_started(worker: &str, program: &Program, failure: Failure) -> Failure {
    let message = format!(
        "evaluator {:?} ({}) does not start on worker {worker:?}: {}",
        program.name,
        program.command.join(" "),
        failure.message
    );
    let domain = FailureDomain::Worker;
    Failure {
        domain,
        message,
        ..failure
    }
    .bounded()
}

pub(super) fn cannot_start(error: &io::Error) -> Failure {
    let message = format!("the operating system starts no process: {error}");
    Failure::new(FailureDomain::Worker, FailureKind::Crashed, message)
}

pub(super) fn not_ready() -> Failure {
    Failure::new(
        FailureDomain::Worker,
        FailureKind::Hung,
        format!(
            "it did not write its `ready` line within {} s of its start",
            READY_LIMIT.as_secs()
        ),
    )
}

pub(super) fn other_version(name: &str, version: u32) -> Failure {
    Failure::new(
        FailureDomain::Worker,
        FailureKind::Unsupported,
        format!(
            "evaluator {name:?} speaks version {version} of the evaluator protocol, this worker version \
             {PROTOCOL_VERSION}; use releases that belong together"
        ),
    )
}
