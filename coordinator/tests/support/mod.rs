//! A coordinator in this process on a free loopback port, and a worker that speaks the wire by hand.
// Every test file uses its own part, and a step that fails must end its test.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod secured;
pub mod stored;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use espalier_common::candidate::Candidate;
use espalier_common::ids::Digest;
use espalier_common::job::LeasedJob;
use espalier_coordinator::server::{self, ServerConfig, ServerError};
use espalier_proto::v1::search_service_client::SearchServiceClient;
use espalier_proto::v1::worker_service_client::WorkerServiceClient;
use espalier_proto::{MAX_MESSAGE_BYTES, leased_job_from_wire, v1};
use espalier_runtime::Shutdown;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

/// Long enough for a slow machine; nothing waits for it when all is well.
pub const LIMIT: Duration = Duration::from_secs(30);

/// A running coordinator.
pub struct TestServer {
    pub endpoint: Endpoint,
    pub channel: Channel,
    shutdown: Shutdown,
    task: JoinHandle<Result<(), ServerError>>,
}

impl TestServer {
    pub async fn start(data_dir: &Path) -> Self {
        Self::start_with(data_dir, |_| {}).await
    }

    /// With leases that live for so long.
    pub async fn start_with_leases(data_dir: &Path, ttl_ms: u64) -> Self {
        Self::start_with(data_dir, |config| config.lease_ttl_ms = ttl_ms).await
    }

    pub async fn start_with(data_dir: &Path, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let mut config = ServerConfig::new(data_dir);
        change(&mut config);
        let shutdown = Shutdown::new();
        let task = tokio::spawn(server::run(config, listener, shutdown.clone()));
        // The listener takes connections from the start; calls wait until the journal has been read.
        let endpoint = Channel::from_shared(address).unwrap();
        let channel = endpoint.connect().await.unwrap();
        Self {
            endpoint,
            channel,
            shutdown,
            task,
        }
    }

    /// Ends the coordinator in order, as SIGTERM does.
    pub async fn stop(self) {
        self.shutdown.request();
        drop(self.channel);
        let ended = tokio::time::timeout(Duration::from_secs(8), self.task).await;
        ended.expect("the end takes too long").unwrap().unwrap();
    }

    pub fn searches(&self) -> SearchServiceClient<Channel> {
        SearchServiceClient::new(self.channel.clone())
    }

    pub async fn create(&self, spec: &str) -> v1::SearchStatus {
        self.try_create(spec).await.unwrap()
    }

    pub async fn try_create(&self, spec: &str) -> Result<v1::SearchStatus, Status> {
        let request = v1::CreateRequest {
            spec: spec.to_owned(),
            file: "spec.yaml".to_owned(),
            dataset_json: String::new(),
            table_json: String::new(),
            warm_start_json: String::new(),
            id: Vec::new(),
        };
        let reply = self.searches().create(request).await?;
        Ok(reply.into_inner().status.unwrap())
    }

    pub async fn status(&self, search: &str) -> v1::SearchStatus {
        let search = search.to_owned();
        let request = v1::GetRequest { search };
        self.searches().get(request).await.unwrap().into_inner()
    }

