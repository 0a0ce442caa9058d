//! Looks after the room on the disk of the data folder, so that its end does not come as a surprise. May import
//! tokio and the system's call for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use espalier_runtime::Shutdown;

/// A busy coordinator writes some megabytes a minute, and an upload may have gigabytes.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// With less than this, and less than a twentieth of the disk, it is time to act.
const LOW_BYTES: u64 = 1 << 30;
const LOW_SHARE: u64 = 20;

/// Room on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) free: u64,
    pub(crate) total: u64,
}

impl Room {
    /// Room for this user on the disk of a folder; `None` when the system does not say.
    pub(crate) fn of(folder: &Path) -> Option<Self> {
        let stat = nix::sys::statvfs::statvfs(folder).ok()?;
        let unit = stat.fragment_size();
        Some(Self {
            free: stat.blocks_available().saturating_mul(unit),
            total: stat.blocks().saturating_mul(unit),
        })
    }

    fn is_low(self) -> bool {
        self.free < LOW_BYTES && self.free < self.total / LOW_SHARE
    }

    /// Twice as much as when it is low: what goes up and down around the bound is said once.
    fn is_well(self) -> bool {
        self.free >= 2 * LOW_BYTES || self.free >= self.total / (LOW_SHARE / 2)
    }
}

/// Whether the lack of room has been said.
#[derive(Debug, Default)]
struct Watch {
    said: bool,
}

impl Watch {
    /// Whether it is to be said now.
    fn note(&mut self, room: Room) -> bool {
        if self.said {
            self.said = !room.is_well();
            return false;
        }
        self.said = room.is_low();
        self.said
    }
}

/// Watches the disk of a folder until the coordinator ends.
pub(crate) fn watch(folder: PathBuf, shutdown: Shutdown) {
    espalier_runtime::spawn_named("disk watch", async move {
        let mut watch = Watch::default();
        loop {
            let looked = folder.clone();
            let room = tokio::task::spawn_blocking(move || Room::of(&looked)).await;
            if let Ok(Some(room)) = room
                && watch.note(room)
            {
                tracing::warn!(
                    path = %folder.display(), free_bytes = room.free, total_bytes = room.total,
                    "the disk of the data folder is nearly full: make room; when it is full, the coordinator ends"
                );
            }
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_gets_full_is_said_once_until_there_is_room_again() {
        let mut watch = Watch::default();
        let total = 1 << 40;
        let mut said = |free: u64| watch.note(Room { free, total });
        assert!(!said(5 << 30));
        assert!(said(900 << 20));
        assert!(!said(800 << 20));
        assert!(!said(1100 << 20), "a little more is not enough");
        assert!(!said(900 << 20));
        assert!(!said(3 << 30));
        assert!(said(900 << 20));
    }

    #[test]
    fn a_small_disk_that_is_mostly_free_is_no_matter() {
        let room = |free| Room {
            free,
            total: 500 << 20,
        };
        assert!(!Watch::default().note(room(400 << 20)));
        assert!(Watch::default().note(room(10 << 20)));
    }

    #[test]
    fn the_disk_of_a_folder_has_a_size() {
        let folder = tempfile::tempdir().unwrap();
        let room = Room::of(folder.path()).unwrap();
        assert!(room.total > 0 && room.free <= room.total);
        assert_eq!(Room::of(&folder.path().join("none")), None);
    }
}
