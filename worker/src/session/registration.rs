//! Announcing this worker, again whenever the coordinator has forgotten it. May import proto, common.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use espalier_common::evaluator::Ready;
use espalier_common::ids::{AttemptKey, ClusterId, WorkerId};
use espalier_common::job::JobKind;
use espalier_proto::{
    FREE_AFTER_MS, MAX_SLOTS, PROTOCOL_VERSION, attempt_to_wire, stated_protocol, uuid_from_wire,
    uuid_to_wire, v1,
};
use espalier_runtime::backoff::Waits;
use espalier_runtime::logging::millis;
use tokio::time::Instant;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::client::{Client, for_ever};
use crate::config::WorkerConfig;
use crate::error::WorkerError;
use crate::membership::Refused;

/// Of so many results of earlier instances the leases are kept. The coordinator takes no more of one worker; those of the
/// others end, and their results are taken all the same.
pub(super) const MAX_RESULTS: usize = 2 * MAX_SLOTS as usize;
/// A name that another worker has is asked for so often.
const NAME_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Bounds what the coordinator may say of that.
const MAX_FREE_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Two registrations closer than this are a coordinator in trouble: the next one waits, longer each time.
const QUIET_AFTER: Duration = Duration::from_secs(2);
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

/// Why the coordinator does not take this instance's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// It was restarted, or had not heard of this worker for long.
    Forgotten,
    /// Another instance has this worker's name.
    Displaced,
    /// Its certificate is not taken any more.
    Unidentified,
}

/// This worker as it announces itself.
#[derive(Debug)]
pub(crate) struct Registration {
    client: Client,
    address: String,
    request: v1::RegisterRequest,
    cluster: Option<ClusterId>,
    name_patience: Duration,
    last: Instant,
    waits: Waits,
}

impl Registration {
    /// Of this instance in its home (see [`crate::work_dir::WorkDir::home`]), with the evaluators it offers and the
    /// `results` that an older instance has left.
    pub(crate) fn new(
        client: Client,
        (worker, home): (WorkerId, Uuid),
        results: &[AttemptKey],
        config: &WorkerConfig,
        evaluators: Vec<v1::EvaluatorOffer>,
    ) -> Self {
        let request = v1::RegisterRequest {
            worker: uuid_to_wire(worker.0),
            name: config.name.clone(),
            slots: config.slots,
            evaluators,
            device: config.device.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: Vec::new(),
            protocol: PROTOCOL_VERSION,
            labels: (config.labels.iter())
                .map(|(label, value)| (label.to_owned(), value.to_owned()))
                .collect(),
            home: uuid_to_wire(home),
            results: Vec::new(),
        };
        let mut registration = Self {
            client,
            address: config.join.clone(),
            request,
            cluster: None,
            name_patience: config.name_patience,
            last: Instant::now(),
            waits: Waits::default(),
        };
        registration.name_results(results.iter().copied());
        registration
    }

    /// What older instances have left and the coordinator does not have yet is this by now.
    pub(super) fn name_results(&mut self, results: impl Iterator<Item = AttemptKey>) {
        let named = results.take(MAX_RESULTS);
        self.request.results = named.map(attempt_to_wire).collect();
    }

    /// Registers, waiting for the coordinator without limit.
    pub(crate) async fn register(&mut self) -> Result<Welcome, WorkerError> {
        let reply = self.reply().await?;
        let spoken = stated_protocol(reply.protocol);
        if spoken != PROTOCOL_VERSION {
            return Err(WorkerError::Protocol {
                address: self.address.clone(),
                release: reply.version,
                spoken,
            });
        }
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
        self.last = Instant::now();
        self.request.cluster = uuid_to_wire(cluster.0);
        let (least, most) = RENEW_BOUNDS;
        let asked = Duration::from_millis(reply.renew_every_ms.clamp(least, most));
        let renew_every = paced(asked, &self.request.worker);
        tracing::info!(worker = self.request.name, %cluster, coordinator = self.address, slots = self.request.slots,
            device = self.request.device, from = "joining", to = "registered", "worker registered");
        Ok(Welcome {
            cluster,
            renew_every,
            max_artifact_bytes: reply.max_artifact_bytes,
        })
    }

