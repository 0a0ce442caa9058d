//! What `--output json` prints. These keys are a promise to scripts: add some, never rename or drop one.

use std::collections::BTreeMap;

use espalier_proto::v1;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

/// A UUID's text form; bytes of another length are written as they came.
pub(in crate::cli) fn uuid_text(bytes: &[u8]) -> String {
    Uuid::from_slice(bytes).map_or_else(|_| format!("{bytes:02x?}"), |id| id.to_string())
}

/// The beginning of an id: enough to tell apart the searches of one coordinator.
pub(in crate::cli) fn short_id(bytes: &[u8]) -> String {
    uuid_text(bytes).chars().take(8).collect()
}

fn metrics(wire: &[v1::Metric]) -> BTreeMap<String, f64> {
    wire.iter()
        .map(|metric| (metric.name.clone(), metric.value))
        .collect()
}

fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// JSON in JSON; what cannot be read is kept as text.
fn nested(json: &str) -> Value {
    if json.is_empty() {
        return Value::Null;
    }
    serde_json::from_str(json).unwrap_or_else(|_| Value::String(json.to_owned()))
}

/// A search.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct SearchView {
    id: String,
    name: String,
    phase: String,
    reason: Option<String>,
    waiting: Option<String>,
    created_ms: u64,
    updated_ms: u64,
    elapsed_ms: u64,
    compute_seconds: f64,
    metric: String,
    direction: String,
    best: Option<BestView>,
    trials: CountsView,
    budget: BudgetView,
    parallel: Option<u32>,
    weight: u32,
    searcher: String,
    evaluator: String,
    events: u64,
}

#[derive(Debug, Serialize)]
struct BestView {
    trial: Option<u32>,
    score: f64,
    weights: Option<String>,
    test_metrics: BTreeMap<String, f64>,
}

#[derive(Debug, Serialize)]
struct CountsView {
    proposed: u32,
    leased: u32,
    queued: u32,
    running: u32,
    completed: u32,
    failed: u32,
    infeasible: u32,
    cancelled: u32,
    duplicates: u32,
    attempts: u32,
    reused: u32,
}

#[derive(Debug, Serialize)]
struct BudgetView {
    trials: Option<u32>,
    time_ms: Option<u64>,
    target: Option<f64>,
    patience: Option<u32>,
    compute_ms: Option<u64>,
    expected_improvement: Option<f64>,
    deadline_ms: Option<u64>,
}

impl SearchView {
    /// A search, and why its jobs wait when they do.
    pub(in crate::cli) fn new(status: &v1::SearchStatus, waiting: Option<String>) -> Self {
        let counts = status.counts.unwrap_or_default();
        let budget = status.budget.unwrap_or_default();
        Self {
            id: uuid_text(&status.id),
            name: status.name.clone(),
            phase: status.phase.clone(),
            reason: text(&status.reason),
            waiting,
            created_ms: status.created_ms,
            updated_ms: status.updated_ms,
            elapsed_ms: status.elapsed_ms,
            compute_seconds: status.compute_seconds,
            metric: status.metric.clone(),
            direction: status.direction.clone(),
            best: status.best_score.map(|score| BestView {
                trial: status.best_trial,
                score,
                weights: text(&status.best_weights),
                test_metrics: metrics(&status.test_metrics),
            }),
            trials: CountsView {
                proposed: counts.proposed,
                leased: counts.leased,
                queued: counts.queued,
                running: counts.running,
                completed: counts.completed,
                failed: counts.failed,
                infeasible: counts.infeasible,
                cancelled: counts.cancelled,
                duplicates: counts.duplicates,
                attempts: counts.attempts,
                reused: counts.reused,
            },
            budget: BudgetView {
                trials: budget.trials,
                time_ms: budget.time_ms,
                target: budget.target,
                patience: budget.patience,
                compute_ms: budget.compute_ms,
                expected_improvement: budget.expected_improvement,
                deadline_ms: budget.deadline_ms,
            },
            parallel: status.parallel,
            weight: status.weight,
            searcher: status.searcher.clone(),
            evaluator: status.evaluator.clone(),
            events: status.events,
        }
    }
}

/// A trial.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct TrialView {
    trial: u32,
    state: String,
    score: Option<f64>,
    step: u32,
    metrics: BTreeMap<String, f64>,
    parameters: Option<u64>,
    macs: Option<u64>,
    attempts: u32,
    seconds: f64,
    worker: Option<String>,
    reason: Option<String>,
    weights: Option<String>,
    candidate_id: Option<String>,
    decisions: Value,
    origin: Value,
    updated_ms: u64,
    reused_from: Option<TrialOfView>,
}

