//! The guard of one evaluator: a small process between the worker and the evaluator that sees to it that
//! nothing is left of the evaluator when the worker ends, in whatever way. May import nix and common's
//! protocol types; no tokio, since it must start fast and stay small.
//!
//! The kernel can kill a child with its parent, but not the child's children: data loaders, shells,
//! whatever a user's program starts. The guard is this program again, with the arguments of
//! [`run_if_asked`]. It has the evaluator's own stdin, stdout and stderr, so nothing passes through it. It
//! holds the reading end of stdin without reading: when the last writer is gone, which is the worker,
//! poll(2) says so, and that also is how the worker asks for the end. As *subreaper* it becomes the parent
//! of everything that the evaluator leaves behind, so it finds what changed its process group too. It also
//! keeps the evaluator's memory limit, so that a worker which is busy or stopped does not lift it.

mod memory;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use espalier_common::evaluator::{FromEvaluator, Line};
use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, dup2_stderr, dup2_stdout};

pub(crate) use memory::Memory;

/// The first argument of a guard; a [`Memory`] and the evaluator's command line follow.
pub(crate) const COMMAND: &str = "guard-evaluator";
/// For everything to be gone after SIGKILL. Less than the worker waits for the guard; only what waits for
/// a broken disk or driver takes longer.
const END_LIMIT: Duration = Duration::from_secs(3);
/// Between two looks at what is left: killing is quick.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// As shells say that a program could not be started.
const EXIT_NOT_STARTED: u8 = 127;
/// What a guard ends by when the evaluator used more memory than it may: the last realtime signal of Linux,
/// which ends nothing else, since a guard whose evaluator ends by it ends with an exit code.
pub(crate) const MEMORY_SIGNAL: i32 = 64;
/// How much sooner than others the kernel ends an evaluator when the machine's memory runs out, in
/// thousandths of the memory: sooner than workers, coordinators and what else serves many trials.
const OOM_SCORE: i32 = 500;

/// Guards an evaluator if the arguments, the program's own name first, ask for it. Does not return before
/// the evaluator is gone; the exit status is then the evaluator's.
#[must_use]
pub fn run_if_asked(arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.skip(1);
    if arguments.next()? != OsStr::new(COMMAND) {
        return None;
    }
    let memory = Memory::of_argument(&arguments.next()?)?;
    let program = arguments.next()?;
    let code = run(&memory, &program, arguments).unwrap_or_else(|error| {
        say_not_started(&program, &error);
        EXIT_NOT_STARTED
    });
    Some(ExitCode::from(code))
}

/// The answer is an exit code; where the evaluator was ended by a signal, so is the guard.
fn run(
    memory: &Memory,
    program: &OsStr,
    arguments: impl Iterator<Item = OsString>,
) -> io::Result<u8> {
    nix::sys::prctl::set_child_subreaper(true)?;
    let signals = SigSet::from_iter([
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGCHLD,
    ]);
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals), Some(&mut before))?;
    let mut arrived = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?;
    // In a group of its own, so that a program which signals its group spares the guard.
    let mut command = Command::new(program);
    command.args(arguments).process_group(0);
    prepare(&mut command, before, memory.door()?);
    let child = command.spawn()?;
    let evaluator = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    volunteer(child.id());
    let_go_of_outputs()?;
    let why = watch(evaluator, memory, &mut arrived)?;
    let ended = end_everything(evaluator);
    Ok(match why {
        Why::Memory => die_of_memory(),
        Why::Over => mirror(ended),
    })
}

/// Why everything should end.
enum Why {
    /// The evaluator has ended, or the worker wants it.
    Over,
    /// It used more memory than it may.
    Memory,
}

/// Puts the evaluator and what it starts in front when the machine's memory runs out and the kernel looks
/// for a process to end. More than it has already is allowed to everybody; should it fail, the kernel
/// chooses by size, as it does without.
fn volunteer(evaluator: u32) {
    let file = format!("/proc/{evaluator}/oom_score_adj");
    let now = std::fs::read_to_string(&file)
        .ok()
        .and_then(|text| text.trim().parse::<i32>().ok());
    if now.is_some_and(|now| now < OOM_SCORE) {
        let _ = std::fs::write(&file, OOM_SCORE.to_string());
    }
}

/// A pipe ends for its reader when the last writer lets go, and that must be the evaluator.
fn let_go_of_outputs() -> io::Result<()> {
    let nothing = File::options().write(true).open("/dev/null")?;
    dup2_stdout(&nothing)?;
    dup2_stderr(&nothing)?;
    Ok(())
}

