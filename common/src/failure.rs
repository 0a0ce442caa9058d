//! Why an attempt failed, and whose fault it was: the domain decides what happens next.

mod key;

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureDomain {
    /// The candidate's: it diverged, or needs more memory than the largest device has. Told to the
    /// searcher; not tried again.
    Candidate,
    /// The machine's: lost, out of memory on this device, disk, a crash, a program that does not start
    /// there. Tried again elsewhere; not told to the searcher.
    Worker,
    /// The user's: a bad data path, a metric that is never reported. The search is paused.
    User,
    /// Espalier's own: a broken promise between its parts.
    Internal,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// A loss or metric became NaN or infinite.
    Diverged,
    /// Memory ran out on the device that was used.
    OutOfMemory,
    /// The evaluator ended without an answer (panic, signal, exit).
    Crashed,
    /// The evaluator was silent for longer than `evaluator_silence_ms`, or its job was not done within the time
    /// that the worker's operator allows.
    Hung,
    /// The evaluator does not know an operation, a job or a protocol version.
    Unsupported,
    /// The data are missing, unreadable or have another fingerprint.
    Data,
    /// The evaluator said it failed, for another reason.
    Evaluator,
    /// The worker's disk is full or not writable.
    Disk,
    /// The worker disappeared.
    WorkerLost,
    /// Every attempt that the search allows was used up.
    AttemptsExhausted,
    /// The candidate cannot be built in the evaluator though the coordinator could build it.
    Build,
}

impl FailureDomain {
    /// Whether the machine may be at fault, so that the same job is tried on another one. A broken promise of
    /// our own may come from the release that runs there.
    #[must_use]
    pub fn is_of_worker(self) -> bool {
        matches!(self, Self::Worker | Self::Internal)
    }
}

impl fmt::Display for FailureDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Candidate => "candidate",
            Self::Worker => "worker",
            Self::User => "user",
            Self::Internal => "internal",
        })
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Diverged => "diverged",
            Self::OutOfMemory => "out_of_memory",
            Self::Crashed => "crashed",
            Self::Hung => "hung",
            Self::Unsupported => "unsupported",
            Self::Data => "data",
            Self::Evaluator => "evaluator",
            Self::Disk => "disk",
            Self::WorkerLost => "worker_lost",
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::Build => "build",
        })
    }
}

/// A failure with the words that explain it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whose fault.
    pub domain: FailureDomain,
    /// What happened.
    pub kind: FailureKind,
    /// One line that says what is wrong and what to do.
    pub message: String,
    /// The last lines of the evaluator's stderr; at most [`MAX_LOG_TAIL`] bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log_tail: String,
}

/// Whether an error's text, or the last words of a program, say that memory ran out: libraries tell it in
/// words only. These are the words of C++, Python, the operating system, libtorch's allocators, and the
/// CUDA libraries whose workspace did not fit.
#[must_use]
pub fn says_out_of_memory(text: &str) -> bool {
    [
        "out of memory",
        "Out of memory",
        "OutOfMemoryError",
        "can't allocate memory",
        "Cannot allocate memory",
        "not enough memory",
        "MemoryError",
        "bad_alloc",
        "bad allocation",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "CUDNN_STATUS_ALLOC_FAILED",
        "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "cudaErrorMemoryAllocation",
    ]
    .iter()
    .any(|words| text.contains(words))
}

/// Whether words that say that memory ran out speak of a GPU's.
#[must_use]
pub fn says_device_memory(text: &str) -> bool {
    ["CUDA", "cuda", "CUDNN", "cuDNN", "CUBLAS", "HIP", "MPS"]
        .iter()
        .any(|words| text.contains(words))
}

/// Whether an error's text says that there is no room on a disk.
#[must_use]
pub fn says_disk_full(text: &str) -> bool {
    ["No space left on device", "Disk quota exceeded"]
        .iter()
        .any(|words| text.contains(words))
}

/// The part of a program's last words that is about its end: from the last line on which Python names an
/// exception, if there is one, since what was caught and told before is not why it ended. Else all of it.
#[must_use]
pub fn last_error(text: &str) -> &str {
    let mut at = 0;
    let mut last = 0;
    for line in text.split_inclusive('\n') {
        if names_exception(line) {
            last = at;
        }
        at += line.len();
    }
    &text[last..]
}

