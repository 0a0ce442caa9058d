//! Which data this machine has. One task answers, so that slots that want the same data wait for one
//! preparation and do not each make their own; who wants other data does not wait for it. May import data, common,
//! tokio.

mod lanes;
mod look;
mod pull;
mod room;
mod tables;
mod task;
#[cfg(test)]
mod tests;
mod watched;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use espalier_common::dataset::DatasetInfo;
use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::Digest;
use tokio::sync::{mpsc, oneshot, watch};

use crate::client::Client;

pub(crate) use tables::{Loaded, WantedTable};

/// What a job gets for its data set.
#[derive(Debug)]
pub(crate) enum Resolved {
    /// The file (or folder) to read.
    Path(PathBuf),
    /// This machine does not have the data: another one should run the job.
    Missing,
    /// Something else is wrong here.
    Failed(Failure),
}

/// What other parts may see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Fingerprints looked for and not found.
    pub(crate) missing: Vec<Digest>,
}

/// Where data lie, and what may be spent on them.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// What the paths of data sets are relative to.
    pub(crate) data_root: PathBuf,
    /// Data sets and tables that were fetched from the coordinator.
    pub(crate) fetched_dir: PathBuf,
    /// Decoded data sets.
    pub(crate) cache_dir: PathBuf,
    /// The most bytes of decoded data sets, and of fetched ones.
    pub(crate) cache_bytes: u64,
    /// Reading that makes no progress for this long is given up.
    pub(crate) silence: Duration,
}

/// Handle to the task that knows the data sets. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Datasets {
    requests: mpsc::Sender<Request>,
    known: watch::Receiver<Known>,
    tables: tables::Tables,
}

#[derive(Debug)]
enum Request {
    Resolve {
        info: DatasetInfo,
        form: Form,
        answer: oneshot::Sender<Resolved>,
    },
    /// An evaluator could not read what it was given.
    Doubt(DatasetInfo),
}

/// In which form an evaluator reads data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    /// The decoded file that the trainer maps.
    Decoded,
    /// The folder as it lies below the data root.
    Folder,
}

impl Datasets {
    /// Starts the task. With a client it asks the coordinator for data that are not here.
    pub(crate) fn start(places: Places, client: Option<Client>) -> Self {
        let (requests, received) = mpsc::channel(16);
        let (publish, known) = watch::channel(Known::default());
        let fetched = places.fetched_dir.clone();
        let pulled = Arc::new(pull::Pulled::new(fetched, places.cache_bytes, client));
        let tables = tables::Tables::start(places.data_root.clone(), Arc::clone(&pulled));
        let task = task::Task::new(look::Looker::new(places, pulled), publish);
        espalier_runtime::spawn_named("data sets", task.serve(received));
        Self {
            requests,
            known,
            tables,
        }
    }

    /// Where the data lie on this machine, after their fingerprint was verified.
    pub(crate) async fn resolve(&self, info: DatasetInfo, form: Form) -> Resolved {
        let (answer, resolved) = oneshot::channel();
        let request = Request::Resolve { info, form, answer };
        let gone = || {
            Resolved::Failed(Failure::new(
                FailureDomain::Internal,
                FailureKind::Data,
                "the worker's data set task ended; its log says why",
            ))
        };
        if self.requests.send(request).await.is_err() {
            return gone();
        }
        resolved.await.unwrap_or_else(|_| gone())
    }

    /// Has data looked at anew before the next job gets them: an evaluator said that they are not what
    /// they were when they were verified.
    pub(crate) async fn doubt(&self, info: DatasetInfo) {
        // The task has ended, and nobody gets data any more.
        let _ = self.requests.send(Request::Doubt(info)).await;
    }

    /// The rows of a table of results, after its fingerprint was verified.
    pub(crate) async fn table(&self, wanted: WantedTable) -> Loaded {
        self.tables.load(wanted).await
    }

    /// What is known now, of tables as well.
    pub(crate) fn known(&self) -> Known {
        let mut known = self.known.borrow().clone();
        let tables = self.tables.known();
        known.missing.extend(tables.missing);
        known
    }
}
