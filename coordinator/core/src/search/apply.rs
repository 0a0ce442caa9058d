//! Apply: an event folded into the state. Total: it never fails and never validates; an event that does not
//! fit the state (it cannot come from `decide`) changes what it can.

use espalier_common::failure::Failure;
use espalier_common::ids::{AttemptNumber, Digest, TrialNumber, WorkerId};
use espalier_common::job::Job;
use espalier_common::metrics::Measurement;
use espalier_common::observation::{Observation, Outcome};

use super::event::{Effect, Event, Prepared, Refusal, Refused, ReleaseReason};
use super::fail::counts_as_repeated;
use super::state::{
    Best, LiveAttempt, LivePhase, OpenTrial, Phase, RepeatedFailure, Search, Trial, TrialState,
};

impl Search {
    /// Folds an event into the state; the effects are to be done once it is durable.
    pub fn apply(&mut self, event: &Event, time_ms: u64) -> Vec<Effect> {
        self.events += 1;
        let before = self.updated_ms;
        self.updated_ms = before.max(time_ms);
        match event {
            Event::SearchCreated { .. } => {} // the first event; see `from_first_event`
            Event::SearchRecovered => {
                if let Some(since) = self.running_since {
                    self.elapsed_ms += before.saturating_sub(since);
                    self.running_since = Some(time_ms);
                }
            }
            Event::ProposalRefused { ask, refusal } => self.apply_refusal(*ask, refusal),
            Event::TrialProposed {
                ask,
                trial,
                proposal,
                ..
            } => {
                self.apply_proposal(*ask, *trial, proposal);
            }
            Event::ProposalsEnded { ask, reason } => {
                self.next_ask = ask + 1;
                self.proposals_ended = Some(reason.clone());
            }
            Event::JobLeased {
                trial,
                attempt,
                worker,
                job,
            } => {
                self.apply_lease(*trial, *attempt, *worker, job, time_ms);
            }
            Event::Measured {
                trial,
                attempt,
                number,
                measurement,
            } => {
                self.apply_measurement(*trial, *attempt, *number, measurement);
            }
            Event::TrialCompleted { .. } => return self.apply_completion(event),
            Event::TrialRetrained {
                trial,
                attempt,
                seconds,
                weights,
                upload,
            } => {
                self.apply_retraining(*trial, *attempt, *seconds, *weights, *upload);
            }
            Event::WeightsStored {
                trial,
                attempt,
                weights,
            } => {
                self.drop_live(*trial, *attempt);
                if let Some(best) = self.best.as_mut().filter(|best| best.trial == *trial) {
                    best.weights = Some(*weights);
                    best.stored = true;
                }
            }
            Event::TestCompleted {
                trial,
                attempt,
                metrics,
                seconds,
            } => {
                self.drop_live(*trial, *attempt);
                self.compute_seconds += seconds;
                self.test_metrics = Some(metrics.clone());
            }
            Event::AttemptFailed {
                trial,
                attempt,
                failure,
            } => {
                self.apply_attempt_failure(*trial, *attempt, failure);
            }
            Event::LeaseExpired { trial, attempt } => {
                self.give_back(*trial, *attempt, true);
            }
            Event::AttemptReleased {
                trial,
                attempt,
                reason,
            } => return self.apply_release(*trial, *attempt, *reason),
            Event::TrialFailed { trial, .. } => {
                self.counts.failed += 1;
                return self.close(*trial, TrialState::Failed, Outcome::Failed);
            }
            Event::TrialCancelled { trial } => {
                self.counts.cancelled += 1;
                return self.close(*trial, TrialState::Cancelled, Outcome::Cancelled);
            }
            Event::SearchPaused { reason } => {
                self.stop_clock(time_ms);
                self.phase = Phase::Paused(reason.clone());
            }
            Event::SearchResumed => {
                self.repeated = RepeatedFailure::default();
                self.running_since = (self.counts.leased > 0).then_some(time_ms);
                self.phase = Phase::Running;
            }
            Event::SearchFinishing { reason } => {
                self.stop_clock(time_ms);
                self.phase = Phase::Finishing(reason.clone());
            }
            Event::SearchFinished { reason, shortfall } => {
                self.phase = Phase::Finished(reason.clone());
                self.shortfall.clone_from(shortfall);
            }
        }
        Vec::new()
    }

    fn stop_clock(&mut self, time_ms: u64) {
        if let Some(since) = self.running_since.take() {
            self.elapsed_ms += time_ms.saturating_sub(since);
        }
    }

