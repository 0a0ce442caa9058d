//! A worker that speaks the wire by hand, for the faults that a real one does not commit on demand.

use anyhow::Result;
use espalier_proto::v1;
use espalier_proto::v1::worker_service_client::WorkerServiceClient;
use tonic::transport::Channel;
use uuid::Uuid;

/// A registered worker instance without evaluators.
#[derive(Clone, Debug)]
pub struct SyntheticWorker {
    /// The client, for calls this type does not wrap.
    pub client: WorkerServiceClient<Channel>,
    /// The instance.
    pub id: Vec<u8>,
    call: u64,
}

impl SyntheticWorker {
    /// Registers a new instance that offers the evaluator `scripted`.
    ///
    /// # Errors
    /// The coordinator's refusal.
    pub async fn register(address: &str, name: &str, slots: u32) -> Result<Self> {
        let channel = Channel::from_shared(address.to_owned())?.connect().await?;
        let mut client = WorkerServiceClient::new(channel);
        let id = Uuid::new_v4().as_bytes().to_vec();
        let offer = v1::EvaluatorOffer {
            name: "scripted".to_owned(),
            jobs: vec!["train".to_owned()],
            checkpoints: false,
        };
        client
            .register(v1::RegisterRequest {
                worker: id.clone(),
                name: name.to_owned(),
                slots,
                evaluators: vec![offer],
                device: "cpu".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                cluster: Vec::new(),
                protocol: espalier_proto::PROTOCOL_VERSION,
                labels: std::collections::HashMap::default(),
                home: Vec::new(),
                results: Vec::new(),
            })
            .await?;
        Ok(Self {
            client,
            id,
            call: 0,
        })
    }

    /// One Lease call.
    ///
    /// # Errors
    /// The coordinator's refusal.
    pub async fn lease(&mut self, free_slots: u32, wait_ms: u64) -> Result<Vec<v1::Lease>> {
        self.call += 1;
        let request = v1::LeaseRequest {
            worker: self.id.clone(),
            call: self.call,
            free_slots,
            wait_ms,
            missing_datasets: Vec::new(),
        };
        Ok(self.client.lease(request).await?.into_inner().leases)
    }

    /// The number of the last Lease call.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.call
    }

    /// Renews `held`, saying that Lease calls up to `calls_ended` have ended; the attempts to drop.
    ///
    /// # Errors
    /// The coordinator's refusal.
    pub async fn renew(
        &mut self,
        held: Vec<v1::Attempt>,
        calls_ended: u64,
    ) -> Result<Vec<v1::Attempt>> {
        let request = v1::RenewRequest {
            worker: self.id.clone(),
            held,
            calls_ended,
        };
        Ok(self.client.renew(request).await?.into_inner().drop)
    }

    /// Reports one measurement of `score`.
    ///
    /// # Errors
    /// The coordinator's refusal.
    pub async fn report(
        &mut self,
        attempt: &v1::Attempt,
        step: u32,
        score: f64,
    ) -> Result<v1::ReportReply, tonic::Status> {
        let request = v1::ReportRequest {
            worker: self.id.clone(),
            attempt: Some(attempt.clone()),
            measurement: Some(measurement(step, score)),
            number: step,
        };
        Ok(self.client.report(request).await?.into_inner())
    }

    /// Completes an attempt with one measurement of `score`.
    ///
    /// # Errors
    /// The coordinator's refusal.
    pub async fn complete(
        &mut self,
        attempt: &v1::Attempt,
        score: f64,
    ) -> Result<v1::CompleteReply, tonic::Status> {
        let request = v1::CompleteRequest {
            worker: self.id.clone(),
            attempt: Some(attempt.clone()),
            measurements: vec![measurement(1, score)],
            test_metrics: Vec::new(),
            seconds: 0.1,
            weights: String::new(),
        };
        Ok(self.client.complete(request).await?.into_inner())
    }
}

fn measurement(step: u32, score: f64) -> v1::Measurement {
    v1::Measurement {
        step,
        metrics: vec![v1::Metric {
            name: "score".to_owned(),
            value: score,
        }],
    }
}
