//! Artifacts: the files that attempts leave, in a folder beside the journal, each named by the BLAKE3
//! digest of its content. A file is there whole or not at all. May import the ids of `espalier-common` and
//! the file system; which artifacts are wanted is for others to know.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use espalier_common::ids::Digest;
use tempfile::TempPath;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

/// Where uploads lie until they are whole: on the same file system, so that the last step is a rename.
const TEMPORARY: &str = "tmp";

/// What is wrong with an artifact, or with the folder.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// Larger than artifacts may be.
    #[error("artifact {} has {size} bytes and at most {most} are stored; raise max_artifact_bytes", digest.short())]
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
    #[error("{} cannot be {what}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
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

/// The artifacts of one coordinator. Cheap to clone. The journal's lock keeps others off the folder.
#[derive(Clone, Debug)]
pub struct ArtifactStore {
    folder: Arc<Path>,
    most: u64,
}

impl ArtifactStore {
    /// Opens the store in `folder`, creating it if it is not there, and removes what uploads left that
    /// never ended. An artifact may have at most `most` bytes.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn open(folder: &Path, most: u64) -> Result<Self, ArtifactError> {
        let temporary = folder.join(TEMPORARY);
        std::fs::create_dir_all(&temporary).map_err(io_error("created", &temporary))?;
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

