//! What the whole-system tests share: real processes of the three binaries on loopback, a client, and a
//! synthetic worker that speaks the wire by hand. May import common, proto's client and `std::process`;
//! never the crates it tests.

pub mod chaos;
mod client;
mod cluster;
mod data;
pub mod logs;
pub mod net;
mod notice;
mod process;
mod secured;
mod synthetic;

pub use client::{Searches, wait_until};
pub use cluster::{Cluster, WorkerOptions, free_address};
pub use data::write_tiny_idx;
pub use notice::not_tested;
pub use process::{
    Process, binary, command, program, ready, scripted, scripted_spec, serve_command, token,
};
pub use secured::{Secured, forged, serve_secured, stderr, test_folder};
pub use synthetic::SyntheticWorker;

use std::path::PathBuf;

/// The repository's root.
#[must_use]
pub fn repository() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest
        .parent()
        .map_or(manifest.clone(), std::path::Path::to_path_buf)
}
