//! Completions that the coordinator does not have yet, on disk: written before they are first sent,
//! removed when nothing is left to deliver. A worker that was killed delivers them at its next start.
//! May import common, std, and a bound of proto.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use espalier_common::ids::{AttemptKey, ClusterId, Digest, WorkerId};
use espalier_common::metrics::{Measurement, Metrics};
use espalier_proto::MAX_MESSAGE_BYTES;
use serde::{Deserialize, Serialize};

use crate::cache::{digest_of, move_file};
use crate::work_dir::{attempt_of, file_stem};

/// Counts changes of [`Record`]. A record of another version is not delivered.
const VERSION: u32 = 1;
/// The largest record that is read back: the coordinator takes no larger message either.
const MAX_RECORD_BYTES: u64 = MAX_MESSAGE_BYTES as u64;
/// The most completions delivered at a start. A slot waits for the acknowledgement of one before it
/// takes the next job, so a single run leaves at most a few for each slot.
const MAX_RECORDS: usize = 4096;
/// A trial is decided long before; what is older is removed. Also bounds what other clusters left.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// A completion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    version: u32,
    /// The instance that held the lease.
    pub(crate) worker: WorkerId,
    /// The attempt.
    pub(crate) attempt: AttemptKey,
    /// Measurements whose report was not acknowledged.
    pub(crate) measurements: Vec<Measurement>,
    /// Of a test job.
    pub(crate) test_metrics: Metrics,
    /// Spent in the evaluator.
    pub(crate) seconds: f64,
    /// The weights' file beside the record.
    pub(crate) weights: Option<Digest>,
}

/// A completion that is on disk.
#[derive(Debug)]
pub(crate) struct Spooled {
    /// What it says.
    pub(crate) record: Record,
    path: PathBuf,
}

impl Spooled {
    /// The weights' file, and its digest.
    pub(crate) fn weights(&self) -> Option<(PathBuf, Digest)> {
        let digest = self.record.weights?;
        Some((self.path.with_extension("weights"), digest))
    }

    /// This one if its weights are what they were; else it is removed with a warning. Reads them.
    pub(crate) fn checked(self) -> Option<Self> {
        let Some((weights, digest)) = self.weights() else {
            return Some(self);
        };
        let reason = match digest_of(&weights) {
            Ok(found) if found == digest => return Some(self),
            Ok(_) => "its weights are damaged".to_owned(),
            Err(error) => format!("its weights: {error}"),
        };
        log_removed(&self.path, &reason);
        self.remove();
        None
    }

    /// Nothing is left to deliver: removes the record and the weights.
    pub(crate) fn remove(self) {
        // The record first: weights alone are ignored and removed at the next start.
        for path in [self.path.clone(), self.path.with_extension("weights")] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "cannot remove a delivered result");
                }
                _ => {}
            }
        }
    }
}

/// How a job ended well, before it is in the spool.
#[derive(Debug)]
pub(crate) struct Completion {
    /// The attempt.
    pub(crate) attempt: AttemptKey,
    /// Measurements whose report was not acknowledged.
    pub(crate) measurements: Vec<Measurement>,
    /// Of a test job.
    pub(crate) test_metrics: Metrics,
    /// Spent in the evaluator.
    pub(crate) seconds: f64,
    /// The weights' file, which moves into the spool.
    pub(crate) weights: Option<PathBuf>,
}

/// The spool of one cluster. Its calls block on the disk.
#[derive(Clone, Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    worker: WorkerId,
}

impl Spool {
    /// The spool under `root` for one cluster: what is undelivered for another one stays for that.
    pub(crate) fn open(root: &Path, cluster: ClusterId, worker: WorkerId) -> io::Result<Self> {
        let folder = root.join(cluster.to_string());
        fs::create_dir_all(&folder)?;
        remove_old(root)?;
        Ok(Self { folder, worker })
    }

    /// Whose completions wait under `root`, of whatever cluster: known before it is known which cluster this is.
    pub(crate) fn waiting(root: &Path) -> io::Result<Vec<AttemptKey>> {
        let mut waiting = Vec::new();
        for cluster in folders(root)? {
            for entry in fs::read_dir(cluster)? {
                let path = entry?.path();
                let record = path.extension().is_some_and(|end| end == "json");
                let stem = path.file_stem().and_then(|stem| stem.to_str());
                waiting.extend(stem.filter(|_| record).and_then(attempt_of));
            }
        }
        Ok(waiting)
    }

