//! TLS 1.3 between the parts of a cluster: the coordinator's certificates, join tokens, and a client that
//! trusts one certificate authority and one fixed server name, wherever the coordinator is reached. May
//! import rustls, rcgen, x509-parser and tokio.

mod authority;
mod client;
mod files;
mod identity;
mod peer;
mod server;
mod token;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

use crate::ending;

pub use authority::{Authority, ServerCertificate};
pub use client::{ClientTls, Connector, is_about_the_clock};
pub use identity::{Identity, KeyRequest};
pub use peer::PeerCertificate;
pub use server::server_config;
pub use token::{Fingerprint, JoinToken, Secret, TokenError};

pub use files::{read_private, write_private};

/// The name that every coordinator's certificate holds, and that clients ask for. Host names say nothing: a
/// coordinator is reached by an address, a name, a service or a tunnel.
pub const SERVER_NAME: &str = "espalier-coordinator";
/// Certificates are valid from this long before they are made: clocks differ.
pub const BACKDATED_SECONDS: i64 = 3_600;

/// What is wrong with keys and certificates.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file holds something else than it should.
    #[error("{path}: {what}")]
    BadFile {
        /// The file.
        path: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// A certificate request cannot be used.
    #[error("the certificate request cannot be used: {0}")]
    BadRequest(String),
    /// The certificate does not fit to its key or its authority, or has another name.
    #[error("{0}")]
    Unfit(String),
    /// The cryptographic library failed.
    #[error("TLS: {0}; this is a bug")]
    Library(String),
}

impl TlsError {
    /// Whether another start with the same settings would end like this too.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::File { source, .. } => ending::is_lasting(source),
            Self::BadFile { .. } | Self::Unfit(_) => true,
            Self::BadRequest(_) | Self::Library(_) => false,
        }
    }
}

impl From<rcgen::Error> for TlsError {
    fn from(error: rcgen::Error) -> Self {
        Self::Library(error.to_string())
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Self::Library(error.to_string())
    }
}

/// The cryptography that is used: ring's, named here so that nothing depends on a process-wide default.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Random bytes from the operating system.
fn random<const N: usize>() -> Result<[u8; N], TlsError> {
    let mut bytes = [0; N];
    let filled = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    filled.map_err(|_| TlsError::Library("the system gives no randomness".to_owned()))?;
    Ok(bytes)
}

/// A time as people read it.
fn utc(seconds: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(seconds).map_or_else(
        |_| format!("{seconds} s"),
        |time| {
            let (hour, minute, second) = time.to_hms();
            format!("{} {hour:02}:{minute:02}:{second:02} UTC", time.date())
        },
    )
}

#[cfg(test)]
mod tests;
