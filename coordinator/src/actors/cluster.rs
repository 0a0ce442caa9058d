//! The cluster's own stream in the journal: which workers came and went, and which tokens there are. May
//! import common, access and the journal.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use espalier_common::ids::{Digest, WorkerId};
use espalier_common::labels::Labels;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::dispatcher::{Home, Registration};
use super::error::CallError;
use crate::access::{Token, TokenId, Tokens};
use crate::clock;
use crate::datasets::{StoredDataset, StoredDatasets};
use crate::journal::{Batch, JournalHandle, Record, StreamId};

/// What happened in the cluster. Its JSON is a format: add variants and optional fields, never change the
/// meaning of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
        /// What its operator says of it.
        #[serde(default, skip_serializing_if = "Labels::is_empty")]
        labels: Labels,
        /// The token by which it joined; none without TLS.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<TokenId>,
        /// Where it runs, as it says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        home: Option<Home>,
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
    /// The token of a worker's instance was revoked.
    WorkerCutOff {
        /// The instance.
        worker: WorkerId,
    },
    /// A token was made.
    TokenCreated {
        /// The token, without its secret.
        token: Token,
    },
    /// A token was revoked.
    TokenRevoked {
        /// The token.
        token: TokenId,
    },
    /// A data set is kept for workers without it.
    DatasetStored {
        /// The data set.
        dataset: StoredDataset,
    },
    /// A data set is kept no more.
    DatasetRemoved {
        /// Which one.
        fingerprint: Digest,
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
    /// Its token was revoked.
    CutOff,
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
            labels: registration.labels.clone(),
            token: registration.token.clone(),
            home: registration.home,
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
            Departure::CutOff => Self::WorkerCutOff { worker },
        }
    }

    /// Its line in the log; before the names learn of it, so a worker's name is the one that it had.
    fn log(&self, names: &WorkerNames) {
        match self {
            Self::WorkerRegistered {
                worker: instance,
                name: worker,
                slots,
                device,
                ..
            } => {
                tracing::info!(worker, %instance, slots, device, from = "unknown", to = "registered", "worker registered")
            }
            Self::WorkerLeft { worker: instance } => {
                let worker = names.name(*instance);
                tracing::info!(worker, %instance, from = "registered", to = "left", "worker left")
            }
            Self::WorkerLost {
                worker: instance,
                restarted: true,
            } => {
                let worker = names.name(*instance);
                tracing::info!(worker, %instance, from = "registered", to = "replaced", "worker was started again")
            }
            Self::WorkerLost {
                worker: instance,
                restarted: false,
            } => {
                let worker = names.name(*instance);
                tracing::warn!(worker, %instance, from = "registered", to = "lost", "worker lost: no sign of it for three times to live")
            }
            Self::WorkerCutOff { worker: instance } => {
                let worker = names.name(*instance);
                tracing::warn!(worker, %instance, from = "registered", to = "cut_off", "worker cut off: its token was revoked")
            }
            Self::TokenCreated { token } => {
                tracing::info!(token = %token.id, role = %token.role, label = token.label, "token created")
            }
            Self::TokenRevoked { token } => {
                tracing::info!(%token, from = "valid", to = "revoked", "token revoked")
            }
            Self::DatasetStored { dataset } => {
                let bytes: u64 = dataset.files.iter().map(|file| file.size).sum();
                tracing::info!(fingerprint = %dataset.fingerprint.short(), path = dataset.path, bytes, "data set stored")
            }
            Self::DatasetRemoved { fingerprint } => {
                tracing::info!(fingerprint = %fingerprint.short(), "data set removed")
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
    learned: Learned,
}

/// What the cluster's stream says, as others read it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Learned {
    /// The names of workers' instances.
    pub(crate) names: WorkerNames,
    /// The tokens.
    pub(crate) tokens: Tokens,
    /// The data sets that are kept.
    pub(crate) datasets: StoredDatasets,
}

impl Learned {
    /// What an event says. Before it is durable: a secret is handed out after that, and a revocation that is
    /// lost with the coordinator was not acknowledged.
    pub(crate) fn learn(&self, event: &ClusterEvent) {
        self.names.learn(event);
        match event {
            ClusterEvent::TokenCreated { token } => self.tokens.created(token.clone()),
            ClusterEvent::TokenRevoked { token } => self.tokens.revoked(token),
            ClusterEvent::DatasetStored { dataset } => self.datasets.stored(dataset.clone()),
            ClusterEvent::DatasetRemoved { fingerprint } => self.datasets.removed(fingerprint),
            _ => {}
        }
    }
}

impl ClusterLog {
    pub(crate) fn new(journal: JournalHandle, learned: Learned) -> Self {
        Self { journal, learned }
    }

    /// The data sets that are kept.
    pub(super) fn datasets(&self) -> &StoredDatasets {
        &self.learned.datasets
    }

    /// The tokens there are.
    pub(super) fn tokens(&self) -> &Tokens {
        &self.learned.tokens
    }

    /// The names of workers' instances.
    pub(super) fn names(&self) -> &WorkerNames {
        &self.learned.names
    }

    /// Makes events durable, then answers who waits for them. When the journal fails, whoever waits finds
    /// its channel closed, and the searches' actors stop the coordinator.
    pub(super) async fn append(&self, events: Vec<(ClusterEvent, Option<Waiter>)>) {
        let mut records = Vec::with_capacity(events.len());
        let mut waiters = Vec::new();
        for (event, waiter) in events {
            event.log(&self.learned.names);
            self.learned.learn(&event);
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

/// The names of workers' instances, those long gone included: what listings call them by. And the tokens by
/// which they joined.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkerNames {
    known: Arc<RwLock<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    instances: HashMap<WorkerId, Named>,
    /// The instance that registered last under each name, unless it has gone.
    owners: HashMap<Arc<str>, WorkerId>,
}

#[derive(Clone, Debug)]
struct Named {
    name: Arc<str>,
    token: Option<TokenId>,
    home: Option<Home>,
}

impl Known {
    fn learn(&mut self, event: &ClusterEvent) {
        match event {
            ClusterEvent::WorkerRegistered {
                worker,
                name,
                token,
                home,
                ..
            } => {
                let name: Arc<str> = name.as_str().into();
                let named = Named {
                    name: Arc::clone(&name),
                    token: token.clone(),
                    home: *home,
                };
                self.instances.insert(*worker, named);
                self.owners.insert(name, *worker);
            }
            ClusterEvent::WorkerLeft { worker }
            | ClusterEvent::WorkerLost { worker, .. }
            | ClusterEvent::WorkerCutOff { worker } => {
                let name = self.instances.get(worker).map(|known| &known.name);
                if let Some(name) = name.filter(|name| self.owners.get(*name) == Some(worker)) {
                    self.owners.remove(&Arc::clone(name));
                }
            }
            ClusterEvent::TokenCreated { .. }
            | ClusterEvent::TokenRevoked { .. }
            | ClusterEvent::DatasetStored { .. }
            | ClusterEvent::DatasetRemoved { .. } => {}
        }
    }
}

impl WorkerNames {
    pub(super) fn learn(&self, event: &ClusterEvent) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.learn(event);
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn learn_for_tests(&self, worker: WorkerId, name: &str) {
        self.learn(&ClusterEvent::WorkerRegistered {
            worker,
            name: name.to_owned(),
            slots: 1,
            evaluators: Vec::new(),
            device: String::new(),
            version: String::new(),
            labels: Labels::default(),
            token: None,
            home: None,
        });
    }

    /// Whether an instance joined by this token.
    pub(super) fn joined_by(&self, worker: WorkerId, token: &TokenId) -> bool {
        let known = self.read();
        let named = known.instances.get(&worker);
        named.is_some_and(|named| named.token.as_ref() == Some(token))
    }

    /// Whether an instance goes by this name.
    pub(super) fn is_called(&self, worker: WorkerId, name: &str) -> bool {
        let known = self.read();
        known
            .instances
            .get(&worker)
            .is_some_and(|known| &*known.name == name)
    }

    /// The instance that registered last under a name and has not gone, as far as the journal says.
    pub(super) fn owner(&self, name: &str) -> Option<WorkerId> {
        self.read().owners.get(name).copied()
    }

    /// Where an instance runs, if it has said so.
    pub(super) fn home(&self, worker: WorkerId) -> Option<Home> {
        let known = self.read();
        known.instances.get(&worker).and_then(|known| known.home)
    }

    /// The names under which instances have registered, in order.
    pub(crate) fn all(&self) -> BTreeSet<Arc<str>> {
        let known = self.read();
        known
            .instances
            .values()
            .map(|known| Arc::clone(&known.name))
            .collect()
    }

    /// The name of an instance that has registered once.
    pub(crate) fn known(&self, worker: WorkerId) -> Option<Arc<str>> {
        let known = self.read();
        known
            .instances
            .get(&worker)
            .map(|known| Arc::clone(&known.name))
    }

    /// The name of an instance, or its id when that is all that is known.
    pub(crate) fn name(&self, worker: WorkerId) -> String {
        let known = self.read();
        known.instances.get(&worker).map_or_else(
            || worker.to_string(),
            |known| known.name.as_ref().to_owned(),
        )
    }
}
