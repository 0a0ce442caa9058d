//! One evaluator process: the built-in trainer, or a program that the operator named. It is started,
//! spoken to by JSON lines, watched for silence, and ended with everything it started. May import common,
//! tokio, nix.

#[cfg(target_os = "linux")]
mod cgroup;
mod failures;
#[cfg(test)]
mod fuzz;
mod lines;
mod memory;
mod output;
mod process;
mod protocol;

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use espalier_common::evaluator::{
    Evaluate, FromEvaluator, Line, PROTOCOL_VERSION, Ready, ToEvaluator,
};
use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::AttemptKey;
use espalier_runtime::logging::millis;
use nix::sys::signal::Signal;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::config::{Program, WorkerConfig};
use crate::limits::flooded;
use failures::{cannot_start, not_ready, not_started, other_version};
use memory::Limited;
pub(crate) use memory::MemoryLimit;
use output::{Output, Scope, Tail, Written};
use process::Group;

/// Importing a large library and waking a GPU take a minute on a cold disk.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// How long a job that is to be dropped may take to end before the process is killed: a batch or two.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// At the end: after `shutdown`, and after SIGTERM. An idle evaluator needs milliseconds.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
const TERMINATE_GRACE: Duration = Duration::from_secs(1);
/// After SIGKILL only a process that waits for a broken disk or driver is still there.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// For the last output of a process that has ended; a child of its own may hold the pipes open longer.
const LAST_OUTPUT_LIMIT: Duration = Duration::from_millis(500);
/// A program that closes its stdout should end then.
const EXIT_LIMIT: Duration = Duration::from_secs(2);
/// Messages on their way from the pipe to the slot.
const WAITING_MESSAGES: usize = 256;

/// A running evaluator that has said `ready`.
#[derive(Debug)]
pub(crate) struct Evaluator {
    program: Program,
    slot: u32,
    child: Child,
    group: Group,
    /// Closed when everything is to end.
    stdin: Option<ChildStdin>,
    outputs: mpsc::Receiver<Output>,
    scope: watch::Sender<Arc<Scope>>,
    alive: watch::Receiver<Instant>,
    /// What it wrote, and the limit of that.
    written: Arc<Written>,
    output_limit: u64,
    memory: Limited,
    tail: Tail,
    stdout_reader: AbortOnDropHandle<()>,
    stderr_reader: AbortOnDropHandle<()>,
    ready: Ready,
    /// The kernel's count of such kills when the job began.
    oom_kills: Option<u64>,
    /// The process is gone, or is not to be used any more.
    ended: bool,
}

/// What comes from an evaluator next.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A message.
    Message(FromEvaluator),
    /// Something that cannot be understood: the failure it means.
    Wrong(Failure),
    /// Nothing for too long.
    Silent,
    /// The process ended; `None` when it only closed its stdout.
    Exited(Option<ExitStatus>),
}

impl Evaluator {
    /// Starts a program and waits until it is ready. Whatever is wrong with it is wrong on this machine.
    pub(crate) async fn start(
        config: &WorkerConfig,
        memory: &MemoryLimit,
        program: &Program,
        slot: u32,
    ) -> Result<Self, Failure> {
        let here = |failure| not_started(&config.name, program, failure);
        let began = Instant::now();
        let spawned = memory
            .for_evaluator(slot)
            .and_then(|memory| Self::spawn(config, memory, program, slot));
        let mut evaluator = spawned.map_err(|error| here(cannot_start(&error)))?;
        if let Err(failure) = evaluator.wait_ready(began).await {
            evaluator.kill().await;
            return Err(here(failure));
        }
        let silent = Scope::without_job(&program.name, slot, false);
        evaluator.scope.send_replace(silent);
        evaluator.written.reset();
        tracing::info!(
            slot,
            evaluator = program.name,
            description = evaluator.ready.description,
            duration_ms = millis(began.elapsed()),
            from = "starting",
            to = "ready",
            "evaluator ready"
        );
        Ok(evaluator)
    }

