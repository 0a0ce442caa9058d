//! From a search's events to the rows for listings. Pure: the same events give the same rows, so the rows
//! can be thrown away. When what is here changes, raise `PROJECTION` in `schema`.

use espalier_common::ids::{AttemptNumber, Digest, TrialNumber};
use espalier_common::metrics::{Measurement, Objective};
use espalier_core::search::{Definition, Event, Refused, TrialState, result_key};

use super::rows::RowChange;

/// What of a search its rows depend on.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    objective: Objective,
    /// What its results have in common, if they may be reused.
    circumstances: Option<Digest>,
}

impl Listing {
    /// That of a search.
    #[must_use]
    pub fn of(definition: &Definition) -> Self {
        Self {
            objective: definition.spec.objective.clone(),
            circumstances: definition.circumstances(),
        }
    }
}

/// The changes one event of a search makes.
#[must_use]
pub fn rows(listing: &Listing, event: &Event) -> Vec<RowChange> {
    match event {
        Event::SearchCreated { .. }
        | Event::SearchRecovered
        | Event::ClockJumped { .. }
        | Event::TimePassed
        | Event::UploadResumed { .. }
        | Event::CheckpointStored { .. }
        | Event::ProposalsEnded { .. }
        | Event::Steered { .. }
        | Event::LimitsChanged { .. }
        | Event::TrialPinned { .. }
        | Event::SearchPaused { .. }
        | Event::SearchResumed
        | Event::SearchFinishing { .. }
        | Event::SearchFinished { .. } => Vec::new(),
        Event::ProposalRefused { refusal, .. } => refused(&refusal.refused),
        Event::TrialProposed {
            trial, proposal, ..
        } => vec![RowChange::AddTrial {
            trial: *trial,
            state: TrialState::Queued,
            key: listing
                .circumstances
                .map(|circumstances| result_key(&circumstances, &proposal.candidate_id)),
        }],
        Event::TrialRetried { trial, .. } => vec![RowChange::ReopenTrial { trial: *trial }],
        Event::JobLeased {
            trial,
            attempt,
            worker,
            ..
        } => vec![RowChange::StartAttempt {
            trial: *trial,
            attempt: *attempt,
            worker: *worker,
        }],
        Event::Measured {
            trial,
            attempt,
            measurement: taken,
            ..
        } => vec![measurement(*trial, *attempt, taken)],
        Event::TrialCompleted { .. } => completed(&listing.objective, event),
        Event::TrialReused { .. } => reused(&listing.objective, event),
        Event::TrialRetrained { trial, seconds, .. }
        | Event::TestCompleted { trial, seconds, .. } => vec![RowChange::AddSeconds {
            trial: *trial,
            seconds: *seconds,
        }],
        Event::WeightsStored { trial, weights, .. } => vec![RowChange::StoreWeights {
            trial: *trial,
            weights: *weights,
        }],
        Event::AttemptFailed { trial, attempt, .. }
        | Event::LeaseExpired { trial, attempt }
        | Event::AttemptReleased { trial, attempt, .. } => vec![RowChange::EndAttempt {
            trial: *trial,
            attempt: *attempt,
        }],
        Event::TrialFailed { trial, failure } => vec![RowChange::CloseTrial {
            trial: *trial,
            state: TrialState::Failed,
            reason: Some(failure.message.clone()),
        }],
        Event::TrialCancelled { trial } => vec![RowChange::CloseTrial {
            trial: *trial,
            state: TrialState::Cancelled,
            reason: None,
        }],
    }
}

/// The changes a refused proposal makes.
fn refused(refused: &Refused) -> Vec<RowChange> {
    match refused {
        Refused::Infeasible { trial, .. } => vec![RowChange::AddTrial {
            trial: *trial,
            state: TrialState::Infeasible,
            key: None,
        }],
        Refused::Duplicate { .. } => Vec::new(),
    }
}

/// The changes a completion makes.
fn completed(objective: &Objective, event: &Event) -> Vec<RowChange> {
    let Event::TrialCompleted {
        trial,
        attempt,
        worker,
        measurements,
        score,
        seconds,
        weights,
        ..
    } = event
    else {
        return Vec::new();
    };
    let mut changes = Vec::with_capacity(measurements.len() + 2);
    changes.extend(
        measurements
            .iter()
            .map(|taken| measurement(*trial, *attempt, taken)),
    );
    changes.push(RowChange::CompleteTrial {
        trial: *trial,
        attempt: *attempt,
        worker: *worker,
        score: *score,
        utility: objective.utility(*score),
        weights: *weights,
    });
    changes.push(RowChange::AddSeconds {
        trial: *trial,
        seconds: *seconds,
    });
    changes
}

/// The changes that another search's result makes.
fn reused(objective: &Objective, event: &Event) -> Vec<RowChange> {
    let Event::TrialReused {
        trial,
        from,
        measurement: taken,
        score,
        ..
    } = event
    else {
        return Vec::new();
    };
    vec![
        // Of no attempt of this search, and that is what is shown of a trial without one.
        measurement(*trial, AttemptNumber(0), taken),
        RowChange::ReuseTrial {
            trial: *trial,
            from: *from,
            score: *score,
            utility: objective.utility(*score),
        },
    ]
}

/// The row of a measurement.
fn measurement(trial: TrialNumber, attempt: AttemptNumber, taken: &Measurement) -> RowChange {
    RowChange::AddMeasurement {
        trial,
        attempt,
        step: taken.step,
        metrics: serde_json::json!(taken.metrics).to_string(),
    }
}
