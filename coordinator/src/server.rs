//! The coordinator as a whole: opens the journal, reads every search, serves until the end is asked for,
//! and ends in order. Only wires; it takes what tests must control. May import everything of this crate.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use espalier_proto::v1::access_service_server::AccessServiceServer;
use espalier_proto::v1::search_service_server::SearchServiceServer;
use espalier_proto::v1::worker_service_server::WorkerServiceServer;
use espalier_proto::{DESCRIPTORS, MAX_LEASE_WAIT_MS, MAX_MESSAGE_BYTES};
use espalier_runtime::Shutdown;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::access::{Access, CallMeters, CertificateSource, GuardLayer, Role, Tokens, incoming};
use crate::actors::{ClusterLog, Context, Dispatcher, Learned, Searches, Settings, recover};
use crate::artifacts::ArtifactStore;
use crate::disk;
use crate::grpc::{AccessApi, SearchApi, WorkerApi};
use crate::journal::{Journal, JournalError, JournalHandle};
use crate::logs::LogBook;
use crate::metrics::{AskTimes, Metrics, Page, Sources, with_page};

mod error;
mod first_tokens;

pub use error::ServerError;
use first_tokens::first_tokens;

/// A worker renews so often within a time to live: two renewals may be lost before the lease is.
const RENEWALS_PER_TTL: u32 = 3;
/// The largest message to the access service: a certificate request takes some hundred bytes.
const MAX_ACCESS_MESSAGE_BYTES: usize = 64 * 1024;
/// The folder of the artifacts within the data folder.
pub(crate) const ARTIFACTS: &str = "artifacts";
/// Streams of one connection at one time: a worker's calls for all its slots, and some.
const MAX_STREAMS: u32 = 4_096;
/// How long calls and searches may take to end when the coordinator stops.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often an idle connection is asked whether its peer is still there, and how long it has to answer:
/// a machine that vanished is noticed within half a minute.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A day: a machine that vanished is no member for longer, and a worker may sleep over night.
pub const DEFAULT_WORKER_CERTIFICATE_MS: u64 = 24 * 60 * 60 * 1_000;
/// Within the data folder.
const TLS_FOLDER: &str = "tls";

/// Whether connections are encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Beyond loopback, and not on it.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never: on loopback only.
    Off,
}

impl TlsMode {
    /// Whether a listener at an address speaks TLS.
    ///
    /// # Errors
    /// It would be reachable from other machines without.
    pub fn at(self, address: SocketAddr) -> Result<bool, ServerError> {
        match (self, address.ip().is_loopback()) {
            (Self::On, _) | (Self::Auto, false) => Ok(true),
            (Self::Auto | Self::Off, true) => Ok(false),
            (Self::Off, false) => Err(ServerError::Exposed { address }),
        }
    }
}

/// What a coordinator says once it takes calls.
#[derive(Debug)]
pub struct Ready {
    /// Whether it speaks TLS.
    pub tls: bool,
    /// The tokens that were made just now and are nowhere else: at the first start, one for each role.
    pub tokens: Vec<(Role, String)>,
}

/// What a coordinator is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// The folder of the journal and the artifacts.
    pub data_dir: PathBuf,
    /// How long a worker may be silent before its leases end.
    pub lease_ttl_ms: u64,
    /// The most bytes of one artifact.
    pub max_artifact_bytes: u64,
    /// The longest that a Lease call waits for a job.
    pub max_lease_wait_ms: u64,
    /// Whether connections are encrypted, and callers known.
    pub tls: TlsMode,
    /// Where the certificate comes from.
    pub certificate: CertificateSource,
    /// How long a worker's certificate is valid; it renews it well before.
    pub worker_certificate_ms: u64,
    /// A folder in which a token for each role is kept, made when it is not there.
    pub token_dir: Option<PathBuf>,
    /// Take specs with an inline `command:`; only for a coordinator whose workers are its user's own.
    pub allow_inline_commands: bool,
}

impl ServerConfig {
    /// The defaults, with the data in `data_dir`.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            lease_ttl_ms: 30_000,
            // The weights of a network of a billion parameters.
            max_artifact_bytes: 4 * 1024 * 1024 * 1024,
            max_lease_wait_ms: MAX_LEASE_WAIT_MS,
            tls: TlsMode::Auto,
            certificate: CertificateSource::Made,
            worker_certificate_ms: DEFAULT_WORKER_CERTIFICATE_MS,
            token_dir: None,
            allow_inline_commands: false,
        }
    }
}

/// Runs a coordinator on `listener` until `shutdown` is requested, or until it cannot go on.
///
/// # Errors
/// It cannot start, or its journal cannot be written any more.
pub async fn run(
    config: ServerConfig,
    listener: TcpListener,
    shutdown: Shutdown,
) -> Result<(), ServerError> {
    run_and_tell(config, listener, shutdown, oneshot::channel().0).await
}

