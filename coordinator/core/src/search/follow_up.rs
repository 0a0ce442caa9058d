//! What a state implies: a search that has what it wants ends, a search that ends clears up.

use espalier_common::ids::TrialNumber;

use super::event::{Event, FinishReason, ReleaseReason};
use super::state::{LiveAttempt, LivePhase, Phase, Search};

/// The next event that the state calls for, if any. Called until there is none.
pub(super) fn follow_up(search: &Search, now_ms: u64) -> Option<Event> {
    match &search.phase {
        Phase::Running | Phase::Paused(_) => search
            .reason_to_finish(now_ms)
            .map(|reason| Event::SearchFinishing { reason }),
        Phase::Finishing(reason) => search.clear_up(reason),
        Phase::Finished(_) => None,
    }
}

impl Search {
    fn reason_to_finish(&self, now_ms: u64) -> Option<FinishReason> {
        let budget = &self.limits.budget;
        if let (Some(target), Some(best)) = (budget.target, &self.best)
            && !self.objective().better(target, best.score)
        {
            return Some(FinishReason::Target);
        }
        if budget
            .patience
            .is_some_and(|patience| self.completed_since_best >= patience)
        {
            return Some(FinishReason::Patience);
        }
        if self.deadline_has_passed(now_ms) {
            return Some(FinishReason::Deadline);
        }
        if self.time_is_up(now_ms) {
            return Some(FinishReason::Time);
        }
        if self.compute_is_used_up() {
            return Some(FinishReason::Compute);
        }
        if !self.open.is_empty() {
            return None;
        }
        if self.expects_too_little() {
            return Some(FinishReason::Improvement);
        }
        if self.trials_used_up() {
            return Some(FinishReason::Trials);
        }
        self.proposals_ended.clone().map(FinishReason::Exhausted)
    }

    fn clear_up(&self, reason: &FinishReason) -> Option<Event> {
        // When the time or the compute is up, what runs may end; a target reached or a stop makes it pointless.
        let drops_running = matches!(
            reason,
            FinishReason::Target | FinishReason::Patience | FinishReason::Stopped
        );
        let cancelled = self
            .queue
            .front()
            .copied()
            .or_else(|| self.open.keys().next().copied().filter(|_| drops_running));
        if let Some(trial) = cancelled {
            return Some(Event::TrialCancelled { trial });
        }
        // A lease that would outlive the search: an upload of weights that are no longer the best's, or the
        // work at the end of a search that was stopped.
        let needless = self.live.iter().find(|(trial, live)| {
            !self.open.contains_key(trial) && !self.serves_the_end(**trial, live, reason)
        });
        if let Some((&trial, live)) = needless {
            return Some(Event::AttemptReleased {
                trial,
                attempt: live.attempt,
                reason: ReleaseReason::Superseded,
            });
        }
        if !self.open.is_empty() || !self.live.is_empty() || self.final_job().is_some() {
            return None;
        }
        let shortfall = self.final_attempts_used_up().then(|| {
            let failures = self.final_faults.counted();
            format!("the best could not be stored and tested: {failures} attempts failed")
        });
        Some(Event::SearchFinished {
            reason: reason.clone(),
            shortfall,
        })
    }

    /// Whether a lease of a closed trial is still wanted: all of the best's are, but of a search that was
    /// stopped only the upload, since the user keeps those weights.
    fn serves_the_end(
        &self,
        trial: TrialNumber,
        live: &LiveAttempt,
        reason: &FinishReason,
    ) -> bool {
        let of_the_best = self.best.as_ref().is_some_and(|best| best.trial == trial);
        of_the_best && (*reason != FinishReason::Stopped || live.phase == LivePhase::Uploading)
    }
}
