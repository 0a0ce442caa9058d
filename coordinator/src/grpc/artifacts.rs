//! Artifacts as streams of pieces, up and down.

use std::pin::Pin;
use std::time::Duration;

use espalier_core::search::Command;
use espalier_proto::{
    ARTIFACT_PIECE_BYTES, attempt_from_wire, digest_from_wire, v1, worker_id_from_wire,
};
use futures::Stream;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tonic::{Status, Streaming};
use v1::upload_artifact_request::Part;

use crate::actors::{CallError, Searches};
use crate::artifacts::ArtifactStore;

/// The longest pause within an upload: far longer than a slow network takes for a piece.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// An artifact on its way to a client.
pub(super) type Pieces<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Takes in an artifact: only from an attempt that was told to upload it, and no more than it announced.
pub(super) async fn upload(
    searches: &Searches,
    store: &ArtifactStore,
    mut parts: Streaming<v1::UploadArtifactRequest>,
) -> Result<(), Status> {
    let Some(Part::Header(header)) = next(&mut parts).await?.and_then(|first| first.part) else {
        let message = "the first message of an upload is its header".to_owned();
        return Err(CallError::Invalid(message).into());
    };
    let worker = worker_id_from_wire(&header.worker)?;
    let key = attempt_from_wire(header.attempt.as_ref())?;
    let digest = digest_from_wire("digest", &header.digest)?;
    let search = searches.require(key.search)?;
    search.may_upload(worker, key, digest).await?;
    let mut upload = store
        .begin(digest, header.size)
        .await
        .map_err(CallError::from)?;
    while let Some(part) = next(&mut parts).await? {
        let Some(Part::Data(data)) = part.part else {
            let message = "after the header, every message of an upload is data".to_owned();
            return Err(CallError::Invalid(message).into());
        };
        upload.write(&data).await.map_err(CallError::from)?;
    }
    upload.finish().await.map_err(CallError::from)?;
    let command = Command::RecordWeights {
        trial: key.trial,
        attempt: key.attempt,
        weights: digest,
    };
    search.command(command).await?;
    Ok(())
}

/// The next part of an upload; one that stands still does not hold a file open for ever.
async fn next(
    parts: &mut Streaming<v1::UploadArtifactRequest>,
) -> Result<Option<v1::UploadArtifactRequest>, Status> {
    let part = tokio::time::timeout(LONGEST_PAUSE, parts.message()).await;
    part.unwrap_or_else(|_| {
        let seconds = LONGEST_PAUSE.as_secs();
        let message = format!("nothing of the upload has come for {seconds} s; upload it again");
        Err(Status::deadline_exceeded(message))
    })
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
