//! What others see of a search: its status, what the dispatcher needs to know, and the changes that a
//! watcher is sent. May import the core.

use std::borrow::Cow;
use std::sync::Arc;

use espalier_common::ids::{AttemptNumber, Digest, SearchId, TrialNumber, WorkerId};
use espalier_common::job::Job;
use espalier_common::metrics::Metrics;
use espalier_core::search::{
    Counts, Definition, Event, PauseReason, Phase, Refused, Search, TrialState,
};

use crate::actors::dispatcher::SearchSummary;

/// A search as users see it.
#[derive(Clone, Debug)]
pub(crate) struct SearchStatus {
    pub(crate) id: SearchId,
    pub(crate) definition: Arc<Definition>,
    pub(crate) phase: &'static str,
    /// Why it is paused or ends.
    pub(crate) reason: String,
    /// Why it is paused, when it is.
    pub(crate) paused: Option<PauseReason>,
    pub(crate) created_ms: u64,
    pub(crate) updated_ms: u64,
    pub(crate) counts: Counts,
    pub(crate) queued: u32,
    pub(crate) running: u32,
    pub(crate) best: Option<BestStatus>,
    pub(crate) test_metrics: Option<Metrics>,
    pub(crate) compute_seconds: f64,
    pub(crate) elapsed_ms: u64,
    pub(crate) events: u64,
}

/// The best trial so far.
#[derive(Clone, Debug)]
pub(crate) struct BestStatus {
    pub(crate) trial: TrialNumber,
    pub(crate) score: f64,
    /// Digest of its weights, once they are stored.
    pub(crate) weights: Option<Digest>,
}

impl SearchStatus {
    pub(super) fn of(search: &Search, now_ms: u64) -> Self {
        let (created_ms, updated_ms) = search.times_ms();
        Self {
            id: search.id(),
            definition: Arc::clone(search.definition()),
            phase: search.phase().name(),
            reason: reason(search),
            paused: match search.phase() {
                Phase::Paused(reason) => Some(reason.clone()),
                Phase::Running | Phase::Finishing(_) | Phase::Finished(_) => None,
            },
            created_ms,
            updated_ms,
            counts: search.counts(),
            queued: search.queued(),
            running: search.running(),
            best: search.best().map(|best| BestStatus {
                trial: best.trial,
                score: best.score,
                weights: best.weights.filter(|_| best.stored),
            }),
            test_metrics: search.test_metrics().cloned(),
            compute_seconds: search.compute_seconds(),
            elapsed_ms: search.elapsed_ms(now_ms),
            events: search.events(),
        }
    }
}

/// What the dispatcher needs to know of a search; `asking`: proposals under way.
pub(super) fn summary(search: &Search, asking: u32) -> SearchSummary {
    let final_job = search.final_job();
    let wants_test = matches!(final_job, Some((_, Job::Test { .. })));
    let free = search.free_parallel();
    SearchSummary {
        leasable: final_job.map_or_else(|| search.leasable(), |_| 1),
        wants_test,
        running: search.running(),
        would_ask: search.proposals_wanted() > 0 && free > 0,
        finished: matches!(search.phase(), Phase::Finished(_)),
        waits_for: waits_for(search, asking, free),
    }
}

/// Why nothing of a search can be leased although it has not ended.
fn waits_for(search: &Search, asking: u32, free: u32) -> Option<Cow<'static, str>> {
    match search.phase() {
        Phase::Paused(reason) => Some(reason.to_string().into()),
        Phase::Running if free == 0 => {
            Some("as many jobs run as `parallel` of its spec allows".into())
        }
        Phase::Running if search.queued() == 0 && asking > 0 => {
            Some("its searcher is working on the next proposal".into())
        }
        Phase::Running | Phase::Finishing(_) | Phase::Finished(_) => None,
    }
}

fn reason(search: &Search) -> String {
    let mut reason = match search.phase() {
        Phase::Running => String::new(),
        Phase::Paused(reason) => reason.to_string(),
        Phase::Finishing(reason) | Phase::Finished(reason) => reason.to_string(),
    };
    if let Some(shortfall) = search.shortfall() {
        reason.push_str("; ");
        reason.push_str(shortfall);
    }
    reason
}

/// What a watcher is sent when a batch of events has become durable.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    pub(crate) status: Arc<SearchStatus>,
    pub(crate) changes: Arc<[TrialChange]>,
}

/// A change of one trial.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TrialChange {
    pub(crate) trial: TrialNumber,
    pub(crate) state: &'static str,
    pub(crate) attempt: u32,
    pub(crate) score: Option<f64>,
    pub(crate) reason: String,
    pub(crate) worker: Option<WorkerId>,
    pub(crate) step: u32,
    pub(crate) time_ms: u64,
}

impl TrialChange {
    /// The change that an event is, if it is one of a trial. `search` is the state after it.
    pub(super) fn of(event: &Event, search: &Search, time_ms: u64) -> Option<Self> {
        let base = |trial: TrialNumber, attempt: AttemptNumber| Self {
            trial,
            state: search
                .trial(trial)
                .map_or(TrialState::Queued, |known| known.state)
                .name(),
            attempt: attempt.0,
            score: None,
            reason: String::new(),
            worker: None,
            step: 0,
            time_ms,
        };
        let none = AttemptNumber(0);
        let change = match event {
            Event::TrialProposed { trial, .. } => base(*trial, none),
            Event::ProposalRefused { refusal, .. } => match &refusal.refused {
                Refused::Infeasible { trial, reason, .. } => Self {
                    reason: reason.clone(),
                    ..base(*trial, none)
                },
                Refused::Duplicate { .. } => return None,
            },
            Event::JobLeased {
                trial,
                attempt,
                worker,
                ..
            } => Self {
                worker: Some(*worker),
                ..base(*trial, *attempt)
            },
            Event::Measured {
                trial,
                attempt,
                measurement,
                ..
            } => Self {
                score: measurement
                    .metrics
                    .get(&search.definition().spec.objective.metric),
                step: measurement.step,
                ..base(*trial, *attempt)
            },
            Event::TrialCompleted {
                trial,
                attempt,
                score,
                step,
                ..
            } => Self {
                score: Some(*score),
                step: *step,
                ..base(*trial, *attempt)
            },
            Event::AttemptFailed {
                trial,
                attempt,
                failure,
            } => Self {
                reason: failure.message.clone(),
                ..base(*trial, *attempt)
            },
            Event::LeaseExpired { trial, attempt } => Self {
                reason: "its lease expired: the worker was not heard of".to_owned(),
                ..base(*trial, *attempt)
            },
            Event::AttemptReleased {
                trial,
                attempt,
                reason,
            } => Self {
                reason: reason.to_string(),
                ..base(*trial, *attempt)
            },
            Event::TrialFailed { trial, failure } => Self {
                reason: failure.message.clone(),
                ..base(*trial, none)
            },
            Event::TrialCancelled { trial } => base(*trial, none),
            Event::TrialRetrained { trial, attempt, .. }
            | Event::WeightsStored { trial, attempt, .. }
            | Event::TestCompleted { trial, attempt, .. } => base(*trial, *attempt),
            Event::SearchCreated { .. }
            | Event::SearchRecovered
            | Event::ProposalsEnded { .. }
            | Event::SearchPaused { .. }
            | Event::SearchResumed
            | Event::SearchFinishing { .. }
            | Event::SearchFinished { .. } => return None,
        };
        Some(change)
    }
}
