//! Bare unary calls: what tonic does here when the handler does nothing. The health service's check is
//! one lookup in a table.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::server::{endpoint, processor_seconds};

/// What bare calls cost.
#[derive(Clone, Copy)]
pub(crate) struct Bare {
    pub(crate) per_second: f64,
    /// Processor time of client and server together.
    pub(crate) seconds_per_call: f64,
}

/// Calls per second of `clients` connections with `concurrent` calls under way on each.
pub(crate) async fn calls(clients: usize, concurrent: u32, time: Duration) -> Bare {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let (_reporter, service) = tonic_health::server::health_reporter();
    let serving = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
    let serving = tokio::spawn(serving);
    let calls = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let channel = endpoint(&address).connect().await.expect("it listens");
        for _ in 0..concurrent {
            let (mut client, calls) = (HealthClient::new(channel.clone()), Arc::clone(&calls));
            tasks.spawn(async move {
                loop {
                    let request = HealthCheckRequest::default();
                    client.check(request).await.expect("an answer");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    }
    // The first second warms connections and allocator.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (start, before) = (Instant::now(), calls.load(Ordering::Relaxed));
    let cost = processor_seconds();
    tokio::time::sleep(time).await;
    let counted = (calls.load(Ordering::Relaxed) - before) as f64;
    let bare = Bare {
        per_second: counted / start.elapsed().as_secs_f64(),
        seconds_per_call: (processor_seconds() - cost) / counted,
    };
    tasks.shutdown().await;
    serving.abort();
    bare
}
