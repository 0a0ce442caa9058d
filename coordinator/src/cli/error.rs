//! What can go wrong with a command, and the exit code it ends with. May import tonic, to translate the
//! coordinator's refusals.

use std::path::Path;
use std::process::ExitCode;

/// Why a command ends without having done what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The search ended without a completed trial, or something on this machine failed.
    #[error("{0}")]
    Failed(String),
    /// The command line asks for something that cannot be.
    #[error("{0}")]
    Usage(String),
    /// The spec, or the data it names, cannot be used. Holds the reader's own rendering.
    #[error("{0}")]
    Spec(String),
    /// There is no such search, or more than one.
    #[error("{0}")]
    NotFound(String),
    /// No answer from the coordinator.
    #[error(
        "cannot reach the coordinator at {address}: {reason}; start one with `espalier serve`, or name \
         another with --address or ESPALIER_ADDRESS"
    )]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The coordinator, or what is there already, does not allow it.
    #[error("{0}")]
    Refused(String),
    /// A signal ended the command. Holds how to go on, if there is a way.
    #[error("{}", if .0.is_empty() { "interrupted" } else { .0.as_str() })]
    Interrupted(String),
    /// Whoever read stdout has seen enough: no failure.
    #[error("stdout was closed")]
    StdoutClosed,
}

/// Exit codes by kind, in the words of `--help`.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    the search has no completed trial, now or at its end, `replay` or `journal verify` found a fault, the coordinator takes no calls (`health`), or something on this machine failed
  2    wrong usage (also a value, a context or a preset that there is not), or a spec, data or a candidate that cannot be used
  3    what was named (a search, a trial, a data set, a token, a journal) is not there, or more than one has that name
  4    the coordinator cannot be reached
  5    the coordinator refused: it may not be, or not as things are; or one is at work in the folder, or what was to be made is there already
  130  interrupted";

/// What a shell expects of a program that SIGINT ended.
pub(super) const INTERRUPTED: u8 = 130;

impl CliError {
    /// A file that could not be read or written.
    pub(super) fn io(action: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::Failed(format!("cannot {action} {}: {error}", path.display()))
    }

    /// The number the process ends with.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::StdoutClosed => 0,
            Self::Failed(_) => 1,
            Self::Usage(_) | Self::Spec(_) => 2,
            Self::NotFound(_) => 3,
            Self::Unreachable { .. } => 4,
            Self::Refused(_) => 5,
            Self::Interrupted(_) => INTERRUPTED,
        }
    }

    /// Says it on stderr and gives the process's exit code.
    pub(super) fn report(&self) -> ExitCode {
        match self {
            Self::StdoutClosed => {}
            // The reader's rendering holds file, line and column already.
            Self::Spec(text) => say(text.trim_end()),
            other => say(&format!("espalier: {other}")),
        }
        ExitCode::from(self.code())
    }

    /// What a refusal of the coordinator means to the user.
    pub(super) fn from_status(address: &str, status: &tonic::Status) -> Self {
        use tonic::Code;

        let message = status.message().to_owned();
        match status.code() {
            Code::NotFound => Self::NotFound(message),
            // What no coordinator takes: a value, a candidate, a message that is too large. Of a new spec the
            // message is the reader's own rendering, which is the creator's to tell apart.
            Code::InvalidArgument | Code::OutOfRange => Self::Usage(message),
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Self::Unreachable {
                address: address.to_owned(),
                reason: reason_of(status),
            },
            Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::ResourceExhausted
            | Code::Unimplemented => Self::Refused(message),
            Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => Self::Failed(format!(
                "the coordinator at {address} failed: {message}; its log says more"
            )),
        }
    }
}

/// A line on stderr. Nobody may be reading; that is no reason to panic.
pub(super) fn say(text: &str) {
    use std::io::Write as _;

    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The deepest cause: `connection refused` says more than `transport error`.
pub(super) fn reason_of(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// Whether somebody answered who is not to be trusted, or who speaks another protocol: trying again is of no
/// use.
pub(super) fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::InvalidData) {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_of_the_coordinator_has_its_documented_exit_code() {
        let code = |status: tonic::Status| CliError::from_status("http://x", &status).code();
        assert_eq!(code(tonic::Status::not_found("no search")), 3);
        assert_eq!(code(tonic::Status::not_found("may mean a, b")), 3);
        assert_eq!(code(tonic::Status::invalid_argument("weight: 0")), 2);
        assert_eq!(code(tonic::Status::out_of_range("too large")), 2);
        assert_eq!(code(tonic::Status::unavailable("gone")), 4);
        assert_eq!(code(tonic::Status::failed_precondition("finished")), 5);
        assert_eq!(code(tonic::Status::already_exists("there")), 5);
        assert_eq!(code(tonic::Status::unauthenticated("no token")), 5);
        assert_eq!(code(tonic::Status::permission_denied("a viewer")), 5);
        assert_eq!(code(tonic::Status::resource_exhausted("full")), 5);
        assert_eq!(code(tonic::Status::unimplemented("older")), 5);
        assert_eq!(code(tonic::Status::deadline_exceeded("slow")), 4);
        assert_eq!(code(tonic::Status::internal("bug")), 1);
        assert_eq!(CliError::Interrupted(String::new()).code(), 130);
        assert_eq!(CliError::StdoutClosed.code(), 0);
    }

    #[test]
    fn an_unreachable_coordinator_is_named_with_what_to_do() {
        let error = CliError::from_status("http://x:1", &tonic::Status::unavailable("refused"));
        let text = error.to_string();
        assert!(
            text.contains("http://x:1") && text.contains("espalier serve"),
            "{text}"
        );
    }
}
