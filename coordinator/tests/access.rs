//! Who may call what over TLS, with a coordinator in this process and callers that speak the wire by hand.

// A step that fails must end its test.
#![allow(clippy::unwrap_used)]

mod support;

use espalier_coordinator::TlsMode;
use espalier_coordinator::server::ServerError;
use espalier_proto::v1;
use espalier_proto::v1::access_service_client::AccessServiceClient;
use espalier_proto::v1::search_service_client::SearchServiceClient;
use espalier_proto::v1::worker_service_client::WorkerServiceClient;
use espalier_runtime::tls::{JoinToken, KeyRequest};
use support::secured::{Secured, registration, with};
use support::{LIMIT, spec};
use tonic::Code;
use uuid::Uuid;

fn lease(worker: &Uuid, call: u64) -> v1::LeaseRequest {
    v1::LeaseRequest {
        worker: worker.as_bytes().to_vec(),
        call,
        free_slots: 1,
        wait_ms: 10_000,
        missing_datasets: Vec::new(),
    }
}

fn code<T: std::fmt::Debug>(answer: Result<T, tonic::Status>) -> Code {
    answer.unwrap_err().code()
}

#[test]
fn beyond_loopback_tls_is_the_default_and_nobody_can_do_without_it() {
    let local = ["127.0.0.1:7777", "127.8.0.1:7777", "[::1]:7777"];
    let reachable = [
        "0.0.0.0:7777",
        "[::]:7777",
        "10.0.0.5:7777",
        "192.168.1.5:7777",
        "[fd00::5]:7777",
    ];
    assert_eq!(TlsMode::default(), TlsMode::Auto);
    let at = |mode: TlsMode, address: &str| mode.at(address.parse().unwrap());
    for address in local {
        assert!(!at(TlsMode::Auto, address).unwrap(), "{address}");
        assert!(at(TlsMode::On, address).unwrap(), "{address}");
        assert!(!at(TlsMode::Off, address).unwrap(), "{address}");
    }
    for address in reachable {
        assert!(at(TlsMode::Auto, address).unwrap(), "{address}");
        assert!(at(TlsMode::On, address).unwrap(), "{address}");
        let off = at(TlsMode::Off, address);
        assert!(
            matches!(&off, Err(ServerError::Exposed { address: refused }) if refused.to_string() == address),
            "{address}: {off:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_can_not_administer_and_an_admin_can_not_pose_as_a_worker() {
    let folder = tempfile::tempdir().unwrap();
    let server = Secured::start(folder.path()).await;
    let key = KeyRequest::new().unwrap();
    let request = v1::EnrolRequest {
        name: "node".to_owned(),
        request: key.request().to_vec(),
    };
    let mut access = AccessServiceClient::new(server.channel(None).await);
    let reply = access.enrol(with(&server.token("worker"), request)).await;
    let certificate = reply.unwrap().into_inner().certificate;
    let identity = key.with_certificate(&certificate).unwrap();
    let channel = server.channel(Some(&identity)).await;

    let mut searches = SearchServiceClient::new(channel.clone());
    let listed = searches.list(v1::ListRequest::default()).await;
    assert_eq!(code(listed), Code::PermissionDenied);
    let mut access = AccessServiceClient::new(channel);
    let tokens = access.list_tokens(v1::ListTokensRequest {}).await;
    assert_eq!(code(tokens), Code::PermissionDenied);
    let who = access.who_am_i(v1::WhoAmIRequest {}).await.unwrap();
    assert_eq!(who.into_inner().role, "worker");
    // Under another name than the certificate's it gets no certificate either.
    let other = v1::EnrolRequest {
        name: "other".to_owned(),
        request: KeyRequest::new().unwrap().request().to_vec(),
    };
    assert_eq!(code(access.enrol(other).await), Code::PermissionDenied);

    let mut workers = WorkerServiceClient::new(server.channel(None).await);
    let worker = Uuid::new_v4();
    for role in ["admin", "viewer", "worker"] {
        let request = with(&server.token(role), registration(&worker, "node"));
        assert_eq!(
            code(workers.register(request).await),
            Code::PermissionDenied,
            "{role}"
        );
    }
    let nobody = workers.register(registration(&worker, "node")).await;
    assert_eq!(code(nobody), Code::Unauthenticated);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_can_not_report_on_anothers_lease() {
    let folder = tempfile::tempdir().unwrap();
    let server = Secured::start(folder.path()).await;
    server.create("mine").await;
    let token = server.token("worker");
    let (mut honest, mut thief) = (
        server.join("honest", &token).await,
        server.join("thief", &token).await,
    );
    let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
    honest.register(registration(&one, "honest")).await.unwrap();
    thief.register(registration(&two, "thief")).await.unwrap();
    let stolen = thief.register(registration(&one, "thief")).await;
    assert_eq!(code(stolen), Code::PermissionDenied);
    let posed = thief.register(registration(&two, "honest")).await;
    assert_eq!(code(posed), Code::PermissionDenied);

    let reply = honest.lease(lease(&one, 1)).await.unwrap().into_inner();
    let attempt = reply.leases[0].attempt.clone();
    let measurement = v1::Measurement {
        step: 1,
        metrics: vec![v1::Metric {
            name: "score".to_owned(),
            value: 0.5,
        }],
    };
    let report = |worker: &Uuid| v1::ReportRequest {
        worker: worker.as_bytes().to_vec(),
        attempt: attempt.clone(),
        measurement: Some(measurement.clone()),
        number: 1,
    };
    // As the worker that holds it, and as itself.
    assert_eq!(
        code(thief.report(report(&one)).await),
        Code::PermissionDenied
    );
    assert_eq!(
        code(thief.report(report(&two)).await),
        Code::FailedPrecondition
    );
    let worker = one.as_bytes().to_vec();
    let release = v1::ReleaseRequest {
        worker: worker.clone(),
        attempts: attempt.clone().into_iter().collect(),
    };
    assert_eq!(code(thief.release(release).await), Code::PermissionDenied);
    let leave = v1::LeaveRequest { worker };
    assert_eq!(code(thief.leave(leave).await), Code::PermissionDenied);
    honest.report(report(&one)).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_ends_calls_that_are_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let server = Secured::start(folder.path()).await;
    server.create("watched").await;
    let admin = server.token("admin");
    let mut access = AccessServiceClient::new(server.channel(None).await);
    let request = v1::CreateTokenRequest {
        role: "viewer".to_owned(),
        ttl_ms: 0,
        label: String::new(),
    };
    let made = access.create_token(with(&admin, request)).await.unwrap();
    let made = made.into_inner();
    let viewer: JoinToken = made.secret.parse().unwrap();
    let mut searches = SearchServiceClient::new(server.channel(None).await);
    let search = "watched".to_owned();
    let watch = with(&viewer, v1::WatchRequest { search });
    let mut stream = searches.watch(watch).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();

    let id = made.token.unwrap().id;
    let request = v1::RevokeTokenRequest { id: id.clone() };
    access.revoke_token(with(&admin, request)).await.unwrap();
    let ended = tokio::time::timeout(LIMIT, async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended without a word"),
                Err(status) => return status,
            }
        }
    });
    let status = ended.await.expect("the stream goes on");
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    let again = searches
        .list(with(&viewer, v1::ListRequest::default()))
        .await;
    let again = again.unwrap_err();
    assert_eq!(again.code(), Code::Unauthenticated);
    assert!(again.message().contains(&id), "{again}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_without_tls_has_no_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let server = support::TestServer::start(folder.path()).await;
    let mut access = AccessServiceClient::new(server.channel.clone());
    let request = v1::CreateTokenRequest {
        role: "admin".to_owned(),
        ttl_ms: 0,
        label: String::new(),
    };
    let refused = access.create_token(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("--tls on"), "{refused}");
    let who = access.who_am_i(v1::WhoAmIRequest {}).await.unwrap();
    assert_eq!(who.into_inner().role, "local");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_is_refused_and_others_are_served_on() {
    let folder = tempfile::tempdir().unwrap();
    let server = Secured::start(folder.path()).await;
    let enrol = v1::EnrolRequest {
        name: "node".to_owned(),
        request: vec![7; 70_000],
    };
    let mut access = AccessServiceClient::new(server.channel(None).await);
    let refused = access.enrol(with(&server.token("worker"), enrol)).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");

    let admin = server.token("admin");
    let create = v1::CreateRequest {
        spec: spec("large", 3),
        table_json: " ".repeat(17 << 20),
        ..v1::CreateRequest::default()
    };
    let mut searches = SearchServiceClient::new(server.channel(None).await);
    let refused = searches.create(with(&admin, create)).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");

    // The same connection, and another one.
    for mut searches in [
        searches,
        SearchServiceClient::new(server.channel(None).await),
    ] {
        let list = with(&admin, v1::ListRequest::default());
        let listed = searches.list(list).await.unwrap().into_inner();
        assert!(listed.searches.is_empty(), "{listed:?}");
    }
    server.stop().await;
}
