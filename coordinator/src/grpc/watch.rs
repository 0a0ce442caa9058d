//! Watching a search: its present state, then every change as it becomes durable. A watcher that is too
//! slow for that loses changes, not the coordinator's memory: it gets the present state and goes on.

use std::pin::Pin;

use espalier_proto::v1;
use futures::Stream;
use tokio::sync::broadcast::error::RecvError;
use tonic::Status;

use super::convert::{change_to_wire, status_to_wire};
use crate::actors::{SearchHandle, WorkerNames};

/// The stream of one watcher.
pub(super) type Changes = Pin<Box<dyn Stream<Item = Result<v1::WatchReply, Status>> + Send>>;

/// Watches `search` until it has ended, or the coordinator stops.
pub(super) fn watch(search: SearchHandle, names: WorkerNames) -> Changes {
    Box::pin(async_stream::try_stream! {
        let mut watching = search.watch().await.map_err(Status::from)?;
        // Every status says how many events it has seen: an older one than the last is not sent.
        let mut seen = watching.status.events;
        let mut finished = watching.status.phase == FINISHED;
        yield v1::WatchReply { status: Some(status_to_wire(&watching.status)), changes: Vec::new() };
        while !finished {
            match watching.updates.recv().await {
                Ok(update) if update.status.events <= seen => {}
                Ok(update) => {
                    seen = update.status.events;
                    finished = update.status.phase == FINISHED;
                    let changes = update.changes.iter();
                    yield v1::WatchReply {
                        status: Some(status_to_wire(&update.status)),
                        changes: changes.map(|change| change_to_wire(change, &names)).collect(),
                    };
                }
                Err(RecvError::Lagged(missed)) => {
                    tracing::debug!(search = %search.profile().id, missed, "a watcher is too slow");
                    let status = search.status().await.map_err(Status::from)?;
                    seen = status.events;
                    finished = status.phase == FINISHED;
                    yield v1::WatchReply { status: Some(status_to_wire(&status)), changes: Vec::new() };
                }
                Err(RecvError::Closed) => {
                    Err(Status::from(crate::actors::CallError::Stopping))?;
                }
            }
        }
    })
}

/// The phase after which nothing more comes.
const FINISHED: &str = "finished";
