//! Control groups (cgroup v2) that limit evaluators' memory, where whoever starts the worker has delegated
//! them to it. May import std only: they are files.
//!
//! The kernel allows limits for the groups below one only while that one holds no process itself. So the
//! worker moves into a group `worker` below its own, and makes the others beside it. It touches nothing above
//! its own group: that belongs to somebody else, also where root could write there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the worker itself goes.
const OWN: &str = "worker";
/// How the groups of evaluators are called, before the slot.
const PREFIX: &str = "evaluator-";

/// The group below which this worker may make others.
#[derive(Debug)]
pub(crate) struct Groups {
    path: PathBuf,
    limit: u64,
    made: AtomicU64,
}

impl Groups {
    /// Makes the worker's own group one with limited groups below it.
    ///
    /// # Errors
    /// A sentence that says why that is not possible here; everything is as before then.
    pub(super) fn prepare(limit: u64) -> Result<Self, String> {
        let path = own_group()?;
        let read = |file: &str| {
            let file = path.join(file);
            fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))
        };
        if !read("cgroup.controllers")?
            .split_whitespace()
            .any(|name| name == "memory")
        {
            return Err(format!("{} has no memory controller", path.display()));
        }
        let own = path.join(OWN);
        match fs::create_dir(&own) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(format!("cannot make {}: {error}", own.display()));
            }
            _ => {}
        }
        let this = std::process::id().to_string();
        let moved = write(&own.join("cgroup.procs"), &this)
            .and_then(|()| write(&path.join("cgroup.subtree_control"), "+memory"));
        if let Err(why) = moved {
            let _ = write(&path.join("cgroup.procs"), &this);
            let _ = fs::remove_dir(&own);
            return Err(why);
        }
        let made = AtomicU64::new(0);
        Ok(Self { path, limit, made })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// An empty group for the evaluator of a slot.
    pub(super) fn make(&self, slot: u32) -> io::Result<Group> {
        // Only has to differ.
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let path = self.path.join(format!("{PREFIX}{slot}-{number}"));
        fs::create_dir(&path)?;
        let group = Group {
            path,
            limit: self.limit,
            there: true,
        };
        fs::write(group.path.join("memory.max"), self.limit.to_string())?;
        // All of it or none: a program whose data loaders were killed would hang or fail in words of its own.
        fs::write(group.path.join("memory.oom.group"), "1")?;
        // What is swapped out is used too. Without swap in the kernel there is no such file.
        let swap = group.path.join("memory.swap.max");
        if swap.exists() {
            fs::write(swap, "0")?;
        }
        Ok(group)
    }
}

/// One evaluator's group.
#[derive(Debug)]
pub(super) struct Group {
    path: PathBuf,
    limit: u64,
    there: bool,
}

impl Group {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether the kernel killed a process of it for its memory.
    pub(super) fn has_killed(&self) -> bool {
        let events = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        kills(&events) > 0
    }

    /// Once no process is in it. One that still ends keeps it, empty, until the worker's own group is removed by
    /// whoever made that.
    pub(super) fn remove(&mut self) {
        self.there = self.there && fs::remove_dir(&self.path).is_err();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.remove();
    }
}

fn kills(events: &str) -> u64 {
    let count = events
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "));
    count
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| match error.raw_os_error() {
        Some(busy) if busy == nix::libc::EBUSY => format!(
            "{}: other processes than this worker are in its group",
            file.display()
        ),
        _ => format!("cannot write {}: {error}", file.display()),
    })
}

/// The folder of the group that this process is in.
fn own_group() -> Result<PathBuf, String> {
    let read = |file: &str| fs::read_to_string(file).map_err(|error| format!("{file}: {error}"));
    group_of(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?)
}

fn group_of(groups: &str, mounts: &str) -> Result<PathBuf, String> {
    let missing = || "this system has no cgroup v2".to_owned();
    let own = groups
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .ok_or_else(missing)?;
    // ID PARENT DEVICE ROOT WHERE OPTIONS … - TYPE SOURCE OPTIONS
    let mount = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        (after.split(' ').next() == Some("cgroup2")).then_some(before)
    });
    let mut words = mount.ok_or_else(missing)?.split(' ').skip(3);
    let (Some(root), Some(at)) = (words.next(), words.next()) else {
        return Err(missing());
    };
    let inside = Path::new(own)
        .strip_prefix(root)
        .map_err(|_| format!("its group {own} is not mounted here"))?;
    Ok(Path::new(at).join(inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "22 1 0:20 / /proc rw - proc proc rw\n\
        30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn the_own_group_is_found_below_its_mount() {
        let group =
            |own: &str, mounts: &str| group_of(own, mounts).map(|path| path.display().to_string());
        assert_eq!(
            group("0::/system.slice/espalier-worker.service\n", MOUNTS).unwrap(),
            "/sys/fs/cgroup/system.slice/espalier-worker.service"
        );
        assert_eq!(
            group("4:memory:/x\n0::/\n", MOUNTS).unwrap(),
            "/sys/fs/cgroup/"
        );
        let below = MOUNTS.replace("0:26 / ", "0:26 /pod ");
        assert_eq!(group("0::/pod/a\n", &below).unwrap(), "/sys/fs/cgroup/a");
        assert!(group("0::/other\n", &below).unwrap_err().contains("/other"));
        assert!(
            group("4:memory:/x\n", MOUNTS)
                .unwrap_err()
                .contains("cgroup v2")
        );
        assert!(group("0::/\n", "").unwrap_err().contains("cgroup v2"));
    }

    #[test]
    fn kills_for_memory_are_counted_apart_from_other_events() {
        let events = |kills: u32| {
            format!("low 0\nhigh 0\nmax 18\noom 1\noom_kill {kills}\noom_group_kill 1\n")
        };
        assert_eq!(kills(&events(0)), 0);
        assert_eq!(kills(&events(3)), 3);
        assert_eq!(kills(""), 0);
    }
}
