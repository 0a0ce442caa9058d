//! The coordinator that does what a test tells it, and remembers every call.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use espalier_common::ids::Digest;
use espalier_common::job::LeasedJob;
use espalier_proto::leased_job_to_wire;
use espalier_proto::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use espalier_proto::v1::{self, WeightsDecision};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status, Streaming};

use super::PATIENCE;

/// What the coordinator knows and does.
pub struct State {
    pub jobs: VecDeque<LeasedJob>,
    pub cluster: u128,
    /// Data sets it keeps, by fingerprint.
    pub datasets: BTreeMap<String, v1::StoredDataset>,
    /// The version of the wire it says it speaks.
    pub protocol: u32,
    /// Instances it knows.
    pub workers: Vec<Vec<u8>>,
    pub weights: WeightsDecision,
    /// Attempts that the next Renew drops.
    pub drop: Vec<v1::Attempt>,
    pub stop_reports: bool,
    pub refuse_reports: bool,
    pub complete_unavailable: bool,
    /// Codes that Complete and Report are refused with.
    pub refuse_completes_with: Option<Code>,
    pub refuse_reports_with: Option<Code>,
    /// Whether another instance has the name of those that are not known.
    pub displaced: bool,
    /// So many registrations find their name taken.
    pub name_taken: usize,
    pub refuse_registers_with: Option<tonic::Code>,
    pub artifacts: BTreeMap<String, Vec<u8>>,
    /// What uploads are refused with, and whether they are not answered at all.
    pub refuse_uploads_with: Option<Code>,
    pub stall_uploads: bool,
    /// Artifacts whose downloads do not begin.
    pub held: BTreeSet<String>,

    pub registers: Vec<v1::RegisterRequest>,
    pub leases: Vec<v1::LeaseRequest>,
    pub renews: Vec<v1::RenewRequest>,
    pub reports: Vec<v1::ReportRequest>,
    pub completes: Vec<v1::CompleteRequest>,
    pub fails: Vec<v1::FailRequest>,
    pub releases: Vec<v1::Attempt>,
    pub leaves: usize,
    pub downloads: usize,
    pub uploads: Vec<v1::UploadHeader>,
    /// Names of the calls above but Lease, Renew and Report, in order.
    pub order: Vec<&'static str>,
}

impl State {
    fn new() -> Self {
        Self {
            jobs: VecDeque::new(),
            cluster: 1,
            datasets: BTreeMap::new(),
            protocol: espalier_proto::PROTOCOL_VERSION,
            workers: Vec::new(),
            weights: WeightsDecision::Discard,
            drop: Vec::new(),
            stop_reports: false,
            refuse_reports: false,
            complete_unavailable: false,
            refuse_completes_with: None,
            refuse_reports_with: None,
            displaced: false,
            name_taken: 0,
            refuse_registers_with: None,
            artifacts: BTreeMap::new(),
            refuse_uploads_with: None,
            stall_uploads: false,
            held: BTreeSet::new(),
            registers: Vec::new(),
            leases: Vec::new(),
            renews: Vec::new(),
            reports: Vec::new(),
            completes: Vec::new(),
            fails: Vec::new(),
            releases: Vec::new(),
            leaves: 0,
            downloads: 0,
            uploads: Vec::new(),
            order: Vec::new(),
        }
    }

    fn know(&self, worker: &[u8]) -> Result<(), Status> {
        if self.workers.iter().any(|known| known == worker) {
            Ok(())
        } else if self.displaced {
            Err(Status::already_exists("another one has the name"))
        } else {
            Err(Status::not_found("unknown worker"))
        }
    }

    pub fn failure(&self, index: usize) -> &v1::Failure {
        self.fails[index].failure.as_ref().unwrap()
    }
}

