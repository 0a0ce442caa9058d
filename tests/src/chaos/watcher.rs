//! Keeps searches running while faults happen, and watches what they say meanwhile: what was acknowledged
//! once must never be taken back. May import this crate's client.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use espalier_proto::v1;
use uuid::Uuid;

use crate::client::Searches;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(150);
/// A coordinator that is frozen does not answer; it is asked again.
const CALL_LIMIT: Duration = Duration::from_secs(2);
/// What searches may use: many ends and many beginnings, and room for faults in between.
const BUDGETS: [Budget; 5] = [
    Budget::Trials(40),
    Budget::ComputeSeconds(20),
    Budget::Trials(61),
    Budget::TimeSeconds(6),
    Budget::Trials(90),
];
/// They differ in how much they remember; each must go on as if nothing had happened.
const SEARCHERS: [&str; 3] = ["evolution", "tpe", "random"];

/// What a search may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Budget {
    /// So many trials: exact.
    Trials(u32),
    /// So much time of evaluators; what runs when it is used up may end.
    ComputeSeconds(u32),
    /// So much time of the clock; the same.
    TimeSeconds(u32),
}

impl Budget {
    /// As in a spec.
    fn yaml(self) -> String {
        match self {
            Self::Trials(trials) => format!("{{trials: {trials}}}"),
            // A spec must have an end that comes whatever its trials take; this one is never reached.
            Self::ComputeSeconds(seconds) => format!("{{compute: {seconds}s, trials: 10000}}"),
            Self::TimeSeconds(seconds) => format!("{{time: {seconds}s}}"),
        }
    }
}

/// A search of the run.
#[derive(Clone, Debug)]
pub(super) struct Search {
    /// Its id.
    pub(super) id: Uuid,
    /// What it may use.
    pub(super) budget: Budget,
}

/// What the watcher shares with who waits for progress.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Completed trials of all searches.
    pub(super) completed: AtomicU64,
    /// How often a search was found paused and was resumed.
    pub(super) resumed: AtomicU64,
    /// No further search begins; the watcher ends with the last one.
    pub(super) ending: AtomicBool,
}

/// What was seen of a search's trials: number and score of what was completed.
pub(super) type Seen = BTreeMap<u32, f64>;

/// Creates searches one after the other and follows each to its end.
#[derive(Debug)]
pub(super) struct Watcher {
    searches: Searches,
    progress: Arc<Progress>,
    seed: u64,
    ended: u64,
}

impl Watcher {
    /// Watches by `searches`; the searches depend on `seed`.
    #[must_use]
    pub(super) fn new(searches: Searches, progress: Arc<Progress>, seed: u64) -> Self {
        Self {
            searches,
            progress,
            seed,
            ended: 0,
        }
    }

    /// Runs until told to end; the searches, with what was seen of each while it ran.
    ///
    /// # Errors
    /// A search took something back.
    pub(super) async fn run(mut self) -> Result<Vec<(Search, Seen)>> {
        let mut all = Vec::new();
        while all.is_empty() || !self.progress.ending.load(Ordering::Relaxed) {
            let search = self.create(all.len()).await?;
            let seen = self.follow(&search).await?;
            self.ended += u64::try_from(seen.len())?;
            all.push((search, seen));
        }
        Ok(all)
    }

    /// The call is repeated with the same id until it is answered: it creates once.
    async fn create(&self, number: usize) -> Result<Search> {
        let pick = number + usize::try_from(self.seed % 15)?;
        let budget = BUDGETS[pick % BUDGETS.len()];
        let searcher = SEARCHERS[pick / BUDGETS.len() % SEARCHERS.len()];
        let id = Uuid::new_v4();
        let spec = format!(
            "name: chaos-{number}
hyperparameters:
  x: {{range: [0.0, 1.0]}}
  y: {{choice: [1, 2, 3, 4, 5]}}
evaluator: scripted
training: {{epochs: 2}}
searcher: {searcher}
objectives: [{{maximize: score}}]
budget: {}
attempts: 100
reuse: false
seed: {}
",
            budget.yaml(),
            self.seed % 1_000_000
        );
        loop {
            let call = self.searches.create_as(id, &spec, String::new());
            match tokio::time::timeout(CALL_LIMIT, call).await {
                Ok(Err(error)) if is_refusal(&error) => return Err(error),
                Ok(Ok(())) => return Ok(Search { id, budget }),
                _ => tokio::time::sleep(EVERY).await,
            }
        }
    }

    async fn follow(&self, search: &Search) -> Result<Seen> {
        let id = search.id.to_string();
        let mut seen = Seen::new();
        loop {
            tokio::time::sleep(EVERY).await;
            let look = async {
                let status = self.searches.status(&id).await?;
                let trials = self.searches.trials_by(&id, 500).await?;
                anyhow::Ok((status, trials))
            };
            // Neither an answer that fails nor one that does not come says anything about the search.
            let Ok(Ok((status, trials))) = tokio::time::timeout(CALL_LIMIT, look).await else {
                continue;
            };
            compare(&mut seen, &trials)?;
            let completed = self.ended + u64::try_from(seen.len())?;
            self.progress.completed.store(completed, Ordering::Relaxed);
            match status.phase.as_str() {
                "finished" => return Ok(seen),
                "paused" => {
                    self.progress.resumed.fetch_add(1, Ordering::Relaxed);
                    eprintln!("chaos: search {id} is paused: {}", status.reason);
                    let _ = tokio::time::timeout(CALL_LIMIT, self.searches.resume(&id)).await;
                }
                _ => {}
            }
        }
    }
}

/// Notes what is completed; what was completed before must still be, with the same score.
fn compare(seen: &mut Seen, trials: &[v1::Trial]) -> Result<()> {
    let completed: Seen = trials
        .iter()
        .filter(|trial| trial.state == "completed")
        .map(|trial| (trial.number, trial.score.unwrap_or(f64::NAN)))
        .collect();
    for (number, score) in seen.iter() {
        match completed.get(number) {
            Some(same) if same.to_bits() == score.to_bits() => {}
            now => bail!("trial {number} was completed with {score}, and is {now:?} now"),
        }
    }
    ensure!(
        completed.values().all(|score| score.is_finite()),
        "a completed trial has no score"
    );
    *seen = completed;
    Ok(())
}

/// Whether the coordinator said no, which asking again does not change.
fn is_refusal(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<tonic::Status>()
        .is_some_and(|status| status.code() == tonic::Code::InvalidArgument)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(number: u32, state: &str, score: Option<f64>) -> v1::Trial {
        v1::Trial {
            number,
            state: state.to_owned(),
            score,
            ..v1::Trial::default()
        }
    }

    #[test]
    fn a_result_that_changes_or_goes_is_found() {
        let mut seen = Seen::new();
        let first = [trial(1, "completed", Some(0.5)), trial(2, "running", None)];
        assert!(compare(&mut seen, &first).is_ok());
        assert_eq!(seen, Seen::from([(1, 0.5)]));
        let changed = [trial(1, "completed", Some(0.6))];
        assert!(compare(&mut seen.clone(), &changed).is_err());
        assert!(compare(&mut seen.clone(), &[trial(1, "queued", None)]).is_err());
        assert!(compare(&mut seen, &[trial(1, "completed", None)]).is_err());
    }
}
