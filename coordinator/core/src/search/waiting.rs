//! What of a search waits for a worker.

use std::collections::BTreeSet;

use espalier_common::ids::{TrialNumber, WorkerId};
use espalier_common::job::Job;

use super::event::FinishReason;
use super::faults::Faults;
use super::state::{Phase, Search, count};

/// The most retries shown at one time; more wait until these are leased.
const SHOWN_RETRIES: usize = 64;

/// Jobs that could be leased now, were there slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitingJobs {
    /// Training jobs that any worker may get.
    pub training: u32,
    /// Whether the test of the best waits, and any worker may get it.
    pub test: bool,
    /// Jobs that failed on some worker before.
    pub retries: Vec<WaitingRetry>,
}

/// A job that failed on some worker before: it is leased only to a worker that is named for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingRetry {
    /// The trial.
    pub trial: TrialNumber,
    /// Whether it is the test of the best.
    pub test: bool,
    /// Attempts that count against the cap.
    pub failures: u32,
    /// Instances of workers on which it failed.
    pub failed_on: BTreeSet<WorkerId>,
}

impl WaitingRetry {
    fn of(trial: TrialNumber, test: bool, faults: &Faults) -> Self {
        Self {
            trial,
            test,
            failures: faults.counted(),
            failed_on: faults.workers().collect(),
        }
    }
}

impl Search {
    /// Jobs that could be leased now, were there slots.
    #[must_use]
    pub fn waiting(&self) -> WaitingJobs {
        let mut waiting = WaitingJobs::default();
        if let Some((trial, job)) = self.final_job() {
            let test = matches!(job, Job::Test { .. });
            if self.final_faults.are_of_workers() {
                let retry = WaitingRetry::of(trial, test, &self.final_faults);
                waiting.retries.push(retry);
            } else {
                waiting.test = test;
                waiting.training = u32::from(!test);
            }
        }
        let free = self.free_parallel();
        if self.phase == Phase::Running && free > 0 {
            waiting.training = (self.queued() - self.queued_again()).min(free);
            let retries = self.queued_retries().take(SHOWN_RETRIES);
            let retries = retries.map(|(trial, faults)| WaitingRetry::of(trial, false, faults));
            waiting.retries.extend(retries);
        }
        waiting
    }

    /// Trials that wait and failed on some worker before.
    #[must_use]
    pub fn queued_again(&self) -> u32 {
        count(self.queued_retries().count())
    }

    fn queued_retries(&self) -> impl Iterator<Item = (TrialNumber, &Faults)> {
        self.queue.iter().filter_map(|trial| {
            let faults = &self.open.get(trial)?.faults;
            faults.are_of_workers().then_some((*trial, faults))
        })
    }

    /// Whether a trial that waits may go to a worker that is named for the trials in `retries`.
    pub(super) fn may_lease(&self, trial: TrialNumber, retries: &BTreeSet<TrialNumber>) -> bool {
        let faults = match self.open.get(&trial) {
            Some(open) => &open.faults,
            None => &self.final_faults,
        };
        !faults.are_of_workers() || retries.contains(&trial)
    }

    /// The job that is left to do when no trial is open: train the best again when its weights were lost,
    /// then measure it on the test split.
    #[must_use]
    pub fn final_job(&self) -> Option<(TrialNumber, Job)> {
        let Phase::Finishing(reason) = &self.phase else {
            return None;
        };
        if *reason == FinishReason::Stopped
            || !self.open.is_empty()
            || self.final_attempts_used_up()
        {
            return None;
        }
        let best = self.best.as_ref()?;
        let weights = best.weights?;
        if self.live.contains_key(&best.trial) {
            return None;
        }
        if !best.stored {
            let to = self.definition.spec.space.training.epochs;
            return Some((best.trial, Job::train(to)));
        }
        let wants_test = self.definition.tests_the_best() && self.test_metrics.is_none();
        wants_test.then_some((best.trial, Job::Test { weights }))
    }

    pub(super) fn final_attempts_used_up(&self) -> bool {
        self.final_faults.counted() >= self.definition.spec.attempts
    }
}
