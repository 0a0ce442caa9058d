//! Apply, for events about attempts: leases begin and end, results come in.

use espalier_common::failure::{Failure, FailureDomain};
use espalier_common::ids::{AttemptNumber, Digest, TrialNumber, WorkerId};
use espalier_common::job::{Job, JobKind};
use espalier_common::metrics::Measurement;
use espalier_common::observation::{Observation, Outcome};

use crate::search::event::{Effect, Event, Prepared, ReleaseReason};
use crate::search::fail::counts_as_repeated;
use crate::search::state::{
    Best, LiveAttempt, LivePhase, Phase, RepeatedFailure, Search, TrialState,
};

impl Search {
    /// Events about one attempt.
    pub(super) fn apply_to_attempt(&mut self, event: &Event, time_ms: u64) -> Vec<Effect> {
        match event {
            Event::JobLeased {
                trial,
                attempt,
                worker,
                job,
            } => self.apply_lease(*trial, *attempt, *worker, job, time_ms),
            Event::Measured {
                trial,
                attempt,
                number,
                measurement,
            } => self.apply_measurement(*trial, *attempt, *number, measurement),
            Event::AttemptFailed {
                trial,
                attempt,
                failure,
            } => self.apply_attempt_failure(*trial, *attempt, failure),
            Event::LeaseExpired { trial, attempt } => self.give_back(*trial, *attempt, true),
            Event::AttemptReleased {
                trial,
                attempt,
                reason,
            } => return self.apply_release(*trial, *attempt, *reason),
            _ => return self.apply_result(event),
        }
        Vec::new()
    }

    /// Events that bring what an attempt was leased for.
    fn apply_result(&mut self, event: &Event) -> Vec<Effect> {
        match event {
            Event::TrialCompleted { .. } => return self.apply_completion(event),
            Event::TrialRetrained {
                trial,
                attempt,
                seconds,
                weights,
                upload,
            } => self.apply_retraining(*trial, *attempt, *seconds, *weights, *upload),
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
            _ => {}
        }
        Vec::new()
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
        let mut effects = self.end_completed_lease(*trial, *attempt);
        if *upload {
            self.hold_for_upload(*trial, *attempt, *worker);
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
        self.compare_with_best(*trial, *score, *weights, open.proposal);
        effects
    }

    /// Ends the lease of a trial that has its score. Should a newer attempt hold it, that one is not needed.
    fn end_completed_lease(&mut self, trial: TrialNumber, by: AttemptNumber) -> Vec<Effect> {
        let live = self.live.remove(&trial);
        let newer = live.filter(|live| live.attempt != by);
        let drop = newer.map(|live| Effect::Drop {
            trial,
            attempt: live.attempt,
            worker: live.worker,
        });
        drop.into_iter().collect()
    }

    /// An attempt whose job is done holds its lease until its weights are stored.
    fn hold_for_upload(&mut self, trial: TrialNumber, attempt: AttemptNumber, worker: WorkerId) {
        let live = LiveAttempt {
            attempt,
            worker,
            job: JobKind::Train,
            phase: LivePhase::Uploading,
            reported: 0,
        };
        self.live.insert(trial, live);
    }

    fn compare_with_best(
        &mut self,
        trial: TrialNumber,
        score: f64,
        weights: Option<Digest>,
        proposal: Box<Prepared>,
    ) {
        // An equal score is no progress, whichever of the two trials is named as the best.
        let best = self.best.as_ref();
        let progress = best.is_none_or(|best| self.objective().better(score, best.score));
        self.completed_since_best = if progress {
            0
        } else {
            self.completed_since_best + 1
        };
        if self.is_better(trial, score) {
            self.best = Some(Best {
                trial,
                score,
                proposal,
                weights,
                stored: false,
            });
        }
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
        let costs = failure.domain != FailureDomain::User || !self.open.contains_key(&trial);
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

    pub(super) fn close(
        &mut self,
        trial: TrialNumber,
        state: TrialState,
        outcome: Outcome,
    ) -> Vec<Effect> {
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
}
