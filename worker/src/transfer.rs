//! Weights and checkpoints between this machine and the coordinator: weights go up in the background while the slot
//! does something else; downloads for jobs that begin with a file. May import proto, common, tokio.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::{AttemptKey, Digest, WorkerId};
use espalier_proto::{ARTIFACT_PIECE_BYTES, attempt_to_wire, uuid_to_wire, v1};
use espalier_runtime::logging::millis;
use futures::Stream;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tonic::{Status, Streaming};

use crate::cache::ArtifactCache;
use crate::client::{Client, persistently};
use crate::session::Event;
use crate::spool::Spooled;
use crate::stop::StopSignal;

/// Uploads at once: more only share the same network.
const UPLOADS: usize = 2;
/// Uploads that may wait before the worker takes no more jobs: each holds a file and a lease.
pub(crate) const MAX_WAITING_UPLOADS: usize = 16;
/// The slowest network that is put up with; a transfer that is slower is begun again.
const LEAST_BYTES_PER_SECOND: u64 = 64 * 1024;
/// What a transfer may take whatever its size.
const TRANSFER_MARGIN: Duration = Duration::from_secs(30);

/// A file on its way to the coordinator.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    /// The instance that ran the attempt.
    pub(crate) worker: WorkerId,
    /// The attempt that left it.
    pub(crate) attempt: AttemptKey,
    /// Of its content.
    pub(crate) digest: Digest,
    /// The file.
    pub(crate) path: PathBuf,
    /// Epochs that are finished, when it is a checkpoint.
    pub(crate) checkpoint: Option<u32>,
}

impl Upload {
    /// The weights of a completion, if it has any.
    fn of(spooled: &Spooled) -> Option<Self> {
        let (path, digest) = spooled.weights()?;
        Some(Self {
            worker: spooled.record.worker,
            attempt: spooled.record.attempt,
            digest,
            path,
            checkpoint: None,
        })
    }
}

