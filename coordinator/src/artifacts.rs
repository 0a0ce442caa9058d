//! Artifacts: the files that attempts leave, in a folder beside the journal, each named by the BLAKE3
//! digest of its content. A file is there whole or not at all. Which artifacts are wanted is for others to
//! say ([`ArtifactStore::want`], [`ArtifactStore::release`]); what nobody wants any more is removed. May
//! import the ids of `espalier-common`, the file system and the steps.

mod claims;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use espalier_common::ids::Digest;
use tempfile::TempPath;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use crate::private;
use crate::steps::{Step, done};
use claims::Claims;
pub use claims::Hold;

/// Where uploads lie until they are whole: on the same file system, so that the last step is a rename.
const TEMPORARY: &str = "tmp";

/// What is wrong with an artifact, or with the folder.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// Larger than artifacts may be.
    #[error("artifact {} has {size} bytes and at most {most} are stored; start the coordinator with a larger --max-artifact-bytes", digest.short())]
    TooLarge {
        /// The artifact.
        digest: Digest,
        /// Its size as announced.
        size: u64,
        /// The bound.
        most: u64,
    },
    /// Not as many bytes as announced.
    #[error("artifact {} was announced with {announced} bytes, but {} came; upload it again",
        digest.short(), if got > announced { "more".to_owned() } else { got.to_string() })]
    WrongSize {
        /// The artifact.
        digest: Digest,
        /// Bytes announced.
        announced: u64,
        /// Bytes that came until it was given up.
        got: u64,
    },
    /// The content has another digest.
    #[error("artifact {} arrived with the digest {}: it was changed on its way or while it was read; upload it again",
        announced.short(), got.short())]
    WrongDigest {
        /// The digest announced.
        announced: Digest,
        /// The digest of what came.
        got: Digest,
    },
    /// It is not there.
    #[error("artifact {0} is not stored")]
    Missing(Digest),
    /// No space is left.
    #[error("the disk of {} is full: free some space", path.display())]
    Full {
        /// The file or folder that could not be written.
        path: PathBuf,
    },
    /// The folder cannot be used.
    #[error("{} cannot be {what}: {source}; give this user the right to write there", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ArtifactError {
    /// Whether the fault is that of the folder here, rather than of what was sent.
    #[must_use]
    pub fn is_of_the_folder(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Io { .. })
    }
}

/// Gives an I/O error its file and what was tried.
fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ArtifactError {
    move |source| match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ArtifactError::Full {
            path: path.to_owned(),
        },
        _ => ArtifactError::Io {
            what,
            path: path.to_owned(),
            source,
        },
    }
}

/// How much is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Artifacts.
    pub files: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// The artifacts of one coordinator. Cheap to clone. The journal's lock keeps others off the folder.
#[derive(Clone, Debug)]
pub struct ArtifactStore {
    folder: Arc<Path>,
    most: u64,
    claims: Arc<Claims>,
}

