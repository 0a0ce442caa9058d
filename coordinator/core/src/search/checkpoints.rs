//! Checkpoints: what an attempt that was broken off leaves, so that the next one need not begin anew. A trial has at
//! most one, the latest, while it is open; whoever gets the trial next goes on from it.
//!
//! A worker that was lost says nothing about a checkpoint, so it stays. An attempt that failed may have failed of
//! it (an unreadable file, say), and the next one then begins anew.

use std::collections::BTreeMap;

use espalier_common::ids::{AttemptNumber, Digest, TrialNumber, WorkerId};
use espalier_common::job::{Checkpoint, Job, JobKind};

use super::command::{Drop, Rejection};
use super::decide::Decision;
use super::event::{Event, ReleaseReason};
use super::state::{LivePhase, Search};

impl Search {
    /// The checkpoints of open trials.
    #[must_use]
    pub fn checkpoints(&self) -> &BTreeMap<TrialNumber, Checkpoint> {
        &self.checkpoints
    }

    /// The training job of a trial, for a worker that goes on from checkpoints or for another one.
    pub(super) fn training_job(&self, trial: TrialNumber, can_resume: bool) -> Job {
        let to = self.definition.spec.space.training.epochs;
        let left = self.checkpoints.get(&trial).filter(|_| can_resume);
        Job::Train {
            from: left.map_or(0, |checkpoint| checkpoint.step),
            to,
            checkpoint: left.map(|checkpoint| checkpoint.artifact),
        }
    }

    /// Whether this attempt may hand itself back with this checkpoint.
    ///
    /// # Errors
    /// It does not hold the trial, does not train it, or has no more epochs to train.
    pub fn may_store_checkpoint(
        &self,
        worker: WorkerId,
        trial: TrialNumber,
        attempt: AttemptNumber,
        checkpoint: Checkpoint,
    ) -> Result<(), Rejection> {
        if self.has_checkpoint(trial, attempt, checkpoint.artifact) {
            return Ok(()); // once more, since the acknowledgement was lost
        }
        let live = self.held(trial, attempt)?;
        if live.worker != worker {
            let reason = Drop::Stale;
            return Err(Rejection::NotHeld {
                trial,
                attempt,
                reason,
            });
        }
        let epochs = self.definition.spec.space.training.epochs;
        let trains = live.job == JobKind::Train && live.phase == LivePhase::Running;
        if !trains || !self.open.contains_key(&trial) {
            return Err(Rejection::Invalid(format!(
                "attempt {attempt} of trial {trial} does not train an open trial, so it leaves no checkpoint"
            )));
        }
        if checkpoint.step >= epochs {
            return Err(Rejection::Invalid(format!(
                "attempt {attempt} of trial {trial} leaves a checkpoint after {} epochs, and a trial has {epochs}",
                checkpoint.step
            )));
        }
        Ok(())
    }

    pub(super) fn decide_checkpoint(
        &self,
        worker: WorkerId,
        trial: TrialNumber,
        attempt: AttemptNumber,
        checkpoint: Checkpoint,
    ) -> Result<Decision, Rejection> {
        self.may_store_checkpoint(worker, trial, attempt, checkpoint)?;
        if self.has_checkpoint(trial, attempt, checkpoint.artifact) {
            return Ok(Decision::done(Vec::new()));
        }
        let stored = Event::CheckpointStored {
            trial,
            attempt,
            checkpoint,
        };
        let released = Event::AttemptReleased {
            trial,
            attempt,
            reason: ReleaseReason::Worker,
        };
        Ok(Decision::done(vec![stored, released]))
    }

    /// Whether this is the trial's checkpoint, by an attempt that has handed itself back with it.
    fn has_checkpoint(&self, trial: TrialNumber, attempt: AttemptNumber, artifact: Digest) -> bool {
        let holds = self.live.get(&trial).is_some_and(|l| l.attempt == attempt);
        let known = self.checkpoints.get(&trial);
        !holds
            && self.known(trial, attempt).is_ok()
            && known.is_some_and(|checkpoint| checkpoint.artifact == artifact)
    }

    pub(super) fn apply_checkpoint(&mut self, trial: TrialNumber, checkpoint: Checkpoint) {
        if self.open.contains_key(&trial) {
            self.checkpoints.insert(trial, checkpoint);
        }
    }
}
