//! Apply: an event folded into the state. Total: it never fails and never validates; an event that does not
//! fit the state (it cannot come from `decide`) changes what it can, and its numbers may be any: they are added up
//! to the largest there is.

mod attempts;

use espalier_common::ids::TrialNumber;
use espalier_common::observation::Outcome;

use super::event::{Effect, Event, FinishReason, PauseReason, Prepared, Refusal, Refused};
use super::state::{OpenTrial, Phase, RepeatedFailure, Search, Trial, TrialState};

impl Search {
    /// Folds an event into the state; the effects are to be done once it is durable.
    pub fn apply(&mut self, event: &Event, time_ms: u64) -> Vec<Effect> {
        self.events += 1;
        let before = std::mem::replace(&mut self.last_ms, time_ms);
        self.updated_ms = self.updated_ms.max(time_ms);
        match event {
            // The first event: see `from_first_event`.
            Event::SearchCreated { .. } => {}
            // That it happened, and when, is all.
            Event::TimePassed => {}
            Event::ClockJumped { by_ms } => self.apply_jump(*by_ms, time_ms),
            Event::SearchRecovered
            | Event::SearchPaused { .. }
            | Event::SearchResumed
            | Event::SearchFinishing { .. }
            | Event::SearchFinished { .. } => self.apply_to_search(event, before, time_ms),
            Event::Steered { by, .. } => self.steered_by.clone_from(by),
            Event::LimitsChanged { limits } => self.limits = *limits,
            Event::TrialPinned { trial } => self.apply_pin(*trial),
            Event::TrialRetried { trial, proposal } => self.apply_retry(*trial, proposal),
            Event::ProposalRefused { .. }
            | Event::TrialProposed { .. }
            | Event::ProposalsEnded { .. } => self.apply_to_proposals(event),
            Event::TrialReused {
                trial,
                measurement,
                score,
                weights,
                ..
            } => return self.apply_reuse(*trial, measurement, *score, *weights),
            Event::JobLeased { .. }
            | Event::Measured { .. }
            | Event::TrialCompleted { .. }
            | Event::TrialRetrained { .. }
            | Event::UploadResumed { .. }
            | Event::WeightsStored { .. }
            | Event::TestCompleted { .. }
            | Event::CheckpointStored { .. }
            | Event::AttemptFailed { .. }
            | Event::LeaseExpired { .. }
            | Event::AttemptReleased { .. } => return self.apply_to_attempt(event, time_ms),
            Event::TrialFailed { trial, .. } => {
                self.counts.failed += 1;
                return self.close(*trial, TrialState::Failed, Outcome::Failed, time_ms);
            }
            Event::TrialCancelled { trial } => {
                self.counts.cancelled += 1;
                return self.close(*trial, TrialState::Cancelled, Outcome::Cancelled, time_ms);
            }
        }
        Vec::new()
    }

    /// Events about the search as a whole; `before` is when the event before this one happened.
    fn apply_to_search(&mut self, event: &Event, before: u64, time_ms: u64) {
        match event {
            Event::SearchRecovered => {
                // Both times are of the process that ended, so neither the time in which there was none nor a
                // clock that was set meanwhile counts.
                let passed = |since: u64| before.saturating_sub(since);
                if let Some(since) = self.running_since {
                    self.elapsed_ms = self.elapsed_ms.saturating_add(passed(since));
                    self.running_since = Some(time_ms);
                }
                self.live.change_all(|live| {
                    live.since_ms = time_ms.saturating_sub(passed(live.since_ms));
                });
            }
            Event::SearchPaused { reason } => {
                self.stop_clock(time_ms);
                let by = self.steered_by.clone();
                self.phase_by = by.filter(|_| *reason == PauseReason::User);
                self.phase = Phase::Paused(reason.clone());
            }
            Event::SearchResumed => {
                self.repeated = RepeatedFailure::default();
                self.phase_by = None;
                self.running_since = (self.counts.leased > 0).then_some(time_ms);
                self.phase = Phase::Running;
            }
            Event::SearchFinishing { reason } => {
                self.stop_clock(time_ms);
                let by = self.steered_by.clone();
                self.phase_by = by.filter(|_| *reason == FinishReason::Stopped);
                self.phase = Phase::Finishing(reason.clone());
            }
            Event::SearchFinished { reason, shortfall } => {
                self.checkpoints.clear();
                self.phase = Phase::Finished(reason.clone());
                self.shortfall.clone_from(shortfall);
            }
            _ => {}
        }
    }

    fn apply_to_proposals(&mut self, event: &Event) {
        match event {
            Event::ProposalRefused { ask, refusal } => self.apply_refusal(*ask, refusal),
            Event::TrialProposed {
                ask,
                trial,
                proposal,
                ..
            } => self.apply_proposal(*ask, *trial, proposal),
            Event::ProposalsEnded { ask, reason, .. } => {
                self.next_ask = ask.saturating_add(1);
                self.proposals_ended = Some(reason.clone());
            }
            _ => {}
        }
    }

    fn stop_clock(&mut self, time_ms: u64) {
        if let Some(since) = self.running_since.take() {
            let passed = time_ms.saturating_sub(since);
            self.elapsed_ms = self.elapsed_ms.saturating_add(passed);
        }
    }

    fn apply_refusal(&mut self, ask: u64, refusal: &Refusal) {
        self.next_ask = self.next_ask.max(ask.saturating_add(1));
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
                    ended_by: None,
                    score: None,
                });
                if let Some(id) = candidate_id {
                    self.identities.insert(*id, *trial);
                }
            }
        }
    }

    fn apply_proposal(&mut self, ask: u64, trial: TrialNumber, proposal: &Prepared) {
        self.next_ask = self.next_ask.max(ask.saturating_add(1));
        self.counts.accepted += 1;
        self.note_expectation(proposal);
        self.trials.push(Trial {
            state: TrialState::Queued,
            attempts: 0,
            ended_by: None,
            score: None,
        });
        self.identities.insert(proposal.candidate_id, trial);
        let open = OpenTrial::new(Box::new(proposal.clone()), 0, self.last_ms);
        self.open.insert(trial, open);
        self.queue.push_back(trial);
    }

    fn apply_pin(&mut self, trial: TrialNumber) {
        if let Some(place) = self.queue.iter().position(|queued| *queued == trial) {
            self.queue.remove(place);
            self.queue.push_front(trial);
        }
    }

    fn apply_retry(&mut self, trial: TrialNumber, proposal: &Prepared) {
        let Some(known) = self.trial_mut(trial) else {
            return;
        };
        let state = std::mem::replace(&mut known.state, TrialState::Queued);
        known.ended_by = None;
        let attempts = known.attempts;
        let counts = &mut self.counts;
        match state {
            TrialState::Failed => counts.failed = counts.failed.saturating_sub(1),
            TrialState::Cancelled => {
                counts.cancelled = counts.cancelled.saturating_sub(1);
                self.uncharged = self.uncharged.saturating_sub(u32::from(attempts == 0));
            }
            _ => {}
        }
        let open = OpenTrial::new(Box::new(proposal.clone()), attempts, self.last_ms);
        self.open.insert(trial, open);
        self.queue.push_back(trial);
    }

    pub(super) fn trial_mut(&mut self, number: TrialNumber) -> Option<&mut Trial> {
        self.trials.get_mut((number.0 as usize).checked_sub(1)?)
    }
}
