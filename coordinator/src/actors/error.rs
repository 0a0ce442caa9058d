//! Why something that was asked of the coordinator was not done. One type for all handles, so that one
//! place can turn it into a gRPC status. May import core, proto and the stores.

use std::time::Duration;

use espalier_common::ids::SearchId;
use espalier_core::search::Rejection;
use espalier_proto::{PROTOCOL_VERSION, WireError};
use espalier_runtime::tls::TlsError;

use crate::artifacts::ArtifactError;
use crate::journal::JournalError;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The search refused it; nothing has changed.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The message does not mean anything.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// The spec has errors; the text shows every one with its place.
    #[error("{0}")]
    BadSpec(String),
    /// There is no such search.
    #[error("there is no search {0:?}; `espalier list` shows those there are")]
    UnknownSearch(String),
    /// There is none of what was named within what there is; says what there is.
    #[error("{0}")]
    NotThere(String),
    /// More than one search goes by this name.
    #[error("{name:?} may mean {}; give more of the id", matches.join(", "))]
    AmbiguousSearch {
        /// What was given.
        name: String,
        /// What it may mean.
        matches: Vec<String>,
    },
    /// The id of the new search is another search's.
    #[error("the search {0} exists already and was made from another spec or other data")]
    OtherSearchExists(SearchId),
    /// This instance of a worker is not known here, or not any more.
    #[error(
        "this instance of the worker is not registered (the coordinator was restarted, or had not \
         heard of it for long): register again"
    )]
    NotRegistered,
    /// Another instance has registered under this one's name since.
    #[error(
        "another instance of the worker {0:?} has registered since; if both run, give each a name of its own"
    )]
    NameTaken(String),
    /// A worker that is alive has the name, and runs elsewhere.
    #[error(
        "the name {name:?} belongs to another worker, which is at work: give each worker a --name of its own; if \
         the other one is gone, its name is free {free_after:?} after the last sign of it"
    )]
    NameInUse {
        /// The name.
        name: String,
        /// After so long a silence it counts as gone.
        free_after: Duration,
    },
    /// The worker belongs to another coordinator's journal.
    #[error(
        "this coordinator's cluster is {here}, the worker comes from {theirs}: check the address"
    )]
    OtherCluster {
        /// This cluster.
        here: String,
        /// The worker's.
        theirs: String,
    },
    /// A worker speaks for another one.
    #[error(
        "the certificate is the worker {certificate:?}'s, and the call is one of the worker {claimed:?}: join \
         with a token under the name that the worker has"
    )]
    OtherWorker {
        /// Whose certificate it is.
        certificate: String,
        /// Who the call says that it is.
        claimed: String,
    },
    /// Tokens mean nothing to a coordinator without TLS.
    #[error(
        "this coordinator speaks no TLS, so there are no tokens: start it with --tls on, or beyond loopback"
    )]
    NoTls,
    /// The token by which a worker joined was revoked.
    #[error("the token {0} was revoked")]
    RevokedToken(String),
    /// There is no such token.
    #[error("there is no token {0:?}; `espalier token list` shows those there are")]
    UnknownToken(String),
    /// There is no such data set.
    #[error(
        "no data set has the fingerprint {0:?}, or several begin like it; `espalier dataset list` shows those there are"
    )]
    UnknownDataset(String),
    /// Keys and certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The worker speaks another version of the wire.
    #[error(
        "this coordinator is Espalier {} and speaks version {PROTOCOL_VERSION} of the workers' protocol, the \
         worker is {release} and speaks version {spoken}: install {} on the worker's machine{}",
        env!("CARGO_PKG_VERSION"), env!("CARGO_PKG_VERSION"),
        if *spoken > PROTOCOL_VERSION { ", or bring the coordinator up to date first" } else { "" }
    )]
    OtherProtocol {
        /// The worker's release.
        release: String,
        /// What it speaks.
        spoken: u32,
    },
    /// A bound on what one coordinator takes is reached.
    #[error("{0}")]
    TooMany(String),
    /// The artifact store refused or failed.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The artifacts' folder did not take an upload, over and over or of a search that was stopped.
    #[error("the coordinator gives this upload up: {0}")]
    UploadGivenUp(ArtifactError),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A broken promise between the coordinator's parts.
    #[error("{0}; this is a bug")]
    Internal(String),
    /// The coordinator is stopping, or its journal cannot be written any more: whether it was done is not
    /// known; asking again once it is back is safe.
    #[error("the coordinator is stopping; try again when it is back")]
    Stopping,
}
