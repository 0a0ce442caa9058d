//! The cluster's own stream in the journal: which workers came and went. Nothing is decided by it; it is
//! there for who wants to know later. May import common and the journal.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use espalier_common::ids::WorkerId;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::dispatcher::Registration;
use super::error::CallError;
use crate::clock;
use crate::journal::{Batch, JournalHandle, Record, StreamId};

/// What happened in the cluster. Its JSON is a format: add variants and optional fields, never change the
/// meaning of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
// The names are the journal's format; later events of a cluster will be about other things than workers.
#[allow(clippy::enum_variant_names)]
pub(crate) enum ClusterEvent {
    /// A worker's instance registered.
    WorkerRegistered {
        /// The instance.
        worker: WorkerId,
        /// Its name, the same after a restart.
        name: String,
        /// Jobs it runs at one time.
        slots: u32,
        /// Names of the evaluators it offers.
        evaluators: Vec<String>,
        /// What it computes on.
        device: String,
        /// Its version.
        version: String,
    },
    /// A worker's instance is gone.
    WorkerLeft {
        /// The instance.
        worker: WorkerId,
    },
    /// Another instance took the name of this one, or it was not heard of for long.
    WorkerLost {
        /// The instance.
        worker: WorkerId,
        /// Whether another instance took its name.
        restarted: bool,
    },
}

/// How an instance went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// It said so.
    Left,
    /// Another instance registered under its name.
    Restarted,
    /// It was not heard of for long.
    Lost,
}

impl ClusterEvent {
    pub(super) fn registered(registration: &Registration) -> Self {
        Self::WorkerRegistered {
            worker: registration.worker,
            name: registration.name.clone(),
            slots: registration.slots,
            evaluators: registration.evaluators.keys().cloned().collect(),
            device: registration.device.clone(),
            version: registration.version.clone(),
        }
    }

    pub(super) fn left(worker: WorkerId, departure: Departure) -> Self {
        match departure {
            Departure::Left => Self::WorkerLeft { worker },
            Departure::Restarted => Self::WorkerLost {
                worker,
                restarted: true,
            },
            Departure::Lost => Self::WorkerLost {
                worker,
                restarted: false,
            },
        }
    }

    fn log(&self) {
        match self {
            Self::WorkerRegistered {
                worker,
                name,
                slots,
                device,
                ..
            } => {
                tracing::info!(%worker, name, slots, device, from = "unknown", to = "registered", "worker registered")
            }
            Self::WorkerLeft { worker } => {
                tracing::info!(%worker, from = "registered", to = "left", "worker left")
            }
            Self::WorkerLost {
                worker,
                restarted: true,
            } => {
                tracing::info!(%worker, from = "registered", to = "replaced", "worker was started again")
            }
            Self::WorkerLost {
                worker,
                restarted: false,
            } => {
                tracing::warn!(%worker, from = "registered", to = "lost", "worker lost: no sign of it for three times to live")
            }
        }
    }
}

/// Who waits until an event of the cluster is durable.
pub(super) type Waiter = oneshot::Sender<Result<(), CallError>>;

/// Writes the cluster's stream. The dispatcher is its one owner.
#[derive(Clone)]
pub(crate) struct ClusterLog {
    journal: JournalHandle,
    names: WorkerNames,
}

impl ClusterLog {
    pub(crate) fn new(journal: JournalHandle, names: WorkerNames) -> Self {
        Self { journal, names }
    }

    /// The names of workers' instances.
    pub(super) fn names(&self) -> &WorkerNames {
        &self.names
    }

    /// Makes events durable, then answers who waits for them. When the journal fails, whoever waits finds
    /// its channel closed, and the searches' actors stop the coordinator.
    pub(super) async fn append(&self, events: Vec<(ClusterEvent, Option<Waiter>)>) {
        let mut records = Vec::with_capacity(events.len());
        let mut waiters = Vec::new();
        for (event, waiter) in events {
            event.log();
            self.names.learn(&event);
            match serde_json::to_string(&event) {
                Ok(body) => {
                    let rows = Vec::new();
                    records.push(Record { body, rows });
                    waiters.extend(waiter);
                }
                Err(error) => tracing::error!(%error, "an event of the cluster cannot be written"),
            }
        }
        let batch = Batch {
            stream: StreamId::Cluster,
            time_ms: clock::now_ms(),
            records,
            after: Some(Box::new(move || {
                for waiter in waiters {
                    let _ = waiter.send(Ok(()));
                }
            })),
        };
        if let Err(error) = self.journal.append(batch).await {
            tracing::error!(%error, "an event of the cluster is lost");
        }
    }
}

/// The names of workers' instances, those long gone included: what listings call them by.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkerNames {
    names: Arc<RwLock<HashMap<WorkerId, Arc<str>>>>,
}

impl WorkerNames {
    pub(super) fn learn(&self, event: &ClusterEvent) {
        if let ClusterEvent::WorkerRegistered { worker, name, .. } = event {
            let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
            names.insert(*worker, name.as_str().into());
        }
    }

    /// Whether an instance goes by this name.
    pub(super) fn is_called(&self, worker: WorkerId, name: &str) -> bool {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.get(&worker).is_some_and(|known| &**known == name)
    }

    /// The name of an instance that has registered once.
    pub(super) fn known(&self, worker: WorkerId) -> Option<Arc<str>> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.get(&worker).cloned()
    }

    /// The name of an instance, or its id when that is all that is known.
    pub(crate) fn name(&self, worker: WorkerId) -> String {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names
            .get(&worker)
            .map_or_else(|| worker.to_string(), |name| name.as_ref().to_owned())
    }
}
