//! One slot: runs one job at a time and owns its evaluator processes, one for each evaluator it was ever
//! asked for. May import common, tokio.
//!
//! A slot whose program does not start takes no further job until it does. Of all slots the first one
//! tells the coordinator, which costs the trial one attempt; the others hand their jobs back. So one
//! machine with a broken installation neither uses up the attempts of trial after trial, nor looks like
//! many candidates that fail in the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use espalier_common::evaluator::Evaluate;
use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::AttemptKey;
use espalier_common::job::{Job, LeasedJob};
use espalier_common::metrics::Metrics;
use espalier_common::table::{Answer, TableJob};
use espalier_proto::failure_to_wire;
use espalier_runtime::backoff::Waits;
use espalier_runtime::logging::millis;
use espalier_runtime::traces;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::config::{Program, WorkerConfig};
use crate::dataset::{Datasets, Form, Loaded, Resolved, WantedTable};
use crate::delivery::{Delivery, Left, Reporter};
use crate::evaluator::{Evaluator, MemoryLimit};
use crate::job::{self, Bounds, JobEnd};
use crate::left_file;
use crate::session::Event;
use crate::spool::Completion;
use crate::stop::{Stop, StopHandle, StopSignal};
use crate::work_dir::{Scratch, WorkDir};

/// The weights a test job measures, in its scratch folder.
const INPUT_WEIGHTS: &str = "input-weights.safetensors";
/// What a training job goes on from, in its scratch folder.
const INPUT_CHECKPOINT: &str = "input-checkpoint";

/// A job for a slot, and how to stop it.
#[derive(Debug)]
pub(crate) struct Assignment {
    /// The job.
    pub(crate) job: LeasedJob,
    /// For what finds out that the coordinator no longer wants it.
    pub(crate) stop: StopHandle,
    /// For what has to stop.
    pub(crate) signal: StopSignal,
}

/// What a slot needs.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Its number, from 0.
    pub(crate) index: u32,
    /// The worker's configuration.
    pub(crate) config: Arc<WorkerConfig>,
    /// The memory limit of evaluators.
    pub(crate) memory: MemoryLimit,
    /// Scratch folders.
    pub(crate) work_dir: Arc<WorkDir>,
    /// Data.
    pub(crate) datasets: Datasets,
    /// The way to the coordinator.
    pub(crate) delivery: Arc<Delivery>,
    /// Processes that run already, by evaluator.
    pub(crate) evaluators: BTreeMap<String, Evaluator>,
    /// What all slots of this worker know about programs that do not start.
    pub(crate) broken: Broken,
    /// The program that did not start for the job before.
    pub(crate) unstarted: Option<Program>,
}

/// The evaluators that do not start on this machine, as far as the coordinator was told. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Broken(Arc<Mutex<BTreeSet<String>>>);

impl Broken {
    fn change<T>(&self, change: impl FnOnce(&mut BTreeSet<String>) -> T) -> T {
        // Held for one call on the set, which leaves it whole.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes one that does not start; whether that is news.
    fn note(&self, evaluator: &str) -> bool {
        self.change(|broken| broken.insert(evaluator.to_owned()))
    }

    fn mended(&self, evaluator: &str) {
        self.change(|broken| broken.remove(evaluator));
    }
}

/// Why a job was not begun.
enum NotBegun {
    /// Somebody else should run it.
    Release,
    /// Nobody can, or this machine cannot.
    Fail(Failure),
}

impl From<Failure> for NotBegun {
    fn from(failure: Failure) -> Self {
        Self::Fail(failure)
    }
}

/// How an attempt ended, with what has to outlive it.
enum Outcome {
    Ended(JobEnd, Option<Scratch>),
    Release,
}

impl Slot {
    /// Starts the slot. It ends, and ends its evaluators, when the sender is dropped.
    pub(crate) fn start(
        self,
        shutdown: &espalier_runtime::Shutdown,
    ) -> (mpsc::Sender<Assignment>, AbortOnDropHandle<()>) {
        let (jobs, received) = mpsc::channel(1);
        let name = format!("slot {}", self.index);
        let task = espalier_runtime::spawn_critical(name, shutdown, self.serve(received));
        (jobs, AbortOnDropHandle::new(task))
    }

