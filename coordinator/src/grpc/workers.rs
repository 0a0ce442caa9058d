//! The service that workers call.

use std::collections::BTreeSet;
use std::time::Duration;

use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::{AttemptKey, ClusterId};
use espalier_common::job::LeasedJob;
use espalier_common::metrics::Measurement;
use espalier_core::search::{
    Command, Completion, DropReason, Rejection, ReleaseReason, WeightsAnswer,
};
use espalier_proto::v1::worker_service_server::WorkerService;
use espalier_proto::{
    MAX_LEASE_WAIT_MS, MAX_MESSAGE_BYTES, MAX_SLOTS, PROTOCOL_VERSION, attempt_from_wire,
    attempt_to_wire, digest_from_wire, failure_from_wire, leased_job_to_wire,
    measurement_from_wire, metrics_from_wire, stated_protocol, uuid_from_wire, uuid_to_wire, v1,
};
use tonic::{Request, Response, Status, Streaming};

use super::artifacts::{self, Pieces};
use super::caller::{check_worker, opened, worker_of};
use super::convert::{bounded, datasets_from_wire, registration_from_wire};
use super::datasets::{dataset_to_wire, fingerprint};
use super::logs;
use crate::actors::{CallError, DispatcherHandle, Registration, Searches, WorkerNames};
use crate::artifacts::{ArtifactStore, Hold};
use crate::clock::millis;
use crate::datasets::StoredDatasets;
use crate::logs::LogBook;

/// The most attempts of one Renew or Release: twice the most slots, for those that end while others begin.
const MAX_ATTEMPTS: usize = 2 * MAX_SLOTS as usize;
/// The most bytes of leases in one reply: far below what a message may have, and still hundreds of large
/// networks.
const MAX_LEASE_REPLY_BYTES: usize = MAX_MESSAGE_BYTES / 2;
/// More than a lease takes beside its job.
const LEASE_BYTES: usize = 64;
/// The largest job that can be sent: what a message may have, less some for what is around it.
const MAX_JOB_BYTES: usize = MAX_MESSAGE_BYTES - 64 * 1024;
/// The most measurements that one completion may bring: years of epochs.
const MAX_MEASUREMENTS: usize = 100_000;

/// What this coordinator is.
const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// The worker service.
#[derive(Clone)]
pub(crate) struct WorkerApi {
    pub(crate) searches: Searches,
    pub(crate) dispatcher: DispatcherHandle,
    pub(crate) artifacts: ArtifactStore,
    pub(crate) datasets: StoredDatasets,
    pub(crate) names: WorkerNames,
    pub(crate) book: LogBook,
    pub(crate) cluster: ClusterId,
    pub(crate) lease_ttl: Duration,
    /// How often a worker is to renew.
    pub(crate) renew_every: Duration,
    pub(crate) max_wait: Duration,
}