/// Returns when the evaluator has ended, or everything should.
fn watch(evaluator: Pid, memory: &Memory, arrived: &mut SignalFd) -> io::Result<Why> {
    let stdin = io::stdin();
    let wait = match memory {
        Memory::Watched(_) => {
            PollTimeout::try_from(memory::LOOK_EVERY).map_err(io::Error::other)?
        }
        Memory::Unlimited | Memory::Group(_) => PollTimeout::NONE,
    };
    let mut looked: Option<Instant> = None;
    loop {
        // Signals come as often as children end, and must not make it look more often.
        if looked.is_none_or(|looked| looked.elapsed() >= memory::LOOK_EVERY) {
            if memory.is_exceeded(std::process::id()) {
                return Ok(Why::Memory);
            }
            looked = Some(Instant::now());
        }
        // Nothing is asked of stdin: that its last writer is gone is told anyhow.
        let mut waited = [
            PollFd::new(stdin.as_fd(), PollFlags::empty()),
            PollFd::new(arrived.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut waited, wait) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [of_stdin, of_signals] = waited.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        if !of_stdin.is_empty() {
            return Ok(Why::Over);
        }
        if of_signals.is_empty() {
            continue;
        }
        let Some(signal) = arrived.read_signal()? else {
            continue;
        };
        if signal.ssi_signo == Signal::SIGCHLD as u32 {
            if reap_all_but(evaluator) {
                return Ok(Why::Over);
            }
        } else {
            // Whoever asks the guard to end in order means the evaluator.
            let _ = killpg(evaluator, Signal::SIGTERM);
        }
    }
}

/// Waits for what has ended and is not the evaluator; whether the evaluator has ended too. It stays a
/// zombie, so that its number belongs to nobody else while it is still signalled.
fn reap_all_but(evaluator: Pid) -> bool {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        match waitid(Id::All, look).map(|status| status.pid()) {
            Ok(Some(ended)) if ended == evaluator => return true,
            Ok(Some(ended)) => {
                let _ = waitpid(ended, None);
            }
            Err(Errno::EINTR) => {}
            // Nothing has ended, or there is no child.
            Ok(None) | Err(_) => return false,
        }
    }
}

/// Kills the evaluator and all that came of it, and says how the evaluator ended.
fn end_everything(evaluator: Pid) -> Option<WaitStatus> {
    let until = Instant::now() + END_LIMIT;
    loop {
        // The group at once, so that few can start others meanwhile; then whoever left the group. What a
        // killed process leaves becomes a child of this one.
        let _ = killpg(evaluator, Signal::SIGKILL);
        let left = children();
        for &child in &left {
            let _ = kill(child, Signal::SIGKILL);
        }
        let mut others = left.iter().filter(|&&child| child != evaluator);
        let ended = reap_evaluator_last(evaluator, others.next().is_some());
        if ended.is_some() || Instant::now() >= until {
            return ended;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn reap_evaluator_last(evaluator: Pid, others: bool) -> Option<WaitStatus> {
    for child in children() {
        if child != evaluator {
            let _ = waitpid(child, Some(WaitPidFlag::WNOHANG));
        }
    }
    if others {
        return None;
    }
    match waitpid(evaluator, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => None,
        Ok(status) => Some(status),
        Err(_) => Some(WaitStatus::Exited(evaluator, i32::from(EXIT_NOT_STARTED))),
    }
}

/// The children of this process, those that have ended and were not waited for included.
fn children() -> Vec<Pid> {
    let own = std::process::id();
    let is_child =
        |number: &i32| u32::try_from(*number).is_ok_and(|number| parent_of(number) == Some(own));
    processes()
        .into_iter()
        .filter(is_child)
        .map(Pid::from_raw)
        .collect()
}

/// Every process of this machine.
fn processes() -> Vec<i32> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

fn parent_of(process: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // `number (name) state parent`; the name may hold anything, brackets too.
    let rest = &stat[stat.rfind(')')? + 1..];
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// Ends as the evaluator did, so that the worker sees one process.
fn mirror(status: Option<WaitStatus>) -> u8 {
    match status {
        Some(WaitStatus::Exited(_, code)) => u8::try_from(code).unwrap_or(EXIT_NOT_STARTED),
        Some(WaitStatus::Signaled(_, signal, _)) => die_of(signal),
        // It is still there: only SIGKILL was sent last.
        _ => die_of(Signal::SIGKILL),
    }
}

fn die_of(signal: Signal) -> u8 {
    die_of_number(signal as i32)
}

fn die_of_memory() -> u8 {
    die_of_number(MEMORY_SIGNAL)
}

#[allow(unsafe_code)] // Changing what a signal does is unsafe, as a handler could do anything.
fn die_of_number(number: i32) -> u8 {
    // The evaluator's core tells something, the guard's nothing.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    // SAFETY: the default action runs no code of this program, and a signal to this process touches no memory.
    // (By number, since nix has no realtime signals.)
    unsafe {
        libc::signal(number, libc::SIG_DFL);
        let _ = sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&SigSet::all()), None);
        libc::kill(libc::getpid(), number);
    }
    // Only for a signal that does not end a process.
    128_u8.saturating_add(u8::try_from(number).unwrap_or(0))
}

/// Lets the kernel kill the evaluator should somebody kill the guard, and gives it the signal mask that the
/// guard had at its start. By the door `group` it enters the control group that limits its memory.
#[allow(unsafe_code)] // `pre_exec` is unsafe, and there is no other way to set this before the program runs.
fn prepare(command: &mut Command, mask: SigSet, group: Option<File>) {
    let parent = Pid::this();
    // SAFETY: between fork and exec only write, prctl, getppid and sigprocmask are called, which are safe to
    // call there, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            if let Some(mut group) = group.as_ref() {
                // Whoever writes it.
                group.write_all(b"0")?;
            }
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?;
            // The guard may have ended before the first line.
            if nix::unistd::getppid() == parent {
                Ok(())
            } else {
                Err(io::Error::from(Errno::ESRCH))
            }
        });
    }
}

/// The worker reads it as it would read an evaluator that cannot work.
fn say_not_started(program: &OsStr, error: &io::Error) {
    let failure = Failure::new(
        FailureDomain::Worker,
        FailureKind::Evaluator,
        format!(
            "cannot start {program:?}: {error}; give --evaluator and --trainer programs that exist on this \
             machine and can be executed"
        ),
    );
    let line = Line::new(None, FromEvaluator::Failed { failure });
    if let Ok(text) = serde_json::to_string(&line) {
        // Nobody is left to tell when this fails.
        let _ = writeln!(io::stdout(), "{text}");
    }
}
