//! Which tables of results this machine has. One task answers, so that slots that want the same table wait for
//! one reading and share its rows; who wants another table does not wait for it. May import data, common, futures,
//! tokio.

use std::path::PathBuf;
use std::sync::Arc;

use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::Digest;
use espalier_common::table::{Table, TableInfo, TableSpec};
use espalier_data::DataError;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

use super::Known;
use super::lanes::{Lanes, Rechecks};
use super::pull::Pulled;
use super::task::{MAX_REMEMBERED, RECHECK_EVERY};
use crate::transfer::blocking;

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
    /// Starts the task. What is not below the data root may be fetched.
    pub(super) fn start(data_root: PathBuf, pulled: Arc<Pulled>) -> Self {
        let (requests, received) = mpsc::channel(16);
        let (publish, known) = watch::channel(Known::default());
        let task = Task {
            reader: Reader { data_root, pulled },
            lanes: Lanes::new(),
            reading: FuturesUnordered::new(),
            loaded: Vec::new(),
            missing: Vec::new(),
            rechecks: Rechecks::new(),
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

/// Where tables are, and how they are read.
#[derive(Clone)]
struct Reader {
    data_root: PathBuf,
    pulled: Arc<Pulled>,
}

impl Reader {
    /// Reads a table below the data root, then the one that was fetched before, and at last asks the coordinator.
    async fn load(&self, wanted: &WantedTable) -> Result<Table, DataError> {
        let error = match self.read(wanted.clone()).await {
            Err(error) if error.failure().kind == FailureKind::Data => error,
            read => return read,
        };
        let fingerprint = wanted.info.fingerprint;
        if let Some(folder) = self.pulled.there(fingerprint) {
            match self.read_fetched(folder, wanted).await {
                // Changed by hand, or damaged by the disk.
                Err(error) if error.failure().kind == FailureKind::Data => {
                    self.pulled.discard(fingerprint).await;
                }
                read => return read,
            }
        }
        // Held until it is verified.
        let Some(_fetched) = self.pulled.fetch(fingerprint, &wanted.info.path).await else {
            return Err(error);
        };
        let Some(folder) = self.pulled.there(fingerprint) else {
            return Err(error);
        };
        let read = self.read_fetched(folder, wanted).await;
        if let Err(error) = &read
            && error.failure().kind == FailureKind::Data
        {
            self.pulled.refuse(fingerprint).await;
        }
        read
    }

    /// Reads a table that was fetched: the one file of a folder that is named by its fingerprint.
    async fn read_fetched(
        &self,
        folder: PathBuf,
        wanted: &WantedTable,
    ) -> Result<Table, DataError> {
        self.pulled.note_use(wanted.info.fingerprint);
        let there = folder.clone();
        let file = blocking(move || {
            let mut files = std::fs::read_dir(there)?.collect::<Result<Vec<_>, _>>()?;
            // Data sets have more of them, and are no tables.
            Ok(files.pop().filter(|_| files.is_empty()))
        });
        let file = file.await.ok().flatten();
        let file = file.ok_or_else(|| DataError::BadTable {
            path: folder,
            why: "what was fetched is not one file".to_owned(),
        })?;
        let mut there = wanted.clone();
        // Absolute, so that the data root plays no part.
        there.info.path = file.path().to_string_lossy().into_owned();
        self.read(there).await
    }

    async fn read(&self, wanted: WantedTable) -> Result<Table, DataError> {
        let root = self.data_root.clone();
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
}

/// What is done about a table. Without an asker it was missing a while ago, and is looked for again.
type Job = (WantedTable, Option<oneshot::Sender<Loaded>>);
/// A reading that has ended.
type Ended = (Job, Result<Table, DataError>);

struct Task {
    reader: Reader,
    /// Jobs that wait for another one on the same table.
    lanes: Lanes<Job>,
    /// What is under way.
    reading: FuturesUnordered<BoxFuture<'static, Ended>>,
    /// The one read last at the end.
    loaded: Vec<(WantedTable, Arc<Table>)>,
    missing: Vec<WantedTable>,
    rechecks: Rechecks<WantedTable>,
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
                    self.enter((wanted, Some(answer)));
                }
                Some(ended) = self.reading.next() => self.ended(ended),
                _ = recheck.tick(), if !self.missing.is_empty() => {
                    self.rechecks.begin(&self.missing);
                    self.recheck();
                }
            }
        }
    }

    fn enter(&mut self, job: Job) {
        let table = job.0.info.fingerprint;
        if let Some(job) = self.lanes.enter(table, job) {
            self.begin(table, job);
        }
    }

    /// Begins a job, or answers it and goes on with those that wait behind it.
    fn begin(&mut self, table: Digest, job: Job) {
        let mut next = Some(job);
        while let Some((wanted, answer)) = next {
            let known = self.loaded.iter().find(|(known, _)| *known == wanted);
            match (answer, known) {
                (Some(answer), Some((_, table))) => {
                    // Whoever asked may have been stopped while it waited.
                    let _ = answer.send(Loaded::Table(Arc::clone(table)));
                }
                // It has been.
                (Some(answer), None) if answer.is_closed() => {}
                (answer, _) => {
                    let reader = self.reader.clone();
                    let reading = async move {
                        let read = reader.load(&wanted).await;
                        ((wanted, answer), read)
                    };
                    self.reading.push(reading.boxed());
                    return;
                }
            }
            next = self.lanes.leave(table);
        }
    }

    fn ended(&mut self, ended: Ended) {
        let ((wanted, answer), read) = ended;
        let table = wanted.info.fingerprint;
        match answer {
            Some(answer) => {
                let loaded = self.loaded(wanted, read);
                // Whoever asked may have been stopped while it waited.
                let _ = answer.send(loaded);
            }
            None => self.rechecked(&wanted, &read),
        }
        if let Some(next) = self.lanes.leave(table) {
            self.begin(table, next);
        }
    }

    fn loaded(&mut self, wanted: WantedTable, read: Result<Table, DataError>) -> Loaded {
        match read {
            Ok(table) => {
                let table = Arc::new(table);
                if self.loaded.len() >= MAX_TABLES {
                    self.loaded.remove(0);
                }
                self.forget_missing(&wanted);
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

    fn forget_missing(&mut self, wanted: &WantedTable) {
        let fingerprint = wanted.info.fingerprint;
        self.missing
            .retain(|other| other.info.fingerprint != fingerprint);
        self.publish();
    }

    fn recheck(&mut self) {
        while let Some(wanted) = self.rechecks.next() {
            self.enter((wanted, None));
        }
    }

    /// Drops from the missing what is here now; the next job that wants it reads it.
    fn rechecked(&mut self, wanted: &WantedTable, read: &Result<Table, DataError>) {
        if read.is_ok() {
            tracing::info!(path = wanted.info.path, fingerprint = %wanted.info.fingerprint.short(),
                "the table is here now");
            self.forget_missing(wanted);
        }
        self.rechecks.ended();
        self.recheck();
    }

    fn publish(&self) {
        let missing = self.missing.iter();
        let missing = missing.map(|wanted| wanted.info.fingerprint).collect();
        self.publish.send_replace(Known { missing });
    }
}
