//! The coordinator: it owns the journal and the artifacts of a cluster, and runs every search. May import
//! the core, the data set descriptions, the wire and the runtime; never libtorch.

pub mod artifacts;
pub mod journal;