impl WorkerApi {
    /// Refuses a worker that comes from another coordinator's journal: its attempts mean nothing here.
    fn check_cluster(&self, bytes: &[u8]) -> Result<(), CallError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let theirs = uuid_from_wire("cluster", bytes)?;
        if theirs == self.cluster.0 {
            return Ok(());
        }
        Err(CallError::OtherCluster {
            here: self.cluster.to_string(),
            theirs: theirs.to_string(),
        })
    }

    /// The leases that one reply can bring. The others go back at once: the worker asks again for the slots
    /// that are left.
    async fn deliverable(&self, jobs: &[LeasedJob]) -> Result<Vec<v1::Lease>, CallError> {
        let Sorted {
            leases,
            mut left,
            too_large,
        } = Sorted::of(jobs, MAX_LEASE_REPLY_BYTES)?;
        if !left.is_empty() {
            // What goes back goes before all others, so the first must go last.
            left.reverse();
            self.dispatcher.undelivered(left);
        }
        for (key, bytes) in too_large {
            let command = Command::FailJob {
                trial: key.trial,
                attempt: key.attempt,
                failure: Failure::new(
                    FailureDomain::Candidate,
                    FailureKind::Build,
                    format!(
                        "its job has {bytes} bytes, and one of more than {MAX_JOB_BYTES} cannot be sent to a \
                         worker: keep the network smaller, by fewer layers"
                    ),
                ),
            };
            self.searches.require(key.search)?.command(command).await?;
        }
        Ok(leases)
    }

    /// What a completion brings, and a hold on its weights when they are stored already.
    async fn completion(
        &self,
        request: v1::CompleteRequest,
    ) -> Result<(Completion, Option<Hold>), CallError> {
        let seconds = request.seconds;
        if !(seconds.is_finite() && seconds >= 0.0) {
            return Err(CallError::Invalid(format!("seconds: {seconds}")));
        }
        let weights = match request.weights.as_str() {
            "" => None,
            text => Some(digest_from_wire("weights", text)?),
        };
        let stored = match &weights {
            Some(digest) => self.artifacts.find(digest).await?,
            None => None,
        };
        let completion = Completion {
            measurements: measurements(request.measurements)?,
            test_metrics: metrics_from_wire(request.test_metrics)?,
            seconds,
            weights,
            weights_stored: stored.is_some(),
        };
        Ok((completion, stored))
    }
}

/// Leased jobs by what becomes of them.
#[derive(Debug, Default)]
struct Sorted {
    leases: Vec<v1::Lease>,
    /// Leases that do not fit into the reply beside the others.
    left: Vec<AttemptKey>,
    /// Leases that no message can bring, with their sizes.
    too_large: Vec<(AttemptKey, usize)>,
}

impl Sorted {
    /// Sorts jobs so that the leases have at most `bytes` together; a single one may have more.
    fn of(jobs: &[LeasedJob], bytes: usize) -> Result<Self, CallError> {
        let mut sorted = Self::default();
        let mut used = 0;
        for job in jobs {
            let lease = leased_job_to_wire(job)?;
            let size = lease.job_json.len() + LEASE_BYTES;
            if size > MAX_JOB_BYTES {
                sorted.too_large.push((job.key(), size));
            } else if used > 0 && used + size > bytes {
                sorted.left.push(job.key());
            } else {
                used += size;
                sorted.leases.push(lease);
            }
        }
        Ok(sorted)
    }
}

fn measurements(wire: Vec<v1::Measurement>) -> Result<Vec<Measurement>, CallError> {
    if wire.len() > MAX_MEASUREMENTS {
        let message = format!("measurements: at most {MAX_MEASUREMENTS} are taken");
        return Err(CallError::Invalid(message));
    }
    let measurements = wire
        .into_iter()
        .map(measurement_from_wire)
        .collect::<Result<Vec<_>, _>>()?;
    if !measurements.is_sorted_by(|a, b| a.step < b.step) {
        let message = "measurements: their steps must grow".to_owned();
        return Err(CallError::Invalid(message));
    }
    Ok(measurements)
}

fn attempts(wire: &[v1::Attempt]) -> Result<BTreeSet<AttemptKey>, CallError> {
    if wire.len() > MAX_ATTEMPTS {
        let message = format!("at most {MAX_ATTEMPTS} attempts are taken in one message");
        return Err(CallError::Invalid(message));
    }
    let keys: Result<_, _> = wire
        .iter()
        .map(|attempt| attempt_from_wire(Some(attempt)))
        .collect();
    Ok(keys?)
}

/// Refuses a worker that speaks another protocol, before anything else of its call is read: another protocol
/// may mean something else by it.
fn check_protocol(request: &v1::RegisterRequest) -> Result<(), CallError> {
    let spoken = stated_protocol(request.protocol);
    if spoken == PROTOCOL_VERSION {
        return Ok(());
    }
    let release = bounded("version", request.version.clone())?;
    Err(CallError::OtherProtocol { release, spoken })
}

