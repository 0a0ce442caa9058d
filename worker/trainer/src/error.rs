//! Why a job ends without a result, and which failure of the protocol that is.

use std::path::PathBuf;

use espalier_common::failure::{Failure, FailureDomain, FailureKind, says_out_of_memory};
use espalier_data::DataError;
use tch::TchError;

/// Why a job ends without a result.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The worker asked for it.
    #[error("stopped at the worker's request")]
    Stopped,
    /// The worker asked for a checkpoint, and there is none: nothing was trained yet, or the job is a test.
    #[error("broken off at the worker's request, with nothing to go on from")]
    BrokenOff,
    /// libtorch refused.
    #[error("libtorch: {}", first_line(.0))]
    Torch(#[from] TchError),
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A number became infinite or not a number.
    #[error("{0}: training diverged; a smaller learning rate or a longer warm-up may help")]
    Diverged(String),
    /// The job asks for something that this evaluator does not do.
    #[error("{0}")]
    Unsupported(String),
    /// The network cannot be built from what the job says.
    #[error("{0}")]
    Build(String),
    /// Stored weights do not belong to the network.
    #[error("the weights in {path} cannot be used: {why}")]
    Weights {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// A file could not be written.
    #[error("cannot write {path}: {why}; is the disk full?")]
    Disk {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The worker cannot be reached: stdout is closed.
    #[error("cannot write to the worker: {0}")]
    Output(#[from] std::io::Error),
}

impl JobError {
    /// The failure that the worker is told.
    #[must_use]
    pub fn failure(&self) -> Failure {
        use FailureDomain::{Candidate, Internal, Worker};
        let (domain, kind) = match self {
            Self::Data(error) => return error.failure(),
            Self::Stopped | Self::BrokenOff | Self::Output(_) => (Worker, FailureKind::Evaluator),
            // Another machine may have more memory; the coordinator decides when no machine has.
            Self::Torch(error) if says_out_of_memory(&error.to_string()) => {
                (Worker, FailureKind::OutOfMemory)
            }
            Self::Torch(_) => (Internal, FailureKind::Evaluator),
            Self::Diverged(_) => (Candidate, FailureKind::Diverged),
            Self::Unsupported(_) => (Internal, FailureKind::Unsupported),
            Self::Build(_) => (Candidate, FailureKind::Build),
            Self::Weights { .. } => (Worker, FailureKind::Data),
            Self::Disk { .. } => (Worker, FailureKind::Disk),
        };
        Failure::new(domain, kind, self.to_string()).bounded()
    }
}

/// libtorch appends the C++ stack to its messages; people want the message.
fn first_line(error: &TchError) -> String {
    let text = error.to_string();
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.next().unwrap_or("no message").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_memory_is_the_workers_failure() {
        // 2^52 bytes: no machine has them.
        let error =
            tch::Tensor::f_zeros([1 << 50], (tch::Kind::Float, tch::Device::Cpu)).unwrap_err();
        let failure = JobError::from(error).failure();
        assert_eq!(
            (failure.domain, failure.kind),
            (FailureDomain::Worker, FailureKind::OutOfMemory),
            "{}",
            failure.message
        );
    }

    #[test]
    fn the_cuda_libraries_run_out_of_memory_in_words_of_their_own() {
        for words in [
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
            "CUDA out of memory. Tried to allocate 20.00 MiB",
        ] {
            let failure = JobError::from(TchError::Torch(words.to_owned())).failure();
            assert_eq!(failure.kind, FailureKind::OutOfMemory, "{words}");
            assert_eq!(failure.domain, FailureDomain::Worker, "{words}");
        }
        let error = TchError::Torch("CUDA error: device-side assert triggered".to_owned());
        assert_eq!(
            JobError::from(error).failure().domain,
            FailureDomain::Internal
        );
    }

    #[test]
    fn a_message_of_libtorch_is_told_without_its_stack() {
        let long = TchError::Torch("shapes differ\nException raised from\nframe #0".to_owned());
        let failure = JobError::from(long).failure();
        assert_eq!(failure.kind, FailureKind::Evaluator);
        assert!(
            failure.message.ends_with("shapes differ"),
            "{}",
            failure.message
        );
    }
}
