//! What callers do that they may not, and that each kind of it is one line in the log. In a file of its own: it reads
//! what its process logs.

// A step that fails must end its test.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};

use espalier_proto::v1;
use espalier_proto::v1::access_service_client::AccessServiceClient;
use espalier_proto::v1::worker_service_client::WorkerServiceClient;
use espalier_runtime::tls::{ClientTls, KeyRequest};
use support::LIMIT;
use support::secured::{Secured, registration, with};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use uuid::Uuid;

/// What this process has logged.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Logged {
    /// Every line from now on at the default level.
    fn start() -> Self {
        let logged = Self::default();
        let writer = logged.clone();
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::INFO)
            .with_writer(move || writer.clone())
            .init();
        logged
    }

    /// The warnings with these words.
    fn warnings(&self, words: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().filter(|line| line.contains("WARN"));
        let found = lines.filter(|line| line.contains(words));
        found.map(str::to_owned).collect()
    }

    /// Exactly one warning with these words, which comes in a moment.
    async fn one(&self, words: &str) -> String {
        let waiting = async {
            while self.warnings(words).is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(LIMIT, waiting).await;
        waited.unwrap_or_else(|_| panic!("no warning with {words:?}"));
        let mut found = self.warnings(words);
        assert_eq!(found.len(), 1, "{found:#?}");
        found.remove(0)
    }
}

/// A call of one message, with as many messages as are taken.
async fn endless(channel: Channel) -> Result<HealthCheckResponse, Status> {
    let message = || HealthCheckRequest {
        service: "x".repeat(60_000),
    };
    let messages = tokio_stream::iter(std::iter::repeat_with(message));
    let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let call = client.client_streaming(Request::new(messages), path, codec);
    let ended = tokio::time::timeout(LIMIT, call).await;
    Ok(ended.expect("the call goes on")?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_callers_do_that_they_may_not_is_one_line_of_the_log_for_each_kind() {
    let logged = Logged::start();
    let folder = tempfile::tempdir().unwrap();
    let server = Secured::start(folder.path()).await;
    let worker = server.token("worker");
    let (mut honest, mut thief) = (
        server.join("honest", &worker).await,
        server.join("thief", &worker).await,
    );
    let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
    honest.register(registration(&one, "honest")).await.unwrap();
    thief.register(registration(&two, "thief")).await.unwrap();
    for _ in 0..3 {
        let posed = thief.register(registration(&two, "honest")).await;
        assert_eq!(posed.unwrap_err().code(), Code::PermissionDenied);
        let worker = one.as_bytes().to_vec();
        let left = thief.leave(v1::LeaveRequest { worker }).await;
        assert_eq!(left.unwrap_err().code(), Code::PermissionDenied);
    }
    let line = logged.one("another worker").await;
    assert!(line.contains("WorkerService/Register"), "{line}");
    assert!(line.contains("thief") && line.contains("honest"), "{line}");
    assert!(line.contains("127.0.0.1"), "{line}");

    let mut access = AccessServiceClient::new(server.channel(None).await);
    for _ in 0..3 {
        let enrol = v1::EnrolRequest {
            name: "node".to_owned(),
            request: vec![7; 70_000],
        };
        let refused = access.enrol(with(&worker, enrol)).await.unwrap_err();
        assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    }
    let line = logged.one("too large").await;
    assert!(line.contains("AccessService/Enrol"), "{line}");
    // Whoever has no token keeps no call of one message open by sending more.
    let refused = endless(server.channel(None).await).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    server.stop().await;
    handshakes(&logged).await;
}

/// A worker of another cluster is told of, a probe of the port is not.
async fn handshakes(logged: &Logged) {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Secured::start(folder.path()).await;
    for _ in 0..3 {
        drop(
            TcpStream::connect(&server.url["https://".len()..])
                .await
                .unwrap(),
        );
    }
    let stranger = Secured::start(other.path()).await;
    let key = KeyRequest::new().unwrap();
    let enrol = v1::EnrolRequest {
        name: "node".to_owned(),
        request: key.request().to_vec(),
    };
    let mut access = AccessServiceClient::new(stranger.channel(None).await);
    let reply = access.enrol(with(&stranger.token("worker"), enrol)).await;
    let identity = key.with_certificate(&reply.unwrap().into_inner().certificate);
    assert_eq!(logged.warnings("handshake"), Vec::<String>::new());
    let authority = server.token("admin").authority;
    for _ in 0..3 {
        let tls = ClientTls::new(authority, Some(identity.as_ref().unwrap())).unwrap();
        let endpoint = Endpoint::from_shared(server.url.clone()).unwrap();
        // In TLS 1.3 a client hears of it with its first call.
        if let Ok(channel) = endpoint.connect_with_connector(tls.connector()).await {
            let mut client = WorkerServiceClient::new(channel);
            let refused = client.register(registration(&Uuid::new_v4(), "node")).await;
            refused.unwrap_err();
        }
    }
    let line = logged.one("a TLS handshake failed").await;
    assert!(line.contains("127.0.0.1"), "{line}");
    stranger.stop().await;
    server.stop().await;
}
