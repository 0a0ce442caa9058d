//! What the coordinator knows about a data set: never the examples, only their description.

use serde::{Deserialize, Serialize};

use crate::ids::Digest;
use crate::network::Shape;

/// The format of a data set on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatasetFormat {
    /// The four IDX files of the MNIST family.
    Idx,
    /// Nowhere on disk: only the shapes are known, of the data that a table of results was measured on.
    /// Never written in a spec.
    Described,
}

/// The most files of a data set that is handed from machine to machine; those of the formats there are have four.
pub const MAX_FILES: usize = 64;
/// The longest name of such a file, in bytes.
pub const MAX_FILE_NAME: usize = 255;

/// Whether a text from outside can be the name of a file of a data set: it never leads out of its folder.
#[must_use]
pub fn is_file_name(name: &str) -> bool {
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty()
        && name.len() <= MAX_FILE_NAME
        && !name.starts_with('.')
        && name.chars().all(letters)
}

/// How the spec names a data set and asks for its splits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetReference {
    /// Format on disk.
    pub format: DatasetFormat,
    /// Path relative to a data root (`--data-root`), or absolute. Never with `..` in it.
    pub path: String,
    /// Examples of the training split; absent: all that validation leaves.
    pub train: Option<u64>,
    /// Examples of the validation split, drawn from the training files.
    pub validation: u64,
    /// Seed of the split; trials of one search share one split.
    pub split_seed: u64,
}

/// What inspecting a data set found out. Fitted things come from the training split only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetInfo {
    /// What was inspected.
    pub reference: DatasetReference,
    /// BLAKE3 over the content of the files in a fixed order: same data, same fingerprint.
    pub fingerprint: Digest,
    /// Shape of one example.
    pub input: Shape,
    /// Number of classes.
    pub classes: u32,
    /// Number of different tokens, of data whose examples are tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<u32>,
    /// Examples of the training split.
    pub train: u64,
    /// Examples of the validation split.
    pub validation: u64,
    /// Examples of the test split; 0 when there is none.
    pub test: u64,
}