/// Transfers of this worker. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Transfers {
    client: Client,
    cache: ArtifactCache,
    events: mpsc::Sender<Event>,
    max_bytes: u64,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Transfers {
    /// Transfers that say to `events` when an attempt is closed.
    pub(crate) fn new(
        client: Client,
        cache: ArtifactCache,
        events: mpsc::Sender<Event>,
        max_bytes: u64,
    ) -> Self {
        Self {
            client,
            cache,
            events,
            max_bytes,
            permits: Arc::new(Semaphore::new(UPLOADS)),
            tasks: TaskTracker::new(),
        }
    }

    /// The largest artifact that the coordinator takes.
    pub(crate) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Uploads that run or wait.
    pub(crate) fn waiting(&self) -> usize {
        self.tasks.len()
    }

    /// Keeps a copy of a completion's weights for a test job.
    pub(crate) async fn keep(&self, spooled: &Spooled) {
        let Some((file, digest)) = spooled.weights() else {
            return;
        };
        let cache = self.cache.clone();
        if let Err(error) = blocking(move || cache.keep(&file, digest)).await {
            // The test job fetches them from the coordinator then.
            tracing::warn!(%error, "cannot keep weights in the cache");
        }
    }

    /// Uploads the weights of a completion in the background; the attempt is closed after that. One that is held has
    /// a signal, and is broken off by it.
    pub(crate) fn upload(&self, spooled: Spooled, stop: Option<StopSignal>) {
        let transfers = self.clone();
        let task = async move {
            let attempt = spooled.record.attempt;
            let dropped = async {
                match stop {
                    Some(mut stop) => stop.dropped().await,
                    None => std::future::pending().await,
                }
            };
            // Before they are there for everybody: the test job may come back at once.
            transfers.keep(&spooled).await;
            let sending = async {
                match Upload::of(&spooled) {
                    Some(upload) => transfers.send(&upload).await,
                    None => Ok(()),
                }
            };
            let sent = tokio::select! {
                sent = sending => sent,
                () = dropped => Err(Status::aborted("the coordinator dropped the attempt")),
            };
            if let Err(status) = sent {
                tracing::warn!(search = %attempt.search, trial = attempt.trial.0, attempt = attempt.attempt.0,
                    %status, "weights not uploaded");
            }
            spooled.remove();
            // Fails when the worker has ended, and then nobody asks.
            let _ = transfers.events.send(Event::Closed(attempt)).await;
        };
        espalier_runtime::spawn_named("upload", self.tasks.track_future(task));
    }

    /// Uploads a file; ends when the coordinator has it, or will not have it.
    pub(crate) async fn send(&self, upload: &Upload) -> Result<(), Status> {
        // A worker that ends has no time to let checkpoints wait for one another, and has no more of them than slots.
        let _permit = match upload.checkpoint {
            None => Some(self.permits.acquire().await),
            Some(_) => None,
        };
        persistently("UploadArtifact", || self.send_once(upload)).await
    }

    async fn send_once(&self, upload: &Upload) -> Result<(), Status> {
        let began = Instant::now();
        let path = &upload.path;
        let unreadable =
            |error| Status::data_loss(format!("cannot read {}: {error}", path.display()));
        let file = File::open(path).await.map_err(unreadable)?;
        let size = file.metadata().await.map_err(unreadable)?.len();
        let header = v1::UploadHeader {
            worker: uuid_to_wire(upload.worker.0),
            attempt: Some(attempt_to_wire(upload.attempt)),
            digest: upload.digest.to_string(),
            size,
            checkpoint: upload.checkpoint.map(|step| v1::CheckpointHeader { step }),
        };
        self.client
            .upload(pieces(header, file, path.clone()), transfer_limit(size))
            .await?;
        let (key, duration_ms) = (upload.attempt, millis(began.elapsed()));
        let digest = upload.digest.short();
        match upload.checkpoint {
            None => {
                tracing::info!(search = %key.search, trial = key.trial.0, attempt = key.attempt.0, bytes = size,
                    %digest, span = "upload", duration_ms, "weights uploaded");
            }
            Some(step) => {
                tracing::info!(search = %key.search, trial = key.trial.0, attempt = key.attempt.0, step, bytes = size,
                    %digest, span = "upload", duration_ms, "checkpoint uploaded");
            }
        }
        Ok(())
    }

    /// Puts the artifact at `target`: from the cache, or else from the coordinator.
    pub(crate) async fn fetch(&self, digest: Digest, target: &Path) -> Result<(), Failure> {
        let (cache, file) = (self.cache.clone(), target.to_owned());
        match blocking(move || cache.link(digest, &file)).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "cannot use the artifact cache"),
        }
        let answer = persistently("DownloadArtifact", || self.fetch_once(digest, target)).await;
        let (domain, kind, reason) = match answer {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(disk)) => (FailureDomain::Worker, FailureKind::Disk, disk.to_string()),
            // Would meet the next worker too.
            Err(status) => (
                FailureDomain::Internal,
                FailureKind::Data,
                status.to_string(),
            ),
        };
        let message = format!("cannot fetch the file {}: {reason}", digest.short());
        Err(Failure::new(domain, kind, message).bounded())
    }

    /// One try; the inner error is this machine's disk.
    async fn fetch_once(
        &self,
        digest: Digest,
        target: &Path,
    ) -> Result<std::io::Result<()>, Status> {
        let request = v1::DownloadArtifactRequest {
            digest: digest.to_string(),
        };
        let pieces = self.client.download(request).await?;
        let copy = self.copy_pieces(pieces, digest, target);
        tokio::time::timeout(transfer_limit(self.max_bytes), copy)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("the download is too slow")))
    }

    async fn copy_pieces(
        &self,
        mut pieces: Streaming<v1::DownloadArtifactReply>,
        digest: Digest,
        target: &Path,
    ) -> Result<std::io::Result<()>, Status> {
        // In the scratch folder, which is emptied whatever happens; only the job that waits sees it.
        let mut file = match File::create(target).await {
            Ok(file) => file,
            Err(error) => return Ok(Err(error)),
        };
        let mut hasher = blake3::Hasher::new();
        let mut size = 0_u64;
        while let Some(piece) = pieces.message().await? {
            size += piece.data.len() as u64;
            if size > self.max_bytes {
                let limit = self.max_bytes;
                return Err(Status::out_of_range(format!(
                    "it has more than {limit} bytes"
                )));
            }
            hasher.update(&piece.data);
            if let Err(error) = file.write_all(&piece.data).await {
                return Ok(Err(error));
            }
        }
        if Digest(*hasher.finalize().as_bytes()) != digest {
            return Err(Status::out_of_range(
                "what came has another digest; the coordinator's artifact is damaged",
            ));
        }
        Ok(file.flush().await)
    }
}

fn transfer_limit(bytes: u64) -> Duration {
    TRANSFER_MARGIN + Duration::from_secs(bytes / LEAST_BYTES_PER_SECOND)
}

/// The messages of an upload: the header, then the file. A read error ends the stream early, and the
/// coordinator refuses what is shorter than the header says.
fn pieces(
    header: v1::UploadHeader,
    file: File,
    path: PathBuf,
) -> impl Stream<Item = v1::UploadArtifactRequest> + Send + 'static {
    use v1::upload_artifact_request::Part;
    futures::stream::unfold((Some(header), file), move |(header, mut file)| {
        let path = path.clone();
        async move {
            let part = match header {
                Some(header) => Part::Header(header),
                None => match read_piece(&mut file).await {
                    Ok(piece) if piece.is_empty() => return None,
                    Ok(piece) => Part::Data(piece),
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "cannot read a file that is to be uploaded");
                        return None;
                    }
                },
            };
            let request = v1::UploadArtifactRequest { part: Some(part) };
            Some((request, (None, file)))
        }
    })
}

async fn read_piece(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut piece = Vec::with_capacity(ARTIFACT_PIECE_BYTES);
    file.take(ARTIFACT_PIECE_BYTES as u64)
        .read_to_end(&mut piece)
        .await?;
    Ok(piece)
}

/// Runs what waits for the disk away from the tasks that serve evaluators and calls.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| Err(std::io::Error::other(panic)))
}
