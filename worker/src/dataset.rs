//! Which data this machine has. One task answers, so that slots that want the same data wait for one
//! preparation and do not each make their own. May import data, common, tokio.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use espalier_common::dataset::DatasetInfo;
use espalier_common::failure::{Failure, FailureKind};
use espalier_common::ids::Digest;
use espalier_data::DataError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

/// How often absent data are looked for again: somebody may just be copying them here.
const RECHECK_EVERY: Duration = Duration::from_secs(60);
/// The most data sets remembered, absent or present; the oldest knowledge goes. Each travels with calls.
const MAX_REMEMBERED: usize = 256;

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
    /// Fingerprints verified here.
    pub(crate) verified: Vec<Digest>,
    /// Fingerprints looked for and not found.
    pub(crate) missing: Vec<Digest>,
}

/// Handle to the task that knows the data sets. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Datasets {
    requests: mpsc::Sender<Request>,
    known: watch::Receiver<Known>,
}

#[derive(Debug)]
struct Request {
    info: DatasetInfo,
    form: Form,
    answer: oneshot::Sender<Resolved>,
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
    /// Starts the task.
    pub(crate) fn start(data_root: PathBuf, cache_dir: PathBuf) -> Self {
        let (requests, received) = mpsc::channel(16);
        let (publish, known) = watch::channel(Known::default());
        let task = Task {
            data_root,
            cache_dir,
            present: BTreeMap::new(),
            missing: Vec::new(),
            publish,
        };
        espalier_runtime::spawn_named("data sets", task.serve(received));
        Self { requests, known }
    }

    /// Where the data lie on this machine, after their fingerprint was verified.
    pub(crate) async fn resolve(&self, info: DatasetInfo, form: Form) -> Resolved {
        let (answer, resolved) = oneshot::channel();
        let request = Request { info, form, answer };
        let gone = || {
            Resolved::Failed(Failure::new(
                espalier_common::failure::FailureDomain::Internal,
                FailureKind::Data,
                "the worker's data set task ended; its log says why",
            ))
        };
        if self.requests.send(request).await.is_err() {
            return gone();
        }
        resolved.await.unwrap_or_else(|_| gone())
    }

    /// What is known now.
    pub(crate) fn known(&self) -> Known {
        self.known.borrow().clone()
    }
}

struct Task {
    data_root: PathBuf,
    cache_dir: PathBuf,
    /// Answers given before, by data and split.
    present: BTreeMap<(String, Form), (Digest, PathBuf)>,
    missing: Vec<DatasetInfo>,
    publish: watch::Sender<Known>,
}

impl Task {
    async fn serve(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut recheck = tokio::time::interval(RECHECK_EVERY);
        recheck.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                request = requests.recv() => {
                    let Some(request) = request else { return };
                    let resolved = self.resolve(&request.info, request.form).await;
                    // The job may have been stopped while it waited.
                    let _ = request.answer.send(resolved);
                }
                _ = recheck.tick(), if !self.missing.is_empty() => self.look_again().await,
            }
        }
    }

    async fn resolve(&mut self, info: &DatasetInfo, form: Form) -> Resolved {
        let key = (identity(info), form);
        if let Some((_, path)) = self.present.get(&key)
            && path.exists()
        {
            return Resolved::Path(path.clone());
        }
        match self.locate(info, form).await {
            Ok(path) => {
                self.missing
                    .retain(|other| other.fingerprint != info.fingerprint);
                if self.present.len() >= MAX_REMEMBERED {
                    self.present.pop_first();
                }
                self.present.insert(key, (info.fingerprint, path.clone()));
                self.publish();
                Resolved::Path(path)
            }
            Err(error) => {
                let failure = error.failure();
                if failure.kind == FailureKind::Data {
                    self.note_missing(info, &error);
                    Resolved::Missing
                } else {
                    Resolved::Failed(failure)
                }
            }
        }
    }

    async fn locate(&self, info: &DatasetInfo, form: Form) -> Result<PathBuf, DataError> {
        let (root, cache, info) = (self.data_root.clone(), self.cache_dir.clone(), info.clone());
        let work = move || match form {
            Form::Decoded => espalier_data::prepare(&root, &cache, &info),
            Form::Folder => {
                let folder = espalier_data::locate(&root, &info.reference)?;
                let found = espalier_data::inspect(&root, &info.reference)?.fingerprint;
                if found == info.fingerprint {
                    Ok(folder)
                } else {
                    Err(DataError::OtherData {
                        path: folder,
                        expected: info.fingerprint,
                        found,
                    })
                }
            }
        };
        let path = self.data_root.clone();
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|panic| {
                Err(DataError::BadFile {
                    path,
                    why: format!("reading it panicked: {panic}"),
                })
            })
    }

    fn note_missing(&mut self, info: &DatasetInfo, error: &DataError) {
        let known = self
            .missing
            .iter()
            .any(|other| other.fingerprint == info.fingerprint);
        if known {
            return;
        }
        tracing::warn!(path = info.reference.path, fingerprint = %info.fingerprint.short(), %error,
            recheck_s = RECHECK_EVERY.as_secs(),
            "this worker cannot serve the data set, and gets no job that needs it until it can");
        if self.missing.len() >= MAX_REMEMBERED {
            self.missing.remove(0);
        }
        self.missing.push(info.clone());
        self.publish();
    }

    /// Drops from the missing what is here now; the next job that wants it prepares it.
    async fn look_again(&mut self) {
        let mut still = Vec::new();
        for info in std::mem::take(&mut self.missing) {
            match self.locate(&info, Form::Folder).await {
                Ok(path) => {
                    tracing::info!(path = %path.display(), fingerprint = %info.fingerprint.short(),
                    "the data set is here now")
                }
                Err(_) => still.push(info),
            }
        }
        self.missing = still;
        self.publish();
    }

    fn publish(&self) {
        let mut verified: Vec<Digest> = self.present.values().map(|(digest, _)| *digest).collect();
        verified.sort_unstable();
        verified.dedup();
        let missing = self.missing.iter().map(|info| info.fingerprint).collect();
        self.publish.send_replace(Known { verified, missing });
    }
}

/// What makes a decoded file another one: the data and the split.
fn identity(info: &DatasetInfo) -> String {
    format!(
        "{} in {:?}",
        espalier_data::cache_file_name(info),
        info.reference.path
    )
}