impl ArtifactStore {
    /// Opens the store in `folder`, creating it if it is not there, and removes what uploads left that
    /// never ended. An artifact may have at most `most` bytes.
    ///
    /// Must be called within a tokio runtime, on which files are removed.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn open(folder: &Path, most: u64) -> Result<Self, ArtifactError> {
        let temporary = folder.join(TEMPORARY);
        private::make_folder(&temporary).map_err(io_error("created", &temporary))?;
        let entries = std::fs::read_dir(&temporary).map_err(io_error("read", &temporary))?;
        for entry in entries {
            let path = entry.map_err(io_error("read", &temporary))?.path();
            std::fs::remove_file(&path).map_err(io_error("removed", &path))?;
        }
        // Said at the start rather than when the first result is lost.
        tempfile::tempfile_in(&temporary).map_err(io_error("written", &temporary))?;
        Ok(Self {
            folder: folder.into(),
            most,
            claims: Arc::default(),
        })
    }

    /// The most bytes of an artifact.
    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        self.most
    }

    /// Where an artifact lies, or would.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        // Two levels, since folders of very many files are slow to list.
        self.folder.join(&name[..2]).join(&name[2..])
    }

    /// How much is stored. Looks at every file.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn usage(&self) -> io::Result<Usage> {
        let mut usage = Usage::default();
        for (_, path) in claims::stored(&self.folder)? {
            // One that is not there any more has been removed since.
            if let Ok(metadata) = std::fs::metadata(path) {
                usage.files += 1;
                usage.bytes += metadata.len();
            }
        }
        Ok(usage)
    }

    /// An artifact that is stored, and stays so for as long as the answer is held; `None` when it is not.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub async fn find(&self, digest: &Digest) -> Result<Option<Hold>, ArtifactError> {
        // Held first: what is not wanted may be removed at any time.
        let hold = self.hold(*digest);
        let path = self.path(digest);
        let stored = tokio::fs::try_exists(&path).await;
        Ok(stored.map_err(io_error("read", &path))?.then_some(hold))
    }

    /// Opens an artifact to read it; with its size.
    ///
    /// # Errors
    /// It is not stored, or cannot be read.
    pub async fn open_artifact(&self, digest: &Digest) -> Result<(File, u64), ArtifactError> {
        let path = self.path(digest);
        let file = match File::open(&path).await {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(ArtifactError::Missing(*digest));
            }
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        let metadata = file.metadata().await.map_err(io_error("read", &path))?;
        Ok((file, metadata.len()))
    }

    /// Begins to store an artifact of `size` bytes.
    ///
    /// # Errors
    /// It is larger than artifacts may be, or the folder cannot be written.
    pub async fn begin(&self, digest: Digest, size: u64) -> Result<Upload, ArtifactError> {
        if size > self.most {
            return Err(ArtifactError::TooLarge {
                digest,
                size,
                most: self.most,
            });
        }
        let folder = self.folder.join(TEMPORARY);
        let temporary = blocking("written", &folder, {
            let folder = folder.clone();
            move || tempfile::NamedTempFile::new_in(folder)
        })
        .await?;
        let (file, path) = temporary.into_parts();
        Ok(Upload {
            hold: self.hold(digest),
            store: self.clone(),
            digest,
            size,
            written: 0,
            hasher: blake3::Hasher::new(),
            file: File::from_std(file),
            path,
        })
    }

    /// Puts a whole file in its place, durably. The claim goes with it, also when nobody waits any more: ended
    /// earlier, it would look for a file that is not there yet.
    async fn keep(&self, temporary: TempPath, hold: Hold) -> Result<Hold, ArtifactError> {
        let path = self.path(hold.digest());
        let root = self.folder.to_path_buf();
        blocking("stored", &path, {
            let path = path.clone();
            move || {
                let folder = path.parent().unwrap_or(&root);
                let new = !folder.exists();
                private::make_folder(folder)?;
                done(Step::ArtifactFolder);
                temporary.persist(&path).map_err(|refused| refused.error)?;
                done(Step::ArtifactNamed);
                // A rename is durable once its folder is, and a new folder once its parent is.
                std::fs::File::open(folder)?.sync_all()?;
                if new {
                    std::fs::File::open(&root)?.sync_all()?;
                }
                done(Step::ArtifactDurable);
                Ok(hold)
            }
        })
        .await
    }
}

/// Runs file operations on a thread where blocking does no harm.
async fn blocking<T: Send + 'static>(
    what: &'static str,
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ArtifactError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(io_error(what, path))
}

/// An artifact that is being stored. Dropped before [`Upload::finish`], it leaves nothing.
#[derive(Debug)]
pub struct Upload {
    hold: Hold,
    store: ArtifactStore,
    digest: Digest,
    size: u64,
    written: u64,
    hasher: blake3::Hasher,
    file: File,
    path: TempPath,
}

impl Upload {
    /// Writes the next piece.
    ///
    /// # Errors
    /// More comes than was announced, or the file cannot be written. The upload is of no more use.
    pub async fn write(&mut self, piece: &[u8]) -> Result<(), ArtifactError> {
        let written = self.written.saturating_add(piece.len() as u64);
        if written > self.size {
            return Err(self.wrong_size(written));
        }
        self.hasher.update(piece);
        self.file
            .write_all(piece)
            .await
            .map_err(io_error("written", &self.path))?;
        self.written = written;
        Ok(())
    }

    /// Checks size and digest, and makes the artifact durable and visible. It is removed again when the
    /// answer is dropped, unless somebody wants it by then.
    ///
    /// # Errors
    /// The content is not what was announced, or cannot be stored.
    pub async fn finish(mut self) -> Result<Hold, ArtifactError> {
        if self.written != self.size {
            return Err(self.wrong_size(self.written));
        }
        let got = Digest(*self.hasher.finalize().as_bytes());
        if got != self.digest {
            return Err(ArtifactError::WrongDigest {
                announced: self.digest,
                got,
            });
        }
        // Errors of writes that were still under way come out here.
        self.file
            .flush()
            .await
            .map_err(io_error("written", &self.path))?;
        done(Step::ArtifactWritten);
        self.file
            .sync_all()
            .await
            .map_err(io_error("written", &self.path))?;
        done(Step::ArtifactSynced);
        self.store.keep(self.path, self.hold).await
    }

    fn wrong_size(&self, got: u64) -> ArtifactError {
        ArtifactError::WrongSize {
            digest: self.digest,
            announced: self.size,
            got,
        }
    }
}
