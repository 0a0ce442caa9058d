//! Starting and ending operating system processes, so that an evaluator and all it started end together,
//! and with the worker. May import nix, tokio.

use std::io;
use std::path::Path;
use std::process::Stdio;

use espalier_runtime::secrets::{TOKEN_FILE_VARIABLE, TOKEN_VARIABLE};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::memory::Limited;
use crate::config::Program;

/// Whether a guard (see the module `guard`) ends an evaluator and all it started when its stdin is closed.
/// Elsewhere the evaluator is a child of this process, and its group is all that can be reached.
pub(super) const GUARDED: bool = cfg!(target_os = "linux");

/// Starts a program with pipes, in a process group of its own, under the guard `guard`, which keeps its memory
/// limit.
pub(super) fn spawn(
    guard: &Path,
    memory: &Limited,
    program: &Program,
    threads: u32,
) -> io::Result<Child> {
    let Some((name, arguments)) = program.command.split_first() else {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    };
    let mut command = guarded(guard, memory, name);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        // By which this worker joined; no business of a program that only computes.
        .env_remove(TOKEN_VARIABLE)
        .env_remove(TOKEN_FILE_VARIABLE)
        // A guard that is killed could not end the others.
        .kill_on_drop(!GUARDED);
    // Numerical libraries take every core unless told otherwise, and their threads spin while they wait,
    // which costs the other slots their cores. The operator's own settings win.
    for (variable, value) in [
        ("OMP_NUM_THREADS", threads.to_string()),
        ("OMP_WAIT_POLICY", "PASSIVE".to_owned()),
    ] {
        if std::env::var_os(variable).is_none() {
            command.env(variable, value);
        }
    }
    command.spawn()
}

#[cfg(target_os = "linux")]
fn guarded(guard: &Path, memory: &Limited, name: &str) -> Command {
    let mut command = Command::new(guard);
    // What people see in a list of processes.
    command
        .arg0("espalier-worker")
        .arg(crate::guard::COMMAND)
        .arg(memory.argument())
        .arg(name);
    command
}

/// Elsewhere an evaluator sees the end of its stdin when its worker is gone.
#[cfg(not(target_os = "linux"))]
fn guarded(_: &Path, _: &Limited, name: &str) -> Command {
    Command::new(name)
}

/// The process group that a child leads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group(Pid);

impl Group {
    /// The group that `child` leads; `None` when the child was waited for already.
    pub(super) fn of(child: &Child) -> Option<Self> {
        let id = i32::try_from(child.id()?).ok()?;
        // Group 1 or 0 would be everybody or ourselves.
        (id > 1).then(|| Self(Pid::from_raw(id)))
    }

    /// Sends a signal to every process of the group; one that is gone needs none. A guard hands SIGTERM
    /// on to the evaluator's group.
    pub(super) fn signal(self, signal: Signal) {
        match killpg(self.0, signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => {
                tracing::warn!(group = self.0.as_raw(), %signal, %error, "cannot signal an evaluator");
            }
        }
    }
}

/// How often the kernel has killed a process because memory ran out, as far as this machine tells.
pub(super) fn out_of_memory_kills() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/vmstat").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?;
    line.trim().parse().ok()
}
