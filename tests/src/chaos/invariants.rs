//! What must hold when everything is over, whatever happened. May import this crate's client and processes.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use espalier_proto::v1;
use nix::sys::signal::Signal;

use super::cluster::{Cluster, WORKERS};
use super::processes::with_folder;
use super::watcher::{Search, Seen};
use crate::client::{Searches, wait_until};

/// Workers that are away come back with growing patience, at most a minute.
const BACK_LIMIT: Duration = Duration::from_secs(120);
const END_LIMIT: Duration = Duration::from_secs(20);

/// What the searches of a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Searches that ended.
    pub(super) searches: u64,
    /// Trials, each completed once.
    pub(super) trials: u64,
    /// Attempts at them.
    pub(super) attempts: u64,
}

/// Files that went from workers to the coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    /// Weights of a best trial.
    pub(super) weights: u64,
    /// Checkpoints of jobs that were broken off.
    pub(super) checkpoints: u64,
    /// Uploads that failed on the way and were begun again.
    pub(super) again: u64,
}

impl Files {
    /// What the workers have said of it.
    pub(super) fn of(cluster: &Cluster) -> Self {
        Self {
            weights: cluster.said(&["weights uploaded"]),
            checkpoints: cluster.said(&["checkpoint uploaded"]),
            again: cluster.said(&["not delivered", "UploadArtifact"]),
        }
    }
}

/// Every worker is back.
///
/// # Errors
/// One is not.
pub(super) async fn all_workers_are_back(searches: &Searches) -> Result<()> {
    wait_until("every worker back", BACK_LIMIT, || async {
        let workers = searches.cluster().await?.workers;
        Ok((workers.len() == WORKERS).then_some(()))
    })
    .await
}

/// Trials 1..=N, each completed once with the score that its candidate has; budget and counts exact; all that
/// was acknowledged is there; `espalier replay` agrees, and `espalier journal verify` finds nothing in
/// file, records and listings.
///
/// # Errors
/// What does not hold.
pub(super) async fn check(
    cluster: &Cluster,
    searches: &Searches,
    all: &[(Search, Seen)],
) -> Result<Totals> {
    let (mut totals, mut best) = (Totals::default(), BTreeSet::new());
    cluster.verify()?;
    for (search, seen) in all {
        let id = search.id.to_string();
        let status = searches.status(&id).await?;
        let trials = searches.trials_by(&id, 500).await?;
        exact(search, seen, &status, &trials).with_context(|| format!("search {id}"))?;
        cluster.replay(&id)?;
        ensure!(
            !status.best_weights.is_empty(),
            "search {id} has no weights of its best: {}",
            status.reason
        );
        best.insert(status.best_weights);
        totals.searches += 1;
        totals.trials += u64::from(search.trials);
        totals.attempts += u64::from(status.counts.unwrap_or_default().attempts);
    }
    // Former bests and checkpoints are not needed any more. Files are removed in the background.
    wait_until(
        "the weights of every best, and no other file",
        END_LIMIT,
        || async { Ok((cluster.artifacts()? == best).then_some(())) },
    )
    .await
    .with_context(|| format!("kept: {:?}, of the bests: {best:?}", cluster.artifacts()))?;
    Ok(totals)
}

fn exact(
    search: &Search,
    seen: &Seen,
    status: &v1::SearchStatus,
    trials: &[v1::Trial],
) -> Result<()> {
    let numbers: Vec<u32> = trials.iter().map(|trial| trial.number).collect();
    ensure!(
        numbers == (1..=search.trials).collect::<Vec<_>>(),
        "the trials are {numbers:?}"
    );
    let mut best = f64::MIN;
    for trial in trials {
        let (number, state) = (trial.number, &trial.state);
        ensure!(
            state == "completed" && trial.step == 2 && trial.attempts >= 1,
            "trial {number} is {state} at step {} after {} attempts: {}",
            trial.step,
            trial.attempts,
            trial.reason
        );
        let score = trial.score.context("a completed trial has a score")?;
        let wanted = score_of(&trial.candidate_json)?;
        ensure!(
            (score - wanted).abs() < 1e-9,
            "trial {number} has the score {score}; its candidate's is {wanted}"
        );
        ensure!(
            seen.get(&number) == Some(&score),
            "trial {number} was seen with {:?} and has {score}",
            seen.get(&number)
        );
        best = best.max(score);
    }
    let counts = status.counts.unwrap_or_default();
    let attempts: u32 = trials.iter().map(|trial| trial.attempts).sum();
    ensure!(
        (counts.leased, counts.completed) == (search.trials, search.trials)
            && (counts.queued, counts.running, counts.failed) == (0, 0, 0)
            && (counts.infeasible, counts.cancelled) == (0, 0)
            && counts.attempts == attempts,
        "budget {}, attempts {attempts}, but the counts are {counts:?}",
        search.trials
    );
    ensure!(
        status.phase == "finished" && status.best_score == Some(best),
        "{}: best {:?}, of the trials {best}",
        status.phase,
        status.best_score
    );
    Ok(())
}

/// What `evaluators/scripted.py` gives a candidate at its last step.
fn score_of(candidate: &str) -> Result<f64> {
    let candidate: serde_json::Value = serde_json::from_str(candidate)?;
    let number = |name: &str| {
        let place = format!("hyperparameters.{name}");
        let value = find(&candidate, &place).and_then(number_in);
        value.with_context(|| format!("no {place} in {candidate}"))
    };
    let (x, y) = (number("x")?, number("y")?);
    Ok((1.0 - (x - 0.3).powi(2)) * y)
}

/// The value of a key, however deep it lies.
fn find<'a>(value: &'a serde_json::Value, key: &str) -> Option<&'a serde_json::Value> {
    match value {
        serde_json::Value::Object(map) => map
            .get(key)
            .or_else(|| map.values().find_map(|value| find(value, key))),
        serde_json::Value::Array(list) => list.iter().find_map(|value| find(value, key)),
        _ => None,
    }
}

/// A number, bare or tagged with its type.
fn number_in(value: &serde_json::Value) -> Option<f64> {
    match value {
        serde_json::Value::Object(map) => map.values().find_map(number_in),
        other => other.as_f64(),
    }
}

/// Ends everything in order; nothing may be left of it.
///
/// # Errors
/// A process does not end, or was not ended with its parent.
pub(super) async fn end(cluster: &mut Cluster) -> Result<()> {
    let mut processes: Vec<_> = cluster
        .workers
        .iter_mut()
        .filter_map(|worker| worker.process.take())
        .collect();
    for process in &processes {
        process.signal(Signal::SIGTERM)?;
    }
    for process in &mut processes {
        let status = process.wait(END_LIMIT)?;
        ensure!(status.success(), "a worker: {status}\n{}", process.log());
    }
    let mut coordinator = cluster.coordinator.take().context("no coordinator")?;
    coordinator.signal(Signal::SIGTERM)?;
    let status = coordinator.wait(END_LIMIT)?;
    ensure!(status.success(), "the coordinator: {status}");
    let folder = cluster.path().to_owned();
    let left = wait_until("no process left", END_LIMIT, || async {
        Ok(with_folder(&folder).is_empty().then_some(()))
    })
    .await;
    left.with_context(|| format!("left behind: {:?}", with_folder(&folder)))
}
