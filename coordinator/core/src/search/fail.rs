//! Decide, for failures and lost leases: who is to blame decides what follows.

use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::{AttemptNumber, TrialNumber};

use super::command::Rejection;
use super::event::{Event, PauseReason, ReleaseReason};
use super::state::{LivePhase, OpenTrial, Phase, Search, TrialState};

/// So many different trials in a row whose attempts fail in the same way (see [`Failure::key`]) mean that the
/// user's data or program is at fault, not the candidates.
const SAME_FAILURES_PAUSE: usize = 3;

impl Search {
    pub(super) fn decide_fail(
        &self,
        trial: TrialNumber,
        attempt: AttemptNumber,
        failure: Failure,
    ) -> Result<Vec<Event>, Rejection> {
        let held = match self.held(trial, attempt) {
            Ok(held) => held,
            // Said before, and the acknowledgement was lost: acknowledge again.
            Err(_) if self.knows_failure_of(trial, attempt) => return Ok(Vec::new()),
            Err(rejection) => return Err(rejection),
        };
        if held.phase == LivePhase::Uploading {
            // The job itself is done; only its weights are lost, and they can be trained again.
            let reason = ReleaseReason::Worker;
            return Ok(vec![Event::AttemptReleased {
                trial,
                attempt,
                reason,
            }]);
        }
        let mut events = vec![Event::AttemptFailed {
            trial,
            attempt,
            failure: failure.clone(),
        }];
        let Some(open) = self.open.get(&trial) else {
            return Ok(events);
        };
        let pause = self.pause_after(trial, &failure);
        match failure.domain {
            FailureDomain::Candidate => events.push(Event::TrialFailed { trial, failure }),
            FailureDomain::Worker | FailureDomain::Internal => {
                events.extend(self.exhausted(open, trial, &failure));
            }
            FailureDomain::User => {}
        }
        events.extend(pause.map(|reason| Event::SearchPaused { reason }));
        Ok(events)
    }

    /// Whether this attempt's worker has said that it failed.
    fn knows_failure_of(&self, trial: TrialNumber, attempt: AttemptNumber) -> bool {
        if let Some(open) = self.open.get(&trial) {
            return open.faults.were_reported_by(attempt);
        }
        let known = self.trial(trial);
        let was_its_end = known.is_some_and(|known| {
            known.state == TrialState::Failed && known.ended_by == Some(attempt)
        });
        let of_the_best = self.best.as_ref().is_some_and(|best| best.trial == trial);
        was_its_end || (of_the_best && self.final_faults.were_reported_by(attempt))
    }

    pub(super) fn decide_expire(
        &self,
        trial: TrialNumber,
        attempt: AttemptNumber,
    ) -> Result<Vec<Event>, Rejection> {
        self.held(trial, attempt)?;
        let mut events = vec![Event::LeaseExpired { trial, attempt }];
        events.extend(self.exhausted_by_loss(trial));
        Ok(events)
    }

    /// The end of an open trial that has lost its worker for the last time it may.
    pub(super) fn exhausted_by_loss(&self, trial: TrialNumber) -> Option<Event> {
        let open = self.open.get(&trial)?;
        let message = "its worker was lost: it died, or was silent until the lease ran out";
        let failure = Failure::new(FailureDomain::Worker, FailureKind::WorkerLost, message);
        self.exhausted(open, trial, &failure)
    }

    /// The end of a trial whose attempts are used up: from then on it counts as the candidate's fault, so
    /// that a trial which kills workers does not kill them all.
    fn exhausted(&self, open: &OpenTrial, trial: TrialNumber, last: &Failure) -> Option<Event> {
        let used = open.faults.counted() + 1;
        (used >= self.definition.spec.attempts).then(|| {
            let message = format!("{used} attempts failed; the last one: {}", last.message);
            let kind = FailureKind::AttemptsExhausted;
            let mut failure = Failure::new(FailureDomain::Candidate, kind, message).bounded();
            failure.log_tail.clone_from(&last.log_tail);
            Event::TrialFailed { trial, failure }
        })
    }

    fn pause_after(&self, trial: TrialNumber, failure: &Failure) -> Option<PauseReason> {
        if self.phase != Phase::Running {
            return None;
        }
        if failure.domain == FailureDomain::User {
            return Some(PauseReason::Failure(failure.message.clone()));
        }
        if !counts_as_repeated(failure) || self.repeated.key != failure.key() {
            return None;
        }
        let mut trials = self.repeated.trials.clone();
        trials.insert(trial);
        (trials.len() >= SAME_FAILURES_PAUSE).then(|| {
            PauseReason::Failure(format!(
                "{} different candidates in a row failed with the same words: {}",
                trials.len(),
                failure.last_line()
            ))
        })
    }
}

/// Divergence and memory are the candidate's own business, however often they come, and so is a row that a
/// table lacks.
pub(super) fn counts_as_repeated(failure: &Failure) -> bool {
    let no_result = failure.domain == FailureDomain::Candidate && failure.kind == FailureKind::Data;
    !no_result
        && !matches!(
            failure.kind,
            FailureKind::Diverged | FailureKind::OutOfMemory | FailureKind::WorkerLost
        )
}
