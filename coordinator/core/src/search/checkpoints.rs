//! Checkpoints: what an attempt that was broken off leaves, so that the next one need not begin anew. A trial has at
//! most one, the furthest, while it is open, and the best while it is trained once more at the end; whoever gets the
//! trial next goes on from it.
//!
//! A worker that was lost says nothing about a checkpoint, so it stays. An attempt that went on from it and failed may
//! have failed of it, and the next one then begins anew.

use std::collections::BTreeMap;

use espalier_common::failure::{Failure, FailureKind};
use espalier_common::ids::{AttemptNumber, Digest, TrialNumber, WorkerId};
use espalier_common::job::{Checkpoint, Job, JobKind};

use super::command::Rejection;
use super::decide::Decision;
use super::event::{Event, ReleaseReason};
use super::state::{LiveAttempt, LivePhase, Search};

/// What is done with a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// The next attempt goes on from it.
    Kept,
    /// The trial has one that is further: the job alone is handed back.
    Behind,
    /// It has been taken before, and the acknowledgement was lost.
    Before,
}

impl Search {
    /// The checkpoints of trials that may still be gone on with.
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
        self.taken(worker, trial, attempt, checkpoint).map(drop)
    }

    pub(super) fn decide_checkpoint(
        &self,
        worker: WorkerId,
        trial: TrialNumber,
        attempt: AttemptNumber,
        checkpoint: Checkpoint,
    ) -> Result<Decision, Rejection> {
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
        let events = match self.taken(worker, trial, attempt, checkpoint)? {
            Taken::Kept => vec![stored, released],
            Taken::Behind => vec![released],
            Taken::Before => Vec::new(),
        };
        Ok(Decision::done(events))
    }

    fn taken(
        &self,
        worker: WorkerId,
        trial: TrialNumber,
        attempt: AttemptNumber,
        checkpoint: Checkpoint,
    ) -> Result<Taken, Rejection> {
        let known = self.checkpoints.get(&trial);
        let live = match self.held_by(worker, trial, attempt) {
            Ok(live) => live,
            Err(_) if self.handed_back(trial, attempt, checkpoint.artifact) => {
                return Ok(Taken::Before);
            }
            Err(rejection) => return Err(rejection),
        };
        let epochs = self.definition.spec.space.training.epochs;
        if live.job != JobKind::Train || live.phase != LivePhase::Running {
            return Err(Rejection::Invalid(format!(
                "attempt {attempt} of trial {trial} trains no more, so it leaves no checkpoint"
            )));
        }
        if checkpoint.step >= epochs {
            return Err(Rejection::Invalid(format!(
                "attempt {attempt} of trial {trial} leaves a checkpoint after {} epochs, and a trial has {epochs}",
                checkpoint.step
            )));
        }
        Ok(match known {
            Some(known) if known.step > checkpoint.step => Taken::Behind,
            _ => Taken::Kept,
        })
    }

    /// Whether this attempt, which holds nothing any more, has left this file.
    fn handed_back(&self, trial: TrialNumber, attempt: AttemptNumber, artifact: Digest) -> bool {
        let known = self.checkpoints.get(&trial);
        let live = self.live.get(&trial).map(|live| live.attempt);
        live != Some(attempt)
            && self.known(trial, attempt).is_ok()
            && known.is_some_and(|checkpoint| checkpoint.artifact == artifact)
    }

    pub(super) fn apply_checkpoint(&mut self, trial: TrialNumber, checkpoint: Checkpoint) {
        if self.live.contains_key(&trial) {
            self.checkpoints.insert(trial, checkpoint);
        }
    }

    /// After an attempt that failed: its checkpoint goes if it may have failed of that.
    pub(super) fn doubt_checkpoint(
        &mut self,
        trial: TrialNumber,
        live: Option<&LiveAttempt>,
        failure: &Failure,
    ) {
        let of_the_machine = matches!(failure.kind, FailureKind::OutOfMemory | FailureKind::Disk);
        if live.is_some_and(|live| live.resumed) && !of_the_machine {
            self.checkpoints.remove(&trial);
        }
    }
}
