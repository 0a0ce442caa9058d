//! Starts child processes that never outlive this one, however it ends. May import nix.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::sync::oneshot;

/// Starts children on a thread of its own. Linux kills them when that thread ends, and so does a process
/// that ends in any way; a thread of the runtime may end earlier.
#[derive(Clone, Debug)]
pub(super) struct Spawner {
    requests: mpsc::Sender<Request>,
    groups: Groups,
}

type Request = (Command, oneshot::Sender<std::io::Result<Child>>);

/// The process groups of the children that live.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups(Arc<Mutex<BTreeSet<i32>>>);

/// A child in a process group of its own, so that Ctrl-C on the terminal reaches this process alone.
#[derive(Debug)]
pub(super) struct Grouped {
    child: Child,
    group: i32,
    groups: Groups,
}

impl Spawner {
    /// Starts the thread. Must be called within the runtime.
    pub(super) fn start(groups: Groups) -> std::io::Result<Self> {
        let (requests, inbox) = mpsc::channel::<Request>();
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                let _runtime = runtime.enter();
                for (command, reply) in inbox {
                    // A caller that is gone drops the child, which kills it.
                    let _ = reply.send(spawn(command));
                }
            })?;
        Ok(Self { requests, groups })
    }

    /// Starts a child.
    pub(super) async fn spawn(&self, command: Command) -> std::io::Result<Grouped> {
        let gone = || std::io::Error::other("the thread that starts processes is gone");
        let (reply, answer) = oneshot::channel();
        self.requests.send((command, reply)).map_err(|_| gone())?;
        let child = answer.await.map_err(|_| gone())??;
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .ok_or_else(|| std::io::Error::other("the process ended at once"))?;
        self.groups.lock().insert(group);
        Ok(Grouped {
            child,
            group,
            groups: self.groups.clone(),
        })
    }
}

impl Groups {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<i32>> {
        // Held for single calls on the set only, which leave it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills every child and whatever it left in its group.
    pub(super) fn kill(&self) {
        for &group in self.lock().iter() {
            // It may have ended in this moment.
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }
}

impl Grouped {
    /// Waits for its end.
    pub(super) async fn wait(&mut self) -> std::io::Result<std::process::ExitStatus> {
        self.child.wait().await
    }

    /// Asks it, and not its group, to end.
    pub(super) fn terminate(&self) {
        // `id` is gone once the end was waited for: the number may be another process's by then.
        if self.child.id().is_some() {
            let _ = kill(Pid::from_raw(self.group), Signal::SIGTERM);
        }
    }

    /// Kills it and its group.
    pub(super) fn kill(&self) {
        if self.child.id().is_some() {
            let _ = killpg(Pid::from_raw(self.group), Signal::SIGKILL);
        }
    }

    /// Its process id.
    pub(super) fn id(&self) -> i32 {
        self.group
    }
}

impl Drop for Grouped {
    fn drop(&mut self) {
        self.kill();
        self.groups.lock().remove(&self.group);
    }
}

fn spawn(mut command: Command) -> std::io::Result<Child> {
    use std::os::unix::process::CommandExt as _;

    command.process_group(0);
    die_with_parent(&mut command);
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    command.spawn()
}

/// Has the kernel kill the child when the thread that started it ends.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn die_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;

    let parent = nix::unistd::getpid();
    let ask = move || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have ended before the call above.
        if nix::unistd::getppid() == parent {
            Ok(())
        } else {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
    };
    // SAFETY: between fork and exec only async-signal-safe functions may run; `ask` makes two system
    // calls and allocates nothing.
    unsafe {
        command.pre_exec(ask);
    }
}

/// Elsewhere `Groups::kill` and `Drop` do what can be done.
#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Command {
        let mut command = Command::new("sleep");
        command.arg("600");
        command
    }

    fn exists(process: i32) -> bool {
        kill(Pid::from_raw(process), None).is_ok()
    }

    #[tokio::test]
    async fn a_child_ends_when_asked() {
        let spawner = Spawner::start(Groups::default()).unwrap();
        let mut child = spawner.spawn(sleeper()).await.unwrap();
        child.terminate();
        let status = child.wait().await.unwrap();
        assert!(!status.success());
        assert!(!exists(child.id()));
    }

    #[tokio::test]
    async fn killing_the_groups_kills_every_child() {
        let groups = Groups::default();
        let spawner = Spawner::start(groups.clone()).unwrap();
        let mut first = spawner.spawn(sleeper()).await.unwrap();
        let mut second = spawner.spawn(sleeper()).await.unwrap();
        groups.kill();
        first.wait().await.unwrap();
        second.wait().await.unwrap();
        drop((first, second));
        assert!(groups.lock().is_empty());
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_an_error() {
        let spawner = Spawner::start(Groups::default()).unwrap();
        let error = spawner
            .spawn(Command::new("/no/such/program"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn children_die_with_the_thread_that_started_them() {
        let spawner = Spawner::start(Groups::default()).unwrap();
        let mut child = spawner.spawn(sleeper()).await.unwrap();
        // The last handle: the thread ends, as it does when the process dies.
        drop(spawner);
        let status = child.wait().await.unwrap();
        assert!(!status.success());
    }
}
