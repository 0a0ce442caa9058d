//! The folder that is this worker's own: a lock, scratch folders of attempts, and the spool. May import
//! common and std.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use espalier_common::ids::{AttemptKey, AttemptNumber, Digest, TrialNumber};
use uuid::Uuid;

use crate::alive;
use crate::error::WorkerError;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The work folder, locked for as long as this lives: two workers in one folder would empty each other's
/// scratch and deliver each other's results.
#[derive(Debug)]
pub(crate) struct WorkDir {
    path: PathBuf,
    home: Uuid,
    _lock: File,
}

impl WorkDir {
    /// Creates the folder if needed, locks it and empties its scratch.
    pub(crate) fn open(path: &Path) -> Result<Self, WorkerError> {
        let folder = |source| WorkerError::Folder {
            path: path.to_owned(),
            source,
        };
        fs::create_dir_all(path).map_err(folder)?;
        let lock = File::create(path.join("lock")).map_err(folder)?;
        // The kernel drops the lock with the process, however that ends, and evaluators do not inherit it.
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(WorkerError::WorkDirInUse(path.to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(folder(error)),
        }
        let work_dir = Self {
            path: path.to_owned(),
            home: home(&lock).map_err(folder)?,
            _lock: lock,
        };
        let scratch = work_dir.scratch_root();
        // What lies there belongs to attempts of a worker that was killed.
        match fs::remove_dir_all(&scratch) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(folder(error)),
            _ => {}
        }
        fs::create_dir_all(&scratch).map_err(folder)?;
        alive::forget(path).map_err(folder)?;
        Ok(work_dir)
    }

    /// What tells a worker that starts again here from another one that has only its name: this folder, which is
    /// locked, on this boot of the machine.
    pub(crate) fn home(&self) -> Uuid {
        self.home
    }

    fn scratch_root(&self) -> PathBuf {
        self.path.join("scratch")
    }

    /// Where the spool keeps its files.
    pub(crate) fn spool_root(&self) -> PathBuf {
        self.path.join("spool")
    }

    /// An empty folder for files of an attempt.
    pub(crate) fn scratch(&self, key: AttemptKey) -> io::Result<Scratch> {
        let path = self.scratch_root().join(file_stem(key));
        fs::create_dir(&path)?;
        Ok(Scratch { path })
    }
}

/// The place of the lock on this boot of the machine: a copy of the folder, or of the machine, has another one.
fn home(lock: &File) -> io::Result<Uuid> {
    let lock = lock.metadata()?;
    // Not there on other systems than Linux.
    let boot = fs::read_to_string(BOOT_ID).unwrap_or_default();
    let place = Digest::of(format!("{} {} {}", boot.trim(), lock.dev(), lock.ino()).as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&place.0[..16]);
    Ok(Uuid::from_bytes(id))
}

/// What an attempt's files are called.
pub(crate) fn file_stem(key: AttemptKey) -> String {
    format!("{}-{}-{}", key.search, key.trial, key.attempt)
}

/// The attempt that a file belongs to, by its name.
pub(crate) fn attempt_of(stem: &str) -> Option<AttemptKey> {
    let mut parts = stem.rsplitn(3, '-');
    let (attempt, trial, search) = (parts.next()?, parts.next()?, parts.next()?);
    Some(AttemptKey {
        search: search.parse().ok()?,
        trial: TrialNumber(trial.parse().ok()?),
        attempt: AttemptNumber(attempt.parse().ok()?),
    })
}

/// An attempt's scratch folder, removed with all that is in it when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Should this fail, the next start of the worker empties the folder.
        if let Err(error) = fs::remove_dir_all(&self.path) {
            let path = self.path.display();
            tracing::warn!(%path, %error, "cannot remove a scratch folder");
        }
    }
}

#[cfg(test)]
mod tests {
    use espalier_common::ids::SearchId;

    use super::*;

    fn key() -> AttemptKey {
        AttemptKey {
            search: SearchId(uuid::Uuid::from_u128(7)),
            trial: TrialNumber(1),
            attempt: AttemptNumber(2),
        }
    }

    #[test]
    fn a_file_says_whose_it_is() {
        assert_eq!(attempt_of(&file_stem(key())), Some(key()));
        assert_eq!(attempt_of("tmpfile"), None);
        assert_eq!(attempt_of("a-b-c"), None);
    }

    #[test]
    fn a_second_worker_does_not_get_the_same_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = WorkDir::open(folder.path()).unwrap();
        let error = WorkDir::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("--name"), "{error}");
        drop(first);
        WorkDir::open(folder.path()).unwrap();
    }

    #[test]
    fn a_folder_is_the_same_home_at_every_start_and_no_other_folder_is() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let home = |folder: &Path| WorkDir::open(folder).unwrap().home();
        let first = home(folder.path());
        assert_eq!(home(folder.path()), first);
        assert_ne!(home(other.path()), first);
        // A copy of a folder is another one, whatever is in it.
        let copy = other.path().join("copy");
        fs::create_dir(&copy).unwrap();
        fs::copy(folder.path().join("lock"), copy.join("lock")).unwrap();
        assert_ne!(home(&copy), first);
    }

    #[test]
    fn scratch_of_a_killed_worker_is_emptied_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let work_dir = WorkDir::open(folder.path()).unwrap();
        let scratch = work_dir.scratch(key()).unwrap();
        fs::write(scratch.path().join("weights"), "x").unwrap();
        let path = scratch.path().to_owned();
        std::mem::forget(scratch);
        drop(work_dir);
        assert!(path.exists());
        let work_dir = WorkDir::open(folder.path()).unwrap();
        assert!(!path.exists());
        drop(work_dir.scratch(key()).unwrap());
        assert!(!path.exists());
    }
}
