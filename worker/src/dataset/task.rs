//! The task that knows the data sets. May import data, common, tokio.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use espalier_common::dataset::DatasetInfo;
use espalier_common::failure::FailureKind;
use espalier_data::{DataError, Pulse, Stamp};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::pull::Pulled;
use super::watched::Watched;
use super::{Form, Known, Places, Request, Resolved};
use crate::client::Client;

/// How often absent data are looked for again: somebody may just be copying them here.
pub(super) const RECHECK_EVERY: Duration = Duration::from_secs(60);
/// The most data sets remembered, absent or present; the oldest knowledge goes. Each travels with calls.
pub(super) const MAX_REMEMBERED: usize = 256;

/// Data that were verified.
#[derive(Clone, Debug)]
struct Present {
    path: PathBuf,
    /// Of the files that an evaluator reads.
    stamp: Stamp,
}

/// Data that were looked for in vain.
#[derive(Debug)]
struct Missing {
    info: DatasetInfo,
    /// Of the files that were found and are not the data; `None` when it is not known what is wrong with
    /// them. Hashing gigabytes every minute is not for free.
    stamp: Option<Stamp>,
}

/// What a look at data found out.
type Found = Result<Present, (DataError, Option<Stamp>)>;

/// The task.
pub(super) struct Task {
    places: Places,
    watched: Watched,
    pulled: Pulled,
    /// Answers given before, by data and split.
    present: BTreeMap<(String, Form), Present>,
    missing: Vec<Missing>,
    publish: watch::Sender<Known>,
}

impl Task {
    pub(super) fn new(
        places: Places,
        client: Option<Client>,
        publish: watch::Sender<Known>,
    ) -> Self {
        Self {
            pulled: Pulled::new(places.fetched_dir.clone(), places.cache_bytes, client),
            watched: Watched::new(places.silence),
            places,
            present: BTreeMap::new(),
            missing: Vec::new(),
            publish,
        }
    }

    pub(super) async fn serve(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut recheck = tokio::time::interval(RECHECK_EVERY);
        recheck.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.prune().await;
        loop {
            tokio::select! {
                request = requests.recv() => match request {
                    None => return,
                    Some(Request::Resolve { info, form, answer }) => {
                        let resolved = self.resolve(&info, form).await;
                        // The job may have been stopped while it waited.
                        let _ = answer.send(resolved);
                    }
                    Some(Request::Doubt(info)) => {
                        for form in [Form::Decoded, Form::Folder] {
                            self.present.remove(&(identity(&info), form));
                        }
                    }
                },
                _ = recheck.tick(), if !self.missing.is_empty() => self.look_again().await,
            }
        }
    }

    pub(super) async fn resolve(&mut self, info: &DatasetInfo, form: Form) -> Resolved {
        let key = (identity(info), form);
        let known = self.present.get(&key).cloned();
        let is_news = known.is_none();
        let refused = self.missing.iter().find(|missing| missing.info == *info);
        let refused = refused.and_then(|missing| missing.stamp.clone());
        match self.look_everywhere(info, form, known, refused).await {
            Ok(present) => {
                self.missing
                    .retain(|missing| missing.info.fingerprint != info.fingerprint);
                if self.present.len() >= MAX_REMEMBERED {
                    self.present.pop_first();
                }
                let path = present.path.clone();
                self.present.insert(key, present);
                self.publish();
                if is_news && form == Form::Decoded {
                    self.prune().await;
                }
                Resolved::Path(path)
            }
            Err((error, stamp)) => {
                self.present.remove(&key);
                let failure = error.failure();
                if failure.kind == FailureKind::Data {
                    self.note_missing(info, &error, stamp);
                    Resolved::Missing
                } else {
                    Resolved::Failed(failure)
                }
            }
        }
    }

    /// Looks at the data below the data root, then at what was fetched before, and at last asks the coordinator.
    async fn look_everywhere(
        &mut self,
        info: &DatasetInfo,
        form: Form,
        known: Option<Present>,
        refused: Option<Stamp>,
    ) -> Found {
        let fetched = known
            .as_ref()
            .is_some_and(|known| self.pulled.holds(&known.path));
        let error = if fetched {
            None
        } else {
            match self.look(info, form, known.clone(), refused).await {
                Err(error) if error.0.failure().kind == FailureKind::Data => Some(error),
                found => return found,
            }
        };
        let there = self.pulled.there(info.fingerprint);
        if there.is_some() {
            match self.look_at_fetched(info, form, known).await {
                Ok(present) => return Ok(present),
                // Changed by hand, or damaged by the disk.
                Err((error, _)) if error.failure().kind == FailureKind::Data => {
                    self.pulled.discard(info.fingerprint).await;
                }
                Err(error) => return Err(error),
            }
        }
        match self.pulled.fetch(info).await {
            Some(_) => {
                let found = self.look_at_fetched(info, form, None).await;
                if let Err((error, _)) = &found
                    && error.failure().kind == FailureKind::Data
                {
                    self.pulled.refuse(info.fingerprint).await;
                }
                found
            }
            None => Err(error.unwrap_or_else(|| (unchanged(info), None))),
        }
    }

