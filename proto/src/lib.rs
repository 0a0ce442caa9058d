//! The wire: generated code of `proto/espalier/v1`, and every conversion between it and the domain types
//! of `espalier-common`. Wire types never go further than a gRPC handler or a client. May import common,
//! prost and tonic.

mod convert;
mod error;

pub use convert::{
    attempt_from_wire, attempt_to_wire, digest_from_wire, failure_from_wire, failure_to_wire,
    leased_job_from_wire, leased_job_to_wire, measurement_from_wire, measurement_to_wire,
    metrics_from_wire, metrics_to_wire, search_id_from_wire, uuid_from_wire, uuid_to_wire,
    worker_id_from_wire,
};
pub use error::WireError;

/// Generated messages, clients and servers.
#[allow(missing_docs, clippy::all, clippy::unwrap_used, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("espalier.v1");
}

/// The encoded `FileDescriptorSet`, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/espalier.v1.descriptors"));

/// The version of the wire between workers and coordinators. It is raised when the two no longer understand
/// each other; what is only added leaves it as it is. Both sides state it when a worker registers.
pub const PROTOCOL_VERSION: u32 = 1;

/// What a side that stated a version speaks: the field is younger than version 1, so 0 is that one.
#[must_use]
pub const fn stated_protocol(stated: u32) -> u32 {
    if stated == 0 { 1 } else { stated }
}

/// The largest message either side takes, in bytes: a lease of 64 jobs with networks of thousands of
/// nodes fits; anything larger is refused before it is read.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// Size of a piece of an artifact stream, in bytes.
pub const ARTIFACT_PIECE_BYTES: usize = 256 * 1024;
/// The longest that a Lease call is held open.
pub const MAX_LEASE_WAIT_MS: u64 = 30_000;
/// The most slots one worker may have.
pub const MAX_SLOTS: u32 = 1_024;
/// In the answer that a worker's name is taken: after how many milliseconds without a sign of the other worker it is
/// free.
pub const FREE_AFTER_MS: &str = "espalier-free-after-ms";
