//! A few artifacts kept by digest, so that the test job of a search's best trial need not fetch what
//! this machine made. Nothing in it is precious, and workers may share it. May import common and std.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use espalier_common::ids::Digest;

/// Bounds of the cache: a test job wants one of the last few best trials.
const MAX_FILES: usize = 64;
const MAX_BYTES: u64 = 2 << 30;

/// The cache. Its calls block on the disk.
#[derive(Clone, Debug)]
pub(crate) struct ArtifactCache {
    folder: PathBuf,
}

impl ArtifactCache {
    /// The cache in a folder, which is created if needed.
    pub(crate) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }

    /// Takes a copy of a file in (a link where that is possible), and the oldest out where that is needed.
    pub(crate) fn keep(&self, file: &Path, digest: Digest) -> io::Result<()> {
        let target = self.path(digest);
        match fs::hard_link(file, &target) {
            Ok(()) => {}
            // Another attempt left the same content.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(_) => copy_file(file, &target)?,
        }
        self.evict()
    }

    /// Puts a file with this content at `target`, if the cache has it. A link and not the file itself, so
    /// that moving it out of the cache takes nothing away from a job.
    pub(crate) fn link(&self, digest: Digest, target: &Path) -> io::Result<bool> {
        let path = self.path(digest);
        match digest_of(&path) {
            Ok(found) if found == digest => {}
            Ok(_) => {
                tracing::warn!(path = %path.display(), "a cached artifact is damaged; removed");
                fs::remove_file(&path)?;
                return Ok(false);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
        if fs::hard_link(&path, target).is_err() {
            // Another file system.
            fs::copy(&path, target)?;
        }
        // The time of the last use; only the order of eviction suffers if it cannot be set.
        let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Ok(true)
    }

    fn evict(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // Another worker may have removed it meanwhile.
            if let Ok(metadata) = entry.metadata() {
                files.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        // Newest first.
        files.sort_unstable_by_key(|file| std::cmp::Reverse(file.0));
        let mut bytes = 0_u64;
        for (index, (_, size, path)) in files.into_iter().enumerate() {
            bytes = bytes.saturating_add(size);
            // The newest stays whatever its size: it is the likeliest to be asked for.
            if index > 0 && (index >= MAX_FILES || bytes > MAX_BYTES) {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// The digest of a file's content.
pub(crate) fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(Digest(*hasher.finalize().as_bytes()))
}

/// Renames, or copies where the file systems differ.
pub(crate) fn move_file(from: &Path, to: &Path) -> io::Result<()> {
    if fs::rename(from, to).is_ok() {
        return Ok(());
    }
    copy_file(from, to)?;
    fs::remove_file(from)
}

/// Copies to a temporary name and renames, so that `to` is never half a file.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let parent = to.parent().unwrap_or(Path::new("."));
    let mut temporary = tempfile::NamedTempFile::new_in(parent)?;
    io::copy(&mut File::open(from)?, &mut temporary)?;
    temporary.persist(to)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(cache: &ArtifactCache, folder: &Path, content: &str) -> Digest {
        let file = folder.join("file");
        fs::write(&file, content).unwrap();
        let digest = Digest::of(content.as_bytes());
        cache.keep(&file, digest).unwrap();
        // As it is when the completion was delivered.
        fs::remove_file(&file).unwrap();
        digest
    }

    #[test]
    fn what_is_kept_is_found_by_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ArtifactCache::open(folder.path().join("cache")).unwrap();
        let digest = keep(&cache, folder.path(), "weights");
        let target = folder.path().join("target");
        assert!(cache.link(digest, &target).unwrap());
        assert_eq!(fs::read_to_string(&target).unwrap(), "weights");
        let other = folder.path().join("other");
        assert!(!cache.link(Digest::of(b"else"), &other).unwrap());
        assert!(!other.exists());
    }

    #[test]
    fn a_damaged_file_is_not_handed_out() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ArtifactCache::open(folder.path().join("cache")).unwrap();
        let digest = keep(&cache, folder.path(), "weights");
        fs::write(cache.path(digest), "wrong").unwrap();
        assert!(!cache.link(digest, &folder.path().join("target")).unwrap());
        assert!(!cache.path(digest).exists());
    }

    #[test]
    fn only_the_newest_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ArtifactCache::open(folder.path().join("cache")).unwrap();
        let first = keep(&cache, folder.path(), "first");
        let long_ago = SystemTime::UNIX_EPOCH;
        File::open(cache.path(first))
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
        for number in 0..MAX_FILES {
            keep(&cache, folder.path(), &number.to_string());
        }
        assert!(!cache.path(first).exists());
        assert_eq!(fs::read_dir(&cache.folder).unwrap().count(), MAX_FILES);
    }
}
