//! What can be wrong with a data set, in words that name the file and say what to do.

use std::path::{Path, PathBuf};

use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::Digest;

/// Why a data set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The path of the reference is not acceptable.
    #[error("the {what}'s path {path:?} {why}")]
    BadPath {
        /// A data set or a table.
        what: &'static str,
        /// The path as it was given.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A file or the folder is not there.
    #[error(
        "{path} is not there; `deploy/datasets/fetch fashion-mnist` gets Fashion-MNIST, and any other \
         data set of this format is a folder with the four IDX files of the MNIST family \
         (train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, \
         t10k-labels-idx1-ubyte)"
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Only the compressed form of a file is there.
    #[error("{path} is compressed; unpack it with `gunzip --keep {path}`")]
    Compressed {
        /// The compressed file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
        /// Whether it happened in the cache folder, and not with the user's files.
        in_cache: bool,
    },
    /// A file is not what its name says.
    #[error("{path} cannot be read as a data set: {why}; if it was cut off, fetch it again")]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The splits ask for more than there is, or for nothing.
    #[error("{path}: {why}")]
    BadSplit {
        /// The data set's folder.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// The data here are not the data that the search was submitted with.
    #[error(
        "the data in {path} have the fingerprint {found}, but the search was submitted with {expected}; \
         put the same files here as on the machine that submitted it"
    )]
    OtherData {
        /// The data set's folder.
        path: PathBuf,
        /// The search's fingerprint.
        expected: Digest,
        /// The fingerprint of what is here.
        found: Digest,
    },
    /// A description of a data set does not fit the data that it describes.
    #[error("the description of the data set does not fit the data in {path}: {why}")]
    OtherInfo {
        /// The data set's folder or the decoded file.
        path: PathBuf,
        /// What differs.
        why: String,
    },
    /// Reading does not go on.
    #[error(
        "reading {path} made no progress for {seconds} s and was given up; if it lies on a network file \
         system, look whether that answers"
    )]
    Hung {
        /// The data set's folder, or the cache.
        path: PathBuf,
        /// How long nothing happened.
        seconds: u64,
    },
    /// A table of results is not there.
    #[error("there is no table at {below}, nor at {beside}")]
    NoTable {
        /// Below the data root.
        below: PathBuf,
        /// Where else it was looked for.
        beside: PathBuf,
    },
    /// A table of results is damaged, or not what the spec says.
    #[error("the table {path}: {why}")]
    BadTable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A decoded file is damaged.
    #[error("the decoded data set {path} is damaged ({why}); delete it and it is made again")]
    BadCache {
        /// The decoded file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl DataError {
    /// An error of the operating system on one of the user's files.
    pub(crate) fn source(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
            in_cache: false,
        }
    }

    /// An error of the operating system on a file of the cache.
    pub(crate) fn cache(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
            in_cache: true,
        }
    }

    /// Whether the same files would give the same error: they have been read, or are not there. What the
    /// operating system refused may go well the next time.
    #[must_use]
    pub fn is_about_content(&self) -> bool {
        !matches!(self, Self::Io { .. } | Self::Hung { .. })
    }

    /// The failure this is for a job. The data were inspected when the search was submitted, so what
    /// is wrong later is wrong on this machine: the job may go well on another.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let kind = match self {
            Self::Io { in_cache: true, .. } => FailureKind::Disk,
            _ => FailureKind::Data,
        };
        Failure::new(FailureDomain::Worker, kind, self.to_string()).bounded()
    }
}