    async fn serve(mut self, mut jobs: mpsc::Receiver<Assignment>) {
        while let Some(assignment) = jobs.recv().await {
            self.serve_one(assignment).await;
            if !self.mend(&mut jobs).await {
                break;
            }
            // Only now: the coordinator has the result, so the next proposal can know it.
            let free = Event::SlotFree(self.index);
            if self.delivery.events.send(free).await.is_err() {
                break;
            }
        }
        let ends = self.evaluators.values_mut().map(Evaluator::terminate);
        futures::future::join_all(ends).await;
    }

    async fn serve_one(&mut self, assignment: Assignment) {
        let Assignment {
            job,
            stop,
            mut signal,
        } = assignment;
        let (key, began) = (job.key(), Instant::now());
        self.log(&job, ("leased", "running"), None, began.elapsed());
        let reporter = self.delivery.reporter(key, stop);
        let outcome = self.run(&job, &mut signal, &reporter).await;
        let to = match &outcome {
            Outcome::Release
            | Outcome::Ended(JobEnd::Stopped(Stop::Drain) | JobEnd::BrokenOff { .. }, _) => {
                "released"
            }
            Outcome::Ended(JobEnd::Stopped(Stop::Dropped), _) => "dropped",
            Outcome::Ended(JobEnd::Done { .. }, _) => "completed",
            Outcome::Ended(JobEnd::Failed(_), _) => "failed",
        };
        self.log(&job, ("running", to), Some("work"), began.elapsed());
        self.conclude(key, outcome, signal, reporter).await;
    }

    /// `span` names the span of the trial's trace that ends with this.
    fn log(
        &self,
        job: &LeasedJob,
        (from, to): (&str, &str),
        span: Option<&str>,
        duration: Duration,
    ) {
        tracing::info!(search = %job.search, name = job.search_name, trial = job.trial.0, attempt = job.attempt.0,
            worker = self.config.name, slot = self.index, job = %job.job.kind(), evaluator = job.evaluator,
            from, to, span, duration_ms = millis(duration), "attempt changed");
    }

    /// A part of an attempt has ended.
    fn log_part(&self, key: AttemptKey, span: &str, began: Instant) {
        tracing::debug!(search = %key.search, trial = key.trial.0, attempt = key.attempt.0, worker = self.config.name,
            slot = self.index, span, duration_ms = millis(began.elapsed()), "part of an attempt ended");
    }

    async fn run(
        &mut self,
        job: &LeasedJob,
        signal: &mut StopSignal,
        reporter: &Reporter,
    ) -> Outcome {
        if let Some(table) = &job.table {
            return tokio::select! {
                outcome = self.look_up(job, table, reporter) => outcome,
                why = signal.stopped() => Outcome::Ended(JobEnd::Stopped(why), None),
            };
        }
        let prepared = tokio::select! {
            prepared = self.prepare(job) => prepared,
            why = signal.stopped() => return Outcome::Ended(JobEnd::Stopped(why), None),
        };
        let (evaluate, scratch) = match prepared {
            Ok(prepared) => prepared,
            Err(NotBegun::Release) => return Outcome::Release,
            Err(NotBegun::Fail(failure)) => return Outcome::Ended(JobEnd::Failed(failure), None),
        };
        let Some(evaluator) = self.evaluators.get_mut(&job.evaluator) else {
            return Outcome::Release;
        };
        let bounds = Bounds {
            silence: self.config.evaluator_silence,
            checkpoint: self.config.checkpoint_within(),
            limits: self.config.limits,
        };
        let began = Instant::now();
        let end = job::run(evaluator, evaluate, signal, reporter, bounds).await;
        self.log_part(job.key(), "evaluation", began);
        if let (JobEnd::Failed(failure), Some(info)) = (&end, &job.dataset)
            && failure.kind == FailureKind::Data
        {
            // The decoded file may be damaged where nothing but reading all of it shows that.
            self.datasets.doubt(info.clone()).await;
        }
        Outcome::Ended(end, Some(scratch))
    }

