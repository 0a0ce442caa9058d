//! The memory limit of an evaluator and all it started, as the guard keeps it. May import nix.
//!
//! Either the worker has made a control group (cgroup v2) with the limit, which the evaluator joins before
//! its program runs, and the kernel does the rest. Or the guard looks at what the processes use, often. It
//! is not left to rlimits: `RLIMIT_AS` and `RLIMIT_DATA` count what is reserved, and CUDA and the allocators of
//! large libraries reserve many times what they use; both also count each process for itself.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::time::Duration;

/// Between two looks. One thread touches 2 to 4 GB of new memory a second, so this is what a process may have
/// beyond its limit: a few hundred megabytes at worst. A look costs some hundred microseconds.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);
/// More processes than an evaluator has; what has more is counted up to here.
const MAX_PROCESSES: usize = 4096;

/// How the memory is limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// It is not.
    Unlimited,
    /// To so many bytes, by the guard.
    Watched(u64),
    /// By the kernel, in this group.
    Group(PathBuf),
}

impl Memory {
    /// As an argument of the guard.
    pub(crate) fn argument(&self) -> OsString {
        match self {
            Self::Unlimited => "unlimited".into(),
            Self::Watched(bytes) => format!("watched={bytes}").into(),
            Self::Group(path) => {
                let mut text = OsString::from("group=");
                text.push(path);
                text
            }
        }
    }

    pub(super) fn of_argument(text: &OsStr) -> Option<Self> {
        let bytes = text.as_bytes();
        if let Some(path) = bytes.strip_prefix(b"group=") {
            return Some(Self::Group(OsString::from_vec(path.to_vec()).into()));
        }
        match text.to_str()? {
            "unlimited" => Some(Self::Unlimited),
            text => text
                .strip_prefix("watched=")?
                .parse()
                .ok()
                .map(Self::Watched),
        }
    }

    /// The file by which a process joins the group.
    pub(super) fn door(&self) -> io::Result<Option<File>> {
        match self {
            Self::Group(path) => {
                let door = File::options()
                    .write(true)
                    .open(path.join("cgroup.procs"))?;
                Ok(Some(door))
            }
            Self::Unlimited | Self::Watched(_) => Ok(None),
        }
    }

    /// Whether the processes that came of `root` use more than they may, as far as the guard has to know.
    pub(super) fn is_exceeded(&self, root: u32) -> bool {
        let Self::Watched(limit) = *self else {
            return false;
        };
        let processes = descendants(root);
        // First what is cheap to ask. It counts what forked processes share once for each, so it is too high
        // at worst.
        let sum = |of: fn(u32) -> u64| processes.iter().map(|&process| of(process)).sum::<u64>();
        sum(resident) > limit && sum(share) > limit
    }
}

/// All processes that came of `root`, itself not included.
fn descendants(root: u32) -> Vec<u32> {
    let mut all = children(root);
    let mut next = 0;
    while next < all.len() && all.len() < MAX_PROCESSES {
        all.extend(children(all[next]));
        next += 1;
    }
    all
}

fn children(process: u32) -> Vec<u32> {
    // Each thread has the children that it started.
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    let mut listed = false;
    let mut all = Vec::new();
    for thread in threads.flatten() {
        if let Ok(text) = fs::read_to_string(thread.path().join("children")) {
            listed = true;
            all.extend(
                text.split_whitespace()
                    .filter_map(|number| number.parse::<u32>().ok()),
            );
        }
    }
    if listed {
        all
    } else {
        children_by_search(process)
    }
}

/// For a kernel that does not list them (`CONFIG_PROC_CHILDREN`).
fn children_by_search(process: u32) -> Vec<u32> {
    super::processes()
        .into_iter()
        .filter_map(|number| u32::try_from(number).ok())
        .filter(|&number| super::parent_of(number) == Some(process))
        .collect()
}

/// Memory of a process that is no file: its own, what it shares without a file, what was swapped out.
fn resident(process: u32) -> u64 {
    let wanted = ["RssAnon", "RssShmem", "VmSwap", "HugetlbPages"];
    fields(process, "status", &wanted).values().sum()
}

/// The same with what several processes share divided among them. It costs milliseconds for each gigabyte.
fn share(process: u32) -> u64 {
    let wanted = ["Pss_Anon", "Pss_Shmem", "SwapPss"];
    let exact = fields(process, "smaps_rollup", &wanted);
    // Not told by kernels before 5.4, nor about programs with rights of another user.
    if exact.contains_key("Pss_Anon") {
        exact.values().sum()
    } else {
        resident(process)
    }
}

/// Fields of a file about a process that are given in kB, in bytes. What has ended uses nothing.
fn fields<'a>(process: u32, file: &str, wanted: &[&'a str]) -> HashMap<&'a str, u64> {
    let text = fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
    let of_line = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let name = wanted.iter().find(|wanted| **wanted == name)?;
        let kilobytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some((*name, kilobytes.saturating_mul(1024)))
    };
    text.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_the_same_after_its_way_through_an_argument() {
        for memory in [
            Memory::Unlimited,
            Memory::Watched(8 << 30),
            Memory::Group("/sys/fs/cgroup/a group/=x".into()),
        ] {
            assert_eq!(Memory::of_argument(&memory.argument()), Some(memory));
        }
        for text in ["", "watched=", "watched=-1", "python3"] {
            assert_eq!(Memory::of_argument(OsStr::new(text)), None, "{text}");
        }
    }

    #[test]
    fn memory_counts_once_it_is_touched() {
        let own = std::process::id();
        let before = resident(own);
        let mut held: Vec<u8> = vec![0; 256 << 20];
        assert!(resident(own) < before + (64 << 20), "reserving counts");
        for page in held.chunks_mut(4096) {
            page[0] = 1;
        }
        std::hint::black_box(&held);
        assert!(resident(own) >= before.max(256 << 20));
        assert!(share(own) >= 256 << 20);
    }

    #[test]
    fn children_are_found_in_both_ways_and_their_children_too() {
        // The shell waits for its child, so it does not become it.
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "sleep 30 & wait"])
            .spawn()
            .unwrap();
        let own = std::process::id();
        let until = std::time::Instant::now() + Duration::from_secs(10);
        while children(shell.id()).is_empty() && std::time::Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        let sleeper = children(shell.id());
        assert_eq!(sleeper.len(), 1);
        assert_eq!(children_by_search(shell.id()), sleeper);
        let all = descendants(own);
        assert!(all.contains(&shell.id()) && all.contains(&sleeper[0]));
        let sleeper = nix::unistd::Pid::from_raw(sleeper[0].try_into().unwrap());
        nix::sys::signal::kill(sleeper, nix::sys::signal::Signal::SIGKILL).unwrap();
        shell.wait().unwrap();
    }
}