/// A worker of another release that speaks the same protocol is served, and this is said.
fn note_release(registration: &Registration) {
    if registration.version != RELEASE {
        tracing::info!(
            worker = registration.name,
            release = registration.version,
            here = RELEASE,
            "a worker of another release is served, since both speak the same protocol; install this \
             coordinator's release there when the worker is next started"
        );
    }
}

#[tonic::async_trait]
impl WorkerService for WorkerApi {
    type DownloadArtifactStream = Pieces<v1::DownloadArtifactReply>;

    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Result<Response<v1::RegisterReply>, Status> {
        let (caller, request) = opened(request)?;
        check_protocol(&request)?;
        self.check_cluster(&request.cluster)?;
        let results = attempts(&request.results)?;
        let mut registration = registration_from_wire(request)?;
        registration.results = results;
        registration.token = check_worker(&self.names, &caller, &registration)?;
        note_release(&registration);
        self.dispatcher.register(registration).await?;
        Ok(Response::new(v1::RegisterReply {
            cluster: uuid_to_wire(self.cluster.0),
            lease_ttl_ms: millis(self.lease_ttl),
            renew_every_ms: millis(self.renew_every),
            max_artifact_bytes: self.artifacts.max_bytes(),
            version: RELEASE.to_owned(),
            protocol: PROTOCOL_VERSION,
        }))
    }

