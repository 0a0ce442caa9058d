//! Makes a data folder as small as what it holds. No record is removed: `replay` and every start need them all.

use std::path::Path;

use serde::Serialize;

use super::{MaintenanceError, check, io_error};
use crate::actors::{Learned, recover};
use crate::artifacts::ArtifactStore;
use crate::journal::{self, FILE, Journal};
use crate::steps::{Step, done};

/// What was gained. Its JSON is what `--output json` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// Records, all of which are kept.
    pub records: u64,
    /// The journal's bytes before.
    pub bytes_before: u64,
    /// The journal's bytes now.
    pub bytes: u64,
    /// Artifacts that neither a search nor a data set refers to any more, removed.
    pub artifacts_removed: u64,
}

/// Checks the journal, makes the rows for listings again, writes the file anew without gaps, and removes the
/// artifacts (in `artifacts` below the folder) that neither a search nor a data set refers to. The folder is this process's meanwhile.
///
/// # Errors
/// A coordinator is at work there; the journal is damaged, in which case nothing is touched; the disk is full.
pub async fn compact(folder: &Path) -> Result<Compacted, MaintenanceError> {
    let file = folder.join(FILE);
    if !file.exists() {
        let source = std::io::ErrorKind::NotFound.into();
        return Err(io_error("read", &file)(source));
    }
    let (place, artifacts) = (folder.to_owned(), folder.join(crate::server::ARTIFACTS));
    let work = move || {
        let mut journal = Journal::open(&place)?;
        let before = bytes(&file)?;
        let checked = check(journal.reader())?;
        // Wrong listings are what this mends.
        let wrong = checked.listings == super::Listings::Wrong && checked.problems.len() == 1;
        if !checked.is_sound() && !wrong {
            return Err(MaintenanceError::Unsound {
                path: file,
                problems: checked.problems,
            });
        }
        done(Step::CompactChecked);
        journal.rebuild_projections()?;
        let learned = Learned::default();
        let recovered = recover(journal.reader(), &learned)?;
        journal.shrink()?;
        let wanted: Vec<_> = recovered
            .iter()
            .flat_map(|one| one.kept.wanted(&one.search))
            .chain(learned.datasets.files())
            .collect();
        let now = bytes(&file)?;
        Ok((journal, wanted, checked.records, before, now))
    };
    let (journal, wanted, records, bytes_before, bytes) = tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
        let source = std::io::Error::other(error);
        Err(io_error("compacted", folder)(source))
    })?;
    let mut artifacts_removed = 0;
    if artifacts.exists() {
        let store = ArtifactStore::open(&artifacts, u64::MAX)?;
        wanted.into_iter().for_each(|digest| store.want(digest));
        artifacts_removed = store.sweep().await?;
    }
    // The folder is given back only now.
    drop(journal);
    Ok(Compacted {
        records,
        bytes_before,
        bytes,
        artifacts_removed,
    })
}

/// Of the file and its log.
fn bytes(file: &Path) -> Result<u64, MaintenanceError> {
    journal::bytes(file).map_err(io_error("read", file))
}
