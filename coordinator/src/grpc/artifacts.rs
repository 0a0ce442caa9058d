//! Artifacts as streams of pieces, up and down.

use std::pin::Pin;
use std::time::{Duration, Instant};

use espalier_common::ids::{AttemptKey, Digest, WorkerId};
use espalier_common::job::Checkpoint;
use espalier_core::search::Command;
use espalier_proto::{ARTIFACT_PIECE_BYTES, attempt_from_wire, digest_from_wire, v1};
use futures::Stream;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tonic::{Status, Streaming};
use v1::upload_artifact_request::Part;

use super::caller::worker_of;
use super::incoming::Incoming;
use super::workers::WorkerApi;
use crate::access::Principal;
use crate::actors::{CallError, DispatcherHandle, Retry, SearchHandle};
use crate::artifacts::{ArtifactError, ArtifactStore, Hold};

/// An artifact on its way to a client.
pub(super) type Pieces<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Takes in an artifact: only from an attempt that was told to upload it or that hands itself back with it, and no
/// more than it announced. What comes is a sign of life: the attempt may be one of a worker that was started again
/// since, and does not renew what its older instance held. Its lease is prolonged as often as workers are to renew.
pub(super) async fn upload(
    api: &WorkerApi,
    caller: &Principal,
    parts: Streaming<v1::UploadArtifactRequest>,
) -> Result<(), Status> {
    let mut parts = Incoming::new("upload", parts);
    let Some(Part::Header(header)) = parts.next().await?.and_then(|first| first.part) else {
        let message = "the first message of an upload is its header".to_owned();
        return Err(CallError::Invalid(message).into());
    };
    let worker = worker_of(&api.names, caller, &header.worker)?;
    let key = attempt_from_wire(header.attempt.as_ref())?;
    let artifact = digest_from_wire("digest", &header.digest)?;
    let search = api.searches.require(key.search)?;
    let checkpoint = header.checkpoint.map(|wire| Checkpoint {
        artifact,
        step: wire.step,
    });
    match checkpoint {
        None => search.may_upload(worker, key, artifact).await?,
        Some(checkpoint) => {
            search.may_store_checkpoint(worker, key, checkpoint).await?;
        }
    }
    let alive = Alive {
        dispatcher: &api.dispatcher,
        worker,
        key,
        every: api.renew_every,
        last: None,
    };
    let stored = match take_in(&api.artifacts, artifact, header.size, &mut parts, alive).await {
        Ok(stored) => stored,
        // The worker ends, and can wait for no operator: it hands the job back without.
        Err(Refused::Store(error)) if checkpoint.is_some() => {
            tracing::warn!(search = %key.search, trial = key.trial.0, attempt = key.attempt.0, %error,
                "a checkpoint cannot be stored: what its attempt has trained is lost");
            return Err(CallError::UploadGivenUp(error).into());
        }
        Err(Refused::Store(error)) if error.is_of_the_folder() => {
            return Err(not_stored(&search, worker, key, error).await.into());
        }
        Err(Refused::Store(error)) => return Err(CallError::from(error).into()),
        Err(Refused::Call(status)) => return Err(status),
    };
    // The file must be there until it is recorded, also when the worker no longer waits for that.
    undisturbed("record an upload", async move {
        let _stored = stored;
        search
            .command(recorded(worker, key, artifact, checkpoint))
            .await
    })
    .await?;
    Ok(())
}

/// What is said to a search of an artifact that is stored.
fn recorded(
    worker: WorkerId,
    key: AttemptKey,
    artifact: Digest,
    checkpoint: Option<Checkpoint>,
) -> Command {
    let (trial, attempt) = (key.trial, key.attempt);
    match checkpoint {
        None => Command::RecordWeights {
            trial,
            attempt,
            weights: artifact,
        },
        Some(checkpoint) => Command::RecordCheckpoint {
            worker,
            trial,
            attempt,
            checkpoint,
        },
    }
}

/// Does something to its end, also when the call that asked for it is given up.
pub(super) async fn undisturbed<T: Send + 'static>(
    name: &'static str,
    work: impl Future<Output = Result<T, CallError>> + Send + 'static,
) -> Result<T, CallError> {
    espalier_runtime::spawn_named(name, work)
        .await
        .unwrap_or_else(|error| Err(CallError::Internal(error.to_string())))
}

/// Prolongs the lease of an upload while something of it comes.
struct Alive<'a> {
    dispatcher: &'a DispatcherHandle,
    worker: WorkerId,
    key: AttemptKey,
    every: Duration,
    last: Option<Instant>,
}

impl Alive<'_> {
    async fn show(&mut self) -> Result<(), CallError> {
        if self.last.is_some_and(|last| last.elapsed() < self.every) {
            return Ok(());
        }
        self.last = Some(Instant::now());
        self.dispatcher.touch(self.worker, self.key).await
    }
}

/// Why an upload was not taken in.
enum Refused {
    /// The store refused or failed.
    Store(ArtifactError),
    /// The stream broke, or is not an upload.
    Call(Status),
}

impl From<ArtifactError> for Refused {
    fn from(error: ArtifactError) -> Self {
        Self::Store(error)
    }
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self::Call(status)
    }
}

/// Stores what the parts after the header bring.
async fn take_in(
    store: &ArtifactStore,
    digest: Digest,
    size: u64,
    parts: &mut Incoming<Streaming<v1::UploadArtifactRequest>>,
    mut alive: Alive<'_>,
) -> Result<Hold, Refused> {
    let mut upload = store.begin(digest, size).await?;
    while let Some(part) = parts.next().await? {
        let Some(Part::Data(data)) = part.part else {
            let message = "after the header, every message of an upload is data".to_owned();
            return Err(Refused::Call(CallError::Invalid(message).into()));
        };
        parts.came(&data).map_err(Status::from)?;
        alive.show().await.map_err(Status::from)?;
        upload.write(&data).await?;
    }
    Ok(upload.finish().await?)
}

/// Whether the worker is to upload again what this machine could not store. An operator has to act, so
/// every try says so.
async fn not_stored(
    search: &SearchHandle,
    worker: WorkerId,
    key: AttemptKey,
    error: ArtifactError,
) -> CallError {
    let (id, trial, attempt) = (key.search, key.trial.0, key.attempt.0);
    match search.not_stored(worker, key).await {
        Ok(Retry::Again { left }) => {
            tracing::warn!(search = %id, trial, attempt, %error, tries_left = left, "weights of the best trial cannot be stored; its worker tries again");
            error.into()
        }
        Ok(Retry::GivenUp) => {
            tracing::warn!(search = %id, trial, attempt, %error, "weights of the best trial cannot be stored; given up: at its end the search trains that trial once more, unless it was stopped");
            CallError::UploadGivenUp(error)
        }
        Err(error) => error,
    }
}

/// Streams a file in pieces, each wrapped as a message.
pub(super) fn pieces<T: Send + 'static>(
    mut file: File,
    wrap: impl Fn(Vec<u8>) -> T + Send + 'static,
) -> Pieces<T> {
    Box::pin(async_stream::try_stream! {
        loop {
            let mut piece = Vec::with_capacity(ARTIFACT_PIECE_BYTES);
            let mut limited = (&mut file).take(ARTIFACT_PIECE_BYTES as u64);
            let read = limited.read_to_end(&mut piece).await.map_err(|error| {
                Status::internal(format!("the artifact cannot be read any further: {error}"))
            })?;
            if read == 0 {
                return;
            }
            yield wrap(piece);
        }
    })
}