    /// Takes the result of a job from a table. The time is the table's: nobody waits for it.
    async fn look_up(&self, job: &LeasedJob, wanted: &TableJob, reporter: &Reporter) -> Outcome {
        let TableJob { info, spec, .. } = wanted.clone();
        let table = match self.datasets.table(WantedTable { info, spec }).await {
            Loaded::Table(table) => table,
            Loaded::Missing => return Outcome::Release,
            Loaded::Failed(failure) => return Outcome::Ended(JobEnd::Failed(failure), None),
        };
        let end = match wanted.answer(&table, &job.job, &job.objective) {
            Ok(Answer {
                measurements,
                seconds,
            }) => {
                let reported: Result<Vec<()>, _> = measurements
                    .into_iter()
                    .map(|measurement| reporter.report(measurement))
                    .collect();
                match reported {
                    Ok(_) => JobEnd::Done {
                        test_metrics: Metrics::default(),
                        weights: None,
                        seconds,
                    },
                    Err(_) => JobEnd::Failed(job::too_many_waiting()),
                }
            }
            Err(failure) => JobEnd::Failed(failure),
        };
        Outcome::Ended(end, None)
    }

    /// Everything before the first batch: data, weights, a scratch folder, a warm evaluator.
    async fn prepare(&mut self, job: &LeasedJob) -> Result<(Evaluate, Scratch), NotBegun> {
        let program = self.program(&job.evaluator)?;
        let form = if program.is_trainer() {
            Form::Decoded
        } else {
            Form::Folder
        };
        let began = Instant::now();
        let dataset_path = match &job.dataset {
            None => None,
            Some(info) => match self.datasets.resolve(info.clone(), form).await {
                Resolved::Path(path) => Some(text(&path)?),
                Resolved::Missing => return Err(NotBegun::Release),
                Resolved::Failed(failure) => return Err(failure.into()),
            },
        };
        self.log_part(job.key(), "data", began);
        let scratch = self
            .work_dir
            .scratch(job.key())
            .map_err(|error| disk(&format!("cannot make a scratch folder: {error}")))?;
        let weights_path = match job.job {
            Job::Train { .. } => None,
            Job::Test { weights } => {
                let target = scratch.path().join(INPUT_WEIGHTS);
                self.delivery.transfers.fetch(weights, &target).await?;
                Some(text(&target)?)
            }
        };
        let began = Instant::now();
        self.warm(&program).await?;
        self.log_part(job.key(), "start", began);
        let mut job = job.clone();
        let checkpoint_path = self.checkpoint(&mut job, &scratch).await?;
        let evaluate = Evaluate {
            traceparent: traceparent(job.key()),
            job,
            dataset_path,
            weights_path,
            checkpoint_path,
            scratch: text(scratch.path())?,
            threads: self.config.threads,
            device: self.config.device.clone(),
        };
        Ok((evaluate, scratch))
    }

    /// The file that a job goes on from. When it cannot be had, the job is made one that begins anew.
    async fn checkpoint(
        &self,
        job: &mut LeasedJob,
        scratch: &Scratch,
    ) -> Result<Option<String>, Failure> {
        let key = job.key();
        let Job::Train {
            from, checkpoint, ..
        } = &mut job.job
        else {
            return Ok(None);
        };
        let Some(artifact) = *checkpoint else {
            return Ok(None);
        };
        let evaluator = self.evaluators.get(&job.evaluator);
        let fetched = if evaluator.is_some_and(Evaluator::knows_checkpoints) {
            let target = scratch.path().join(INPUT_CHECKPOINT);
            match self.delivery.transfers.fetch(artifact, &target).await {
                Ok(()) => return text(&target).map(Some),
                Err(failure) if failure.kind == FailureKind::Disk => return Err(failure),
                Err(failure) => failure.message,
            }
        } else {
            "its evaluator knows no checkpoints".to_owned()
        };
        tracing::warn!(search = %key.search, trial = key.trial.0, attempt = key.attempt.0, slot = self.index,
            step = *from, reason = fetched, "the trial cannot go on from its checkpoint; it begins anew");
        (*from, *checkpoint) = (0, None);
        Ok(None)
    }

    fn program(&self, name: &str) -> Result<Program, Failure> {
        let programs = &self.config.evaluators;
        programs
            .iter()
            .find(|program| program.name == name)
            .cloned()
            .ok_or_else(|| {
                Failure::new(
                    FailureDomain::Worker,
                    FailureKind::Unsupported,
                    format!("this worker offers no evaluator {name:?}"),
                )
            })
    }

