//! The coordinator: it owns the journal and the artifacts of a cluster, and runs every search. May import
//! the core, the data set descriptions, the wire and the runtime; never libtorch.

mod access;
mod actors;
pub mod artifacts;
pub mod clock;
mod datasets;
mod disk;
mod grpc;
pub mod journal;
mod logs;
pub mod maintenance;
mod metrics;
mod open_files;
mod private;
pub mod server;
pub mod steps;

pub use access::{CertificateSource, Role};
pub use open_files::{OpenFiles, raise_open_files};
pub use server::{ServerConfig, ServerError, TlsMode};
