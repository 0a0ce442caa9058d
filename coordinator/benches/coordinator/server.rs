//! A coordinator in this process, on a real disk.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use espalier_coordinator::server::{self, ServerConfig, ServerError};
use espalier_proto::v1;
use espalier_proto::v1::search_service_client::SearchServiceClient;
use espalier_runtime::Shutdown;
use nix::sys::resource::{UsageWho, getrusage};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

/// A folder on the disk that the build uses: `/tmp` is memory on some machines.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder is writable")
}

/// A running coordinator.
pub(crate) struct Running {
    pub(crate) endpoint: Endpoint,
    shutdown: Shutdown,
    task: JoinHandle<Result<(), ServerError>>,
}

impl Running {
    pub(crate) async fn start(data_dir: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shutdown = Shutdown::new();
        let config = ServerConfig::new(data_dir);
        let task = tokio::spawn(server::run(config, listener, shutdown.clone()));
        Self {
            endpoint: endpoint(&format!("http://{address}")),
            shutdown,
            task,
        }
    }

    pub(crate) async fn searches(&self) -> SearchServiceClient<Channel> {
        SearchServiceClient::new(self.endpoint.connect().await.expect("it listens"))
    }

    /// Waits until a call is answered: the journal has been read.
    pub(crate) async fn first_answer(&self) {
        let list = v1::ListRequest::default();
        let reply = self.searches().await.list(list).await;
        let searches = reply.expect("an answer").into_inner().searches;
        assert_eq!(searches.len(), 1, "the search was read");
    }

    pub(crate) async fn stop(self) {
        self.shutdown.request();
        self.task.await.expect("no panic").expect("an orderly end");
    }
}

pub(crate) fn endpoint(address: &str) -> Endpoint {
    Endpoint::from_shared(address.to_owned())
        .expect("an address")
        .tcp_nodelay(true)
}

/// Resident memory of this process, in bytes.
pub(crate) fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1);
    // Pages of 4 KiB, as on every machine this is run on so far.
    pages.and_then(|pages| pages.parse().ok()).unwrap_or(0_u64) * 4096
}

/// Processor time of this process so far, in seconds. Unlike time on the clock, it does not depend on what
/// else the machine is doing.
pub(crate) fn processor_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("every process has a usage");
    let seconds = |time: nix::sys::time::TimeVal| {
        time.tv_sec() as f64 + f64::from(i32::try_from(time.tv_usec()).unwrap_or(0)) / 1e6
    };
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// Half of all fsyncs after 4 KiB are faster than this: for scale.
pub(crate) fn fsync_p50() -> Duration {
    let mut file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).expect("a file");
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let start = Instant::now();
            file.write_all(&[7; 4096]).expect("room");
            file.sync_data().expect("a disk");
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}
