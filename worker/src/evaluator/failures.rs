//! What goes wrong with an evaluator process, in words that name it. May import common.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use espalier_common::evaluator::PROTOCOL_VERSION;
use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use nix::sys::signal::Signal;

use super::READY_LIMIT;
use crate::config::Program;

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