/// As [`run`], and tells when it takes calls.
///
/// # Errors
/// As [`run`].
pub async fn run_and_tell(
    config: ServerConfig,
    listener: TcpListener,
    shutdown: Shutdown,
    ready: oneshot::Sender<Ready>,
) -> Result<(), ServerError> {
    let address = listener.local_addr().map_err(ServerError::Listen)?;
    let tls = config.tls.at(address)?;
    if config.worker_certificate_ms < 1_000 {
        return Err(ServerError::WorkerCertificate(config.worker_certificate_ms));
    }
    if config.lease_ttl_ms < 100 {
        return Err(ServerError::LeaseTtl(config.lease_ttl_ms));
    }
    let coordinator = match Coordinator::start(&config, tls, &shutdown).await {
        Ok(coordinator) => coordinator,
        Err(error) => {
            shutdown.request(); // ends what had been started, and gives the folder back
            return Err(error);
        }
    };
    tracing::info!(%address, data_dir = %config.data_dir.display(), cluster = %coordinator.journal.cluster(), tls, searches = coordinator.searches.len(), "coordinator started");
    disk::watch(config.data_dir.clone(), shutdown.clone());
    let served = coordinator.serve(&config, listener, &shutdown, ready).await;
    coordinator.end(&shutdown).await;
    served?;
    match shutdown.failure() {
        Some(reason) => Err(ServerError::Failed(reason.to_owned())),
        None => Ok(()),
    }
}

/// A running coordinator.
struct Coordinator {
    journal: JournalHandle,
    artifacts: ArtifactStore,
    learned: Learned,
    book: LogBook,
    access: Access,
    searches: Searches,
    context: Context,
    dispatcher: tokio::task::JoinHandle<()>,
}

impl Coordinator {
    /// Opens the journal and brings every search to where it was.
    async fn start(
        config: &ServerConfig,
        tls: bool,
        shutdown: &Shutdown,
    ) -> Result<Self, ServerError> {
        let learned = Learned::default();
        let (data_dir, learning) = (config.data_dir.clone(), learned.clone());
        let opening = tokio::task::spawn_blocking(move || {
            let journal = Journal::open(&data_dir)?;
            let recovered = recover(journal.reader(), &learning)?;
            Ok::<_, JournalError>((journal.start()?, recovered))
        });
        let opened = opening.await;
        let (journal, recovered) =
            opened.map_err(|error| ServerError::Failed(error.to_string()))??;
        let artifacts =
            ArtifactStore::open(&config.data_dir.join(ARTIFACTS), config.max_artifact_bytes)?;
        learned.datasets.claim(&artifacts);
        let book = LogBook::open(&config.data_dir, shutdown);
        book.tap();
        let access = access(config, tls, learned.tokens.clone())?;
        stop_when_failed(&journal, shutdown);
        let settings = Settings {
            lease_ttl: Duration::from_millis(config.lease_ttl_ms),
        };
        let log = ClusterLog::new(journal.clone(), learned.clone());
        let (handle, dispatcher) = Dispatcher::start(settings, log, shutdown);
        let context = Context {
            journal: journal.clone(),
            dispatcher: handle,
            artifacts: artifacts.clone(),
            ask_times: AskTimes::default(),
            names: learned.names.clone(),
            shutdown: shutdown.clone(),
        };
        let searches = Searches::new(context.clone());
        for search in recovered {
            searches.open(search).await.map_err(ServerError::Thread)?;
        }
        // Every search has claimed its own by now; a crash may have left others.
        artifacts.sweep().await?;
        Ok(Self {
            journal,
            artifacts,
            learned,
            book,
            access,
            searches,
            context,
            dispatcher,
        })
    }