    fn apply_refusal(&mut self, ask: u64, refusal: &Refusal) {
        self.next_ask = ask + 1;
        match &refusal.refused {
            Refused::Duplicate { .. } => self.counts.duplicates += 1,
            Refused::Infeasible {
                trial,
                candidate_id,
                ..
            } => {
                self.counts.infeasible += 1;
                self.trials.push(Trial {
                    state: TrialState::Infeasible,
                    attempts: 0,
                    completed_by: None,
                    score: None,
                });
                if let Some(id) = candidate_id {
                    self.identities.insert(*id, *trial);
                }
            }
        }
    }

    fn apply_proposal(&mut self, ask: u64, trial: TrialNumber, proposal: &Prepared) {
        self.next_ask = ask + 1;
        self.counts.accepted += 1;
        self.trials.push(Trial {
            state: TrialState::Queued,
            attempts: 0,
            completed_by: None,
            score: None,
        });
        self.identities.insert(proposal.candidate_id, trial);
        self.open.insert(
            trial,
            OpenTrial {
                proposal: Box::new(proposal.clone()),
                failures: 0,
                last: std::collections::BTreeMap::new(),
            },
        );
        self.queue.push_back(trial);
    }

    fn apply_lease(
        &mut self,
        trial: TrialNumber,
        attempt: AttemptNumber,
        worker: WorkerId,
        job: &Job,
        time_ms: u64,
    ) {
        self.counts.attempts += 1;
        if let Some(position) = self.queue.iter().position(|&queued| queued == trial) {
            self.queue.remove(position);
        }
        let is_open = self.open.contains_key(&trial);
        let Some(known) = self.trial_mut(trial) else {
            return;
        };
        let is_first = known.attempts == 0;
        known.attempts = attempt.0;
        if is_open {
            known.state = TrialState::Running;
        }
        if is_first {
            self.counts.leased += 1;
        }
        if self.phase == Phase::Running && self.running_since.is_none() {
            self.running_since = Some(time_ms);
        }
        let phase = LivePhase::Running;
        let live = LiveAttempt {
            attempt,
            worker,
            job: job.kind(),
            phase,
            reported: 0,
        };
        self.live.insert(trial, live);
    }

    fn apply_measurement(
        &mut self,
        trial: TrialNumber,
        attempt: AttemptNumber,
        number: u32,
        measurement: &Measurement,
    ) {
        if let Some(live) = self
            .live
            .get_mut(&trial)
            .filter(|live| live.attempt == attempt)
        {
            live.reported = number;
        }
        if let Some(open) = self.open.get_mut(&trial) {
            open.last.insert(attempt, measurement.clone());
        }
    }

    fn apply_completion(&mut self, event: &Event) -> Vec<Effect> {
        let Event::TrialCompleted {
            trial,
            attempt,
            worker,
            score,
            step,
            seconds,
            weights,
            upload,
            ..
        } = event
        else {
            return Vec::new();
        };
        let Some(open) = self.open.remove(trial) else {
            return Vec::new();
        };
        self.queue.retain(|queued| queued != trial);
        self.counts.completed += 1;
        self.compute_seconds += seconds;
        self.repeated = RepeatedFailure::default();
        if let Some(known) = self.trial_mut(*trial) {
            known.state = TrialState::Completed;
            known.completed_by = Some(*attempt);
            known.score = Some(*score);
        }
        let mut effects = Vec::new();
        if let Some(live) = self
            .live
            .remove(trial)
            .filter(|live| live.attempt != *attempt)
        {
            effects.push(Effect::Drop {
                trial: *trial,
                attempt: live.attempt,
                worker: live.worker,
            });
        }
        if *upload {
            let (attempt, worker) = (*attempt, *worker);
            let (job, phase) = (espalier_common::job::JobKind::Train, LivePhase::Uploading);
            self.live.insert(
                *trial,
                LiveAttempt {
                    attempt,
                    worker,
                    job,
                    phase,
                    reported: 0,
                },
            );
        }
        effects.push(Effect::Tell(Observation {
            trial: Some(*trial),
            candidate: open.proposal.candidate.clone(),
            outcome: Outcome::Scored {
                utility: self.objective().utility(*score),
                fidelity: *step,
            },
            memo: open.proposal.memo.clone(),
        }));
        // An equal score is no progress, whichever of the two trials is named as the best.
        let progress = self
            .best
            .as_ref()
            .is_none_or(|best| self.objective().better(*score, best.score));
        self.completed_since_best = if progress {
            0
        } else {
            self.completed_since_best + 1
        };
        if self.is_better(*trial, *score) {
            self.best = Some(Best {
                trial: *trial,
                score: *score,
                proposal: open.proposal,
                weights: *weights,
                stored: false,
            });
        }
        effects
    }