/// `ValueError: …`, `torch.OutOfMemoryError: …`, `MemoryError`.
fn names_exception(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default().trim_end();
    let word = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_'));
    word && (name.ends_with("Error") || name.ends_with("Exception") || name.ends_with("Interrupt"))
}

/// The most bytes of an evaluator's stderr that travel with a failure.
pub const MAX_LOG_TAIL: usize = 8 * 1024;
/// The longest message of a failure, in bytes.
pub const MAX_FAILURE_MESSAGE: usize = 2 * 1024;

impl Failure {
    /// A failure without a log.
    #[must_use]
    pub fn new(domain: FailureDomain, kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            domain,
            kind,
            message: message.into(),
            log_tail: String::new(),
        }
    }

    /// The same failure with its texts cut to [`MAX_FAILURE_MESSAGE`] and to the last
    /// [`MAX_LOG_TAIL`] bytes, on character boundaries.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        if self.message.len() > MAX_FAILURE_MESSAGE {
            let end = self.message.floor_char_boundary(MAX_FAILURE_MESSAGE);
            self.message.truncate(end);
        }
        if self.log_tail.len() > MAX_LOG_TAIL {
            let start = self
                .log_tail
                .ceil_char_boundary(self.log_tail.len() - MAX_LOG_TAIL);
            self.log_tail.drain(..start);
        }
        self
    }

    /// The last line that is not blank. Of an evaluator that ended without an answer it is its log's, where
    /// the reason stands; otherwise the message's, since the log may then hold anything.
    #[must_use]
    pub fn last_line(&self) -> &str {
        let texts = match self.kind {
            FailureKind::Crashed => [&self.log_tail, &self.message],
            _ => [&self.message, &self.log_tail],
        };
        texts
            .into_iter()
            .flat_map(|text| text.lines().rev())
            .map(str::trim)
            .find(|line| !line.is_empty())
            .unwrap_or("")
    }

    /// What a program said about its own failure, with memory and disks told apart from the candidate: programs
    /// catch every exception alike, and a candidate is not bad because a GPU is small. A kind that says more
    /// than that something went wrong is left as it is.
    #[must_use]
    pub fn with_resources_told_apart(mut self) -> Self {
        if !matches!(self.kind, FailureKind::Crashed | FailureKind::Evaluator) {
            return self;
        }
        let kind = if says_out_of_memory(&self.message) {
            FailureKind::OutOfMemory
        } else if says_disk_full(&self.message) {
            FailureKind::Disk
        } else {
            return self;
        };
        (self.domain, self.kind) = (FailureDomain::Worker, kind);
        self
    }

    /// Whether the process that it happened in should run no other job: after an error of CUDA every later
    /// call fails, a broken promise may leave anything half done, and memory that ran out is given back.
    #[must_use]
    pub fn spoils_the_process(&self) -> bool {
        self.domain == FailureDomain::Internal
            || matches!(self.kind, FailureKind::Crashed | FailureKind::OutOfMemory)
    }

    /// What failures are grouped by: the last line without what differs from run to run (numbers, ids,
    /// times, names of temporary files).
    #[must_use]
    pub fn key(&self) -> String {
        key::without_volatile_parts(self.last_line())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_shown_by_the_name_it_has_on_the_wire() {
        for kind in [
            FailureKind::Diverged,
            FailureKind::OutOfMemory,
            FailureKind::AttemptsExhausted,
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.to_string());
        }
    }

    #[test]
    fn the_same_crash_has_one_key_whatever_was_measured_before_it() {
        let crash = |tail: &str| {
            let message = "evaluator \"mine\" exited with code 1 without an answer";
            let mut failure = Failure::new(FailureDomain::Worker, FailureKind::Crashed, message);
            failure.log_tail = tail.to_owned();
            failure
        };
        let one = crash("epoch 1: 0.71\nMemory at 0x7f01 of /tmp/tmpa8x_q2/f is bad\n\n");
        let other = crash("epoch 9: 0.12\nMemory at 0x55aa10 of /tmp/tmpzyxwvu/f is bad\n");
        assert_eq!(one.key(), other.key());
        assert!(one.last_line().contains("0x7f01"), "people see the line");
        assert_ne!(one.key(), crash("something else\n").key());
        assert!(crash(" \n").key().contains("without an answer"));
    }

    #[test]
    fn what_an_evaluator_says_counts_before_what_it_happened_to_print() {
        let said = |tail: &str| {
            let message = "the data have 3 columns, not 4";
            let mut failure = Failure::new(FailureDomain::Worker, FailureKind::Evaluator, message);
            failure.log_tail = tail.to_owned();
            failure
        };
        assert_eq!(
            said("saving the best model\n").key(),
            said("plateau\n").key()
        );
    }

    #[test]
    fn memory_that_ran_out_is_known_by_the_words_of_many_libraries() {
        for text in [
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.64 GiB",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
            "torch.OutOfMemoryError: HIP ran out",
            "terminate called after throwing an instance of 'std::bad_alloc'",
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes",
            "OSError: [Errno 12] Cannot allocate memory",
        ] {
            assert!(says_out_of_memory(text), "{text}");
        }
        for text in [
            "CUDA error: an illegal memory access was encountered",
            "CUBLAS_STATUS_EXECUTION_FAILED",
        ] {
            assert!(!says_out_of_memory(text), "{text}");
        }
    }

    #[test]
    fn a_gpus_memory_is_told_from_the_machines() {
        assert!(says_device_memory(
            "torch.OutOfMemoryError: CUDA out of memory. Tried"
        ));
        assert!(says_device_memory("CUBLAS_STATUS_ALLOC_FAILED"));
        assert!(!says_device_memory(
            "DefaultCPUAllocator: can't allocate memory: you tried"
        ));
    }

    #[test]
    fn only_the_exception_that_ended_a_python_program_counts() {
        let tail = "torch.OutOfMemoryError: CUDA out of memory\nbatch halved\nTraceback (most recent call last):\n  \
                    File \"t.py\", line 3\nValueError: the labels have 3 columns\n";
        assert_eq!(last_error(tail), "ValueError: the labels have 3 columns\n");
        let tail = "Traceback (most recent call last):\n  raise E: x\nMemoryError\n";
        assert_eq!(last_error(tail), "MemoryError\n");
        let tail = "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n";
        assert_eq!(last_error(tail), tail);
        assert_eq!(last_error(""), "");
        // What comes after the name is about the same exception.
        let tail = "RuntimeError: CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`\n";
        assert_eq!(last_error(tail), tail);
    }

    #[test]
    fn a_program_that_blames_the_candidate_for_a_full_gpu_or_disk_is_corrected() {
        use FailureDomain::{Candidate, Worker};
        let told = |kind, message: &str| {
            let failure = Failure::new(Candidate, kind, message).with_resources_told_apart();
            (failure.domain, failure.kind)
        };
        assert_eq!(
            told(
                FailureKind::Crashed,
                "CUDA out of memory. Tried to allocate 2 GiB"
            ),
            (Worker, FailureKind::OutOfMemory)
        );
        assert_eq!(
            told(FailureKind::Evaluator, "[Errno 28] No space left on device"),
            (Worker, FailureKind::Disk)
        );
        assert_eq!(
            told(FailureKind::Crashed, "kernel larger than the input"),
            (Candidate, FailureKind::Crashed)
        );
        // It knows what it says.
        assert_eq!(
            told(FailureKind::OutOfMemory, "CUDA out of memory on 80 GiB"),
            (Candidate, FailureKind::OutOfMemory)
        );
    }

    #[test]
    fn a_process_goes_on_after_what_was_the_candidates_or_the_users_fault() {
        use FailureDomain::{Candidate, Internal, User, Worker};
        for (domain, kind, spoils) in [
            (Candidate, FailureKind::Diverged, false),
            (User, FailureKind::Evaluator, false),
            (Worker, FailureKind::Disk, false),
            (Worker, FailureKind::OutOfMemory, true),
            (Internal, FailureKind::Evaluator, true),
            (Internal, FailureKind::Crashed, true),
        ] {
            assert_eq!(Failure::new(domain, kind, "").spoils_the_process(), spoils);
        }
    }

    #[test]
    fn a_long_log_keeps_its_end_and_whole_characters() {
        let mut failure = Failure::new(
            FailureDomain::Worker,
            FailureKind::Crashed,
            "é".repeat(2_000),
        );
        failure.log_tail = format!("{}end", "é".repeat(9_000));
        let failure = failure.bounded();
        assert!(failure.message.len() <= MAX_FAILURE_MESSAGE);
        assert!(failure.log_tail.len() <= MAX_LOG_TAIL && failure.log_tail.ends_with("end"));
    }
}
