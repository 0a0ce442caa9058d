//! One line in the log per change of a search, with the ids as fields. May import the core and tracing.

use std::collections::HashMap;

use espalier_common::ids::{AttemptNumber, TrialNumber};
use espalier_core::search::{Event, Refused, Search};

/// Writes the log of one search.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    /// When the attempts that run were leased, to say how long they took.
    leased_ms: HashMap<(TrialNumber, AttemptNumber), u64>,
}

impl EventLog {
    /// Writes the line of an event, unless nobody would see it: then it costs one comparison.
    pub(super) fn write(&mut self, search: &Search, event: &Event, time_ms: u64) {
        if !tracing::enabled!(tracing::Level::INFO) {
            return;
        }
        if !self.attempt_line(search, event, time_ms) && !Self::trial_line(search, event) {
            Self::search_line(search, event);
        }
    }

    fn took(&mut self, trial: TrialNumber, attempt: AttemptNumber, time_ms: u64) -> u64 {
        let leased = self.leased_ms.remove(&(trial, attempt));
        leased.map_or(0, |leased| time_ms.saturating_sub(leased))
    }

    /// The lines of events that begin or end an attempt.
    fn attempt_line(&mut self, search: &Search, event: &Event, time_ms: u64) -> bool {
        let id = search.id();
        match event {
            Event::JobLeased {
                trial,
                attempt,
                worker,
                job,
            } => {
                self.leased_ms.insert((*trial, *attempt), time_ms);
                let job = job.kind();
                tracing::info!(search = %id, trial = trial.0, attempt = attempt.0, %worker, %job, from = "queued", to = "running", "job leased");
            }
            Event::TrialCompleted {
                trial,
                attempt,
                worker,
                score,
                step,
                ..
            } => {
                let duration_ms = self.took(*trial, *attempt, time_ms);
                tracing::info!(search = %id, trial = trial.0, attempt = attempt.0, %worker, from = "running", to = "completed", score, step, duration_ms, "trial completed");
            }
            Event::TrialRetrained { trial, attempt, .. } => {
                let duration_ms = self.took(*trial, *attempt, time_ms);
                tracing::info!(search = %id, trial = trial.0, attempt = attempt.0, duration_ms, "best trial trained again");
            }
            Event::TestCompleted {
                trial,
                attempt,
                metrics,
                ..
            } => {
                let duration_ms = self.took(*trial, *attempt, time_ms);
                tracing::info!(search = %id, trial = trial.0, attempt = attempt.0, duration_ms, ?metrics, "best trial tested");
            }
            Event::AttemptFailed {
                trial,
                attempt,
                failure,
            } => {
                let duration_ms = self.took(*trial, *attempt, time_ms);
                let (domain, kind) = (failure.domain, failure.kind);
                tracing::warn!(search = %id, trial = trial.0, attempt = attempt.0, from = "running", duration_ms, %domain, %kind, reason = failure.message, "attempt failed");
            }
            Event::LeaseExpired { trial, attempt } => {
                let duration_ms = self.took(*trial, *attempt, time_ms);
                tracing::warn!(search = %id, trial = trial.0, attempt = attempt.0, from = "running", duration_ms, "lease expired: its worker was not heard of");
            }
            Event::AttemptReleased {
                trial,
                attempt,
                reason,
            } => {
                let duration_ms = self.took(*trial, *attempt, time_ms);
                tracing::info!(search = %id, trial = trial.0, attempt = attempt.0, from = "running", to = "queued", duration_ms, %reason, "attempt handed back");
            }
            _ => return false,
        }
        true
    }

    /// The lines of the other events about a trial.
    fn trial_line(search: &Search, event: &Event) -> bool {
        let id = search.id();
        match event {
            Event::TrialProposed {
                ask,
                trial,
                proposal,
                ..
            } => {
                let origin = &proposal.origin;
                tracing::info!(search = %id, trial = trial.0, ask, searcher = origin.searcher, method = origin.method, to = "queued", "trial proposed");
            }
            Event::ProposalRefused { ask, refusal } => match &refusal.refused {
                Refused::Infeasible { trial, reason, .. } => {
                    tracing::info!(search = %id, trial = trial.0, ask, to = "infeasible", reason, "proposal refused");
                }
                Refused::Duplicate { of } => {
                    tracing::debug!(search = %id, ask, of = of.0, "proposal seen before");
                }
            },
            Event::Measured {
                trial,
                attempt,
                measurement,
                ..
            } => {
                let (step, metrics) = (measurement.step, &measurement.metrics);
                tracing::debug!(search = %id, trial = trial.0, attempt = attempt.0, step, ?metrics, "measured");
            }
            Event::WeightsStored {
                trial,
                attempt,
                weights,
            } => {
                tracing::info!(search = %id, trial = trial.0, attempt = attempt.0, %weights, "weights stored");
            }
            Event::TrialFailed { trial, failure } => {
                let kind = failure.kind;
                tracing::warn!(search = %id, trial = trial.0, to = "failed", %kind, reason = failure.message, "trial failed");
            }
            Event::TrialCancelled { trial } => {
                tracing::info!(search = %id, trial = trial.0, to = "cancelled", "trial cancelled");
            }
            _ => return false,
        }
        true
    }

    /// The lines of events about the search as a whole.
    fn search_line(search: &Search, event: &Event) {
        let id = search.id();
        let name = &search.definition().spec.name;
        match event {
            Event::SearchCreated { .. } => {
                tracing::info!(search = %id, name, to = "running", "search created");
            }
            Event::SearchRecovered => {
                let counts = search.counts();
                tracing::info!(search = %id, name, completed = counts.completed, running = search.running(), queued = search.queued(), "search recovered");
            }
            Event::ProposalsEnded { reason, .. } => {
                tracing::info!(search = %id, name, reason, "nothing more to propose");
            }
            Event::SearchPaused { reason } => {
                tracing::warn!(search = %id, name, from = "running", to = "paused", %reason, "search paused");
            }
            Event::SearchResumed => {
                tracing::info!(search = %id, name, from = "paused", to = "running", "search resumed");
            }
            Event::SearchFinishing { reason } => {
                tracing::info!(search = %id, name, to = "finishing", %reason, "search is finishing");
            }
            Event::SearchFinished { reason, shortfall } => {
                let best = search.best().map(|best| best.trial.0);
                let score = search.best().map(|best| best.score);
                tracing::info!(search = %id, name, from = "finishing", to = "finished", %reason, shortfall, best, score, "search finished");
            }
            _ => {}
        }
    }
}