    fn apply_retraining(
        &mut self,
        trial: TrialNumber,
        attempt: AttemptNumber,
        seconds: f64,
        weights: Digest,
        upload: bool,
    ) {
        self.compute_seconds += seconds;
        if let Some(best) = self.best.as_mut().filter(|best| best.trial == trial) {
            best.weights = Some(weights);
        }
        if !upload {
            self.drop_live(trial, attempt);
        } else if let Some(live) = self.live.get_mut(&trial) {
            live.phase = LivePhase::Uploading;
        }
    }

    fn apply_attempt_failure(
        &mut self,
        trial: TrialNumber,
        attempt: AttemptNumber,
        failure: &Failure,
    ) {
        // The user's fault costs a trial nothing, since the search is paused until the user has looked. The
        // work at the end of a search is not paused, so there everything costs, or it could fail for ever.
        let costs = failure.domain != espalier_common::failure::FailureDomain::User
            || !self.open.contains_key(&trial);
        self.give_back(trial, attempt, costs);
        if counts_as_repeated(failure) {
            let key = failure.key();
            if self.repeated.key != key {
                self.repeated = RepeatedFailure {
                    key,
                    ..RepeatedFailure::default()
                };
            }
            self.repeated.trials.insert(trial);
        }
    }

    fn apply_release(
        &mut self,
        trial: TrialNumber,
        attempt: AttemptNumber,
        reason: ReleaseReason,
    ) -> Vec<Effect> {
        let live = self.live.get(&trial).filter(|live| live.attempt == attempt);
        let worker = live.map(|live| live.worker);
        let uploading = live.is_some_and(|live| live.phase == LivePhase::Uploading);
        let costs = match reason {
            ReleaseReason::WorkerRestarted | ReleaseReason::NotStored => true,
            // An upload that was given up.
            ReleaseReason::Worker | ReleaseReason::ReplyLost => uploading,
            ReleaseReason::WorkerLeft | ReleaseReason::Superseded => false,
        };
        self.give_back(trial, attempt, costs);
        // In every other case the worker knows, or is gone.
        let taken = worker.filter(|_| reason == ReleaseReason::Superseded);
        taken.map_or_else(Vec::new, |worker| {
            vec![Effect::Drop {
                trial,
                attempt,
                worker,
            }]
        })
    }

    /// Ends a lease without a result: an open trial waits again, before all others.
    fn give_back(&mut self, trial: TrialNumber, attempt: AttemptNumber, costs_an_attempt: bool) {
        self.drop_live(trial, attempt);
        if let Some(open) = self.open.get_mut(&trial) {
            open.failures += u32::from(costs_an_attempt);
            self.queue.push_front(trial);
            if let Some(known) = self.trial_mut(trial) {
                known.state = TrialState::Queued;
            }
        } else if matches!(self.phase, Phase::Finishing(_)) {
            // Work that ends a search: an upload that was lost counts too, or it could go on for ever.
            self.final_failures += u32::from(costs_an_attempt);
        }
    }

    fn close(&mut self, trial: TrialNumber, state: TrialState, outcome: Outcome) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(live) = self.live.remove(&trial) {
            effects.push(Effect::Drop {
                trial,
                attempt: live.attempt,
                worker: live.worker,
            });
        }
        self.queue.retain(|&queued| queued != trial);
        if let Some(known) = self.trial_mut(trial) {
            known.state = state;
        }
        if let Some(open) = self.open.remove(&trial) {
            let Prepared {
                candidate, memo, ..
            } = *open.proposal;
            effects.push(Effect::Tell(Observation {
                trial: Some(trial),
                candidate,
                outcome,
                memo,
            }));
        }
        effects
    }

    fn drop_live(&mut self, trial: TrialNumber, attempt: AttemptNumber) {
        if self
            .live
            .get(&trial)
            .is_some_and(|live| live.attempt == attempt)
        {
            self.live.remove(&trial);
        }
    }

    fn trial_mut(&mut self, number: TrialNumber) -> Option<&mut Trial> {
        self.trials.get_mut((number.0 as usize).checked_sub(1)?)
    }
}
