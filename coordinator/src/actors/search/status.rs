//! What others see of a search: its status, what the dispatcher needs to know, and the changes that a
//! watcher is sent. May import the core.

use std::borrow::Cow;
use std::sync::Arc;

use espalier_common::ids::{AttemptNumber, Digest, SearchId, TrialNumber, WorkerId};
use espalier_common::metrics::Metrics;
use espalier_core::search::{
    Counts, Definition, Event, Limits, PauseReason, Phase, Refused, Search, TrialOf, TrialState,
};

use crate::actors::dispatcher::SearchSummary;

/// A search as users see it.
#[derive(Clone, Debug)]
pub(crate) struct SearchStatus {
    pub(crate) id: SearchId,
    pub(crate) definition: Arc<Definition>,
    pub(crate) limits: Limits,
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
            limits: *search.limits(),
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
    let free = search.free_parallel();
    SearchSummary {
        waiting: search.waiting(),
        running: search.running(),
        would_ask: search.proposals_wanted() > 0 && free > 0,
        finished: matches!(search.phase(), Phase::Finished(_)),
        parallel: search.limits().parallel,
        weight: search.limits().weight,
        waits_for: waits_for(search, asking, free),
    }
}

/// Why nothing of a search can be leased although it has not ended.
fn waits_for(search: &Search, asking: u32, free: u32) -> Option<Cow<'static, str>> {
    match search.phase() {
        Phase::Paused(reason) => Some(reason.to_string().into()),
        Phase::Running if free == 0 => Some("as many jobs run as `parallel` allows".into()),
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
    if let Some(by) = search.phase_by() {
        reason.push_str(&format!(" ({by})"));
    }
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
        let (trial, attempt) = subject(event)?;
        let state = search.trial(trial).map(|known| known.state);
        let mut change = Self {
            trial,
            state: state.unwrap_or(TrialState::Queued).name(),
            attempt: attempt.0,
            score: None,
            reason: reason_of(event),
            worker: None,
            step: 0,
            time_ms,
        };
        match event {
            Event::JobLeased { worker, .. } => change.worker = Some(*worker),
            Event::Measured { measurement, .. } => {
                let metric = &search.definition().spec.objective.metric;
                change.score = measurement.metrics.get(metric);
                change.step = measurement.step;
            }
            Event::TrialCompleted { score, step, .. } => {
                change.score = Some(*score);
                change.step = *step;
            }
            Event::TrialReused {
                score, measurement, ..
            } => {
                change.score = Some(*score);
                change.step = measurement.step;
            }
            _ => {}
        }
        Some(change)
    }
}

/// The trial that an event is about, and its attempt, 0 when it is about none.
fn subject(event: &Event) -> Option<(TrialNumber, AttemptNumber)> {
    let none = AttemptNumber(0);
    match event {
        Event::TrialProposed { trial, .. }
        | Event::TrialReused { trial, .. }
        | Event::TrialFailed { trial, .. }
        | Event::TrialCancelled { trial }
        | Event::TrialPinned { trial }
        | Event::TrialRetried { trial, .. } => Some((*trial, none)),
        Event::ProposalRefused { refusal, .. } => match refusal.refused {
            Refused::Infeasible { trial, .. } => Some((trial, none)),
            Refused::Duplicate { .. } => None,
        },
        Event::JobLeased { trial, attempt, .. }
        | Event::Measured { trial, attempt, .. }
        | Event::TrialCompleted { trial, attempt, .. }
        | Event::AttemptFailed { trial, attempt, .. }
        | Event::LeaseExpired { trial, attempt }
        | Event::AttemptReleased { trial, attempt, .. }
        | Event::TrialRetrained { trial, attempt, .. }
        | Event::UploadResumed { trial, attempt, .. }
        | Event::WeightsStored { trial, attempt, .. }
        | Event::TestCompleted { trial, attempt, .. } => Some((*trial, *attempt)),
        Event::SearchCreated { .. }
        | Event::SearchRecovered
        | Event::ClockJumped { .. }
        | Event::TimePassed
        | Event::CheckpointStored { .. }
        | Event::ProposalsEnded { .. }
        | Event::Steered { .. }
        | Event::LimitsChanged { .. }
        | Event::SearchPaused { .. }
        | Event::SearchResumed
        | Event::SearchFinishing { .. }
        | Event::SearchFinished { .. } => None,
    }
}

/// Whose result a trial has, in words.
pub(crate) fn reused_from(from: &TrialOf) -> String {
    format!("reused: trial {} of search {}", from.trial, from.search)
}

/// Why it came to this event, when that is not plain.
fn reason_of(event: &Event) -> String {
    match event {
        Event::ProposalRefused { refusal, .. } => match &refusal.refused {
            Refused::Infeasible { reason, .. } => reason.clone(),
            Refused::Duplicate { .. } => String::new(),
        },
        Event::TrialReused { from, .. } => reused_from(from),
        Event::AttemptFailed { failure, .. } | Event::TrialFailed { failure, .. } => {
            failure.message.clone()
        }
        Event::LeaseExpired { .. } => "its lease expired: the worker was not heard of".to_owned(),
        Event::AttemptReleased { reason, .. } => reason.to_string(),
        _ => String::new(),
    }
}
