//! Faults of processes and disks: each is done, is seen to have had its effect, and is undone. May import this
//! crate's processes.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::cluster::{Begun, Cluster, SILENCE};
use super::disk;
use super::processes::{evaluators, freeze, gone, lives, signal};
use super::schedule::{Fault, Step};
use crate::client::wait_until;
use crate::process::Process;

/// For what needs some work of other processes: a job that begins, a write that fails.
const LIMIT: Duration = Duration::from_secs(60);
/// The drain of a worker takes up to 10 seconds, its evaluators up to 4.
const END_LIMIT: Duration = Duration::from_secs(20);
/// A guard ends its evaluator within 3 seconds.
const GUARD_LIMIT: Duration = Duration::from_secs(10);
/// A worker that was away tries again after growing times, at most a minute, and may be paused for its failures.
const WORKS_LIMIT: Duration = Duration::from_secs(120);

/// Whether a fault took place, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It had this effect.
    Fired(String),
    /// It cannot be done on this machine.
    Skipped(String),
}

/// Does one fault, from its beginning to its end.
///
/// # Errors
/// It had no effect, or an effect that is wrong.
pub(super) async fn strike(cluster: &mut Cluster, step: Step) -> Result<Outcome> {
    match step.fault {
        Fault::CoordinatorKilled => coordinator_killed(cluster, step).await,
        Fault::CoordinatorStopped => coordinator_stopped(cluster, step).await,
        Fault::CoordinatorFrozen => {
            let process = cluster.coordinator.as_ref().context("no coordinator")?;
            frozen(process, step).await
        }
        Fault::CoordinatorDiskFull => coordinator_disk_full(cluster, step).await,
        Fault::WorkerKilled => worker_killed(cluster, step).await,
        Fault::WorkerStopped => worker_stopped(cluster, step).await,
        Fault::WorkerFrozen => frozen(worker(cluster, step)?, step).await,
        Fault::WorkerDiskFull => worker_disk_full(cluster, step).await,
        Fault::EvaluatorKilled | Fault::EvaluatorFrozen => evaluator(cluster, step).await,
        other => bail!("{other} is no fault of processes"),
    }
}

fn fired(effect: impl Into<String>) -> Outcome {
    Outcome::Fired(effect.into())
}

async fn hold(step: Step) {
    tokio::time::sleep(Duration::from_millis(step.hold_ms)).await;
}

fn worker(cluster: &Cluster, step: Step) -> Result<&Process> {
    let worker = &cluster.workers[step.worker];
    let process = worker.process.as_ref();
    process.with_context(|| format!("{} does not run", worker.name))
}

async fn coordinator_killed(cluster: &mut Cluster, step: Step) -> Result<Outcome> {
    let process = cluster.coordinator.take().context("no coordinator")?;
    process.kill_9()?;
    hold(step).await;
    cluster.start_coordinator().await?;
    Ok(fired("started again, went on"))
}

async fn coordinator_stopped(cluster: &mut Cluster, step: Step) -> Result<Outcome> {
    let mut process = cluster.coordinator.take().context("no coordinator")?;
    process.signal(Signal::SIGTERM)?;
    let status = ended(&mut process, END_LIMIT).await?;
    ensure!(status, "SIGTERM: not a clean end:\n{}", process.log());
    hold(step).await;
    cluster.start_coordinator().await?;
    Ok(fired("clean end; started again, went on"))
}