    /// Puts a completion on disk, whole or not at all.
    pub(crate) fn store(&self, completion: Completion) -> io::Result<Spooled> {
        let path = self
            .folder
            .join(format!("{}.json", file_stem(completion.attempt)));
        self.write(completion, &path).inspect_err(|_| {
            // Most likely the disk is full, and weights without a record are of use to nobody.
            let _ = fs::remove_file(path.with_extension("weights"));
        })
    }

    fn write(&self, completion: Completion, path: &Path) -> io::Result<Spooled> {
        let weights = match &completion.weights {
            Some(file) => {
                let kept = path.with_extension("weights");
                move_file(file, &kept)?;
                File::open(&kept)?.sync_all()?;
                Some(digest_of(&kept)?)
            }
            None => None,
        };
        let record = Record {
            version: VERSION,
            worker: self.worker,
            attempt: completion.attempt,
            measurements: completion.measurements,
            test_metrics: completion.test_metrics,
            seconds: completion.seconds,
            weights,
        };
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        serde_json::to_writer(&mut file, &record)?;
        file.flush()?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(Spooled {
            record,
            path: path.to_owned(),
        })
    }

    /// What an earlier instance left, oldest first. What cannot be read is removed with a warning; weights are not
    /// looked at (see [`Spooled::checked`]).
    pub(crate) fn load(&self) -> io::Result<Vec<Spooled>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let record = path.with_extension("json");
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                found.push((fs::metadata(&path)?.modified()?, path));
            } else if !record.exists() {
                // A temporary file, or weights without a record: the worker was killed while it wrote.
                fs::remove_file(&path)?;
            }
        }
        found.sort_unstable();
        let surplus = found.len().saturating_sub(MAX_RECORDS);
        let mut loaded = Vec::new();
        for (index, (_, path)) in found.into_iter().enumerate() {
            let read = if index < surplus {
                Err(format!("more than {MAX_RECORDS} wait; the oldest go"))
            } else {
                read_record(&path)
            };
            match read {
                Ok(record) => loaded.push(Spooled { record, path }),
                Err(reason) => {
                    log_removed(&path, &reason);
                    fs::remove_file(&path)?;
                    let _ = fs::remove_file(path.with_extension("weights"));
                }
            }
        }
        Ok(loaded)
    }
}

fn read_record(path: &Path) -> Result<Record, String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_RECORD_BYTES {
        return Err(format!("it has {size} bytes"));
    }
    let text = fs::read(path).map_err(|error| error.to_string())?;
    let record: Record = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if record.version != VERSION {
        return Err(format!(
            "it was written by another release (version {})",
            record.version
        ));
    }
    Ok(record)
}

fn log_removed(path: &Path, reason: &str) {
    tracing::warn!(path = %path.display(), reason, "an undelivered result is removed");
}

/// The folders of clusters; none before the first one.
fn folders(root: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    Ok(paths?.into_iter().filter(|path| path.is_dir()).collect())
}