    /// Starts the evaluator unless it runs.
    async fn warm(&mut self, program: &Program) -> Result<(), NotBegun> {
        if let Some(evaluator) = self.evaluators.get_mut(&program.name)
            && evaluator.is_usable()
        {
            return Ok(());
        }
        self.evaluators.remove(&program.name);
        match Evaluator::start(&self.config, &self.memory, program, self.index).await {
            Ok(evaluator) => {
                self.broken.mended(&program.name);
                self.evaluators.insert(program.name.clone(), evaluator);
                Ok(())
            }
            Err(failure) => {
                self.unstarted = Some(program.clone());
                Err(if self.broken.note(&program.name) {
                    NotBegun::Fail(failure)
                } else {
                    NotBegun::Release
                })
            }
        }
    }

    /// Tries again to start a program that did not start, until it does; `false` when the worker ends.
    async fn mend(&mut self, jobs: &mut mpsc::Receiver<Assignment>) -> bool {
        let Some(program) = self.unstarted.take() else {
            return true;
        };
        tracing::warn!(
            slot = self.index,
            evaluator = program.name,
            "the slot takes no job until this evaluator starts; it is tried again and again"
        );
        let mut waits = Waits::default();
        let trying = async {
            loop {
                tokio::time::sleep(waits.next_wait()).await;
                if self.warm(&program).await.is_ok() {
                    return;
                }
            }
        };
        let mended = tokio::select! {
            () = trying => true,
            // No job comes to a slot that is not free: the session has ended.
            _ = jobs.recv() => false,
        };
        self.unstarted = None;
        mended
    }

    /// Tells the coordinator. Returns when it knows.
    async fn conclude(
        &self,
        key: AttemptKey,
        outcome: Outcome,
        signal: StopSignal,
        reporter: Reporter,
    ) {
        let (end, scratch) = match outcome {
            Outcome::Release => return self.delivery.release(key).await,
            Outcome::Ended(end, scratch) => (end, scratch),
        };
        let failure = match end {
            JobEnd::Stopped(Stop::Drain) => return self.delivery.release(key).await,
            JobEnd::Stopped(Stop::Dropped) => return self.delivery.close(key).await,
            JobEnd::BrokenOff {
                checkpoint,
                step,
                asked,
            } => {
                let left = Left {
                    scratch: scratch.as_ref().map(Scratch::path),
                    named: &checkpoint,
                    step,
                    until: asked + self.config.checkpoint_stored_within(),
                };
                return self.delivery.hand_back(key, left, reporter).await;
            }
            JobEnd::Failed(failure) => failure,
            JobEnd::Done {
                test_metrics,
                weights,
                seconds,
            } => {
                let max = self.delivery.transfers.max_bytes();
                let weights = match (weights, &scratch) {
                    (Some(named), Some(scratch)) => {
                        left_file::of_job(scratch.path(), ("weights", &named), max).map(Some)
                    }
                    _ => Ok(None),
                };
                match weights {
                    Err(failure) => failure,
                    Ok(weights) => {
                        let completion = Completion {
                            attempt: key,
                            measurements: reporter.finish().await,
                            test_metrics,
                            seconds,
                            weights,
                        };
                        match self.delivery.complete(completion, signal).await {
                            Ok(()) => return,
                            Err(error) => {
                                disk(&format!("cannot write the result to the spool: {error}"))
                            }
                        }
                    }
                }
            }
        };
        let failure = failure_to_wire(&failure.bounded());
        tracing::warn!(search = %key.search, trial = key.trial.0, attempt = key.attempt.0, slot = self.index,
            domain = failure.domain, kind = failure.kind, reason = failure.message, "attempt failed");
        self.delivery.fail(key, failure).await;
    }
}

fn traceparent(key: AttemptKey) -> Option<String> {
    let (search, trial) = (key.search.to_string(), u64::from(key.trial.0));
    traces::traceparent(&search, trial, u64::from(key.attempt.0))
}

fn disk(message: &str) -> Failure {
    Failure::new(
        FailureDomain::Worker,
        FailureKind::Disk,
        format!("{message}; free some space in the worker's --work-dir"),
    )
}

/// Paths travel to evaluators as JSON text.
fn text(path: &Path) -> Result<String, Failure> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Failure::new(
            FailureDomain::Worker,
            FailureKind::Data,
            format!("the path {} is not valid UTF-8", path.display()),
        )
    })
}
