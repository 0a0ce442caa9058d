//! Keeps the folder of decoded files from growing for ever.

use std::fs::{File, FileTimes};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::cache::{DECODED_PREFIX, UNFINISHED_PREFIX};
use crate::error::DataError;

/// Decoding the largest data set that is taken needs minutes; what is older was left by a process that
/// was killed.
const UNFINISHED_MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// Notes that a decoded file is in use: what was not used for the longest time goes first. That this
/// fails costs nothing but the order.
pub fn note_use(path: &Path) {
    let times = FileTimes::new().set_accessed(SystemTime::now());
    let _ = File::open(path).and_then(|file| file.set_times(times));
}

/// Removes what processes that were killed left behind, and the decoded files that were not used for the
/// longest time until all together have at most `most_bytes`. The file used last always stays. A file that
/// is removed while somebody maps it lives until it is unmapped, and is made again when it is asked for.
///
/// # Errors
/// [`DataError`] when the folder cannot be read or something in it cannot be removed.
pub fn prune(cache_dir: &Path, most_bytes: u64) -> Result<(), DataError> {
    let entries = match std::fs::read_dir(cache_dir) {
        Ok(entries) => entries,
        // Nothing was decoded yet.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(DataError::cache("read", cache_dir, error)),
    };
    let now = SystemTime::now();
    let mut decoded = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| DataError::cache("read", cache_dir, error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Gone already: other workers share the folder.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if !metadata.is_file() {
            continue;
        }
        if name.starts_with(UNFINISHED_PREFIX) {
            let age = metadata.modified().map(|then| now.duration_since(then));
            if matches!(age, Ok(Ok(age)) if age > UNFINISHED_MAX_AGE) {
                remove(&entry.path())?;
            }
        } else if name.starts_with(DECODED_PREFIX) {
            let used = metadata.accessed().unwrap_or(SystemTime::UNIX_EPOCH);
            decoded.push((used, metadata.len(), entry.path()));
        }
    }
    remove_surplus(decoded, most_bytes)
}

fn remove_surplus(
    mut decoded: Vec<(SystemTime, u64, PathBuf)>,
    most_bytes: u64,
) -> Result<(), DataError> {
    decoded.sort_unstable_by(|one, other| other.cmp(one));
    let mut bytes = 0_u64;
    for (index, (_, length, path)) in decoded.into_iter().enumerate() {
        bytes = bytes.saturating_add(length);
        if index > 0 && bytes > most_bytes {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), DataError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(DataError::cache("remove", path, error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, name: &str, bytes: u64, age: Duration) -> PathBuf {
        let path = folder.join(name);
        let file = File::create(&path).unwrap();
        file.set_len(bytes).unwrap();
        let then = SystemTime::now() - age;
        let times = FileTimes::new().set_accessed(then).set_modified(then);
        file.set_times(times).unwrap();
        path
    }

    #[test]
    fn what_was_used_least_goes_and_what_was_used_last_stays() {
        let folder = tempfile::tempdir().unwrap();
        let hour = |hours: u64| Duration::from_secs(hours * 3600);
        let old = file(folder.path(), "idx-old", 100, hour(3));
        let used = file(folder.path(), "idx-used", 100, hour(2));
        let new = file(folder.path(), "idx-new", 100, hour(1));
        let other = file(folder.path(), "notes.txt", 1000, hour(9));
        prune(folder.path(), 300).unwrap();
        assert!(old.exists());
        note_use(&used);
        prune(folder.path(), 200).unwrap();
        assert!(!old.exists() && used.exists() && new.exists());
        prune(folder.path(), 1).unwrap();
        assert!(used.exists() && !new.exists(), "the one used last stays");
        assert!(other.exists(), "what is not ours is left alone");
        prune(&folder.path().join("nowhere"), 1).unwrap();
    }

    #[test]
    fn unfinished_files_go_when_nobody_can_be_at_them_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let left = file(folder.path(), ".making-a", 10, 2 * UNFINISHED_MAX_AGE);
        let fresh = file(folder.path(), ".making-b", 10, Duration::from_secs(60));
        prune(folder.path(), u64::MAX).unwrap();
        assert!(!left.exists() && fresh.exists());
    }
}