#[derive(Clone)]
struct Service {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

/// The coordinator, listening on loopback.
pub struct Fake {
    service: Service,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Fake {
    pub fn start() -> Self {
        let mut fake = Self {
            service: Service {
                state: Arc::new(Mutex::new(State::new())),
                changed: Arc::new(Notify::new()),
            },
            address: "127.0.0.1:0".parse().unwrap(),
            runtime: None,
        };
        fake.come_back();
        fake
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.service.state.lock().unwrap()
    }

    pub fn grant(&self, job: LeasedJob) {
        self.lock().jobs.push_back(job);
        self.service.changed.notify_waiters();
    }

    /// Waits until what was seen satisfies `check`.
    pub async fn until(&self, what: &str, check: impl Fn(&State) -> bool) {
        let waiting = async {
            loop {
                let changed = self.service.changed.notified();
                if check(&self.lock()) {
                    return;
                }
                // A change between the two lines above is found at the next one.
                let _ = tokio::time::timeout(Duration::from_millis(50), changed).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            let state = self.lock();
            panic!(
                "waited in vain until {what}; calls {:?}, reports {}, fails {:?}",
                state.order,
                state.reports.len(),
                state.fails
            );
        }
    }

    /// Waits until so many jobs are complete.
    pub async fn completed(&self, jobs: usize) {
        self.until("it is complete", |state| state.completes.len() == jobs)
            .await;
    }

    /// Breaks every connection and stops listening.
    pub fn go_away(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not inside the test's runtime, which must not block.
            std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5)))
                .join()
                .unwrap();
        }
    }

    /// Listens on the same port again.
    pub fn come_back(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (service, address) = (self.service.clone(), self.address);
        let handle = runtime.handle().clone();
        let listener = std::thread::spawn(move || handle.block_on(TcpListener::bind(address)))
            .join()
            .unwrap()
            .unwrap();
        self.address = listener.local_addr().unwrap();
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(WorkerServiceServer::new(service))
                .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))),
        );
        self.runtime = Some(runtime);
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.go_away();
    }
}

