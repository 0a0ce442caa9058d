//! Domain to wire, for what only the coordinator sends: searches, trials, workers. What goes both ways, or
//! comes from the wire, is in `espalier-proto`.

use std::collections::{BTreeMap, BTreeSet};

use espalier_common::ids::{Digest, WorkerId};
use espalier_common::job::{Abilities, JobKind};
use espalier_common::labels::Labels;
use espalier_common::metrics::Direction;
use espalier_core::search::PauseReason;
use espalier_proto::{
    MAX_SLOTS, WireError, attempt_to_wire, digest_from_wire, metrics_to_wire, uuid_from_wire,
    uuid_to_wire, v1, worker_id_from_wire,
};

use crate::actors::{
    CallError, ClusterStatus, Home, Registration, SearchStatus, TrialChange, WorkerNames,
    WorkerStatus, reused_from,
};
use crate::clock::millis;
use crate::journal::TrialRow;

/// The longest name of a worker, an evaluator, a device or a version, in bytes.
const MAX_NAME: usize = 256;
/// The most evaluators of one worker.
const MAX_EVALUATORS: usize = 64;
/// The most data sets that a worker lists.
const MAX_DATASETS: usize = 4_096;

/// A search's status.
pub(super) fn status_to_wire(status: &SearchStatus) -> v1::SearchStatus {
    let spec = &status.definition.spec;
    let budget = &status.limits.budget;
    let counts = &status.counts;
    let best = status.best.as_ref();
    let weights = best.and_then(|best| best.weights);
    v1::SearchStatus {
        id: uuid_to_wire(status.id.0),
        name: spec.name.clone(),
        phase: status.phase.to_owned(),
        reason: status.reason.clone(),
        created_ms: status.created_ms,
        updated_ms: status.updated_ms,
        counts: Some(v1::Counts {
            proposed: counts.trials(),
            leased: counts.leased,
            queued: status.queued,
            running: status.running,
            completed: counts.completed,
            failed: counts.failed,
            infeasible: counts.infeasible,
            cancelled: counts.cancelled,
            duplicates: counts.duplicates,
            attempts: counts.attempts,
            reused: counts.reused,
        }),
        budget: Some(v1::Budget {
            trials: budget.trials,
            time_ms: budget.time_ms,
            target: budget.target,
            patience: budget.patience,
            compute_ms: budget.compute_ms,
            expected_improvement: budget.expected_improvement,
            deadline_ms: budget.deadline_ms,
        }),
        parallel: status.limits.parallel,
        weight: status.limits.weight,
        metric: spec.objective.metric.clone(),
        direction: match spec.objective.direction {
            Direction::Maximize => "maximize",
            Direction::Minimize => "minimize",
        }
        .to_owned(),
        best_score: best.map(|best| best.score),
        best_trial: best.map(|best| best.trial.0),
        best_weights: weights.as_ref().map(Digest::to_string).unwrap_or_default(),
        test_metrics: status
            .test_metrics
            .as_ref()
            .map(metrics_to_wire)
            .unwrap_or_default(),
        searcher: spec.searcher.word().to_owned(),
        evaluator: status.definition.evaluator().to_owned(),
        compute_seconds: status.compute_seconds,
        elapsed_ms: status.elapsed_ms,
        events: status.events,
        pause_cause: match &status.paused {
            None => v1::PauseCause::Unspecified,
            Some(PauseReason::User) => v1::PauseCause::User,
            Some(PauseReason::Failure(_)) => v1::PauseCause::Failure,
        }
        .into(),
    }
}

/// A trial of a listing.
///
/// # Errors
/// A number in its candidate is not finite, so it has no JSON form.
pub(super) fn trial_to_wire(row: TrialRow, names: &WorkerNames) -> Result<v1::Trial, CallError> {
    let json = |result: Result<String, serde_json::Error>| {
        result.map_err(|error| CallError::Internal(format!("trial {}: {error}", row.number)))
    };
    let measured = row.measured.as_ref();
    Ok(v1::Trial {
        number: row.number.0,
        state: row.state.name().to_owned(),
        attempts: row.attempts,
        score: row.score,
        metrics: measured
            .map(|measured| metrics_to_wire(&measured.metrics))
            .unwrap_or_default(),
        candidate_json: json(serde_json::to_string(&row.candidate))?,
        origin_json: json(serde_json::to_string(&row.origin))?,
        parameters: row.parameters,
        macs: row.macs,
        seconds: row.seconds,
        worker: row.worker.map(|id| names.name(id)).unwrap_or_default(),
        reason: match (&row.from, row.reason) {
            (Some(from), _) => reused_from(from),
            (None, reason) => reason.unwrap_or_default(),
        },
        reused_from: row.from.map(|from| v1::TrialOf {
            search: uuid_to_wire(from.search.0),
            trial: from.trial.0,
        }),
        weights: row.weights.map(|id| id.to_string()).unwrap_or_default(),
        candidate_id: row
            .candidate_id
            .map(|id| id.to_string())
            .unwrap_or_default(),
        step: measured.map_or(0, |measured| measured.step),
        updated_ms: row.updated_ms,
    })
}