    /// Looks at data that were fetched: they lie in a folder named by their fingerprint.
    async fn look_at_fetched(
        &mut self,
        info: &DatasetInfo,
        form: Form,
        known: Option<Present>,
    ) -> Found {
        let mut there = info.clone();
        let folder = self.places.fetched_dir.join(info.fingerprint.to_string());
        // Absolute, so that the data root plays no part.
        there.reference.path = folder.to_string_lossy().into_owned();
        self.pulled.note_use(info.fingerprint);
        self.look(&there, form, known, None).await
    }

    /// Looks at the data, but reads them only when they may have changed since `known` was found out, or
    /// since they were `refused`.
    async fn look(
        &mut self,
        info: &DatasetInfo,
        form: Form,
        known: Option<Present>,
        refused: Option<Stamp>,
    ) -> Found {
        let (places, info) = (self.places.clone(), info.clone());
        let (key, path) = (identity(&info), places.data_root.join(&info.reference.path));
        let work = move |pulse: &Pulse| {
            if let Some(known) = known
                && same_files(&places, &info, form, &known)
            {
                return Ok(Ok(known));
            }
            let stamp = espalier_data::stamp(&places.data_root, &info.reference)?;
            Ok(if refused.as_ref() == Some(&stamp) {
                Err((unchanged(&info), Some(stamp)))
            } else {
                // The stamp from before the files were read: a change meanwhile is one to look at.
                read(&places, &info, form, stamp.clone(), pulse).map_err(|error| {
                    let stamp = error.is_about_content().then_some(stamp);
                    (error, stamp)
                })
            })
        };
        match self.watched.run(&key, path, work).await {
            Ok(found) => found,
            Err(error) => Err((error, None)),
        }
    }

    fn note_missing(&mut self, info: &DatasetInfo, error: &DataError, stamp: Option<Stamp>) {
        let known = self
            .missing
            .iter_mut()
            .find(|other| other.info.fingerprint == info.fingerprint);
        if let Some(known) = known {
            known.stamp = stamp;
            return;
        }
        tracing::warn!(path = info.reference.path, fingerprint = %info.fingerprint.short(), %error,
            recheck_s = RECHECK_EVERY.as_secs(),
            "this worker cannot serve the data set, and gets no job that needs it until it can");
        if self.missing.len() >= MAX_REMEMBERED {
            self.missing.remove(0);
        }
        self.missing.push(Missing {
            info: info.clone(),
            stamp,
        });
        self.publish();
    }

    /// Drops from the missing what is here now; the next job that wants it prepares it.
    pub(super) async fn look_again(&mut self) {
        let mut still = Vec::new();
        for missing in std::mem::take(&mut self.missing) {
            let Missing { info, stamp } = missing;
            match self.look_everywhere(&info, Form::Folder, None, stamp).await {
                Ok(present) => {
                    tracing::info!(path = %present.path.display(), fingerprint = %info.fingerprint.short(),
                    "the data set is here now");
                }
                Err((_, stamp)) => still.push(Missing { info, stamp }),
            }
        }
        self.missing = still;
        self.publish();
    }

    /// Makes room in the cache.
    async fn prune(&mut self) {
        let (folder, most) = (self.places.cache_dir.clone(), self.places.cache_bytes);
        let work = move |_: &Pulse| espalier_data::prune(&folder, most);
        let path = self.places.cache_dir.clone();
        if let Err(error) = self.watched.run("the cache", path, work).await {
            tracing::warn!(%error, "cannot remove old files from the cache");
        }
    }

    fn publish(&self) {
        let missing = self.missing.iter().map(|missing| missing.info.fingerprint);
        let missing = missing.collect();
        self.publish.send_replace(Known { missing });
    }
}

/// What is said of files that were looked at before: why they will not do was said then.
fn unchanged(info: &DatasetInfo) -> DataError {
    DataError::BadFile {
        path: PathBuf::from(&info.reference.path),
        why: "it has not changed since it was found not to be the data of this search".to_owned(),
    }
}

/// Whether the files that were verified are still those.
fn same_files(places: &Places, info: &DatasetInfo, form: Form, known: &Present) -> bool {
    let now = match form {
        Form::Decoded => {
            espalier_data::note_use(&known.path);
            Ok(Stamp::of_file(&known.path))
        }
        Form::Folder => espalier_data::stamp(&places.data_root, &info.reference),
    };
    now.is_ok_and(|now| now == known.stamp)
}

/// Reads the data; `stamp` is that of the user's files.
fn read(
    places: &Places,
    info: &DatasetInfo,
    form: Form,
    stamp: Stamp,
    pulse: &Pulse,
) -> Result<Present, DataError> {
    let fingerprint = info.fingerprint;
    match form {
        Form::Decoded => {
            let path =
                espalier_data::prepare_watched(&places.data_root, &places.cache_dir, info, pulse)?;
            let stamp = Stamp::of_file(&path);
            Ok(Present { path, stamp })
        }
        Form::Folder => {
            let path = espalier_data::locate(&places.data_root, &info.reference)?;
            let found = espalier_data::inspect_watched(&places.data_root, &info.reference, pulse)?;
            if found.fingerprint != fingerprint {
                return Err(DataError::OtherData {
                    path,
                    expected: fingerprint,
                    found: found.fingerprint,
                });
            }
            Ok(Present { path, stamp })
        }
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