/// A trial of some search.
#[derive(Debug, Serialize)]
struct TrialOfView {
    search: String,
    trial: u32,
}

impl From<&v1::Trial> for TrialView {
    fn from(trial: &v1::Trial) -> Self {
        Self {
            trial: trial.number,
            state: trial.state.clone(),
            score: trial.score,
            step: trial.step,
            metrics: metrics(&trial.metrics),
            parameters: trial.parameters,
            macs: trial.macs,
            attempts: trial.attempts,
            seconds: trial.seconds,
            worker: text(&trial.worker),
            reason: text(&trial.reason),
            weights: text(&trial.weights),
            candidate_id: text(&trial.candidate_id),
            decisions: nested(&trial.candidate_json),
            origin: nested(&trial.origin_json),
            updated_ms: trial.updated_ms,
            reused_from: trial.reused_from.as_ref().map(|from| TrialOfView {
                search: uuid_text(&from.search),
                trial: from.trial,
            }),
        }
    }
}

/// A message of a watched search.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct UpdateView {
    changes: Vec<ChangeView>,
    search: Option<SearchView>,
}

impl From<&v1::WatchReply> for UpdateView {
    fn from(reply: &v1::WatchReply) -> Self {
        Self {
            changes: reply.changes.iter().map(ChangeView::from).collect(),
            search: reply
                .status
                .as_ref()
                .map(|status| SearchView::new(status, None)),
        }
    }
}

/// What became of a trial.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct ChangeView {
    trial: u32,
    state: String,
    attempt: u32,
    score: Option<f64>,
    step: u32,
    worker: Option<String>,
    reason: Option<String>,
    time_ms: u64,
}

impl From<&v1::TrialChange> for ChangeView {
    fn from(change: &v1::TrialChange) -> Self {
        Self {
            trial: change.trial,
            state: change.state.clone(),
            attempt: change.attempt,
            score: change.score,
            step: change.step,
            worker: text(&change.worker),
            reason: text(&change.reason),
            time_ms: change.time_ms,
        }
    }
}

/// The cluster.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct ClusterView {
    cluster: String,
    version: String,
    slots: u32,
    busy: u32,
    workers: Vec<WorkerView>,
    waiting: Vec<WaitingView>,
}

#[derive(Debug, Serialize)]
struct WorkerView {
    id: String,
    name: String,
    version: String,
    device: String,
    slots: u32,
    held: Vec<HeldView>,
    evaluators: Vec<String>,
    labels: BTreeMap<String, String>,
    missing_datasets: Vec<String>,
    last_seen_ms_ago: u64,
}

#[derive(Debug, Serialize)]
struct HeldView {
    search: String,
    trial: u32,
    attempt: u32,
}

#[derive(Debug, Serialize)]
struct WaitingView {
    search: String,
    reason: String,
}

impl From<&v1::ClusterStatus> for ClusterView {
    fn from(cluster: &v1::ClusterStatus) -> Self {
        Self {
            cluster: uuid_text(&cluster.cluster),
            version: cluster.version.clone(),
            slots: cluster.slots,
            busy: cluster.busy,
            workers: cluster.workers.iter().map(WorkerView::from).collect(),
            waiting: cluster
                .waiting
                .iter()
                .map(|waiting| WaitingView {
                    search: uuid_text(&waiting.search),
                    reason: waiting.reason.clone(),
                })
                .collect(),
        }
    }
}

impl From<&v1::Worker> for WorkerView {
    fn from(worker: &v1::Worker) -> Self {
        Self {
            id: uuid_text(&worker.id),
            name: worker.name.clone(),
            version: worker.version.clone(),
            device: worker.device.clone(),
            slots: worker.slots,
            held: worker
                .held
                .iter()
                .map(|attempt| HeldView {
                    search: uuid_text(&attempt.search),
                    trial: attempt.trial,
                    attempt: attempt.attempt,
                })
                .collect(),
            evaluators: worker.evaluators.clone(),
            labels: worker.labels.clone().into_iter().collect(),
            missing_datasets: worker.missing_datasets.clone(),
            last_seen_ms_ago: worker.last_seen_ms_ago,
        }
    }
}