/// Waits for the end of a process without blocking the other lane; whether it was a success.
async fn ended(process: &mut Process, limit: Duration) -> Result<bool> {
    let start = std::time::Instant::now();
    loop {
        if let Some(status) = process.child().try_wait()? {
            return Ok(status.success());
        }
        ensure!(
            start.elapsed() < limit,
            "process {} did not end within {limit:?}",
            process.id()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn frozen(process: &Process, step: Step) -> Result<Outcome> {
    freeze(process.id()).await?;
    hold(step).await;
    signal(process.id(), Signal::SIGCONT)?;
    Ok(fired("went on after SIGCONT"))
}

async fn coordinator_disk_full(cluster: &mut Cluster, step: Step) -> Result<Outcome> {
    if let Err(reason) = disk::can_fill(&cluster.disk) {
        return Ok(Outcome::Skipped(reason.to_owned()));
    }
    let mut process = cluster.coordinator.take().context("no coordinator")?;
    let before = process.log().len();
    cluster.disk.fill(process.id())?;
    // It ends by itself: nothing that it cannot write may be acknowledged.
    let clean = ended(&mut process, LIMIT).await;
    cluster.disk.free(None)?;
    ensure!(
        !clean.context("the coordinator went on with a full disk")?,
        "the coordinator ended as if nothing had happened"
    );
    let log = process.log();
    // Without a disk of its own, the log cannot be written either.
    let said = log.get(before..).unwrap_or_default();
    ensure!(
        !cluster.disk.is_mounted() || said.contains("disk"),
        "the coordinator did not say why it ended:\n{said}"
    );
    hold(step).await;
    cluster.start_coordinator().await?;
    Ok(fired(if cluster.disk.is_mounted() {
        "ended and said why; started again, went on"
    } else {
        "ended (file size limit); started again, went on"
    }))
}

async fn worker_killed(cluster: &mut Cluster, step: Step) -> Result<Outcome> {
    let below = evaluators(worker(cluster, step)?.id());
    let process = cluster.workers[step.worker].process.take();
    process.context("the worker does not run")?.kill_9()?;
    gone(
        "the end of a killed worker's evaluators",
        &below,
        GUARD_LIMIT,
    )
    .await?;
    hold(step).await;
    cluster.start_worker(step.worker)?;
    Ok(fired(
        "its evaluators ended with it; started again, took jobs",
    ))
}

async fn worker_stopped(cluster: &mut Cluster, step: Step) -> Result<Outcome> {
    let below = evaluators(worker(cluster, step)?.id());
    let process = cluster.workers[step.worker].process.take();
    let mut process = process.context("the worker does not run")?;
    process.signal(Signal::SIGTERM)?;
    let clean = ended(&mut process, END_LIMIT).await?;
    ensure!(clean, "SIGTERM: not a clean end:\n{}", process.log());
    gone(
        "the end of a stopped worker's evaluators",
        &below,
        GUARD_LIMIT,
    )
    .await?;
    hold(step).await;
    cluster.start_worker(step.worker)?;
    Ok(fired("clean end; started again, took jobs"))
}

async fn worker_disk_full(cluster: &mut Cluster, step: Step) -> Result<Outcome> {
    let worker = &mut cluster.workers[step.worker];
    if let Err(reason) = disk::can_fill(&worker.disk) {
        return Ok(Outcome::Skipped(reason.to_owned()));
    }
    let process = worker.process.as_mut().context("the worker does not run")?;
    let id = process.id();
    let before = process.log().len();
    worker.disk.fill(id)?;
    let (process, disk) = (&*process, &worker.disk);
    // It does not see the disk before it has a result to keep.
    let noticed = wait_until("a write that fails", LIMIT, || async move {
        // What was delivered leaves room for the next result: the disk would not be full for long.
        disk.fill(id)?;
        let log = process.log();
        let said = log.get(before..).unwrap_or_default();
        Ok((!disk.is_mounted() || said.contains("No space left")).then_some(()))
    })
    .await;
    hold(step).await;
    worker.disk.free(Some(id))?;
    noticed.context("the worker did not notice that its disk was full")?;
    ensure!(lives(id), "a worker ended since its disk was full");
    Ok(fired(if worker.disk.is_mounted() {
        "a write failed; the worker went on"
    } else {
        "the worker went on (file size limit)"
    }))
}

/// One evaluator of the step's worker, or of another one while that has none. It has run a job: one that is
/// silent before its first has two minutes for its start.
async fn evaluator(cluster: &Cluster, step: Step) -> Result<Outcome> {
    let workers: Vec<u32> = (0..cluster.workers.len())
        .map(|offset| (step.worker + offset) % cluster.workers.len())
        .filter_map(|number| cluster.workers[number].process.as_ref())
        .map(Process::id)
        .collect();
    let (worker, victim) = wait_until("an evaluator", LIMIT, || async {
        let begun = cluster.begun();
        let mut all = workers.iter().flat_map(|worker| {
            let below = evaluators(*worker).into_iter();
            below.map(move |evaluator| (*worker, evaluator))
        });
        Ok(all.find(|(_, evaluator)| begun.iter().any(|begun| begun.evaluator == *evaluator)))
    })
    .await?;
    let before = evaluators(worker);
    let effect = if step.fault == Fault::EvaluatorKilled {
        signal(victim, Signal::SIGKILL)?;
        gone("the end of the evaluator", &[victim], GUARD_LIMIT).await?;
        "its worker started another one"
    } else {
        freeze(victim).await?;
        // It has to get a job first if it had none, and then to be silent for long enough.
        gone("the end of a silent evaluator", &[victim], LIMIT + SILENCE).await?;
        "taken for hung, killed; its worker started another one"
    };
    wait_until("another evaluator", WORKS_LIMIT, || async {
        let another = evaluators(worker).iter().any(|id| !before.contains(id));
        Ok(another.then_some(()))
    })
    .await?;
    Ok(fired(effect))
}

/// Waits until the worker that a fault has struck begins another job. Other faults have no worker of their own.
///
/// # Errors
/// It does not.
pub(super) async fn works_again(cluster: &Cluster, step: Step) -> Result<()> {
    let struck = matches!(
        step.fault,
        Fault::WorkerKilled | Fault::WorkerStopped | Fault::WorkerFrozen | Fault::WorkerDiskFull
    );
    if !struck {
        return Ok(());
    }
    let id = worker(cluster, step)?.id();
    let now = SystemTime::now();
    wait_until(
        "a job at the worker that was struck",
        WORKS_LIMIT,
        || async {
            let below = evaluators(id);
            let begun = cluster.begun();
            let works = |begun: &Begun| begun.at > now && below.contains(&begun.evaluator);
            Ok(begun.iter().any(works).then_some(()))
        },
    )
    .await
}
