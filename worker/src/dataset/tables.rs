//! Which tables of results this machine has. One task answers, so that slots that want the same table wait for
//! one reading and share its rows. May import data, common, tokio.

use std::path::PathBuf;
use std::sync::Arc;

use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::table::{Table, TableInfo, TableSpec};
use espalier_data::DataError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

use super::Known;
use super::task::{MAX_REMEMBERED, RECHECK_EVERY};

/// Tables held in memory, each of them bounded (see `espalier_common::table`).
const MAX_TABLES: usize = 4;

/// What a job gets for its table of results.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// Its rows.
    Table(Arc<Table>),
    /// This machine does not have it: another one should run the job.
    Missing,
    /// Something else is wrong here.
    Failed(Failure),
}

/// A table with the columns that are read of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WantedTable {
    pub(crate) info: TableInfo,
    pub(crate) spec: Arc<TableSpec>,
}

/// Handle to the task that knows the tables. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    requests: mpsc::Sender<Request>,
    known: watch::Receiver<Known>,
}

#[derive(Debug)]
struct Request {
    wanted: WantedTable,
    answer: oneshot::Sender<Loaded>,
}

impl Tables {
    /// Starts the task.
    pub(super) fn start(data_root: PathBuf) -> Self {
        let (requests, received) = mpsc::channel(16);
        let (publish, known) = watch::channel(Known::default());
        let task = Task {
            data_root,
            loaded: Vec::new(),
            missing: Vec::new(),
            publish,
        };
        espalier_runtime::spawn_named("tables", task.serve(received));
        Self { requests, known }
    }

    /// The rows of a table, after its fingerprint was verified.
    pub(super) async fn load(&self, wanted: WantedTable) -> Loaded {
        let gone = || {
            Loaded::Failed(Failure::new(
                FailureDomain::Internal,
                FailureKind::Data,
                "the worker's task for tables ended; its log says why",
            ))
        };
        let (answer, loaded) = oneshot::channel();
        if self
            .requests
            .send(Request { wanted, answer })
            .await
            .is_err()
        {
            return gone();
        }
        loaded.await.unwrap_or_else(|_| gone())
    }

    /// What is known now.
    pub(super) fn known(&self) -> Known {
        self.known.borrow().clone()
    }
}

struct Task {
    data_root: PathBuf,
    /// The one read last at the end.
    loaded: Vec<(WantedTable, Arc<Table>)>,
    missing: Vec<WantedTable>,
    publish: watch::Sender<Known>,
}

impl Task {
    async fn serve(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut recheck = tokio::time::interval(RECHECK_EVERY);
        recheck.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                request = requests.recv() => {
                    let Some(Request { wanted, answer }) = request else { return };
                    // Whoever asked may have been stopped while it waited.
                    let _ = answer.send(self.answer(wanted).await);
                }
                _ = recheck.tick(), if !self.missing.is_empty() => self.look_again().await,
            }
        }
    }

    async fn answer(&mut self, wanted: WantedTable) -> Loaded {
        if let Some((_, table)) = self.loaded.iter().find(|(known, _)| *known == wanted) {
            return Loaded::Table(Arc::clone(table));
        }
        match self.load(&wanted).await {
            Ok(table) => {
                let table = Arc::new(table);
                if self.loaded.len() >= MAX_TABLES {
                    self.loaded.remove(0);
                }
                let fingerprint = wanted.info.fingerprint;
                self.missing
                    .retain(|other| other.info.fingerprint != fingerprint);
                self.publish();
                self.loaded.push((wanted, Arc::clone(&table)));
                Loaded::Table(table)
            }
            Err(error) => {
                let failure = error.failure();
                if failure.kind == FailureKind::Data {
                    self.note_missing(wanted, &error);
                    Loaded::Missing
                } else {
                    Loaded::Failed(failure)
                }
            }
        }
    }

    async fn load(&self, wanted: &WantedTable) -> Result<Table, DataError> {
        let (root, wanted) = (self.data_root.clone(), wanted.clone());
        let path = wanted.info.path.clone().into();
        tokio::task::spawn_blocking(move || {
            espalier_data::load_table(&root, &wanted.info, &wanted.spec)
        })
        .await
        .unwrap_or_else(|panic| {
            Err(DataError::BadTable {
                path,
                why: format!("reading it panicked: {panic}"),
            })
        })
    }

    fn note_missing(&mut self, wanted: WantedTable, error: &DataError) {
        let TableInfo {
            path, fingerprint, ..
        } = &wanted.info;
        let known = self
            .missing
            .iter()
            .any(|other| other.info.fingerprint == *fingerprint);
        if known {
            return;
        }
        tracing::warn!(path, fingerprint = %fingerprint.short(), %error, recheck_s = RECHECK_EVERY.as_secs(),
            "this worker cannot serve the table, and gets no job that needs it until it can");
        if self.missing.len() >= MAX_REMEMBERED {
            self.missing.remove(0);
        }
        self.missing.push(wanted);
        self.publish();
    }

    /// Drops from the missing what is here now; the next job that wants it reads it.
    async fn look_again(&mut self) {
        let mut still = Vec::new();
        for wanted in std::mem::take(&mut self.missing) {
            if self.load(&wanted).await.is_ok() {
                tracing::info!(path = wanted.info.path, fingerprint = %wanted.info.fingerprint.short(),
                    "the table is here now");
            } else {
                still.push(wanted);
            }
        }
        self.missing = still;
        self.publish();
    }

    fn publish(&self) {
        let missing = self.missing.iter();
        let missing = missing.map(|wanted| wanted.info.fingerprint).collect();
        self.publish.send_replace(Known { missing });
    }
}
