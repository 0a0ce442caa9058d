//! Features of candidates: what model-based searchers compare candidates by. A candidate's features are a
//! few groups of sparse vectors; how much each group counts is for the model to learn. May import
//! `espalier-common`.

mod decisions;
mod network;
mod sparse;

#[cfg(test)]
mod tests;

pub use decisions::{Layout, encode};
pub use network::{operations, paths, size};
pub use sparse::{Postings, Sparse};
