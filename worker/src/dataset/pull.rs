//! Data that this machine lacks and the coordinator keeps: fetched by their fingerprint into a folder of their own
//! below the cache, which is bounded. What came is verified like any other data by whoever reads it. May
//! import proto, common, tokio.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use espalier_common::dataset::{MAX_FILES, is_file_name};
use espalier_common::ids::Digest;
use espalier_proto::{digest_from_wire, v1};
use espalier_runtime::logging::millis;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::room::{PART, Reserved, Room};
use super::task::MAX_REMEMBERED;
use crate::client::Client;
use crate::transfer::blocking;

/// The longest pause within a download.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// After a question that was not answered.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Fetches at once. A small one waits only where as many large ones are under way, and more would share the same
/// network.
pub(super) const FETCHES: usize = 4;

/// Where fetched data lie, and the way to more. The same data are wanted by one at a time (see `lanes`).
#[derive(Debug)]
pub(super) struct Pulled {
    folder: PathBuf,
    room: Arc<Room>,
    fetches: Semaphore,
    client: Option<Client>,
    answers: Mutex<Answers>,
}

/// What the coordinator has said.
#[derive(Debug, Default)]
struct Answers {
    /// Not asked before: the coordinator was away, and jobs whose data may be here wait behind each question.
    not_before: Option<Instant>,
    /// When what was fetched last of each was pushed, and whether it was other data than its fingerprint says.
    pushed: BTreeMap<Digest, (u64, bool)>,
    /// Data that are kept and could not be fetched, as the log says once. No more of them than are remembered.
    failed: BTreeSet<Digest>,
}

/// Data that have come and are not yet verified: until then nothing removes them to make room.
#[derive(Debug)]
pub(super) struct Fetched {
    _reserved: Reserved,
    bytes: u64,
}

