//! Data sets: formats, seeded splits, fingerprints, and the decoded file that evaluator processes map
//! into memory together. May import `espalier-common`; no tch, tokio or tonic.
//!
//! [`inspect`] is what `espalier submit` runs where the data lie, and what a worker runs to find out
//! whether it has the same data. [`prepare`] decodes them once into a cache folder, and
//! [`MappedDataset`] maps that file.
//!
//! The cache holds one file for each pair of data set and split, about as large as the decoded data
//! (55 MB for Fashion-MNIST). Nothing in it is precious: a file that is deleted or damaged is made
//! again by the next [`prepare`]. Files of data sets that are no longer used stay until somebody
//! deletes them; deleting one that is in use is safe, since a mapped file lives until it is unmapped.

mod cache;
mod error;
mod idx;
mod mapped;
pub mod order;
mod source;

pub use cache::{cache_file_name, prepare};
pub use error::DataError;
pub use idx::{IdxHeader, MAX_EXAMPLE_BYTES, MAX_EXAMPLES, MAX_FILE_BYTES};
pub use mapped::{MappedDataset, Split};
pub use source::{inspect, locate};
