//! Processes as the kernel sees them: whose child is whose, who is stopped, who is left. May import std and
//! nix.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait_until;

/// A process and what `/proc/N/stat` says of it.
#[derive(Clone, Copy, Debug)]
struct Stat {
    id: u32,
    parent: u32,
    state: char,
}

fn stats() -> Vec<Stat> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| stat(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect()
}

fn stat(id: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // `number (name) state parent`; the name may hold anything, brackets too.
    let mut rest = text[text.rfind(')')? + 1..].split_whitespace();
    Some(Stat {
        id,
        state: rest.next()?.chars().next()?,
        parent: rest.next()?.parse().ok()?,
    })
}

/// Whether a process runs, asleep or not: neither gone nor a zombie.
#[must_use]
pub(super) fn lives(id: u32) -> bool {
    stat(id).is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'))
}

/// The evaluators below a worker: what its guards started.
#[must_use]
pub(super) fn evaluators(worker: u32) -> Vec<u32> {
    let all = stats();
    let children = |parent: u32| {
        all.iter()
            .filter(move |stat| stat.parent == parent && !matches!(stat.state, 'Z' | 'X'))
            .map(|stat| stat.id)
    };
    children(worker).flat_map(children).collect()
}

/// Sends a signal.
///
/// # Errors
/// The process is gone.
pub(super) fn signal(id: u32, signal: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(i32::try_from(id)?), signal)?)
}

/// SIGSTOP, and waits until the process has stopped.
///
/// # Errors
/// It does not stop within 10 seconds.
pub(super) async fn freeze(id: u32) -> Result<()> {
    signal(id, Signal::SIGSTOP)?;
    wait_until(
        "a stopped process",
        Duration::from_secs(10),
        || async move {
            match stat(id) {
                None => bail!("process {id} is gone"),
                Some(stat) => Ok((stat.state == 'T').then_some(())),
            }
        },
    )
    .await
}

/// Waits until none of `ids` lives.
///
/// # Errors
/// One does after `limit`.
pub(super) async fn gone(what: &str, ids: &[u32], limit: Duration) -> Result<()> {
    wait_until(what, limit, || async {
        Ok(ids.iter().all(|id| !lives(*id)).then_some(()))
    })
    .await
}

/// The processes other than this one that have `folder` in their command line or environment.
#[must_use]
pub(super) fn with_folder(folder: &Path) -> Vec<(u32, String)> {
    let Some(folder) = folder.to_str() else {
        return Vec::new();
    };
    let own = std::process::id();
    let mut found = Vec::new();
    for stat in stats() {
        let read = |name: &str| {
            let bytes = std::fs::read(format!("/proc/{}/{name}", stat.id)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let line = read("cmdline");
        let is_it = line.contains(folder) || read("environ").contains(folder);
        if is_it && stat.id != own && !matches!(stat.state, 'Z' | 'X') {
            found.push((stat.id, line));
        }
    }
    found
}
