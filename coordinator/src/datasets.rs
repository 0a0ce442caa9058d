//! The data sets that the coordinator keeps for workers without them: which there are, and the claims on their
//! files. May import common's ids and the artifacts.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use espalier_common::ids::Digest;
use serde::{Deserialize, Serialize};

use crate::artifacts::ArtifactStore;

/// The most that are kept: each is looked through by listings, and a cluster searches on a handful.
pub(crate) const MAX_DATASETS: usize = 256;

/// A data set that is kept. Part of an event: add optional fields only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredDataset {
    /// What workers know it by.
    pub(crate) fingerprint: Digest,
    /// As specs name it where it was pushed from.
    pub(crate) path: String,
    /// Its files, each an artifact.
    pub(crate) files: Vec<StoredFile>,
    /// When it was pushed.
    pub(crate) stored_ms: u64,
}

/// A file of a data set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredFile {
    /// Within the data set's folder; never a path.
    pub(crate) name: String,
    /// The artifact.
    pub(crate) digest: Digest,
    /// Its bytes.
    pub(crate) size: u64,
}

/// What is kept, as the cluster's stream has it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoredDatasets(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    all: RwLock<BTreeMap<Digest, StoredDataset>>,
    /// Where the files are; not yet known while the journal is read.
    artifacts: OnceLock<ArtifactStore>,
}

impl StoredDatasets {
    fn read<T>(&self, look: impl FnOnce(&BTreeMap<Digest, StoredDataset>) -> T) -> T {
        // Nothing under the lock can panic half way.
        look(&self.0.all.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut BTreeMap<Digest, StoredDataset>) -> T) -> T {
        change(&mut self.0.all.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Claims the files of all that is kept, and from now on those of what comes.
    pub(crate) fn claim(&self, artifacts: &ArtifactStore) {
        if self.0.artifacts.set(artifacts.clone()).is_ok() {
            self.read(|all| all.values().for_each(|one| want(artifacts, one)));
        }
    }

    /// One more is kept.
    pub(crate) fn stored(&self, dataset: StoredDataset) {
        if let Some(artifacts) = self.0.artifacts.get() {
            want(artifacts, &dataset);
        }
        let before = self.write(|all| all.insert(dataset.fingerprint, dataset));
        self.release(before);
    }

    /// One is kept no more.
    pub(crate) fn removed(&self, fingerprint: &Digest) {
        let before = self.write(|all| all.remove(fingerprint));
        self.release(before);
    }

    fn release(&self, dataset: Option<StoredDataset>) {
        if let (Some(artifacts), Some(dataset)) = (self.0.artifacts.get(), dataset) {
            for file in &dataset.files {
                artifacts.release(&file.digest);
            }
        }
    }

    /// The one with a fingerprint.
    pub(crate) fn find(&self, fingerprint: &Digest) -> Option<StoredDataset> {
        self.read(|all| all.get(fingerprint).cloned())
    }

    /// Those whose fingerprint begins like this.
    pub(crate) fn beginning(&self, text: &str) -> Vec<StoredDataset> {
        self.read(|all| {
            let alike = |one: &&StoredDataset| one.fingerprint.to_string().starts_with(text);
            all.values().filter(alike).cloned().collect()
        })
    }

    /// The files of all of them.
    pub(crate) fn files(&self) -> Vec<Digest> {
        let files =
            |one: &StoredDataset| one.files.iter().map(|file| file.digest).collect::<Vec<_>>();
        self.read(|all| all.values().flat_map(files).collect())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.read(BTreeMap::len)
    }
}

fn want(artifacts: &ArtifactStore, dataset: &StoredDataset) {
    for file in &dataset.files {
        artifacts.want(file.digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(file: Digest) -> StoredDataset {
        StoredDataset {
            fingerprint: Digest::of(b"data"),
            path: "tiny".to_owned(),
            files: vec![StoredFile {
                name: "images".to_owned(),
                digest: file,
                size: 3,
            }],
            stored_ms: 1,
        }
    }

    async fn store(artifacts: &ArtifactStore, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        let mut upload = artifacts.begin(digest, content.len() as u64).await.unwrap();
        upload.write(content).await.unwrap();
        // Kept by whoever claims it, not by the upload.
        std::mem::forget(upload.finish().await.unwrap());
        artifacts.release(&digest);
        digest
    }

    #[tokio::test]
    async fn files_of_what_is_kept_outlive_a_start_and_those_of_what_is_removed_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = ArtifactStore::open(folder.path(), 1 << 20).unwrap();
        let kept = StoredDatasets::default();
        // As the journal says it, before the folder is opened.
        let digest = Digest::of(b"abc");
        kept.stored(dataset(digest));
        kept.claim(&artifacts);
        store(&artifacts, b"abc").await;
        artifacts.sweep().await.unwrap();
        assert!(artifacts.find(&digest).await.unwrap().is_some());
        // Pushed again, and removed once.
        kept.stored(dataset(digest));
        kept.removed(&Digest::of(b"data"));
        assert_eq!(kept.len(), 0);
        for _ in 0..200 {
            if !artifacts.path(&digest).exists() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("the file is still there");
    }
}