    /// Waits until the status is as `wanted`.
    pub async fn when(
        &self,
        search: &str,
        what: &str,
        wanted: impl Fn(&v1::SearchStatus) -> bool,
    ) -> v1::SearchStatus {
        let waiting = async {
            loop {
                let status = self.status(search).await;
                if wanted(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        match tokio::time::timeout(LIMIT, waiting).await {
            Ok(status) => status,
            Err(_) => panic!("no {what}: {:?}", self.status(search).await),
        }
    }

    pub async fn finished(&self, search: &str) -> v1::SearchStatus {
        self.when(search, "end", |status| status.phase == "finished")
            .await
    }

    pub async fn trials(&self, search: &str) -> Vec<v1::Trial> {
        let request = v1::ListTrialsRequest {
            search: search.to_owned(),
            after: 0,
            page_size: 1_000,
            states: Vec::new(),
        };
        let reply = self.searches().list_trials(request).await.unwrap();
        reply.into_inner().trials
    }

    pub async fn worker(&self, name: &str, slots: u32) -> TestWorker {
        TestWorker::register(self.channel.clone(), name, slots).await
    }
}

/// One instance of a worker, whose evaluator `scripted` is the test.
#[derive(Clone)]
pub struct TestWorker {
    pub client: WorkerServiceClient<Channel>,
    pub id: Vec<u8>,
    pub name: String,
    pub slots: u32,
    pub call: u64,
    pub jobs: Vec<String>,
    pub checkpoints: bool,
    /// What it says that it speaks.
    pub protocol: u32,
    /// Where it says that it runs.
    pub home: Vec<u8>,
    /// What it says that it delivers next.
    pub results: Vec<v1::Attempt>,
}

impl TestWorker {
    pub async fn register(channel: Channel, name: &str, slots: u32) -> Self {
        let mut worker = Self::unregistered(channel, name, slots);
        worker.register_again().await.unwrap();
        worker
    }

    pub fn unregistered(channel: Channel, name: &str, slots: u32) -> Self {
        Self {
            client: WorkerServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES),
            id: Uuid::new_v4().as_bytes().to_vec(),
            name: name.to_owned(),
            slots,
            call: 0,
            jobs: vec!["train".to_owned()],
            checkpoints: false,
            protocol: espalier_proto::PROTOCOL_VERSION,
            home: Vec::new(),
            results: Vec::new(),
        }
    }

    pub async fn register_again(&mut self) -> Result<v1::RegisterReply, Status> {
        let request = v1::RegisterRequest {
            worker: self.id.clone(),
            name: self.name.clone(),
            slots: self.slots,
            evaluators: vec![v1::EvaluatorOffer {
                name: "scripted".to_owned(),
                jobs: self.jobs.clone(),
                checkpoints: self.checkpoints,
            }],
            device: "cpu".to_owned(),
            version: "0.1.0".to_owned(),
            cluster: Vec::new(),
            protocol: self.protocol,
            labels: std::collections::HashMap::default(),
            home: self.home.clone(),
            results: self.results.clone(),
        };
        Ok(self.client.register(request).await?.into_inner())
    }

    /// The same instance on another connection: the coordinator was started again.
    pub fn reconnect(&mut self, channel: Channel) {
        self.client = WorkerServiceClient::new(channel);
    }

    pub async fn lease(&mut self, free_slots: u32, wait_ms: u64) -> Result<Vec<LeasedJob>, Status> {
        self.call += 1;
        let request = v1::LeaseRequest {
            worker: self.id.clone(),
            call: self.call,
            free_slots,
            wait_ms,
            missing_datasets: Vec::new(),
        };
        let reply = self.client.lease(request).await?.into_inner();
        assert_eq!(reply.call, self.call);
        let jobs = reply.leases.iter().map(leased_job_from_wire);
        Ok(jobs.collect::<Result<_, _>>().unwrap())
    }

    /// One job, waited for.
    pub async fn one(&mut self) -> LeasedJob {
        let mut jobs = self.lease(1, 10_000).await.unwrap();
        assert_eq!(jobs.len(), 1, "one job was to be leased");
        jobs.remove(0)
    }

    pub async fn renew(&mut self, held: &[&LeasedJob], calls_ended: u64) -> Vec<v1::Attempt> {
        self.try_renew(held, calls_ended).await.unwrap()
    }

    pub async fn try_renew(
        &mut self,
        held: &[&LeasedJob],
        calls_ended: u64,
    ) -> Result<Vec<v1::Attempt>, Status> {
        let request = v1::RenewRequest {
            worker: self.id.clone(),
            held: held.iter().map(|job| attempt(job)).collect(),
            calls_ended,
        };
        Ok(self.client.renew(request).await?.into_inner().drop)
    }

    /// Hands a job back.
    pub async fn release(&mut self, job: &LeasedJob) {
        let request = v1::ReleaseRequest {
            worker: self.id.clone(),
            attempts: vec![attempt(job)],
        };
        self.client.release(request).await.unwrap();
    }

    /// Says goodbye.
    pub async fn leave(&mut self) {
        let request = v1::LeaveRequest {
            worker: self.id.clone(),
        };
        self.client.leave(request).await.unwrap();
    }

    /// Says that the job failed by a fault of this machine.
    pub async fn fail(&mut self, job: &LeasedJob) -> Result<(), Status> {
        let failure = v1::FailRequest {
            worker: self.id.clone(),
            attempt: Some(attempt(job)),
            failure: Some(v1::Failure {
                domain: "worker".to_owned(),
                kind: "crashed".to_owned(),
                // Another last line each time, or the search would be paused.
                message: format!("crashed in {}", Uuid::new_v4()),
                log_tail: String::new(),
            }),
        };
        self.client.fail(failure).await.map(drop)
    }

    /// Reports a measurement; whether the attempt is to stop.
    pub async fn report(&mut self, job: &LeasedJob, step: u32, score: f64) -> Result<bool, Status> {
        let request = v1::ReportRequest {
            worker: self.id.clone(),
            attempt: Some(attempt(job)),
            measurement: Some(measurement(step, score)),
            number: step,
        };
        Ok(self.client.report(request).await?.into_inner().stop)
    }

    pub async fn complete(
        &mut self,
        job: &LeasedJob,
        score: f64,
    ) -> Result<v1::WeightsDecision, Status> {
        self.complete_with(job, score, "").await
    }

    pub async fn complete_with(
        &mut self,
        job: &LeasedJob,
        score: f64,
        weights: &str,
    ) -> Result<v1::WeightsDecision, Status> {
        self.complete_at(job, 1, score, weights).await
    }

    pub async fn complete_with_step(
        &mut self,
        job: &LeasedJob,
        step: u32,
        score: f64,
    ) -> Result<v1::WeightsDecision, Status> {
        self.complete_at(job, step, score, "").await
    }

    pub async fn complete_at(
        &mut self,
        job: &LeasedJob,
        step: u32,
        score: f64,
        weights: &str,
    ) -> Result<v1::WeightsDecision, Status> {
        let request = v1::CompleteRequest {
            worker: self.id.clone(),
            attempt: Some(attempt(job)),
            measurements: vec![measurement(step, score)],
            test_metrics: Vec::new(),
            seconds: 0.25,
            weights: weights.to_owned(),
        };
        let reply = self.client.complete(request).await?.into_inner();
        Ok(reply.weights())
    }

    pub async fn upload(
        &mut self,
        job: &LeasedJob,
        digest: &str,
        content: &[u8],
    ) -> Result<(), Status> {
        self.upload_with(job, digest, content, None).await
    }

    /// Hands a job back with a checkpoint after so many epochs.
    pub async fn break_off(
        &mut self,
        job: &LeasedJob,
        step: u32,
        content: &[u8],
    ) -> Result<(), Status> {
        let digest = Digest::of(content).to_string();
        self.upload_with(job, &digest, content, Some(step)).await
    }

    async fn upload_with(
        &mut self,
        job: &LeasedJob,
        digest: &str,
        content: &[u8],
        checkpoint: Option<u32>,
    ) -> Result<(), Status> {
        use v1::upload_artifact_request::Part;
        let header = v1::UploadHeader {
            worker: self.id.clone(),
            attempt: Some(attempt(job)),
            digest: digest.to_owned(),
            size: content.len() as u64,
            checkpoint: checkpoint.map(|step| v1::CheckpointHeader { step }),
        };
        let parts = std::iter::once(Part::Header(header))
            .chain(content.chunks(3).map(|piece| Part::Data(piece.to_vec())))
            .map(|part| v1::UploadArtifactRequest { part: Some(part) });
        let parts: Vec<_> = parts.collect();
        let stream = tokio_stream::iter(parts);
        self.client.upload_artifact(stream).await.map(drop)
    }

    /// Runs jobs until there are none for `wait_ms`; every one is told to `ran`. The score is the
    /// candidate's `x`.
    pub async fn work(&mut self, wait_ms: u64, mut ran: impl FnMut(&LeasedJob)) {
        loop {
            let jobs = self.lease(self.slots, wait_ms).await.unwrap();
            if jobs.is_empty() {
                return;
            }
            for job in jobs {
                ran(&job);
                self.complete(&job, score(&job.decisions)).await.unwrap();
            }
        }
    }
}

/// What the scripted evaluator would measure.
pub fn score(candidate: &Candidate) -> f64 {
    let json = serde_json::to_value(candidate).unwrap();
    let found = json.as_object().unwrap().iter();
    let mut values = found.filter(|(path, _)| path.ends_with('x'));
    values.next().unwrap().1.as_f64().unwrap()
}

pub fn attempt(job: &LeasedJob) -> v1::Attempt {
    espalier_proto::attempt_to_wire(job.key())
}

pub fn measurement(step: u32, score: f64) -> v1::Measurement {
    v1::Measurement {
        step,
        metrics: vec![v1::Metric {
            name: "score".to_owned(),
            value: score,
        }],
    }
}

/// A spec without a network, whose evaluator is the test.
pub fn spec(name: &str, trials: u32) -> String {
    format!(
        "name: {name}
hyperparameters:
  x: {{range: [0.0, 1.0]}}
  y: {{choice: [1, 2, 3, 4, 5]}}
evaluator: scripted
training: {{epochs: 1}}
searcher: random
objectives: [{{maximize: score}}]
budget: {{trials: {trials}}}
seed: 7
"
    )
}

/// Every trial of the budget once, completed, its score that of its candidate.
pub async fn assert_exact(server: &TestServer, search: &str, trials: u32) -> Vec<v1::Trial> {
    let status = server.finished(search).await;
    let listed = server.trials(search).await;
    let numbers: Vec<u32> = listed.iter().map(|trial| trial.number).collect();
    assert_eq!(numbers, (1..=trials).collect::<Vec<_>>());
    let mut seen = BTreeMap::new();
    for trial in &listed {
        assert_eq!(trial.state, "completed", "{trial:?}");
        let candidate: Candidate = serde_json::from_str(&trial.candidate_json).unwrap();
        assert_eq!(trial.score, Some(score(&candidate)), "{trial:?}");
        let twin = seen.insert(trial.candidate_id.clone(), trial.number);
        assert_eq!(twin, None, "the same candidate twice");
    }
    let counts = status.counts.unwrap();
    assert_eq!(
        (
            counts.leased,
            counts.completed,
            counts.running,
            counts.queued
        ),
        (trials, trials, 0, 0)
    );
    let scores = listed.iter().filter_map(|trial| trial.score);
    assert_eq!(status.best_score, scores.reduce(f64::max));
    listed
}
