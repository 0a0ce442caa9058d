//! Why a coordinator cannot start or go on. May import the errors of this crate's parts.

use std::io;
use std::net::SocketAddr;

use espalier_runtime::ending;
use espalier_runtime::tls::TlsError;

use crate::artifacts::ArtifactError;
use crate::journal::JournalError;

/// Why a coordinator did not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Everyone on the network could use it.
    #[error(
        "{address} is reachable from other machines, and without TLS whoever reaches it could do everything: \
         leave --tls off out, or listen on 127.0.0.1"
    )]
    Exposed {
        /// The address.
        address: SocketAddr,
    },
    /// The lease's time to live makes no sense.
    #[error("lease_ttl_ms is {0}; it must be 100 or more")]
    LeaseTtl(u64),
    /// The life of workers' certificates makes no sense.
    #[error("worker_certificate_ms is {0}; it must be 1000 or more")]
    WorkerCertificate(u64),
    /// Keys and certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The artifacts' folder.
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    /// A search's thread could not be started.
    #[error("a search's thread cannot be started: {0}; raise the limit on processes (ulimit -u)")]
    Thread(io::Error),
    /// The listener.
    #[error("the listening socket: {0}")]
    Listen(io::Error),
    /// The gRPC server.
    #[error("serving: {0}")]
    Serve(#[from] tonic::transport::Error),
    /// The services' descriptions.
    #[error("gRPC reflection: {0}; this is a bug")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// Something failed that the coordinator cannot live without.
    #[error("{0}")]
    Failed(String),
}

impl ServerError {
    /// Whether another start with the same settings, on the same data, would end like this too.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Exposed { .. } | Self::LeaseTtl(_) | Self::WorkerCertificate(_) => true,
            Self::Tls(error) => error.is_lasting(),
            Self::Journal(error) => error.is_lasting(),
            Self::Artifacts(ArtifactError::Io { source, .. }) | Self::Listen(source) => {
                ending::is_lasting(source)
            }
            Self::Artifacts(_)
            | Self::Thread(_)
            | Self::Serve(_)
            | Self::Reflection(_)
            | Self::Failed(_) => false,
        }
    }
}