    /// Serves until the end is asked for, and then until the calls under way have ended.
    async fn serve(
        &self,
        config: &ServerConfig,
        listener: TcpListener,
        shutdown: &Shutdown,
        ready: oneshot::Sender<Ready>,
    ) -> Result<(), ServerError> {
        let access = self.access_api();
        let tokens = first_tokens(&access, config.token_dir.as_deref()).await?;
        let access = AccessServiceServer::new(access)
            .max_decoding_message_size(MAX_ACCESS_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (workers, searches) = (self.worker_service(config), self.search_service(config));
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<WorkerServiceServer<WorkerApi>>().await;
        health.set_serving::<SearchServiceServer<SearchApi>>().await;
        health.set_serving::<AccessServiceServer<AccessApi>>().await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .build_v1()?;
        let calls = CallMeters::default();
        let routes = Routes::new(health_service)
            .add_service(reflection)
            .add_service(workers)
            .add_service(searches)
            .add_service(access);
        let routes = with_page(routes, Arc::new(self.metrics(&calls)));
        let serving = Server::builder()
            // So that what is no gRPC is told what this port is.
            .accept_http1(true)
            .max_concurrent_streams(MAX_STREAMS)
            .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .layer(GuardLayer::new(self.access.clone(), calls))
            .add_routes(routes)
            .serve_with_incoming_shutdown(
                incoming(listener, self.access.listener_config()),
                shutdown.requested(),
            );
        let tls = self.access.pinned().is_some();
        // Nobody may be waiting for it.
        let _ = ready.send(Ready { tls, tokens });
        let too_long = async {
            shutdown.requested().await;
            tokio::time::sleep(PATIENCE).await;
        };
        tokio::select! {
            served = serving => served.map_err(ServerError::from),
            () = too_long => {
                tracing::warn!("some calls did not end in time; they are cut off");
                Ok(())
            }
        }
    }

    /// What workers call.
    fn worker_service(&self, config: &ServerConfig) -> WorkerServiceServer<WorkerApi> {
        let ttl = Duration::from_millis(config.lease_ttl_ms);
        let api = WorkerApi {
            searches: self.searches.clone(),
            dispatcher: self.context.dispatcher.clone(),
            artifacts: self.artifacts.clone(),
            names: self.learned.names.clone(),
            datasets: self.learned.datasets.clone(),
            book: self.book.clone(),
            cluster: self.journal.cluster(),
            lease_ttl: ttl,
            renew_every: ttl / RENEWALS_PER_TTL,
            max_wait: Duration::from_millis(config.max_lease_wait_ms),
        };
        WorkerServiceServer::new(api)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// What users and tools call.
    fn search_service(&self, config: &ServerConfig) -> SearchServiceServer<SearchApi> {
        let api = SearchApi {
            searches: self.searches.clone(),
            dispatcher: self.context.dispatcher.clone(),
            artifacts: self.artifacts.clone(),
            reader: self.journal.reader().clone(),
            names: self.learned.names.clone(),
            datasets: self.learned.datasets.clone(),
            book: self.book.clone(),
            cluster: self.journal.cluster(),
            allow_inline_commands: config.allow_inline_commands,
        };
        SearchServiceServer::new(api)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// What is measured.
    fn metrics(&self, calls: &CallMeters) -> Metrics {
        let context = &self.context;
        Metrics {
            page: Page::new(&context.ask_times, self.journal.meters(), calls),
            sources: Sources::new(
                self.searches.clone(),
                context.dispatcher.clone(),
                self.journal.clone(),
                self.artifacts.clone(),
            ),
        }
    }

    /// How workers join, and what admins do about it.
    fn access_api(&self) -> AccessApi {
        AccessApi {
            access: self.access.clone(),
            dispatcher: self.context.dispatcher.clone(),
            cluster: self.journal.cluster(),
        }
    }

    /// Ends the tasks, makes what they have queued durable, and gives the folder back.
    async fn end(self, shutdown: &Shutdown) {
        // Also when serving failed: the actors end by the same token.
        shutdown.request();
        self.searches.join(PATIENCE).await;
        if tokio::time::timeout(PATIENCE, self.dispatcher)
            .await
            .is_err()
        {
            tracing::warn!("the dispatcher is still busy at the end");
        }
        self.journal.close().await;
        tracing::info!("coordinator ended");
        if tokio::time::timeout(PATIENCE, self.book.flush())
            .await
            .is_err()
        {
            tracing::warn!("the log's last lines are not kept: its disk is too slow");
        }
    }
}

/// Who is let in.
fn access(config: &ServerConfig, tls: bool, tokens: Tokens) -> Result<Access, ServerError> {
    if !tls {
        return Ok(Access::open_to_all(tokens));
    }
    let folder = config.data_dir.join(TLS_FOLDER);
    let lifetime = Duration::from_millis(config.worker_certificate_ms);
    Ok(Access::with_tls(
        tokens,
        &folder,
        &config.certificate,
        lifetime,
    )?)
}

/// Stops the coordinator when its journal cannot be written any more: nothing can be acknowledged.
fn stop_when_failed(journal: &JournalHandle, shutdown: &Shutdown) {
    let (journal, shutdown) = (journal.clone(), shutdown.clone());
    espalier_runtime::spawn_named("journal watch", async move {
        let failed = journal.failed();
        tokio::select! {
            () = failed.cancelled() => {
                let reason = journal.failure();
                shutdown.fail(reason.as_deref().unwrap_or("the journal cannot be written any more"));
            }
            () = shutdown.requested() => {}
        }
    });
}