/// Why data were not fetched.
#[derive(Debug, thiserror::Error)]
enum PullError {
    #[error("the coordinator: {0}")]
    Call(#[from] Status),
    #[error("the coordinator does not answer: {0}")]
    Away(Status),
    #[error("{0}")]
    Disk(#[from] io::Error),
    #[error("they have {size} bytes, and --cache-bytes allows {most}")]
    TooLarge { size: u64, most: u64 },
    #[error("what the coordinator says of them makes no sense: {0}")]
    Wrong(String),
}

impl Pulled {
    pub(super) fn new(folder: PathBuf, most: u64, client: Option<Client>) -> Self {
        Self {
            folder,
            room: Arc::new(Room::new(most)),
            fetches: Semaphore::new(FETCHES),
            client,
            answers: Mutex::default(),
        }
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        // Nothing under the lock can panic half way.
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder_of(&self, fingerprint: Digest) -> PathBuf {
        self.folder.join(fingerprint.to_string())
    }

    /// The folder of data that were fetched, if they were.
    pub(super) fn there(&self, fingerprint: Digest) -> Option<PathBuf> {
        let folder = self.folder_of(fingerprint);
        folder.is_dir().then_some(folder)
    }

    /// Whether a path is one of fetched data.
    pub(super) fn holds(&self, path: &Path) -> bool {
        path.starts_with(&self.folder)
    }

    /// Notes that data are used: those not used for the longest time go first.
    pub(super) fn note_use(&self, fingerprint: Digest) {
        let folder = self.folder_of(fingerprint);
        // Only the order of removal suffers if it cannot be set.
        let _ = fs::File::open(folder).and_then(|file| file.set_modified(SystemTime::now()));
    }

    /// Removes data that came damaged, or were changed since.
    pub(super) async fn discard(&self, fingerprint: Digest) {
        let folder = self.folder_of(fingerprint);
        if let Err(error) = blocking(move || fs::remove_dir_all(folder)).await {
            tracing::warn!(fingerprint = %fingerprint.short(), %error, "damaged data cannot be removed from the cache");
        }
    }

    /// As [`Pulled::discard`]; what was pushed is other data, so the same is not fetched again.
    pub(super) async fn refuse(&self, fingerprint: Digest) {
        if let Some((_, wrong)) = self.answers().pushed.get_mut(&fingerprint) {
            *wrong = true;
        }
        self.discard(fingerprint).await;
    }

    /// Fetches data, if the coordinator keeps them; `path` is what the spec calls them.
    pub(super) async fn fetch(&self, fingerprint: Digest, path: &str) -> Option<Fetched> {
        let client = self.client.clone()?;
        let began = Instant::now();
        if self.answers().not_before.is_some_and(|time| began < time) {
            return None;
        }
        match self.try_fetch(&client, fingerprint).await {
            Ok(None) => None,
            Ok(Some(fetched)) => {
                tracing::info!(path, fingerprint = %fingerprint.short(), bytes = fetched.bytes,
                    duration_ms = millis(began.elapsed()), "data fetched from the coordinator");
                self.answers().failed.remove(&fingerprint);
                Some(fetched)
            }
            Err(PullError::Away(status)) => {
                self.answers().not_before = Some(Instant::now() + ASK_AGAIN);
                tracing::debug!(path, fingerprint = %fingerprint.short(), %status,
                    "the coordinator does not say whether it keeps the data");
                None
            }
            Err(error) => {
                if self.is_news(fingerprint) {
                    tracing::warn!(path, fingerprint = %fingerprint.short(), %error,
                        "the coordinator keeps the data, and they cannot be fetched; it is tried again");
                } else {
                    tracing::debug!(path, fingerprint = %fingerprint.short(), %error, "the data still cannot be fetched");
                }
                None
            }
        }
    }

    /// Whether the log has not yet said that these data cannot be fetched.
    fn is_news(&self, fingerprint: Digest) -> bool {
        let mut answers = self.answers();
        if answers.failed.len() >= MAX_REMEMBERED {
            answers.failed.clear();
        }
        answers.failed.insert(fingerprint)
    }

    async fn try_fetch(
        &self,
        client: &Client,
        fingerprint: Digest,
    ) -> Result<Option<Fetched>, PullError> {
        let Some(files) = self.ask(client, fingerprint).await? else {
            return Ok(None);
        };
        let sizes = files.iter().map(|file| file.size);
        let bytes = sizes.fold(0_u64, u64::saturating_add);
        let most = self.room.most();
        if bytes > most {
            return Err(PullError::TooLarge { size: bytes, most });
        }
        // Room first: who waits for it must not hold up those that have it.
        let reserved = self.room.reserve(fingerprint, bytes).await;
        // It is never closed.
        let _permit = self.fetches.acquire().await.ok();
        let (folder, room) = (self.folder.clone(), Arc::clone(&self.room));
        let part = blocking(move || {
            fs::create_dir_all(&folder)?;
            room.make(&folder)?;
            tempfile::Builder::new().prefix(PART).tempdir_in(&folder)
        })
        .await?;
        for file in &files {
            download(client, file, &part.path().join(&file.name)).await?;
        }
        let target = self.folder_of(fingerprint);
        blocking(move || {
            match fs::rename(part.path(), &target) {
                // Another worker that shares the cache was first; ours goes with its handle.
                Err(_) if target.is_dir() => Ok(()),
                renamed => renamed,
            }
        })
        .await?;
        Ok(Some(Fetched {
            _reserved: reserved,
            bytes,
        }))
    }

    /// The files of data that the coordinator keeps; `None`: it does not, or not the right ones.
    async fn ask(
        &self,
        client: &Client,
        fingerprint: Digest,
    ) -> Result<Option<Vec<Wanted>>, PullError> {
        let request = v1::FindDatasetRequest {
            fingerprint: fingerprint.to_string(),
        };
        let found = match client.find_dataset(request).await {
            Ok(found) => found,
            // It does not keep them, or is of a release that keeps none.
            Err(status) if matches!(status.code(), Code::NotFound | Code::Unimplemented) => {
                return Ok(None);
            }
            Err(status) => return Err(PullError::Away(status)),
        };
        let pushed = &mut self.answers().pushed;
        // It has not changed since it was found to be other data.
        if pushed.get(&fingerprint) == Some(&(found.stored_ms, true)) {
            return Ok(None);
        }
        if pushed.len() >= MAX_REMEMBERED {
            pushed.pop_first();
        }
        pushed.insert(fingerprint, (found.stored_ms, false));
        Ok(Some(checked(found.files)?))
    }
}

/// A file that is to come.
struct Wanted {
    name: String,
    digest: Digest,
    size: u64,
}

/// What the coordinator says. Names become those of files here.
fn checked(files: Vec<v1::DatasetFile>) -> Result<Vec<Wanted>, PullError> {
    if files.is_empty() || files.len() > MAX_FILES {
        return Err(PullError::Wrong(format!("{} files", files.len())));
    }
    let one = |file: v1::DatasetFile| {
        let name = file.name;
        if !is_file_name(&name) {
            let name: String = name.chars().take(80).collect();
            return Err(PullError::Wrong(format!("the file name {name:?}")));
        }
        let digest = digest_from_wire("digest", &file.digest)
            .map_err(|error| PullError::Wrong(error.to_string()))?;
        Ok(Wanted {
            name,
            digest,
            size: file.size,
        })
    };
    files.into_iter().map(one).collect()
}

async fn download(client: &Client, wanted: &Wanted, path: &Path) -> Result<(), PullError> {
    let request = v1::DownloadArtifactRequest {
        digest: wanted.digest.to_string(),
    };
    let mut pieces = client.download(request).await?;
    let mut file = tokio::fs::File::create(path).await?;
    let (mut hasher, mut size) = (blake3::Hasher::new(), 0_u64);
    loop {
        let next = tokio::time::timeout(LONGEST_PAUSE, pieces.message()).await;
        let late = |_| Status::deadline_exceeded("nothing of the download has come for a minute");
        let Some(piece) = next.map_err(late)?? else {
            break;
        };
        size += piece.data.len() as u64;
        if size > wanted.size {
            return Err(PullError::Wrong(format!(
                "{} is longer than announced",
                wanted.name
            )));
        }
        hasher.update(&piece.data);
        file.write_all(&piece.data).await?;
    }
    if Digest(*hasher.finalize().as_bytes()) != wanted.digest {
        return Err(PullError::Wrong(format!("{} came damaged", wanted.name)));
    }
    file.sync_all().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> v1::DatasetFile {
        v1::DatasetFile {
            name: name.to_owned(),
            digest: Digest::of(b"x").to_string(),
            size: 1,
        }
    }

    #[test]
    fn names_that_would_leave_the_folder_are_not_taken_from_the_coordinator() {
        assert!(checked(vec![file("train-images-idx3-ubyte")]).is_ok());
        for bad in ["", "..", "../x", "a/b", "/etc/passwd", ".x", "a\0"] {
            assert!(checked(vec![file(bad)]).is_err(), "{bad:?}");
        }
        assert!(checked(Vec::new()).is_err());
        assert!(checked(vec![file("x"); MAX_FILES + 1]).is_err());
    }

    #[test]
    fn whatever_the_coordinator_calls_a_file_it_lies_right_in_the_folder() {
        let folder = Path::new("/cache/data");
        let taken = std::cell::Cell::new(0);
        espalier_fuzzing::check(
            3_000,
            espalier_fuzzing::text(&espalier_fuzzing::FILE_NAMES),
            |name| {
                if let Ok(files) = checked(vec![file(&name)]) {
                    taken.set(taken.get() + 1);
                    let path = folder.join(&files[0].name);
                    assert_eq!(path.parent(), Some(folder), "{name:?}");
                    assert_eq!(path.file_name().unwrap().to_str(), Some(&*name));
                }
                Ok(())
            },
        );
        assert!(taken.get() > 100, "{taken:?}");
    }
}
