//! Announcing this worker, again whenever the coordinator has forgotten it. May import proto, common.

use std::collections::VecDeque;
use std::time::Duration;

use espalier_common::evaluator::Ready;
use espalier_common::ids::{ClusterId, WorkerId};
use espalier_common::job::JobKind;
use espalier_proto::{uuid_from_wire, uuid_to_wire, v1};
use tokio::time::Instant;

use crate::client::{Client, persistently};
use crate::config::WorkerConfig;
use crate::dataset::Datasets;
use crate::error::WorkerError;

/// A coordinator that restarts without its journal forgets a worker once. A worker forgotten this often
/// within [`DISPLACED_WITHIN`] takes turns with another one of its name.
const DISPLACED_TIMES: usize = 5;
const DISPLACED_WITHIN: Duration = Duration::from_secs(60);
/// Bounds of what the coordinator may ask for: more often would only load both, more seldom would lose
/// every lease.
const RENEW_BOUNDS: (u64, u64) = (20, 60_000);

/// What the coordinator said to a registration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Welcome {
    /// The cluster.
    pub(crate) cluster: ClusterId,
    /// How often leases are to be renewed.
    pub(crate) renew_every: Duration,
    /// The largest artifact that is taken.
    pub(crate) max_artifact_bytes: u64,
}

/// This worker as it announces itself.
#[derive(Debug)]
pub(crate) struct Registration {
    client: Client,
    address: String,
    datasets: Datasets,
    request: v1::RegisterRequest,
    cluster: Option<ClusterId>,
    again: VecDeque<Instant>,
}

impl Registration {
    /// Of this instance, with the evaluators it offers.
    pub(crate) fn new(
        client: Client,
        worker: WorkerId,
        config: &WorkerConfig,
        datasets: Datasets,
        evaluators: Vec<v1::EvaluatorOffer>,
    ) -> Self {
        let request = v1::RegisterRequest {
            worker: uuid_to_wire(worker.0),
            name: config.name.clone(),
            slots: config.slots,
            evaluators,
            datasets: Vec::new(),
            device: config.device.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: Vec::new(),
        };
        Self {
            client,
            address: config.join.clone(),
            datasets,
            request,
            cluster: None,
            again: VecDeque::new(),
        }
    }

    /// Registers, waiting for the coordinator without limit.
    pub(crate) async fn register(&mut self) -> Result<Welcome, WorkerError> {
        let verified = self.datasets.known().verified;
        self.request.datasets = verified.iter().map(ToString::to_string).collect();
        let answer = persistently("Register", || self.client.register(self.request.clone())).await;
        let reply = answer.map_err(|status| self.refused(&status.to_string()))?;
        let cluster = uuid_from_wire("cluster", &reply.cluster)
            .map(ClusterId)
            .map_err(|error| self.refused(&error.to_string()))?;
        if let Some(before) = self.cluster.filter(|&before| before != cluster) {
            return Err(WorkerError::OtherCluster {
                address: self.address.clone(),
                before,
                now: cluster,
            });
        }
        self.cluster = Some(cluster);
        self.request.cluster = uuid_to_wire(cluster.0);
        let (least, most) = RENEW_BOUNDS;
        let renew_every = Duration::from_millis(reply.renew_every_ms.clamp(least, most));
        tracing::info!(worker = self.request.name, %cluster, coordinator = self.address, slots = self.request.slots,
            device = self.request.device, from = "joining", to = "registered", "worker");
        Ok(Welcome {
            cluster,
            renew_every,
            max_artifact_bytes: reply.max_artifact_bytes,
        })
    }

    /// Registers again, after the coordinator said that it does not know this instance.
    pub(crate) async fn register_again(&mut self) -> Result<Welcome, WorkerError> {
        let now = Instant::now();
        self.again.push_back(now);
        self.again
            .retain(|&then| now.duration_since(then) < DISPLACED_WITHIN);
        if self.again.len() >= DISPLACED_TIMES {
            return Err(WorkerError::Displaced {
                name: self.request.name.clone(),
                times: self.again.len(),
            });
        }
        tracing::warn!(
            worker = self.request.name,
            "the coordinator does not know this worker; registering again"
        );
        self.register().await
    }

    fn refused(&self, status: &str) -> WorkerError {
        WorkerError::Refused {
            address: self.address.clone(),
            status: status.to_owned(),
        }
    }
}

/// An evaluator as it is offered: by what it said when it was ready.
pub(crate) fn offer(name: &str, ready: &Ready) -> v1::EvaluatorOffer {
    let jobs = if ready.jobs.is_empty() {
        &[JobKind::Train][..]
    } else {
        &ready.jobs
    };
    let word = |kind: &JobKind| match kind {
        JobKind::Train => "train".to_owned(),
        JobKind::Test => "test".to_owned(),
    };
    v1::EvaluatorOffer {
        name: name.to_owned(),
        jobs: jobs.iter().map(word).collect(),
        // A program may say anything; this travels and is shown.
        description: ready.description.chars().take(200).collect(),
    }
}
