//! The one place where an error becomes a gRPC status. A client decides by the code: `FAILED_PRECONDITION`
//! means that the asker's view of things is out of date (its lease is gone, its instance is not
//! registered, a search is not as it thinks), `UNAVAILABLE` that asking again later is safe, `NOT_FOUND` that what it
//! names is not there, `INVALID_ARGUMENT` that what it says can never be.

use espalier_core::search::Rejection;
use espalier_proto::FREE_AFTER_MS;
use espalier_runtime::tls::TlsError;
use tonic::{Code, Status};

use crate::actors::CallError;
use crate::artifacts::ArtifactError;
use crate::clock::millis;

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        let code = match &error {
            CallError::Rejected(rejection) => match rejection {
                Rejection::NotHeld { .. }
                | Rejection::WrongPhase { .. }
                | Rejection::Finished(_)
                | Rejection::NotNow(_) => Code::FailedPrecondition,
                Rejection::UnknownAttempt { .. } | Rejection::NoTrial { .. } => Code::NotFound,
                Rejection::Invalid(_) => Code::InvalidArgument,
            },
            CallError::Wire(_) | CallError::Invalid(_) | CallError::BadSpec(_) => {
                Code::InvalidArgument
            }
            // Several of a name are as good as none: as of data sets.
            CallError::UnknownSearch(_)
            | CallError::AmbiguousSearch { .. }
            | CallError::NotThere(_)
            | CallError::UnknownToken(_)
            | CallError::UnknownDataset(_) => Code::NotFound,
            CallError::RevokedToken(_) => Code::Unauthenticated,
            CallError::OtherWorker { .. } => Code::PermissionDenied,
            CallError::Tls(TlsError::BadRequest(_)) => Code::InvalidArgument,
            CallError::Tls(_) => Code::Internal,
            CallError::OtherSearchExists(_)
            | CallError::NameTaken(_)
            | CallError::NameInUse { .. } => Code::AlreadyExists,
            CallError::NotRegistered
            | CallError::NoTls
            | CallError::OtherCluster { .. }
            | CallError::OtherProtocol { .. }
            | CallError::UploadGivenUp(_) => Code::FailedPrecondition,
            CallError::TooMany(_) => Code::ResourceExhausted,
            CallError::Artifact(artifact) => match artifact {
                ArtifactError::TooLarge { .. }
                | ArtifactError::WrongSize { .. }
                | ArtifactError::WrongDigest { .. } => Code::InvalidArgument,
                ArtifactError::Missing(_) => Code::NotFound,
                ArtifactError::Full { .. } => Code::ResourceExhausted,
                ArtifactError::Io { .. } => Code::Internal,
            },
            CallError::Journal(_) | CallError::Internal(_) => Code::Internal,
            CallError::Stopping => Code::Unavailable,
        };
        if code == Code::Internal {
            tracing::error!(%error, "a call failed");
        }
        let mut status = Self::new(code, error.to_string());
        if let CallError::NameInUse { free_after, .. } = error {
            status
                .metadata_mut()
                .insert(FREE_AFTER_MS, millis(free_after).into());
        }
        status
    }
}
