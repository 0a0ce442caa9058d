//! Data sets: formats, seeded splits, fingerprints, and the decoded file that evaluator processes map
//! into memory together. May import `espalier-common`; no tch, tokio or tonic.
//!
//! [`inspect`] is what `espalier submit` runs where the data lie, and what a worker runs to find out
//! whether it has the same data. [`prepare`] decodes them once into a cache folder, and
//! [`MappedDataset`] maps that file.
//!
//! [`inspect_table`] and [`load_table`] read tables of results (CSV, plain or gzip, and Parquet), which stand in for
//! training; [`identify_table`] says what one is known by.
//!
//! The cache holds one file for each pair of data set and split, about as large as the decoded data
//! (55 MB for Fashion-MNIST). Nothing in it is precious: a file that is deleted or damaged is made
//! again by the next [`prepare`]. [`prune`] removes the files that were not used for the longest time;
//! removing one that is in use is safe, since a mapped file lives until it is unmapped.

mod cache;
mod error;
mod idx;
mod mapped;
pub mod order;
mod parquet;
mod prune;
mod pulse;
mod source;
mod stamp;
mod table;

pub use cache::{cache_file_name, prepare, prepare_watched};
pub use error::DataError;
pub use idx::{IdxHeader, MAX_EXAMPLE_BYTES, MAX_EXAMPLES, MAX_FILE_BYTES};
pub use mapped::{MappedDataset, Split};
pub use prune::{note_use, prune};
pub use pulse::Pulse;
pub use source::{files, inspect, inspect_watched, locate, stamp};
pub use stamp::Stamp;
pub use table::{identify_table, inspect_table, load_table};