    /// The coordinator's answer, once the name is this worker's.
    async fn reply(&self) -> Result<v1::RegisterReply, WorkerError> {
        let (mut refused_since, mut said) = (None, false);
        loop {
            let (answer, was_away) = self.ask().await?;
            let status = match answer {
                Ok(reply) => return Ok(reply),
                Err(status) => status,
            };
            if status.code() != Code::AlreadyExists {
                return Err(WorkerError::refused(&self.address, &status));
            }
            if was_away {
                // Since it is back, the coordinator waits for a sign of the other one anew.
                refused_since = None;
            }
            let waited = refused_since.get_or_insert_with(Instant::now).elapsed();
            let patience = self.name_patience.max(2 * free_after(&status));
            if waited >= patience {
                return Err(WorkerError::NameInUse {
                    address: self.address.clone(),
                    name: self.request.name.clone(),
                    waited_s: waited.as_secs(),
                });
            }
            if !said {
                tracing::warn!(
                    worker = self.request.name,
                    coordinator = self.address,
                    reason = status.message(),
                    wait_ms = millis(patience),
                    "another worker has this name; waiting for it"
                );
                said = true;
            }
            tokio::time::sleep(NAME_AGAIN_AFTER).await;
        }
    }

    /// The coordinator's answer, and whether it could not give it at once.
    async fn ask(&self) -> Result<(Result<v1::RegisterReply, Status>, bool), WorkerError> {
        let tries = AtomicU64::new(0);
        let register = || {
            for_ever("Register", || {
                tries.fetch_add(1, Ordering::Relaxed);
                self.client.register(self.request.clone())
            })
        };
        let mut answer = register().await;
        if let Err(status) = &answer
            && status.code() == Code::Unauthenticated
        {
            // The certificate has expired, as it does of a machine that slept, or the token was revoked.
            self.identify_again(status).await?;
            answer = register().await;
        }
        Ok((answer, tries.into_inner() > 1))
    }

    async fn identify_again(&self, status: &Status) -> Result<(), WorkerError> {
        let mut waits = Waits::default();
        loop {
            match self.client.identify_again().await {
                Ok(_) => return Ok(()),
                Err(Refused::Away(reason)) => {
                    tracing::debug!(reason, "no new certificate yet");
                    tokio::time::sleep(waits.next_wait()).await;
                }
                Err(clock @ Refused::Clock(_)) => return Err(clock.error(&self.address)),
                Err(Refused::Final(reason) | Refused::Unidentified(reason)) => {
                    return Err(self.refused(&format!("{} ({reason})", status.message())));
                }
            }
        }
    }

    /// Registers again: the coordinator does not know this instance, or another one displaced it.
    pub(crate) async fn register_again(&mut self, why: Unknown) -> Result<Welcome, WorkerError> {
        let now = Instant::now();
        tracing::warn!(
            worker = self.request.name,
            reason = match why {
                Unknown::Forgotten => "the coordinator does not know this worker",
                Unknown::Displaced => "another instance registered under this worker's name",
                Unknown::Unidentified =>
                    "the coordinator does not take this worker's certificate any more",
            },
            "registering again"
        );
        if now.duration_since(self.last) < QUIET_AFTER {
            tokio::time::sleep(self.waits.next_wait()).await;
        } else {
            self.waits.reset();
        }
        self.register().await
    }

    /// Of what no other start would change.
    fn refused(&self, status: &str) -> WorkerError {
        WorkerError::Refused {
            address: self.address.clone(),
            status: status.to_owned(),
            lasting: true,
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
        checkpoints: ready.checkpoints,
    }
}

/// After so long without a sign of the other worker its name is free, as the coordinator says.
fn free_after(status: &Status) -> Duration {
    let ms = status.metadata().get(FREE_AFTER_MS);
    let ms = ms.and_then(|ms| ms.to_str().ok()?.parse().ok());
    Duration::from_millis(ms.unwrap_or(0)).min(MAX_FREE_AFTER)
}

/// How often this instance renews: a little more often than it is asked to, and each instance in a pace of its own, so that
/// a thousand workers which were started, or came back, in the same instant do not all renew in the same one for ever.
fn paced(every: Duration, worker: &[u8]) -> Duration {
    let part = worker.first().copied().unwrap_or_default();
    every.mul_f64(1.0 - f64::from(part) / 2_560.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_name_stays_taken_is_what_the_coordinator_says() {
        let mut status = Status::already_exists("taken");
        assert_eq!(free_after(&status), Duration::ZERO);
        let metadata = status.metadata_mut();
        metadata.insert(FREE_AFTER_MS, 600_000.into());
        assert_eq!(free_after(&status), Duration::from_secs(600));
        let metadata = status.metadata_mut();
        metadata.insert(FREE_AFTER_MS, u64::MAX.into());
        assert_eq!(free_after(&status), MAX_FREE_AFTER);
    }

    #[test]
    fn instances_renew_each_in_its_own_pace_and_none_too_late() {
        let every = Duration::from_secs(10);
        let paces: Vec<Duration> = (0..=255).map(|byte| paced(every, &[byte; 16])).collect();
        assert!(paces.windows(2).all(|pair| pair[0] > pair[1]));
        assert_eq!(paces[0], every);
        assert!(paces[255] > Duration::from_secs(9));
    }
}
