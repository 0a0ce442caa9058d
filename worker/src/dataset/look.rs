//! Where data are looked for, and how: below the data root, among what was fetched before, at the coordinator. May
//! import data, common, tokio.

use std::path::PathBuf;
use std::sync::Arc;

use espalier_common::dataset::DatasetInfo;
use espalier_common::failure::FailureKind;
use espalier_data::{DataError, Pulse, Stamp};

use super::pull::Pulled;
use super::watched::Watched;
use super::{Form, Places};

/// Data that were verified.
#[derive(Clone, Debug)]
pub(super) struct Present {
    pub(super) path: PathBuf,
    /// Of the files that an evaluator reads.
    stamp: Stamp,
}

/// What a look at data found out.
pub(super) type Found = Result<Present, (DataError, Option<Stamp>)>;

/// Looks at data; many looks may be under way, at different data.
#[derive(Debug)]
pub(super) struct Looker {
    places: Places,
    watched: Watched,
    pulled: Arc<Pulled>,
    /// One at a time makes room in the cache of decoded data.
    pruning: tokio::sync::Mutex<()>,
}

impl Looker {
    pub(super) fn new(places: Places, pulled: Arc<Pulled>) -> Self {
        Self {
            watched: Watched::new(places.silence),
            places,
            pulled,
            pruning: tokio::sync::Mutex::default(),
        }
    }

    /// Looks at the data below the data root, then at what was fetched before, and at last asks the coordinator.
    pub(super) async fn look_everywhere(
        &self,
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
        let path = info.reference.path.as_str();
        match self.pulled.fetch(info.fingerprint, path).await {
            // Held until they are verified.
            Some(_fetched) => {
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
        &self,
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
        &self,
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

    /// Makes room in the cache.
    pub(super) async fn prune(&self) {
        let _one = self.pruning.lock().await;
        let (folder, most) = (self.places.cache_dir.clone(), self.places.cache_bytes);
        let work = move |_: &Pulse| espalier_data::prune(&folder, most);
        let path = self.places.cache_dir.clone();
        if let Err(error) = self.watched.run("the cache", path, work).await {
            tracing::warn!(%error, "cannot remove old files from the cache");
        }
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
pub(super) fn identity(info: &DatasetInfo) -> String {
    format!(
        "{} in {:?}",
        espalier_data::cache_file_name(info),
        info.reference.path
    )
}