/// A change of a trial.
pub(super) fn change_to_wire(change: &TrialChange, names: &WorkerNames) -> v1::TrialChange {
    v1::TrialChange {
        trial: change.trial.0,
        state: change.state.to_owned(),
        attempt: change.attempt,
        score: change.score,
        reason: change.reason.clone(),
        worker: change.worker.map(|id| names.name(id)).unwrap_or_default(),
        step: change.step,
        time_ms: change.time_ms,
    }
}

/// The cluster with its workers.
pub(super) fn cluster_to_wire(cluster: Vec<u8>, status: ClusterStatus) -> v1::ClusterStatus {
    let slots = status
        .workers
        .iter()
        .map(|worker| worker.registration.slots)
        .fold(0, u32::saturating_add);
    v1::ClusterStatus {
        cluster,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        slots,
        busy: status.busy,
        workers: status.workers.into_iter().map(worker_to_wire).collect(),
        waiting: status
            .waiting
            .into_iter()
            .map(|(search, reason)| v1::Waiting {
                search: uuid_to_wire(search.0),
                reason,
            })
            .collect(),
    }
}

fn worker_to_wire(worker: WorkerStatus) -> v1::Worker {
    let registration = worker.registration;
    v1::Worker {
        id: uuid_to_wire(registration.worker.0),
        name: registration.name,
        slots: registration.slots,
        held: worker.held.into_iter().map(attempt_to_wire).collect(),
        evaluators: registration.evaluators.into_keys().collect(),
        missing_datasets: worker.missing.iter().map(Digest::to_string).collect(),
        device: registration.device,
        last_seen_ms_ago: millis(worker.last_seen),
        version: registration.version,
        labels: (registration.labels.iter())
            .map(|(label, value)| (label.to_owned(), value.to_owned()))
            .collect(),
    }
}

/// A worker's registration.
///
/// # Errors
/// A field is missing, too long, or out of bounds.
pub(super) fn registration_from_wire(
    request: v1::RegisterRequest,
) -> Result<Registration, CallError> {
    let worker = worker_id_from_wire(&request.worker)?;
    if !(1..=MAX_SLOTS).contains(&request.slots) {
        let slots = request.slots;
        return Err(CallError::Invalid(format!(
            "slots: {slots}; a worker has 1 to {MAX_SLOTS}"
        )));
    }
    if request.evaluators.len() > MAX_EVALUATORS {
        return Err(CallError::Invalid(format!(
            "evaluators: at most {MAX_EVALUATORS} are taken"
        )));
    }
    let mut evaluators = BTreeMap::new();
    for offer in request.evaluators {
        let name = name("evaluators.name", offer.name)?;
        let jobs: BTreeSet<JobKind> = offer
            .jobs
            .iter()
            .map(|job| job_kind(job))
            .collect::<Result<_, _>>()?;
        let checkpoints = offer.checkpoints;
        evaluators.insert(name, Abilities { jobs, checkpoints });
    }
    let mut labels = Labels::default();
    for (label, value) in &request.labels {
        let added = labels.add(label, value);
        added.map_err(|error| CallError::Invalid(error.to_string()))?;
    }
    Ok(Registration {
        labels,
        worker,
        name: name("name", request.name)?,
        slots: request.slots,
        evaluators,
        device: bounded("device", request.device)?,
        version: bounded("version", request.version)?,
        token: None,
        home: home(&request.home)?,
        results: BTreeSet::new(),
    })
}

fn home(wire: &[u8]) -> Result<Option<Home>, CallError> {
    if wire.is_empty() {
        return Ok(None);
    }
    Ok(Some(Home(uuid_from_wire("home", wire)?)))
}

/// Fingerprints of data sets.
///
/// # Errors
/// One that is none, or too many.
pub(super) fn datasets_from_wire(
    field: &'static str,
    wire: &[String],
) -> Result<BTreeSet<Digest>, CallError> {
    if wire.len() > MAX_DATASETS {
        let message = format!("{field}: at most {MAX_DATASETS} are taken");
        return Err(CallError::Invalid(message));
    }
    let digests: Result<_, WireError> = wire
        .iter()
        .map(|text| digest_from_wire(field, text))
        .collect();
    Ok(digests?)
}

/// The worker in a message.
///
/// # Errors
/// Not 16 bytes.
pub(super) fn worker(bytes: &[u8]) -> Result<WorkerId, CallError> {
    Ok(worker_id_from_wire(bytes)?)
}

fn job_kind(name: &str) -> Result<JobKind, CallError> {
    match name {
        "train" => Ok(JobKind::Train),
        "test" => Ok(JobKind::Test),
        other => Err(CallError::Invalid(format!(
            "evaluators.jobs: {:?} is neither train nor test",
            other.chars().take(40).collect::<String>()
        ))),
    }
}

fn name(field: &'static str, text: String) -> Result<String, CallError> {
    if text.is_empty() {
        return Err(CallError::Invalid(format!("{field} is empty")));
    }
    bounded(field, text)
}

/// A text of bounded length.
///
/// # Errors
/// It is longer.
pub(super) fn bounded(field: &'static str, text: String) -> Result<String, CallError> {
    if text.len() > MAX_NAME {
        let bytes = text.len();
        return Err(CallError::Invalid(format!(
            "{field} has {bytes} bytes; at most {MAX_NAME} are taken"
        )));
    }
    Ok(text)
}
