//! A worker that a test plays over the wire.

// Each test file is a program of its own and uses a part of this.
#![allow(dead_code)]

use espalier_common::ids::Digest;
use espalier_proto::v1;
use espalier_proto::v1::worker_service_client::WorkerServiceClient;
use tonic::transport::{Channel, Endpoint};

/// What every trial leaves.
pub(crate) const WEIGHTS: &[u8] = b"the weights of a network";

/// A worker with one slot that offers the evaluator `mine`.
pub(crate) struct Played {
    service: WorkerServiceClient<Channel>,
    id: Vec<u8>,
    calls: u64,
}

impl Played {
    /// Registers one.
    pub(crate) async fn join(address: &str) -> Self {
        let endpoint = Endpoint::from_shared(address.to_owned()).unwrap();
        let mut service = WorkerServiceClient::new(endpoint.connect().await.unwrap());
        let id = uuid::Uuid::new_v4().as_bytes().to_vec();
        service
            .register(v1::RegisterRequest {
                worker: id.clone(),
                name: "played".to_owned(),
                slots: 1,
                evaluators: vec![v1::EvaluatorOffer {
                    name: "mine".to_owned(),
                    jobs: vec!["train".to_owned()],
                    checkpoints: false,
                }],
                device: "cpu".to_owned(),
                version: "test".to_owned(),
                ..Default::default()
            })
            .await
            .unwrap();
        Self {
            service,
            id,
            calls: 0,
        }
    }

    /// Leases a job; `None` when there is none for a second.
    pub(crate) async fn lease(&mut self) -> Option<v1::Attempt> {
        self.calls += 1;
        let reply = self
            .service
            .lease(v1::LeaseRequest {
                worker: self.id.clone(),
                call: self.calls,
                free_slots: 1,
                wait_ms: 1_000,
                missing_datasets: Vec::new(),
            })
            .await
            .unwrap();
        reply.into_inner().leases.pop()?.attempt
    }

    /// Completes a job with a loss, and uploads its weights when they are wanted.
    pub(crate) async fn complete(&mut self, attempt: v1::Attempt, loss: f64) {
        let digest = Digest::of(WEIGHTS).to_string();
        let measurement = |step| v1::Measurement {
            step,
            metrics: vec![v1::Metric {
                name: "loss".to_owned(),
                value: loss,
            }],
        };
        let reply = self
            .service
            .complete(v1::CompleteRequest {
                worker: self.id.clone(),
                attempt: Some(attempt.clone()),
                measurements: vec![measurement(1), measurement(2)],
                test_metrics: Vec::new(),
                seconds: 1.5,
                weights: digest.clone(),
            })
            .await
            .unwrap();
        if reply.into_inner().weights() == v1::WeightsDecision::Upload {
            self.upload(attempt, digest).await;
        }
    }

    /// Fails a job: its candidate diverged.
    pub(crate) async fn fail(&mut self, attempt: v1::Attempt) {
        let message = format!("the loss of trial {} is NaN", attempt.trial);
        self.fail_with(attempt, message).await;
    }

    /// Fails a job by its candidate, with these words.
    pub(crate) async fn fail_with(&mut self, attempt: v1::Attempt, message: String) {
        let failure = v1::Failure {
            domain: "candidate".to_owned(),
            kind: "diverged".to_owned(),
            message,
            log_tail: String::new(),
        };
        let fail = v1::FailRequest {
            worker: self.id.clone(),
            attempt: Some(attempt),
            failure: Some(failure),
        };
        self.service.fail(fail).await.unwrap();
    }

    async fn upload(&mut self, attempt: v1::Attempt, digest: String) {
        use v1::upload_artifact_request::Part;

        let header = v1::UploadHeader {
            worker: self.id.clone(),
            attempt: Some(attempt),
            digest,
            size: WEIGHTS.len() as u64,
            checkpoint: None,
        };
        let parts = [Part::Header(header), Part::Data(WEIGHTS.to_vec())];
        let stream =
            tokio_stream::iter(parts.map(|part| v1::UploadArtifactRequest { part: Some(part) }));
        self.service.upload_artifact(stream).await.unwrap();
    }
}
