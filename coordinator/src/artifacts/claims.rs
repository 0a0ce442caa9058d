//! Who wants which artifact. A file is removed when the last claim on it ends, and at the start when
//! nobody has claimed it: so weights of former bests do not pile up, and nothing is removed that a search
//! or a call under way refers to. May import the file system and the steps.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use espalier_common::ids::Digest;
use tokio::runtime::Handle;

use super::{ArtifactError, ArtifactStore, TEMPORARY, blocking};
use crate::steps::{Step, done};

/// The claims on artifacts, stored or not.
#[derive(Debug)]
pub(super) struct Claims {
    /// How many there are of each; those without one are left out. Held for a lookup or a rename at most.
    count: Mutex<HashMap<Digest, usize>>,
    /// Where files are removed: claims also end on threads that must not wait for a disk.
    runtime: Handle,
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            count: Mutex::default(),
            runtime: Handle::current(),
        }
    }
}

impl Claims {
    fn count(&self) -> MutexGuard<'_, HashMap<Digest, usize>> {
        // Nothing under the lock can panic half way.
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A claim on an artifact for as long as this lives.
#[derive(Debug)]
#[must_use = "the artifact may be removed once this is dropped"]
pub struct Hold {
    store: ArtifactStore,
    digest: Digest,
}

impl Hold {
    /// What is claimed.
    pub(super) fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.store.release(&self.digest);
    }
}

impl ArtifactStore {
    /// Claims an artifact, whether it is stored or not, until it is released. A claim that is never
    /// released keeps the file, which is the side to err on.
    pub fn want(&self, digest: Digest) {
        *self.claims.count().entry(digest).or_default() += 1;
    }

    /// Claims an artifact for as long as the answer lives.
    pub fn hold(&self, digest: Digest) -> Hold {
        self.want(digest);
        Hold {
            store: self.clone(),
            digest,
        }
    }

    /// Ends one claim on an artifact. With the last one its file is removed, a little later. Never waits.
    pub fn release(&self, digest: &Digest) {
        {
            let mut count = self.claims.count();
            match count.get_mut(digest) {
                Some(claims) if *claims > 1 => *claims -= 1,
                _ => drop(count.remove(digest)),
            }
            if count.contains_key(digest) {
                return;
            }
        }
        let (store, digest) = (self.clone(), *digest);
        self.claims.runtime.spawn_blocking(move || {
            let path = store.path(&digest);
            match store.remove_unwanted(&digest, &path) {
                Ok(true) => tracing::info!(%digest, "artifact removed: nothing refers to it any more"),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "an artifact that nothing refers to cannot be removed; it is tried again at the next start");
                }
            }
        });
    }

    /// Removes every artifact that nobody claims, and says how many there were. To be called when all that is
    /// recorded has been claimed.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub async fn sweep(&self) -> Result<u64, ArtifactError> {
        let store = self.clone();
        blocking("read", &self.folder, move || {
            let mut removed = 0;
            for (digest, path) in stored(&store.folder)? {
                match store.remove_unwanted(&digest, &path) {
                    Ok(true) => {
                        removed += 1;
                        tracing::info!(%digest, "artifact removed: nothing refers to it");
                    }
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "an artifact that nothing refers to cannot be removed; remove it by hand");
                    }
                }
            }
            Ok(removed)
        })
        .await
    }

    /// Removes an artifact unless somebody claims it; says whether it was there and is gone.
    fn remove_unwanted(&self, digest: &Digest, path: &Path) -> io::Result<bool> {
        let removed = self
            .folder
            .join(TEMPORARY)
            .join(format!("removed-{digest}"));
        {
            let count = self.claims.count();
            if count.contains_key(digest) {
                return Ok(false);
            }
            // Under the lock only a rename, which is quick: unlinking gigabytes is not.
            match std::fs::rename(path, &removed) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                renamed => renamed?,
            }
        }
        done(Step::ArtifactUnnamed);
        std::fs::remove_file(&removed)?;
        done(Step::ArtifactRemoved);
        Ok(true)
    }
}

/// The artifacts in a folder. What has another name is none, and is left alone.
pub(super) fn stored(folder: &Path) -> io::Result<Vec<(Digest, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let start = entry.file_name();
        let Some(start) = start.to_str().filter(|name| name.len() == 2) else {
            continue;
        };
        if !entry.file_type()?.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(entry.path())? {
            let file = file?;
            let end = file.file_name();
            let name = end.to_str().map(|end| format!("{start}{end}"));
            // In capitals it would be read, too, but is not where that artifact lies.
            let digest = name.and_then(|name| {
                let digest: Digest = name.parse().ok()?;
                (digest.to_string() == name).then_some(digest)
            });
            found.extend(digest.map(|digest| (digest, file.path())));
        }
    }
    Ok(found)
}
