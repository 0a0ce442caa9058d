//! Whether files have changed, by what the file system says of them: no byte of them is read.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What the file system says of some files: when each was changed, and how long it is. A file that is not
/// there or cannot be looked at counts as absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp(Vec<Option<(PathBuf, SystemTime, u64)>>);

impl Stamp {
    /// Of one file.
    #[must_use]
    pub fn of_file(path: &Path) -> Self {
        Self::of_files([path.to_owned()])
    }

    pub(crate) fn of_files(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let look = |path: PathBuf| {
            let metadata = std::fs::metadata(&path).ok()?;
            Some((path, metadata.modified().ok()?, metadata.len()))
        };
        Self(paths.into_iter().map(look).collect())
    }
}
