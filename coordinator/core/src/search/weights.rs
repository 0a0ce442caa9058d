//! Decide, for weights: who may bring them, and what becomes of a completion that comes when its trial is
//! closed. The weights of the best are wanted until they are stored, whoever has them.

use espalier_common::ids::{AttemptNumber, Digest, TrialNumber, WorkerId};

use super::command::{Completion, Drop, Rejection, WeightsAnswer};
use super::complete::weights_decision;
use super::decide::Decision;
use super::event::{Event, ReleaseReason};
use super::state::{LivePhase, Phase, Search, TrialState};

impl Search {
    /// A completion of a closed trial by an attempt that holds no lease: its acknowledgement was lost, or its
    /// upload was interrupted. Should its weights be those that the best lacks, they are asked for again, which
    /// is cheaper than to train the best once more.
    pub(super) fn complete_late(
        &self,
        worker: WorkerId,
        trial: TrialNumber,
        attempt: AttemptNumber,
        completion: &Completion,
    ) -> Result<Decision, Rejection> {
        if let Some(weights) = completion.weights
            && self.lacks(trial, weights)
        {
            return Ok(self.take_up_weights(worker, trial, attempt, weights, completion));
        }
        let known = self.known(trial, attempt)?;
        if known.state != TrialState::Completed || known.ended_by != Some(attempt) {
            let reason = Drop::Closed;
            return Err(Rejection::NotHeld {
                trial,
                attempt,
                reason,
            });
        }
        let stored = self.best.as_ref();
        let stored = stored.is_some_and(|best| best.trial == trial && best.stored);
        let answer = if stored {
            WeightsAnswer::Keep
        } else {
            WeightsAnswer::Discard
        };
        Ok(weights_decision(Vec::new(), answer))
    }

    fn take_up_weights(
        &self,
        worker: WorkerId,
        trial: TrialNumber,
        attempt: AttemptNumber,
        weights: Digest,
        completion: &Completion,
    ) -> Decision {
        let mut events: Vec<Event> = self.needless_retraining(trial, attempt).collect();
        if completion.weights_stored {
            events.push(Event::WeightsStored {
                trial,
                attempt,
                weights,
            });
            return weights_decision(events, WeightsAnswer::Keep);
        }
        events.push(Event::UploadResumed {
            trial,
            attempt,
            worker,
        });
        weights_decision(events, WeightsAnswer::Upload)
    }

    /// Whether these are the weights of the best, and not stored yet.
    fn lacks(&self, trial: TrialNumber, weights: Digest) -> bool {
        let finished = matches!(self.phase, Phase::Finished(_));
        let best = self.best.as_ref().filter(|best| best.trial == trial);
        !finished && best.is_some_and(|best| !best.stored && best.weights == Some(weights))
    }

    /// The end of another attempt that trains the best again for the same weights.
    fn needless_retraining(
        &self,
        trial: TrialNumber,
        attempt: AttemptNumber,
    ) -> impl Iterator<Item = Event> {
        let other = self.live.get(&trial).map(|live| live.attempt);
        let other = other.filter(|other| *other != attempt);
        let event = other.map(|attempt| Event::AttemptReleased {
            trial,
            attempt,
            reason: ReleaseReason::Superseded,
        });
        event.into_iter()
    }

    /// Whether this attempt is to upload weights with this digest.
    ///
    /// # Errors
    /// It was not asked for them, or announced others.
    pub fn may_upload(
        &self,
        worker: WorkerId,
        trial: TrialNumber,
        attempt: AttemptNumber,
        weights: Digest,
    ) -> Result<(), Rejection> {
        self.known(trial, attempt)?;
        let best = self.best.as_ref().filter(|best| best.trial == trial);
        if best.is_some_and(|best| best.stored && best.weights == Some(weights)) {
            return Ok(()); // once more, since the acknowledgement was lost
        }
        if self.lacks(trial, weights) {
            return Ok(()); // whether or not its lease ran out on the way
        }
        let live = self.held_by(worker, trial, attempt)?;
        if live.phase != LivePhase::Uploading {
            return Err(not_asked(trial, attempt));
        }
        match best.and_then(|best| best.weights) {
            Some(announced) if announced != weights => Err(Rejection::Invalid(format!(
                "attempt {attempt} of trial {trial} announced the weights {announced}, not {weights}"
            ))),
            _ => Ok(()),
        }
    }

    pub(super) fn decide_weights(
        &self,
        trial: TrialNumber,
        attempt: AttemptNumber,
        weights: Digest,
    ) -> Result<Decision, Rejection> {
        self.known(trial, attempt)?;
        let stored = Event::WeightsStored {
            trial,
            attempt,
            weights,
        };
        if self.lacks(trial, weights) {
            let needless = self.needless_retraining(trial, attempt);
            return Ok(Decision::done(needless.chain([stored]).collect()));
        }
        match self.held(trial, attempt) {
            Ok(live) if live.phase == LivePhase::Uploading => Ok(Decision::done(vec![stored])),
            Ok(_) => Err(not_asked(trial, attempt)),
            // Uploaded twice, the acknowledgement of the first was lost.
            Err(_)
                if self
                    .best
                    .as_ref()
                    .is_some_and(|best| best.weights == Some(weights) && best.stored) =>
            {
                Ok(Decision::done(Vec::new()))
            }
            Err(rejection) => Err(rejection),
        }
    }
}

fn not_asked(trial: TrialNumber, attempt: AttemptNumber) -> Rejection {
    Rejection::Invalid(format!(
        "attempt {attempt} of trial {trial} was not asked for its weights"
    ))
}
