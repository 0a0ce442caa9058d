//! Chaos: a cluster of real processes, a seeded schedule of faults, and what must hold at the end. May import
//! this crate's other modules.

mod cluster;
mod disk;
mod faults;
mod invariants;
mod network;
mod processes;
mod proxy;
mod report;
mod schedule;
mod watcher;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use cluster::{Cluster, WORKERS};
use faults::Outcome;
pub use proxy::{Counters, Mode, Proxy};
pub use report::Report;
pub use schedule::{Fault, Schedule, Step};
use watcher::{Progress, Search, Seen, Watcher};

/// No completed trial for so long after a fault: something is stuck. Far above what leases (2.5 s), pauses of
/// workers and waits before retries take together on a busy machine.
const STUCK: Duration = Duration::from_secs(120);
/// For the search that runs when the last fault is over.
const LAST_SEARCH_LIMIT: Duration = Duration::from_secs(300);

/// One run: a new cluster, the faults of `seed` (`rounds` times every kind), and every promise checked.
///
/// # Errors
/// What did not hold, with the seed and where the logs are.
pub async fn run(seed: u64, rounds: usize) -> Result<Report> {
    let schedule = Schedule::new(seed, WORKERS, rounds);
    let mut cluster = Cluster::start().await?;
    let report = Mutex::new(Report::default());
    match attack(&mut cluster, seed, &schedule, &report).await {
        Ok(()) => Ok(report.into_inner().unwrap_or_else(PoisonError::into_inner)),
        Err(error) => {
            let kept = cluster.keep();
            Err(error.context(format!(
                "seed {seed} (ESPALIER_CHAOS_SEED={seed} has the same faults again); logs and journal: {}",
                kept.display()
            )))
        }
    }
}

async fn attack(
    cluster: &mut Cluster,
    seed: u64,
    schedule: &Schedule,
    report: &Mutex<Report>,
) -> Result<()> {
    let searches = cluster.searches()?;
    let progress = Arc::new(Progress::default());
    let watcher = Watcher::new(cluster.searches()?, Arc::clone(&progress), seed);
    let mut watching = tokio::spawn(watcher.run());
    let proxies: Vec<Arc<Proxy>> = cluster
        .workers
        .iter()
        .map(|worker| Arc::clone(&worker.proxy))
        .collect();
    let struck = async {
        tokio::try_join!(
            processes_lane(cluster, &schedule.processes, &progress, report),
            connections_lane(&proxies, &schedule.connections, &progress, report),
        )
    };
    let all: Vec<(Search, Seen)> = tokio::select! {
        ended = &mut watching => {
            ended.context("the watcher")??;
            anyhow::bail!("the watcher ended before the faults");
        }
        struck = struck => {
            struck?;
            progress.ending.store(true, Ordering::Relaxed);
            let last = tokio::time::timeout(LAST_SEARCH_LIMIT, watching).await;
            last.context("the last search does not end")?.context("the watcher")??
        }
    };
    invariants::all_workers_are_back(&searches).await?;
    // What is on the disk is what was said: a coordinator that has just read it says the same.
    let before = invariants::check(cluster, &searches, &all).await?;
    let process = cluster.coordinator.take().context("no coordinator")?;
    process.kill_9()?;
    cluster.start_coordinator().await?;
    let totals = invariants::check(cluster, &searches, &all).await?;
    ensure!(
        before == totals,
        "{before:?} before the last restart, {totals:?} after it"
    );
    invariants::end(cluster).await?;
    let files = invariants::Files::of(cluster);
    let resumed = progress.resumed.load(Ordering::Relaxed);
    lock(report).end_run(totals, files, resumed);
    Ok(())
}

fn lock(report: &Mutex<Report>) -> std::sync::MutexGuard<'_, Report> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn processes_lane(
    cluster: &mut Cluster,
    steps: &[Step],
    progress: &Progress,
    report: &Mutex<Report>,
) -> Result<()> {
    for step in steps {
        tokio::time::sleep(Duration::from_millis(step.after_ms)).await;
        let struck = faults::strike(cluster, *step).await;
        next_result(*step, struck, progress, report).await?;
        let again = faults::works_again(cluster, *step).await;
        again.with_context(|| format!("{step:?}"))?;
    }
    Ok(())
}

async fn connections_lane(
    proxies: &[Arc<Proxy>],
    steps: &[Step],
    progress: &Progress,
    report: &Mutex<Report>,
) -> Result<()> {
    for step in steps {
        tokio::time::sleep(Duration::from_millis(step.after_ms)).await;
        let struck = network::strike(proxies, *step).await;
        next_result(*step, struck, progress, report).await?;
    }
    Ok(())
}

/// Waits for the next completed trial after a fault, and notes both.
async fn next_result(
    step: Step,
    struck: Result<Outcome>,
    progress: &Progress,
    report: &Mutex<Report>,
) -> Result<()> {
    let outcome = struck.with_context(|| format!("{step:?}"))?;
    if let Outcome::Skipped(reason) = &outcome {
        crate::not_tested(&format!("chaos: {}", step.fault), reason);
        lock(report).note(step.fault, outcome, Duration::ZERO);
        return Ok(());
    }
    let begin = Instant::now();
    let before = progress.completed.load(Ordering::Relaxed);
    while progress.completed.load(Ordering::Relaxed) <= before {
        ensure!(
            begin.elapsed() < STUCK,
            "nothing was completed within {STUCK:?} after {step:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    lock(report).note(step.fault, outcome, begin.elapsed());
    Ok(())
}