impl Service {
    fn record<T>(&self, name: Option<&'static str>, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap();
        state.order.extend(name);
        let answer = work(&mut state);
        drop(state);
        self.changed.notify_waiters();
        answer
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl WorkerService for Service {
    async fn register(&self, request: Request<v1::RegisterRequest>) -> Answer<v1::RegisterReply> {
        let request = request.into_inner();
        let (cluster, protocol) = self.record(Some("register"), |state| {
            if let Some(code) = state.refuse_registers_with {
                return Err(Status::new(code, "no"));
            }
            if state.name_taken > 0 {
                state.name_taken -= 1;
                return Err(Status::already_exists("another worker has the name"));
            }
            state.workers.push(request.worker.clone());
            state.registers.push(request);
            Ok((state.cluster, state.protocol))
        })?;
        Ok(Response::new(v1::RegisterReply {
            cluster: cluster.to_be_bytes().to_vec(),
            lease_ttl_ms: 5000,
            renew_every_ms: 30,
            max_artifact_bytes: 1 << 20,
            version: "0.0.9".to_owned(),
            protocol,
        }))
    }

    async fn lease(&self, request: Request<v1::LeaseRequest>) -> Answer<v1::LeaseReply> {
        let request = request.into_inner();
        let (call, free, wait) = (request.call, request.free_slots, request.wait_ms);
        self.record(None, |state| {
            state.know(&request.worker)?;
            state.leases.push(request);
            Ok::<_, Status>(())
        })?;
        let jobs = async {
            loop {
                let changed = self.changed.notified();
                let jobs = self.record_quietly(|state| {
                    let count = state.jobs.len().min(free as usize);
                    state.jobs.drain(..count).collect::<Vec<_>>()
                });
                if !jobs.is_empty() {
                    return jobs;
                }
                let _ = tokio::time::timeout(Duration::from_millis(20), changed).await;
            }
        };
        let jobs = tokio::time::timeout(Duration::from_millis(wait), jobs).await;
        let leases = jobs.unwrap_or_default();
        Ok(Response::new(v1::LeaseReply {
            call,
            ttl_ms: 5000,
            leases: leases
                .iter()
                .map(|job| leased_job_to_wire(job).unwrap())
                .collect(),
        }))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Answer<v1::RenewReply> {
        let request = request.into_inner();
        let drop = self.record(None, |state| {
            // Leases are renewed whoever is registered.
            let worker = request.worker.clone();
            state.renews.push(request);
            state.know(&worker)?;
            Ok::<_, Status>(std::mem::take(&mut state.drop))
        })?;
        Ok(Response::new(v1::RenewReply { ttl_ms: 5000, drop }))
    }

    async fn report(&self, request: Request<v1::ReportRequest>) -> Answer<v1::ReportReply> {
        self.record(None, |state| {
            if state.refuse_reports {
                return Err(Status::failed_precondition("stale"));
            }
            if let Some(code) = state.refuse_reports_with {
                state.order.push("refused report");
                return Err(Status::new(code, "refused"));
            }
            state.reports.push(request.into_inner());
            Ok(Response::new(v1::ReportReply {
                stop: state.stop_reports,
            }))
        })
    }

    async fn complete(&self, request: Request<v1::CompleteRequest>) -> Answer<v1::CompleteReply> {
        self.record(Some("complete"), |state| {
            if state.complete_unavailable {
                return Err(Status::unavailable("restarting"));
            }
            if let Some(code) = state.refuse_completes_with {
                return Err(Status::new(code, "refused"));
            }
            state.completes.push(request.into_inner());
            Ok(Response::new(v1::CompleteReply {
                weights: state.weights.into(),
            }))
        })
    }

    async fn fail(&self, request: Request<v1::FailRequest>) -> Answer<v1::FailReply> {
        self.record(Some("fail"), |state| state.fails.push(request.into_inner()));
        Ok(Response::new(v1::FailReply {}))
    }

    async fn release(&self, request: Request<v1::ReleaseRequest>) -> Answer<v1::ReleaseReply> {
        let attempts = request.into_inner().attempts;
        self.record(Some("release"), |state| state.releases.extend(attempts));
        Ok(Response::new(v1::ReleaseReply {}))
    }

    async fn log(&self, _: Request<v1::LogRequest>) -> Result<Response<v1::LogReply>, Status> {
        Ok(Response::new(v1::LogReply {}))
    }

    async fn leave(&self, _: Request<v1::LeaveRequest>) -> Answer<v1::LeaveReply> {
        self.record(Some("leave"), |state| state.leaves += 1);
        Ok(Response::new(v1::LeaveReply {}))
    }

    async fn upload_artifact(
        &self,
        request: Request<Streaming<v1::UploadArtifactRequest>>,
    ) -> Answer<v1::UploadArtifactReply> {
        use v1::upload_artifact_request::Part;
        let mut pieces = request.into_inner();
        let Some(Part::Header(header)) = pieces.message().await?.and_then(|piece| piece.part)
        else {
            return Err(Status::invalid_argument("no header"));
        };
        let mut content = Vec::new();
        while let Some(piece) = pieces.message().await? {
            let Some(Part::Data(data)) = piece.part else {
                return Err(Status::invalid_argument("a second header"));
            };
            content.extend(data);
        }
        let right = content.len() as u64 == header.size
            && Digest::of(&content).to_string() == header.digest;
        if !right {
            return Err(Status::invalid_argument(
                "other content than the header says",
            ));
        }
        while self.record_quietly(|state| state.stall_uploads) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.record(Some("upload"), |state| {
            if let Some(code) = state.refuse_uploads_with {
                return Err(Status::new(code, "refused"));
            }
            state.artifacts.insert(header.digest.clone(), content);
            state.uploads.push(header);
            Ok(())
        })?;
        Ok(Response::new(v1::UploadArtifactReply {}))
    }

    async fn find_dataset(
        &self,
        request: Request<v1::FindDatasetRequest>,
    ) -> Answer<v1::StoredDataset> {
        let fingerprint = request.into_inner().fingerprint;
        let found = self.record(None, |state| state.datasets.get(&fingerprint).cloned());
        let found = found.ok_or_else(|| Status::not_found("no such data set"))?;
        Ok(Response::new(found))
    }

    type DownloadArtifactStream =
        tokio_stream::Iter<std::vec::IntoIter<Result<v1::DownloadArtifactReply, Status>>>;

    async fn download_artifact(
        &self,
        request: Request<v1::DownloadArtifactRequest>,
    ) -> Answer<Self::DownloadArtifactStream> {
        let digest = request.into_inner().digest;
        let content = self.record(Some("download"), |state| {
            state.downloads += 1;
            state.artifacts.get(&digest).cloned()
        });
        let content = content.ok_or_else(|| Status::not_found("no such artifact"))?;
        while self.record_quietly(|state| state.held.contains(&digest)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let pieces: Vec<_> = content
            .chunks(5)
            .map(|piece| {
                Ok(v1::DownloadArtifactReply {
                    data: piece.to_vec(),
                })
            })
            .collect();
        Ok(Response::new(tokio_stream::iter(pieces)))
    }
}

impl Service {
    /// Without waking those who wait for a change, of which the caller is one.
    fn record_quietly<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap())
    }
}