fn remove_old(root: &Path) -> io::Result<()> {
    let now = SystemTime::now();
    for cluster in folders(root)? {
        for entry in fs::read_dir(cluster)? {
            let entry = entry?;
            let age = now.duration_since(entry.metadata()?.modified()?);
            if age.is_ok_and(|age| age > MAX_AGE) {
                let path = entry.path();
                tracing::warn!(path = %path.display(), "a result that was never delivered is too old; removed");
                fs::remove_file(path)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use espalier_common::ids::{AttemptNumber, SearchId, TrialNumber};
    use uuid::Uuid;

    use super::*;

    fn spool(root: &Path, worker: u128) -> Spool {
        Spool::open(
            root,
            ClusterId(Uuid::from_u128(1)),
            WorkerId(Uuid::from_u128(worker)),
        )
        .unwrap()
    }

    fn completion(trial: u32, weights: Option<PathBuf>) -> Completion {
        Completion {
            attempt: AttemptKey {
                search: SearchId(Uuid::from_u128(7)),
                trial: TrialNumber(trial),
                attempt: AttemptNumber(1),
            },
            measurements: vec![Measurement {
                step: 3,
                metrics: Metrics::from([("accuracy", 0.1 + 0.2)]),
            }],
            test_metrics: Metrics::default(),
            seconds: 1.5,
            weights,
        }
    }

    #[test]
    fn a_completion_survives_the_worker_that_wrote_it() {
        let root = tempfile::tempdir().unwrap();
        let weights = root.path().join("w");
        fs::write(&weights, "weights").unwrap();
        let stored = spool(root.path(), 1)
            .store(completion(1, Some(weights.clone())))
            .unwrap();
        assert!(!weights.exists());

        let waiting = Spool::waiting(root.path()).unwrap();
        assert_eq!(waiting, [stored.record.attempt]);
        let loaded = spool(root.path(), 2).load().unwrap();
        assert_eq!(loaded.len(), 1);
        assert_eq!(loaded[0].record, stored.record);
        assert_eq!(loaded[0].record.worker, WorkerId(Uuid::from_u128(1)));
        let (file, digest) = loaded[0].weights().unwrap();
        assert_eq!(fs::read_to_string(file).unwrap(), "weights");
        assert_eq!(digest, Digest::of(b"weights"));
    }

    #[test]
    fn what_was_delivered_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let weights = root.path().join("w");
        fs::write(&weights, "weights").unwrap();
        let spool = spool(root.path(), 1);
        spool.store(completion(1, Some(weights))).unwrap().remove();
        assert!(spool.load().unwrap().is_empty());
        assert_eq!(fs::read_dir(&spool.folder).unwrap().count(), 0);
    }

    #[test]
    fn weights_whose_record_cannot_be_written_do_not_stay() {
        let root = tempfile::tempdir().unwrap();
        let weights = root.path().join("w");
        fs::write(&weights, "weights").unwrap();
        let spool = spool(root.path(), 1);
        let completion = completion(1, Some(weights));
        // Nothing can be renamed to a folder with something in it.
        let record = format!("{}.json", file_stem(completion.attempt));
        fs::create_dir_all(spool.folder.join(record).join("in the way")).unwrap();
        spool.store(completion).unwrap_err();
        assert_eq!(fs::read_dir(&spool.folder).unwrap().count(), 1);
    }

    #[test]
    fn damaged_records_and_leftovers_are_removed_and_the_rest_is_delivered() {
        let root = tempfile::tempdir().unwrap();
        let spool = spool(root.path(), 1);
        spool.store(completion(1, None)).unwrap();
        let weights = root.path().join("w");
        fs::write(&weights, "weights").unwrap();
        let damaged = spool.store(completion(2, Some(weights))).unwrap();
        fs::write(damaged.weights().unwrap().0, "other").unwrap();
        fs::write(spool.folder.join("x.json"), "{\"half").unwrap();
        fs::write(spool.folder.join("lonely.weights"), "x").unwrap();

        let loaded = spool.load().unwrap();
        assert_eq!(loaded.len(), 2);
        let sound: Vec<Spooled> = loaded.into_iter().filter_map(Spooled::checked).collect();
        assert_eq!(sound.len(), 1);
        assert_eq!(sound[0].record.attempt.trial, TrialNumber(1));
        assert_eq!(fs::read_dir(&spool.folder).unwrap().count(), 1);
    }

    #[test]
    fn results_for_another_cluster_are_left_alone_until_they_are_old() {
        let root = tempfile::tempdir().unwrap();
        let other = Spool::open(
            root.path(),
            ClusterId(Uuid::from_u128(2)),
            WorkerId(Uuid::nil()),
        )
        .unwrap();
        let stored = other.store(completion(1, None)).unwrap();
        assert!(spool(root.path(), 1).load().unwrap().is_empty());
        assert!(stored.path.exists());
        let long_ago = SystemTime::now() - MAX_AGE - Duration::from_secs(60);
        File::open(&stored.path)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
        spool(root.path(), 1);
        assert!(!stored.path.exists());
    }
}
