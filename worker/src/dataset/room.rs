//! Room for fetched data: together they keep to their bound, those that are on their way included. May import tokio.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use espalier_common::ids::Digest;
use tokio::sync::Notify;

/// What begins like this is being fetched.
pub(super) const PART: &str = "part-";
/// What a killed process left half done is removed after this.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// How much may lie in a folder, and what comes to it now.
#[derive(Debug)]
pub(super) struct Room {
    most: u64,
    /// Bytes of what is on its way, or has come and is being verified.
    coming: Mutex<BTreeMap<Digest, u64>>,
    left: Notify,
}

/// Room that is held for data; given back when dropped. What has come by then counts by its files.
#[derive(Debug)]
pub(super) struct Reserved {
    room: Arc<Room>,
    data: Digest,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.room.coming().remove(&self.data);
        self.room.left.notify_waiters();
    }
}

impl Room {
    pub(super) fn new(most: u64) -> Self {
        Self {
            most,
            coming: Mutex::default(),
            left: Notify::new(),
        }
    }

    /// The most bytes there may be.
    pub(super) fn most(&self) -> u64 {
        self.most
    }

    fn coming(&self) -> MutexGuard<'_, BTreeMap<Digest, u64>> {
        // Nothing under the lock can panic half way.
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds room for data, of which at most [`Room::most`] bytes come; waits for others that are on their way, and
    /// leave none beside them.
    pub(super) async fn reserve(self: &Arc<Self>, data: Digest, bytes: u64) -> Reserved {
        loop {
            let mut left = std::pin::pin!(self.left.notified());
            // From here on: what is given back between the look and the waiting must not be missed.
            left.as_mut().enable();
            if self.take(data, bytes) {
                return Reserved {
                    room: Arc::clone(self),
                    data,
                };
            }
            left.await;
        }
    }

    fn take(&self, data: Digest, bytes: u64) -> bool {
        let mut coming = self.coming();
        let all = coming
            .values()
            .fold(bytes, |all, one| all.saturating_add(*one));
        let fits = all <= self.most && !coming.contains_key(&data);
        if fits {
            coming.insert(data, bytes);
        }
        fits
    }

    /// Removes what was not used for the longest time until the rest leaves the room that is reserved.
    pub(super) fn make(&self, folder: &Path) -> io::Result<()> {
        let coming = self.coming().clone();
        let reserved = coming
            .values()
            .fold(0_u64, |all, one| all.saturating_add(*one));
        let comes = |name: &str| name.parse().is_ok_and(|data| coming.contains_key(&data));
        clear(folder, self.most.saturating_sub(reserved), comes)
    }
}

/// Removes the oldest until what is left has `most` bytes, but for what is `spared` and does not count.
fn clear(folder: &Path, most: u64, spared: impl Fn(&str) -> bool) -> io::Result<()> {
    let mut kept = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // Another worker may have removed it meanwhile.
        let Ok(modified) = entry.metadata().and_then(|data| data.modified()) else {
            continue;
        };
        if spared(&name) {
            continue;
        }
        if !name.starts_with(PART) {
            kept.push((modified, bytes_in(&entry.path()), entry.path()));
        } else if is_stale(modified) {
            remove(&entry.path())?;
        }
    }
    // Newest first.
    kept.sort_unstable_by_key(|one| std::cmp::Reverse(one.0));
    let mut bytes = 0_u64;
    for (_, size, path) in kept {
        bytes = bytes.saturating_add(size);
        if bytes > most {
            tracing::info!(path = %path.display(), bytes = size, "fetched data removed to make room for others");
            remove(&path)?;
        }
    }
    Ok(())
}

fn is_stale(modified: SystemTime) -> bool {
    modified.elapsed().is_ok_and(|age| age > STALE)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        // Another fetch made room at the same time.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| Some(entry.metadata().ok()?.len()));
    sizes.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(folder: &Path, name: &str, minutes_ago: u64) {
        let path = folder.join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("file"), [0; 100]).unwrap();
        let time = SystemTime::now() - Duration::from_secs(minutes_ago * 60);
        fs::File::open(&path).unwrap().set_modified(time).unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn room_is_made_by_removing_what_was_not_used_for_the_longest_time() {
        let folder = tempfile::tempdir().unwrap();
        for (age, name) in [(3, "old"), (2, "older-than-new"), (1, "new")] {
            put(folder.path(), name, age);
        }
        put(folder.path(), "part-stale", 2 * 24 * 60);
        fs::create_dir(folder.path().join("part-of-another-worker")).unwrap();
        Room::new(250).make(folder.path()).unwrap();
        assert_eq!(
            names(folder.path()),
            ["new", "older-than-new", "part-of-another-worker"]
        );
    }

    #[tokio::test]
    async fn data_that_are_on_their_way_have_their_room_and_others_wait_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let room = Arc::new(Room::new(250));
        let (first, second) = (Digest::of(b"first"), Digest::of(b"second"));
        let reserved = room.reserve(first, 100).await;
        // It has come, and is being verified: though the oldest, it is not what makes room.
        put(folder.path(), &first.to_string(), 5);
        put(folder.path(), "old", 4);
        put(folder.path(), "new", 1);
        room.make(folder.path()).unwrap();
        assert_eq!(names(folder.path()), [first.to_string(), "new".to_owned()]);

        let small = room.reserve(Digest::of(b"small"), 150).await;
        drop(small);
        let mut waiting = std::pin::pin!(room.reserve(second, 200));
        let soon = Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, &mut waiting).await.is_err());
        drop(reserved);
        let _second = waiting.await;
        // Both of before have to go now.
        room.make(folder.path()).unwrap();
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }
}
