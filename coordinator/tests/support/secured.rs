//! A coordinator in this process that speaks TLS, and what its callers need.
// Each test file is a crate of its own and uses a part of this, and a step that fails must end its test.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::time::Duration;

use espalier_coordinator::TlsMode;
use espalier_coordinator::server::{self, Ready, ServerConfig, ServerError};
use espalier_proto::v1;
use espalier_proto::v1::access_service_client::AccessServiceClient;
use espalier_proto::v1::search_service_client::SearchServiceClient;
use espalier_proto::v1::worker_service_client::WorkerServiceClient;
use espalier_runtime::Shutdown;
use espalier_runtime::tls::{ClientTls, Identity, JoinToken, KeyRequest};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use super::spec;

/// A running coordinator with TLS.
pub struct Secured {
    /// Where it listens.
    pub url: String,
    ready: Ready,
    shutdown: Shutdown,
    task: JoinHandle<Result<(), ServerError>>,
}

impl Secured {
    pub async fn start(folder: &std::path::Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let mut config = ServerConfig::new(folder);
        config.tls = TlsMode::On;
        let shutdown = Shutdown::new();
        let (sender, ready) = oneshot::channel();
        let task = server::run_and_tell(config, listener, shutdown.clone(), sender);
        let task = tokio::spawn(task);
        Self {
            url,
            ready: ready.await.unwrap(),
            shutdown,
            task,
        }
    }

    pub async fn stop(self) {
        self.shutdown.request();
        let ended = tokio::time::timeout(Duration::from_secs(8), self.task).await;
        ended.expect("the end takes too long").unwrap().unwrap();
    }

    pub fn token(&self, role: &str) -> JoinToken {
        let tokens = &self.ready.tokens;
        let found = tokens.iter().find(|(known, _)| known.word() == role);
        found.unwrap().1.parse().unwrap()
    }

    pub async fn channel(&self, identity: Option<&Identity>) -> Channel {
        let tls = ClientTls::new(self.token("admin").authority, identity).unwrap();
        let endpoint = Endpoint::from_shared(self.url.clone()).unwrap();
        let connected = endpoint.connect_with_connector(tls.connector()).await;
        connected.unwrap()
    }

    /// Joins as a worker of a name.
    pub async fn join(&self, name: &str, token: &JoinToken) -> WorkerServiceClient<Channel> {
        let key = KeyRequest::new().unwrap();
        let request = v1::EnrolRequest {
            name: name.to_owned(),
            request: key.request().to_vec(),
        };
        let mut access = AccessServiceClient::new(self.channel(None).await);
        let reply = access.enrol(with(token, request)).await.unwrap();
        let identity = key.with_certificate(&reply.into_inner().certificate);
        WorkerServiceClient::new(self.channel(Some(&identity.unwrap())).await)
    }

    pub async fn create(&self, name: &str) {
        let request = v1::CreateRequest {
            spec: spec(name, 3),
            file: "spec.yaml".to_owned(),
            ..v1::CreateRequest::default()
        };
        let mut searches = SearchServiceClient::new(self.channel(None).await);
        let admin = self.token("admin");
        searches.create(with(&admin, request)).await.unwrap();
    }
}

/// A call with a token.
pub fn with<T>(token: &JoinToken, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {}", token.reveal()).parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    request
}

/// What a worker with one slot says of itself.
pub fn registration(worker: &Uuid, name: &str) -> v1::RegisterRequest {
    v1::RegisterRequest {
        worker: worker.as_bytes().to_vec(),
        name: name.to_owned(),
        slots: 1,
        evaluators: vec![v1::EvaluatorOffer {
            name: "scripted".to_owned(),
            jobs: vec!["train".to_owned()],
            checkpoints: false,
        }],
        device: "cpu".to_owned(),
        version: "0".to_owned(),
        cluster: Vec::new(),
        protocol: espalier_proto::PROTOCOL_VERSION,
        labels: std::collections::HashMap::default(),
        home: Vec::new(),
        results: Vec::new(),
    }
}