    fn spawn(
        config: &WorkerConfig,
        memory: Limited,
        program: &Program,
        slot: u32,
    ) -> io::Result<Self> {
        let mut child = process::spawn(&config.guard, &memory, program, config.threads)?;
        let group = Group::of(&child);
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(group), (Some(stdin), Some(stdout), Some(stderr))) = (group, pipes) else {
            return Err(io::Error::other("the process has no pipes"));
        };
        let (scope, scoped) = watch::channel(Scope::without_job(&program.name, slot, true));
        let (alive, alive_seen) = watch::channel(Instant::now());
        let (outputs, received) = mpsc::channel(WAITING_MESSAGES);
        let tail = Tail::default();
        let written = Written::new(config.limits.output);
        let pulse = (alive, Arc::clone(&written));
        let read_out = output::read_stdout(stdout, scoped.clone(), pulse.clone(), outputs);
        let read_err = output::read_stderr(stderr, scoped, pulse, tail.clone());
        Ok(Self {
            program: program.clone(),
            slot,
            child,
            group,
            stdin: Some(stdin),
            outputs: received,
            scope,
            alive: alive_seen,
            written,
            output_limit: config.limits.output,
            memory,
            tail,
            stdout_reader: reader("stdout", read_out),
            stderr_reader: reader("stderr", read_err),
            ready: Ready::default(),
            oom_kills: process::out_of_memory_kills(),
            ended: false,
        })
    }

    async fn wait_ready(&mut self, began: Instant) -> Result<(), Failure> {
        let name = self.program.name.clone();
        let waited = timeout(READY_LIMIT, async {
            loop {
                match self.hear(began, READY_LIMIT).await {
                    Heard::Message(FromEvaluator::Ready(ready)) => return Ok(ready),
                    Heard::Message(FromEvaluator::Failed { failure }) => {
                        return Err(self.with_tail(failure));
                    }
                    Heard::Message(_) => {}
                    Heard::Wrong(failure) => return Err(failure),
                    Heard::Silent => return Err(not_ready()),
                    Heard::Exited(status) => return Err(self.ended_before_ready(status).await),
                }
            }
        });
        let ready = waited.await.unwrap_or_else(|_| Err(not_ready()))?;
        if ready.protocol != PROTOCOL_VERSION {
            return Err(other_version(&name, ready.protocol));
        }
        self.ready = ready;
        Ok(())
    }

    /// What it can do, as it said.
    pub(crate) fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Whether it can take a job.
    pub(crate) fn is_usable(&mut self) -> bool {
        if !self.ended && !matches!(self.child.try_wait(), Ok(None)) {
            tracing::warn!(
                slot = self.slot,
                evaluator = self.program.name,
                "the evaluator ended between jobs; it is started again"
            );
            self.let_go();
        }
        if !self.ended && self.written.is_too_much() {
            tracing::warn!(
                slot = self.slot,
                evaluator = self.program.name,
                "the evaluator wrote too much between jobs; it is started again"
            );
            self.let_go();
        }
        !self.ended
    }

    /// Hands a job over.
    pub(crate) async fn begin(
        &mut self,
        evaluate: Evaluate,
        silence: Duration,
    ) -> Result<(), Failure> {
        let key = evaluate.job.key();
        while self.outputs.try_recv().is_ok() {}
        self.tail.clear();
        self.written.reset();
        self.oom_kills = process::out_of_memory_kills();
        self.scope
            .send_replace(Scope::of_job(&self.program.name, self.slot, key));
        let sent = timeout(
            silence,
            self.send(ToEvaluator::Evaluate(Box::new(evaluate))),
        )
        .await;
        match sent {
            Ok(Ok(())) => Ok(()),
            // The pipe is broken: the end of the process is what is heard next, with its reason.
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Ok(Err(error)) => Err(Failure::new(
                FailureDomain::Internal,
                FailureKind::Evaluator,
                format!(
                    "cannot hand the job to evaluator {:?}: {error}",
                    self.program.name
                ),
            )),
            Err(_) => Err(self.hung(silence)),
        }
    }

    /// The job is over; what still comes belongs to nothing.
    pub(crate) fn end_job(&self) {
        let silent = Scope::without_job(&self.program.name, self.slot, false);
        self.scope.send_replace(silent);
        self.written.reset();
    }

    /// The next thing; `Silent` when nothing was written for `silence`, counted from `since` at the
    /// earliest.
    pub(crate) async fn hear(&mut self, since: Instant, silence: Duration) -> Heard {
        loop {
            let last = (*self.alive.borrow()).max(since);
            tokio::select! {
                // What was written before the end comes before the end; but a flood of messages must not hide
                // that it is one.
                biased;
                () = self.written.too_much() => {
                    return Heard::Wrong(self.with_tail(flooded(self.output_limit)));
                }
                output = self.outputs.recv() => match output {
                    Some(output) => return self.heard(output),
                    None => {
                        let status = timeout(EXIT_LIMIT, self.child.wait()).await;
                        return Heard::Exited(status.ok().and_then(Result::ok));
                    }
                },
                status = self.child.wait() => {
                    return match timeout(LAST_OUTPUT_LIMIT, self.outputs.recv()).await {
                        Ok(Some(output)) => self.heard(output),
                        Ok(None) | Err(_) => Heard::Exited(status.ok()),
                    };
                }
                () = sleep_until(last + silence) => {
                    if *self.alive.borrow() <= last {
                        return Heard::Silent;
                    }
                }
            }
        }
    }

    fn heard(&self, output: Output) -> Heard {
        match output {
            Output::Message(message) => Heard::Message(message),
            Output::Bad(reason) => Heard::Wrong(self.with_tail(Failure::new(
                FailureDomain::User,
                FailureKind::Evaluator,
                reason,
            ))),
            Output::OtherVersion(version) => {
                Heard::Wrong(other_version(&self.program.name, version))
            }
        }
    }

    /// Whether it writes checkpoints and goes on from them.
    pub(crate) fn knows_checkpoints(&self) -> bool {
        self.ready.checkpoints
    }

    /// Asks for a checkpoint of the running job, which ends the job.
    ///
    /// # Errors
    /// The process does not listen any more.
    pub(crate) async fn ask_for_checkpoint(&mut self, attempt: AttemptKey) -> io::Result<()> {
        let sent = timeout(STOP_GRACE, self.send(ToEvaluator::Checkpoint { attempt }));
        sent.await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Drops the running job: asks first, kills after a while. A process that does not answer is not
    /// used again, so that nothing it says later is credited to another job.
    pub(crate) async fn stop_job(&mut self, attempt: AttemptKey) {
        if self.has_answered() {
            return;
        }
        let asked = Instant::now();
        let stopped = timeout(STOP_GRACE, async {
            if self.send(ToEvaluator::Stop { attempt }).await.is_err() {
                return false;
            }
            loop {
                match self.hear(asked, STOP_GRACE).await {
                    Heard::Message(message) if is_last(&message) => return true,
                    Heard::Message(_) => {}
                    Heard::Wrong(_) | Heard::Silent | Heard::Exited(_) => return false,
                }
            }
        });
        if !stopped.await.unwrap_or(false) {
            self.kill().await;
        }
    }

    /// Whether the job's last message is there already: asked to stop a job that is over, a program could
    /// answer once more.
    fn has_answered(&mut self) -> bool {
        std::iter::from_fn(|| self.outputs.try_recv().ok())
            .any(|output| matches!(output, Output::Message(message) if is_last(&message)))
    }

    /// Ends the process in order: `shutdown`, SIGTERM, SIGKILL.
    pub(crate) async fn terminate(&mut self) {
        if self.ended {
            return;
        }
        let asked = timeout(SHUTDOWN_GRACE, async {
            // Fails when the process has ended already.
            let _ = self.send(ToEvaluator::Shutdown).await;
            let _ = self.child.wait().await;
        });
        if asked.await.is_err() {
            self.group.signal(Signal::SIGTERM);
            let _ = timeout(TERMINATE_GRACE, self.child.wait()).await;
        }
        self.kill().await;
    }

    /// Ends the process and all it started, at once.
    pub(crate) async fn kill(&mut self) {
        self.let_go();
        if timeout(KILL_LIMIT, self.child.wait()).await.is_err() {
            self.group.signal(Signal::SIGKILL);
            tracing::error!(
                slot = self.slot,
                evaluator = self.program.name,
                "the evaluator does not end after SIGKILL: it waits for a device or a disk"
            );
        }
        self.memory.clear();
    }

    /// Has everything killed, also when the process itself has ended: what it started may be left.
    fn let_go(&mut self) {
        self.ended = true;
        self.stdin = None;
        if !process::GUARDED {
            self.group.signal(Signal::SIGKILL);
        }
    }

    async fn send(&mut self, message: ToEvaluator) -> io::Result<()> {
        let about = match &message {
            ToEvaluator::Evaluate(evaluate) => Some(evaluate.job.key()),
            ToEvaluator::Checkpoint { attempt } | ToEvaluator::Stop { attempt } => Some(*attempt),
            ToEvaluator::Shutdown => None,
        };
        let attempt_id = about.map(|key| key.to_string());
        let mut line = serde_json::to_vec(&Line::new(attempt_id, message))?;
        line.push(b'\n');
        let stdin = self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        stdin.write_all(&line).await?;
        stdin.flush().await
    }

    /// The failure with the last lines of stderr, unless it brings its own.
    pub(crate) fn with_tail(&self, mut failure: Failure) -> Failure {
        if failure.log_tail.is_empty() {
            failure.log_tail = self.tail.text();
        }
        failure.bounded()
    }
}

impl Drop for Evaluator {
    fn drop(&mut self) {
        if !self.ended {
            self.let_go();
        }
    }
}

/// Whether a job has ended with this.
fn is_last(message: &FromEvaluator) -> bool {
    use FromEvaluator::{Checkpoint, Done, Failed};
    matches!(message, Checkpoint { .. } | Done(_) | Failed { .. })
}

fn reader<F>(name: &'static str, task: F) -> AbortOnDropHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    AbortOnDropHandle::new(espalier_runtime::spawn_named(name, task))
}
