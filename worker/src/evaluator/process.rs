//! Starting and ending operating system processes in a group of their own, so that an evaluator and all
//! it started end together. The one module with unsafe code. May import nix, tokio.

use std::io;
use std::process::Stdio;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::config::Program;

/// Starts a program with pipes, in a process group of its own.
///
/// Must not be called from a thread that may end before the process: on Linux the kernel kills the
/// process with the thread that started it. Tokio's worker threads live as long as the runtime; those of
/// `spawn_blocking` do not.
pub(super) fn spawn(program: &Program, threads: u32) -> io::Result<Child> {
    let Some((name, arguments)) = program.command.split_first() else {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    };
    let mut command = Command::new(name);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
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
    die_with_parent(&mut command);
    command.spawn()
}

/// Lets the kernel kill the process when this one is gone, even by SIGKILL: an evaluator without its
/// worker would go on for hours with nobody to read its result.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)] // `pre_exec` is unsafe, and there is no other way to set this before the program runs.
fn die_with_parent(command: &mut Command) {
    let parent = Pid::this();
    // SAFETY: between fork and exec only prctl and getppid are called, which are safe to call there, and
    // nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The parent may have ended before the line above.
            if nix::unistd::getppid() == parent {
                Ok(())
            } else {
                Err(io::Error::from(Errno::ESRCH))
            }
        });
    }
}

/// Elsewhere an evaluator sees the end of its stdin when its worker is gone.
#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}

/// The process group of an evaluator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group(Pid);

impl Group {
    /// The group that `child` leads; `None` when the child was waited for already.
    pub(super) fn of(child: &Child) -> Option<Self> {
        let id = i32::try_from(child.id()?).ok()?;
        // Group 1 or 0 would be everybody or ourselves.
        (id > 1).then(|| Self(Pid::from_raw(id)))
    }

    /// Sends a signal to every process of the group; one that is gone needs none.
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
