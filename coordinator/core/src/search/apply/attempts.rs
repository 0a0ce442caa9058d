//! Apply, for events about attempts: leases begin and end, results come in.

use std::time::Duration;

use espalier_common::failure::{Failure, FailureDomain};
use espalier_common::ids::{AttemptNumber, Digest, TrialNumber, WorkerId};
use espalier_common::job::{Job, JobKind};
use espalier_common::metrics::Measurement;
use espalier_common::observation::{Observation, Outcome};

use crate::search::event::{Effect, Event, Prepared, ReleaseReason};
use crate::search::fail::counts_as_repeated;
use crate::search::faults::Fault;
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
            } => self.apply_attempt_failure(*trial, *attempt, failure, time_ms),
            Event::LeaseExpired { trial, attempt } => {
                let fault = Fault {
                    costs: true,
                    of_worker: true,
                    reported: false,
                };
                let live = self.take_unfinished(*trial, *attempt, time_ms);
                self.give_back(*trial, *attempt, live, fault);
            }
            Event::CheckpointStored {
                trial, checkpoint, ..
            } => self.apply_checkpoint(*trial, *checkpoint),
            Event::AttemptReleased {
                trial,
                attempt,
                reason,
            } => return self.apply_release(*trial, *attempt, *reason, time_ms),
            _ => return self.apply_result(event, time_ms),
        }
        Vec::new()
    }

    /// Events that bring what an attempt was leased for.
    fn apply_result(&mut self, event: &Event, time_ms: u64) -> Vec<Effect> {
        match event {
            Event::TrialCompleted { .. } => return self.apply_completion(event, time_ms),
            Event::TrialRetrained {
                trial,
                attempt,
                seconds,
                weights,
                upload,
            } => self.apply_retraining(*trial, *attempt, *seconds, *weights, *upload),
            Event::UploadResumed {
                trial,
                attempt,
                worker,
            } => self.hold_for_upload(*trial, *attempt, *worker, time_ms),
            Event::WeightsStored {
                trial,
                attempt,
                weights,
            } => {
                self.checkpoints.remove(trial);
                self.take_live(*trial, *attempt);
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
                self.take_live(*trial, *attempt);
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
        // One that was reused is trained at the end only for its weights.
        if is_first && is_open {
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
            resumed: job.checkpoint().is_some(),
            phase,
            reported: 0,
            step: 0,
            since_ms: time_ms,
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
        self.live.change(trial, |live| {
            if live.attempt == attempt {
                live.reported = number;
                live.step = measurement.step;
            }
        });
        if let Some(open) = self.open.get_mut(&trial) {
            open.record_mut(attempt).last = Some(measurement.clone());
        }
    }

    fn apply_completion(&mut self, event: &Event, time_ms: u64) -> Vec<Effect> {
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
        self.checkpoints.remove(trial);
        self.counts.completed += 1;
        // A stale completion brings the seconds of the whole attempt, and some of them count already.
        let counted = open.attempts.get(attempt);
        let counted = counted.map_or(0.0, |record| record.counted_seconds);
        self.compute_seconds += (seconds - counted).max(0.0);
        self.repeated = RepeatedFailure::default();
        if let Some(known) = self.trial_mut(*trial) {
            known.state = TrialState::Completed;
            known.ended_by = Some(*attempt);
            known.score = Some(*score);
        }
        let mut effects = self.end_completed_lease(*trial, *attempt, time_ms);
        if *upload {
            self.hold_for_upload(*trial, *attempt, *worker, time_ms);
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
    fn end_completed_lease(
        &mut self,
        trial: TrialNumber,
        by: AttemptNumber,
        time_ms: u64,
    ) -> Vec<Effect> {
        self.take_live(trial, by);
        self.supersede(trial, time_ms).into_iter().collect()
    }

    /// Takes the lease of a trial that needs no attempt any more.
    fn supersede(&mut self, trial: TrialNumber, time_ms: u64) -> Option<Effect> {
        let attempt = self.live.get(&trial)?.attempt;
        let live = self.take_unfinished(trial, attempt, time_ms)?;
        let worker = live.worker;
        Some(Effect::Drop {
            trial,
            attempt,
            worker,
        })
    }

    /// An attempt whose job is done holds its lease until its weights are stored.
    fn hold_for_upload(
        &mut self,
        trial: TrialNumber,
        attempt: AttemptNumber,
        worker: WorkerId,
        time_ms: u64,
    ) {
        let live = LiveAttempt {
            attempt,
            worker,
            job: JobKind::Train,
            resumed: false,
            phase: LivePhase::Uploading,
            reported: 0,
            step: 0,
            since_ms: time_ms,
        };
        self.live.insert(trial, live);
    }

    pub(in crate::search) fn compare_with_best(
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
        self.checkpoints.remove(&trial);
        if let Some(best) = self.best.as_mut().filter(|best| best.trial == trial) {
            best.weights = Some(weights);
        }
        if !upload {
            self.take_live(trial, attempt);
        } else {
            let upload = |live: &mut LiveAttempt| live.phase = LivePhase::Uploading;
            self.live.change(trial, upload);
        }
    }

    fn apply_attempt_failure(
        &mut self,
        trial: TrialNumber,
        attempt: AttemptNumber,
        failure: &Failure,
        time_ms: u64,
    ) {
        let fault = Fault {
            // The user's fault costs a trial nothing, since the search is paused until the user has looked.
            // The work at the end of a search is not paused, so there everything costs, or it could fail for
            // ever.
            costs: failure.domain != FailureDomain::User || !self.open.contains_key(&trial),
            of_worker: failure.domain.is_of_worker(),
            reported: true,
        };
        let live = self.take_unfinished(trial, attempt, time_ms);
        self.doubt_checkpoint(trial, live.as_ref(), failure);
        self.give_back(trial, attempt, live, fault);
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
        time_ms: u64,
    ) -> Vec<Effect> {
        let live = self.live.get(&trial).filter(|live| live.attempt == attempt);
        let uploading = live.is_some_and(|live| live.phase == LivePhase::Uploading);
        let never_began = reason == ReleaseReason::ReplyLost
            && live.is_some_and(|live| live.reported == 0 && live.phase == LivePhase::Running);
        let live = if never_began {
            self.take_live(trial, attempt)
        } else {
            self.take_unfinished(trial, attempt, time_ms)
        };
        // In every other case the worker knows, or is gone.
        let taken = live.as_ref().map(|live| live.worker);
        let taken = taken.filter(|_| reason == ReleaseReason::Superseded);
        let fault = Fault {
            costs: match reason {
                ReleaseReason::WorkerRestarted | ReleaseReason::NotStored => true,
                // An upload that was given up.
                ReleaseReason::Worker | ReleaseReason::ReplyLost => uploading,
                ReleaseReason::WorkerLeft | ReleaseReason::Superseded => false,
            },
            // It did not drain, so it died: of this job, for all that is known.
            of_worker: reason == ReleaseReason::WorkerRestarted,
            reported: false,
        };
        self.give_back(trial, attempt, live, fault);
        let drop = taken.map(|worker| Effect::Drop {
            trial,
            attempt,
            worker,
        });
        drop.into_iter().collect()
    }

    /// After a lease that ended without a result: an open trial waits again, before all others.
    fn give_back(
        &mut self,
        trial: TrialNumber,
        attempt: AttemptNumber,
        live: Option<LiveAttempt>,
        fault: Fault,
    ) {
        let worker = live.map(|live| live.worker);
        if let Some(open) = self.open.get_mut(&trial) {
            open.faults.note(attempt, worker, fault);
            self.queue.push_front(trial);
            if let Some(known) = self.trial_mut(trial) {
                known.state = TrialState::Queued;
            }
        } else if matches!(self.phase, Phase::Finishing(_)) {
            // Work that ends a search: an upload that was lost counts too, or it could go on for ever.
            self.final_faults.note(attempt, worker, fault);
        }
    }

    pub(super) fn close(
        &mut self,
        trial: TrialNumber,
        state: TrialState,
        outcome: Outcome,
        time_ms: u64,
    ) -> Vec<Effect> {
        let mut effects: Vec<Effect> = self.supersede(trial, time_ms).into_iter().collect();
        self.queue.retain(|&queued| queued != trial);
        self.checkpoints.remove(&trial);
        let mut never_ran = false;
        if let Some(known) = self.trial_mut(trial) {
            known.state = state;
            never_ran = known.attempts == 0;
        }
        if state == TrialState::Cancelled {
            self.uncharged += u32::from(never_ran);
        }
        if let Some(open) = self.open.remove(&trial) {
            if let Some(known) = self.trial_mut(trial) {
                known.ended_by = open.faults.last_reported();
            }
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

    /// Ends a lease whose attempt has brought its seconds itself, or needs none.
    fn take_live(&mut self, trial: TrialNumber, attempt: AttemptNumber) -> Option<LiveAttempt> {
        let held = self.live.get(&trial)?.attempt == attempt;
        held.then(|| self.live.remove(trial)).flatten()
    }

    /// Ends a lease without a result. The time it was held counts as compute, unless the job itself was done.
    fn take_unfinished(
        &mut self,
        trial: TrialNumber,
        attempt: AttemptNumber,
        time_ms: u64,
    ) -> Option<LiveAttempt> {
        let live = self.take_live(trial, attempt)?;
        if live.phase == LivePhase::Running {
            let seconds = Duration::from_millis(time_ms.saturating_sub(live.since_ms));
            let seconds = seconds.as_secs_f64();
            self.compute_seconds += seconds;
            if let Some(open) = self.open.get_mut(&trial) {
                open.record_mut(attempt).counted_seconds += seconds;
            }
        }
        Some(live)
    }
}