    async fn lease(
        &self,
        request: Request<v1::LeaseRequest>,
    ) -> Result<Response<v1::LeaseReply>, Status> {
        let (caller, request) = opened(request)?;
        let worker = worker_of(&self.names, &caller, &request.worker)?;
        let missing = datasets_from_wire("missing_datasets", &request.missing_datasets)?;
        let wait = Duration::from_millis(request.wait_ms.min(MAX_LEASE_WAIT_MS)).min(self.max_wait);
        let (call, slots) = (request.call, request.free_slots.min(MAX_SLOTS));
        let leased = self
            .dispatcher
            .lease(worker, call, slots, missing, wait)
            .await?;
        let leases = self.deliverable(&leased).await?;
        Ok(Response::new(v1::LeaseReply {
            call,
            ttl_ms: millis(self.lease_ttl),
            leases,
        }))
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewReply>, Status> {
        let (caller, request) = opened(request)?;
        let worker = worker_of(&self.names, &caller, &request.worker)?;
        let held = attempts(&request.held)?;
        let drop = self
            .dispatcher
            .renew(worker, held, request.calls_ended)
            .await?;
        Ok(Response::new(v1::RenewReply {
            ttl_ms: millis(self.lease_ttl),
            drop: drop.into_iter().map(attempt_to_wire).collect(),
        }))
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportReply>, Status> {
        let (caller, request) = opened(request)?;
        let worker = worker_of(&self.names, &caller, &request.worker)?;
        let key = attempt_from_wire(request.attempt.as_ref())?;
        let measurement = request.measurement;
        let measurement = measurement.ok_or_else(|| {
            CallError::Invalid("measurement is missing: a report brings one".to_owned())
        })?;
        let command = Command::ReportMeasurement {
            worker,
            trial: key.trial,
            attempt: key.attempt,
            number: request.number,
            measurement: measurement_from_wire(measurement)?,
        };
        let stop = match self.searches.require(key.search)?.command(command).await {
            Ok(_) => false,
            // Nothing is wrong: the search was stopped, say, and what runs for it is not needed.
            Err(CallError::Rejected(Rejection::NotHeld {
                reason: DropReason::Closed,
                ..
            })) => true,
            Err(error) => return Err(error.into()),
        };
        Ok(Response::new(v1::ReportReply { stop }))
    }

    async fn complete(
        &self,
        request: Request<v1::CompleteRequest>,
    ) -> Result<Response<v1::CompleteReply>, Status> {
        let (caller, request) = opened(request)?;
        let worker = worker_of(&self.names, &caller, &request.worker)?;
        let key = attempt_from_wire(request.attempt.as_ref())?;
        let search = self.searches.require(key.search)?;
        let (completion, stored) = self.completion(request).await?;
        // The weights must be there until it is recorded that they are, also when nobody waits for that.
        let complete = async move {
            let _stored = stored;
            search.complete(worker, key, completion).await
        };
        let answer = artifacts::undisturbed("complete a job", complete).await?;
        let weights = match answer {
            WeightsAnswer::Upload => v1::WeightsDecision::Upload,
            WeightsAnswer::Keep => v1::WeightsDecision::Keep,
            WeightsAnswer::Discard => v1::WeightsDecision::Discard,
        };
        let weights = weights.into();
        Ok(Response::new(v1::CompleteReply { weights }))
    }

    async fn fail(
        &self,
        request: Request<v1::FailRequest>,
    ) -> Result<Response<v1::FailReply>, Status> {
        let (caller, request) = opened(request)?;
        let worker = worker_of(&self.names, &caller, &request.worker)?;
        let key = attempt_from_wire(request.attempt.as_ref())?;
        let command = Command::FailJob {
            trial: key.trial,
            attempt: key.attempt,
            failure: failure_from_wire(request.failure)?,
        };
        let search = self.searches.require(key.search)?;
        search.command_of(worker, command).await?;
        Ok(Response::new(v1::FailReply {}))
    }

    async fn release(
        &self,
        request: Request<v1::ReleaseRequest>,
    ) -> Result<Response<v1::ReleaseReply>, Status> {
        let (caller, request) = opened(request)?;
        let worker = worker_of(&self.names, &caller, &request.worker)?;
        for key in attempts(&request.attempts)? {
            let command = Command::ReleaseJob {
                trial: key.trial,
                attempt: key.attempt,
                reason: ReleaseReason::Worker,
            };
            let search = self.searches.require(key.search)?;
            match search.command_of(worker, command).await {
                // It was handed back before, or taken away: either way it is not this worker's any more.
                Ok(_) | Err(CallError::Rejected(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Response::new(v1::ReleaseReply {}))
    }

    async fn log(
        &self,
        request: Request<v1::LogRequest>,
    ) -> Result<Response<v1::LogReply>, Status> {
        let (caller, request) = opened(request)?;
        let worker = worker_of(&self.names, &caller, &request.worker)?;
        logs::take(&self.book, &self.dispatcher, &self.names, worker, request).await?;
        Ok(Response::new(v1::LogReply {}))
    }

    async fn leave(
        &self,
        request: Request<v1::LeaveRequest>,
    ) -> Result<Response<v1::LeaveReply>, Status> {
        let (caller, request) = opened(request)?;
        let worker = worker_of(&self.names, &caller, &request.worker)?;
        self.dispatcher.leave(worker).await?;
        Ok(Response::new(v1::LeaveReply {}))
    }

    async fn upload_artifact(
        &self,
        request: Request<Streaming<v1::UploadArtifactRequest>>,
    ) -> Result<Response<v1::UploadArtifactReply>, Status> {
        let (caller, parts) = opened(request)?;
        artifacts::upload(self, &caller, parts).await?;
        Ok(Response::new(v1::UploadArtifactReply {}))
    }

    async fn download_artifact(
        &self,
        request: Request<v1::DownloadArtifactRequest>,
    ) -> Result<Response<Self::DownloadArtifactStream>, Status> {
        let digest = digest_from_wire("digest", &request.into_inner().digest)?;
        let file = self.artifacts.open_artifact(&digest).await;
        let (file, _) = file.map_err(CallError::from)?;
        let wrap = |data| v1::DownloadArtifactReply { data };
        Ok(Response::new(artifacts::pieces(file, wrap)))
    }

    async fn find_dataset(
        &self,
        request: Request<v1::FindDatasetRequest>,
    ) -> Result<Response<v1::StoredDataset>, Status> {
        let text = request.into_inner().fingerprint;
        let found = self.datasets.find(&fingerprint(&text)?);
        let found = found.ok_or(CallError::UnknownDataset(text))?;
        Ok(Response::new(dataset_to_wire(found)))
    }
}