    /// Whether an artifact is stored.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub async fn contains(&self, digest: &Digest) -> Result<bool, ArtifactError> {
        let path = self.path(digest);
        tokio::fs::try_exists(&path)
            .await
            .map_err(io_error("read", &path))
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
            store: self.clone(),
            digest,
            size,
            written: 0,
            hasher: blake3::Hasher::new(),
            file: File::from_std(file),
            path,
        })
    }

    /// Removes an artifact, if it is stored.
    ///
    /// # Errors
    /// It cannot be removed.
    pub async fn remove(&self, digest: &Digest) -> Result<(), ArtifactError> {
        let path = self.path(digest);
        match tokio::fs::remove_file(&path).await {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(io_error("removed", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Puts a whole file in its place, durably.
    async fn keep(&self, digest: &Digest, temporary: TempPath) -> Result<(), ArtifactError> {
        let path = self.path(digest);
        let root = self.folder.to_path_buf();
        blocking("stored", &path, {
            let path = path.clone();
            move || {
                let folder = path.parent().unwrap_or(&root);
                let new = !folder.exists();
                std::fs::create_dir_all(folder)?;
                temporary.persist(&path).map_err(|refused| refused.error)?;
                // A rename is durable once its folder is, and a new folder once its parent is.
                std::fs::File::open(folder)?.sync_all()?;
                if new {
                    std::fs::File::open(&root)?.sync_all()?;
                }
                Ok(())
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

    /// Checks size and digest, and makes the artifact durable and visible.
    ///
    /// # Errors
    /// The content is not what was announced, or cannot be stored.
    pub async fn finish(mut self) -> Result<(), ArtifactError> {
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
        self.file
            .sync_all()
            .await
            .map_err(io_error("written", &self.path))?;
        self.store.keep(&self.digest, self.path).await
    }

    fn wrong_size(&self, got: u64) -> ArtifactError {
        ArtifactError::WrongSize {
            digest: self.digest,
            announced: self.size,
            got,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::io::AsyncReadExt;

    use super::*;

    const MOST: u64 = 1 << 20;

    /// Every file below `folder`.
    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut all = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => all.extend(files(&path)),
                false => all.push(path),
            }
        }
        all
    }

    async fn store(
        artifacts: &ArtifactStore,
        announced: Digest,
        size: u64,
        content: &[u8],
    ) -> Result<(), ArtifactError> {
        let mut upload = artifacts.begin(announced, size).await?;
        for piece in content.chunks(1000) {
            upload.write(piece).await?;
        }
        upload.finish().await
    }

    #[tokio::test]
    async fn an_artifact_is_read_as_it_was_stored_and_gone_when_removed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("artifacts");
        let artifacts = ArtifactStore::open(&root, MOST).unwrap();
        let content: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
        let digest = Digest::of(&content);
        assert!(!artifacts.contains(&digest).await.unwrap());
        let missing = artifacts.open_artifact(&digest).await.unwrap_err();
        assert!(matches!(missing, ArtifactError::Missing(found) if found == digest));
        // Twice: an attempt that is repeated leaves the same file.
        for _ in 0..2 {
            store(&artifacts, digest, content.len() as u64, &content)
                .await
                .unwrap();
            assert_eq!(files(&root), [artifacts.path(&digest)]);
        }
        let artifacts = ArtifactStore::open(&root, MOST).unwrap();
        assert!(artifacts.contains(&digest).await.unwrap());
        let (mut file, size) = artifacts.open_artifact(&digest).await.unwrap();
        let mut found = Vec::new();
        file.read_to_end(&mut found).await.unwrap();
        assert_eq!((size, &found), (content.len() as u64, &content));
        for _ in 0..2 {
            artifacts.remove(&digest).await.unwrap();
            assert!(!artifacts.contains(&digest).await.unwrap());
        }
    }

    #[tokio::test]
    async fn what_is_not_as_announced_is_refused_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = ArtifactStore::open(folder.path(), MOST).unwrap();
        let content = vec![7; 5000];
        let (right, wrong) = (Digest::of(&content), Digest::of(b"other"));
        let refused = store(&artifacts, wrong, 5000, &content).await.unwrap_err();
        assert!(matches!(refused, ArtifactError::WrongDigest { got, .. } if got == right));
        for announced in [4999, 5001, 100, 0] {
            let refused = store(&artifacts, right, announced, &content)
                .await
                .unwrap_err();
            let found = matches!(refused, ArtifactError::WrongSize { announced: said, .. } if said == announced);
            assert!(found, "{refused}");
        }
        let refused = store(&artifacts, right, MOST + 1, &content)
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("max_artifact_bytes"));
        assert_eq!(files(folder.path()), [] as [PathBuf; 0]);
        assert!(!artifacts.contains(&right).await.unwrap());
    }

    #[tokio::test]
    async fn an_upload_that_is_given_up_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = ArtifactStore::open(folder.path(), MOST).unwrap();
        let mut upload = artifacts.begin(Digest::of(b"abc"), 3).await.unwrap();
        upload.write(b"ab").await.unwrap();
        assert_eq!(files(folder.path()).len(), 1);
        drop(upload);
        assert_eq!(files(folder.path()), [] as [PathBuf; 0]);
    }

    #[tokio::test]
    async fn an_empty_artifact_can_be_stored() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = ArtifactStore::open(folder.path(), MOST).unwrap();
        let digest = Digest::of(b"");
        store(&artifacts, digest, 0, b"").await.unwrap();
        assert_eq!(artifacts.open_artifact(&digest).await.unwrap().1, 0);
    }

    #[tokio::test]
    async fn what_a_killed_coordinator_left_is_removed_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = ArtifactStore::open(folder.path(), MOST).unwrap();
        store(&artifacts, Digest::of(b"abc"), 3, b"abc")
            .await
            .unwrap();
        fs::write(folder.path().join(TEMPORARY).join(".half"), "half").unwrap();
        let artifacts = ArtifactStore::open(folder.path(), MOST).unwrap();
        let kept = artifacts.path(&Digest::of(b"abc"));
        assert_eq!(files(folder.path()), [kept]);
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "in the way").unwrap();
        let refused = ArtifactStore::open(&file.join("artifacts"), MOST).unwrap_err();
        assert!(refused.to_string().contains("file/artifacts"), "{refused}");

        // The folder vanishes while the coordinator runs: an error, not a panic.
        let artifacts = ArtifactStore::open(&folder.path().join("artifacts"), MOST).unwrap();
        fs::remove_dir_all(folder.path().join("artifacts")).unwrap();
        let refused = store(&artifacts, Digest::of(b"abc"), 3, b"abc")
            .await
            .unwrap_err();
        assert!(matches!(refused, ArtifactError::Io { .. }), "{refused}");
    }

    #[tokio::test]
    async fn a_full_disk_is_told_apart_from_other_errors() {
        // Writing to /dev/full fails as a full disk does.
        let mut full = File::options().write(true).open("/dev/full").await.unwrap();
        full.write_all(b"abc").await.unwrap();
        let source = full.flush().await.unwrap_err();
        let error = io_error("written", Path::new("/data/artifacts"))(source);
        assert!(matches!(error, ArtifactError::Full { .. }), "{error}");
        assert!(error.to_string().contains("free some space"));
    }
}
