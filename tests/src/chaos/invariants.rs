//! What must hold when everything is over, whatever happened. May import this crate's client and processes.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use espalier_proto::v1;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::cluster::{Cluster, SLOTS, WORKERS};
use super::processes::with_folder;
use super::watcher::{Budget, Search, Seen};
use crate::client::{Searches, wait_until};

/// Workers that are away come back with growing patience, at most a minute.
const BACK_LIMIT: Duration = Duration::from_secs(120);
const END_LIMIT: Duration = Duration::from_secs(20);

/// What the searches of a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Searches that ended.
    pub(super) searches: u64,
    /// Those among them whose budget was time, of evaluators or of the clock.
    pub(super) by_time: u64,
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

/// Trials 1..=N, each completed once with the score that its candidate has; budget and counts exact, or, of a budget of
/// time, used up and then no further attempt; all that was acknowledged is there; `espalier replay` agrees, and `espalier journal verify` finds nothing in
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
    let events = cluster.events()?;
    for (search, seen) in all {
        let id = search.id.to_string();
        let status = searches.status(&id).await?;
        let trials = searches.trials_by(&id, 500).await?;
        exact(search, seen, &status, &trials).with_context(|| format!("search {id}"))?;
        if !matches!(search.budget, Budget::Trials(_)) {
            let events = events.get(&id).context("no events")?;
            let last = overshoot(events, status.best_trial);
            let more = last.with_context(|| format!("search {id}, {:?}", search.budget))?;
            ensure!(
                more <= SLOTS,
                "search {id}: {more} trials ran when its budget was used up"
            );
            totals.by_time += 1;
        }
        cluster.replay(&id)?;
        ensure!(
            !status.best_weights.is_empty(),
            "search {id} has no weights of its best: {}",
            status.reason
        );
        best.insert(status.best_weights);
        totals.searches += 1;
        totals.trials += u64::try_from(seen.len())?;
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
    let last = match search.budget {
        Budget::Trials(trials) => trials,
        _ => u32::try_from(trials.len())?,
    };
    ensure!(
        last > 0 && numbers == (1..=last).collect::<Vec<_>>(),
        "the trials are {numbers:?}"
    );
    // When its time is up, what waits is given up.
    let may_be_cancelled = !matches!(search.budget, Budget::Trials(_));
    let (done, cancelled): (Vec<_>, Vec<_>) = trials
        .iter()
        .partition(|trial| !(may_be_cancelled && trial.state == "cancelled"));
    let mut best = f64::MIN;
    for trial in &done {
        best = best.max(completed(trial, seen)?);
    }
    let counts = status.counts.unwrap_or_default();
    let attempts: u32 = trials.iter().map(|trial| trial.attempts).sum();
    let leased = trials.iter().filter(|trial| trial.attempts > 0).count();
    let [done, cancelled, leased] =
        [done.len(), cancelled.len(), leased].map(|number| u32::try_from(number).unwrap_or(0));
    ensure!(
        (counts.leased, counts.completed) == (leased, done)
            && (counts.queued, counts.running, counts.failed) == (0, 0, 0)
            && (counts.infeasible, counts.cancelled) == (0, cancelled)
            && counts.attempts == attempts,
        "{:?}, attempts {attempts}, but the counts are {counts:?}",
        search.budget
    );
    let (used_up, reason) = match search.budget {
        Budget::Trials(trials) => (leased == trials, "the budget of trials is used up"),
        Budget::ComputeSeconds(seconds) => {
            let used = status.compute_seconds >= f64::from(seconds);
            (used, "the budget of compute is used up")
        }
        Budget::TimeSeconds(seconds) => {
            let used = status.elapsed_ms >= u64::from(seconds) * 1_000;
            (used, "the time budget is used up")
        }
    };
    ensure!(
        used_up && status.reason == reason,
        "{:?}: {}, after {} s of compute and {} ms",
        search.budget,
        status.reason,
        status.compute_seconds,
        status.elapsed_ms
    );
    ensure!(
        status.phase == "finished" && status.best_score == Some(best),
        "{}: best {:?}, of the trials {best}",
        status.phase,
        status.best_score
    );
    Ok(())
}

/// The score of a trial that was completed as its candidate must be.
fn completed(trial: &v1::Trial, seen: &Seen) -> Result<f64> {
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
    Ok(score)
}

/// How many trials a search completed after its budget was used up: only such that ran then, and no further one is
/// leased but the best, whose weights may have been lost.
///
/// # Errors
/// A trial that did not run then was leased or completed.
fn overshoot(events: &[Value], best: Option<u32>) -> Result<usize> {
    let trial = |body: &Value| body["trial"].as_u64().context("an event without a trial");
    let (mut running, mut finishing, mut more) = (BTreeSet::new(), false, 0);
    for event in events {
        // An event without fields is only its name.
        let Some((kind, body)) = event.as_object().and_then(|event| event.iter().next()) else {
            continue;
        };
        match kind.as_str() {
            "search_finishing" => finishing = true,
            "job_leased" if finishing => ensure!(
                Some(trial(body)?) == best.map(u64::from),
                "leased when the budget was used up: {event}"
            ),
            "job_leased" => {
                running.insert(trial(body)?);
            }
            "trial_completed" if finishing => {
                more += 1;
                ensure!(
                    running.remove(&trial(body)?),
                    "completed, though it did not run when the budget was used up: {event}"
                );
            }
            "trial_completed" | "attempt_failed" | "lease_expired" | "attempt_released" => {
                running.remove(&trial(body)?);
            }
            _ => {}
        }
    }
    ensure!(finishing, "its end was never decided");
    Ok(more)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_ran_may_end_when_the_budget_is_used_up_and_only_the_best_is_leased() {
        let leased = |trial: u32| json!({ "job_leased": { "trial": trial } });
        let done = |trial: u32| json!({ "trial_completed": { "trial": trial } });
        let expired = json!({ "lease_expired": { "trial": 2 } });
        let end = json!({ "search_finishing": { "reason": "time" } });
        let begin = [leased(1), leased(2), json!("search_recovered"), end.clone()];
        let of = |events: &[Value]| overshoot(&[&begin, events].concat(), Some(1));
        assert_eq!(of(&[done(1), done(2)]).unwrap(), 2);
        assert_eq!(of(&[done(1), leased(1)]).unwrap(), 1);
        assert!(of(&[leased(2)]).is_err());
        assert!(of(&[done(3)]).is_err());
        assert!(of(&[done(1), done(1)]).is_err());
        assert!(overshoot(&[leased(2), expired, end, done(2)], None).is_err());
        assert!(overshoot(&[leased(1), done(1)], None).is_err());
    }
}
