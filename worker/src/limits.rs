//! What one job may use besides memory: time, room in its scratch folder, output. Each is a failure of the
//! machine's domain: the limits are those of this worker's operator, a slower or busier machine reaches them
//! sooner, and what reaches them on every attempt becomes the candidate's failure when the attempts are
//! used up. May import common, tokio.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use tokio::time::{Instant, sleep, sleep_until};

use crate::config::Limits;
use crate::transfer::blocking;

/// Between two looks at a scratch folder: a fast disk takes a few gigabytes meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What a file takes at least, with its name: a million empty ones fill a disk too.
const LEAST_FILE: u64 = 4096;

/// Waits until a job that began at `began` has used more time or more of `scratch` than it may.
pub(crate) async fn exceeded(limits: Limits, began: Instant, scratch: PathBuf) -> Failure {
    tokio::select! {
        failure = too_long(limits.time, began) => failure,
        failure = too_full(limits.scratch, scratch) => failure,
    }
}

async fn too_long(limit: Option<Duration>, began: Instant) -> Failure {
    let Some(limit) = limit else {
        return std::future::pending().await;
    };
    sleep_until(began + limit).await;
    failure(
        FailureKind::Hung,
        format!(
            "the job was not done after the {} s that --evaluator-time allows, and was stopped; raise it, or \
             give jobs less to do",
            limit.as_secs_f64()
        ),
    )
}

async fn too_full(limit: Option<u64>, scratch: PathBuf) -> Failure {
    let Some(limit) = limit else {
        return std::future::pending().await;
    };
    loop {
        sleep(LOOK_EVERY).await;
        let folder = scratch.clone();
        let used = blocking(move || Ok(held_by(&folder, limit))).await;
        if used.is_ok_and(|used| used > limit) {
            let message = format!(
                "the job keeps more than the {} in its scratch folder that --evaluator-scratch allows, and was \
                 stopped",
                size(limit)
            );
            return failure(FailureKind::Disk, message);
        }
    }
}

/// The failure of an evaluator that wrote more than `limit` bytes.
pub(crate) fn flooded(limit: u64) -> Failure {
    failure(
        FailureKind::Evaluator,
        format!(
            "the evaluator wrote more than the {} to stdout and stderr that --evaluator-output allows for one \
             job, and was killed",
            size(limit)
        ),
    )
}

fn failure(kind: FailureKind, message: String) -> Failure {
    Failure::new(FailureDomain::Worker, kind, message)
}

/// A number of bytes for people, in the units of the options.
pub(crate) fn size(bytes: u64) -> String {
    let units = [
        (1_u64 << 40, "T"),
        (1 << 30, "G"),
        (1 << 20, "M"),
        (1 << 10, "K"),
    ];
    let whole = units
        .into_iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    whole.map_or_else(
        || format!("{bytes} bytes"),
        |(unit, name)| format!("{}{name}", bytes / unit),
    )
}

/// How much a folder holds; the count ends soon after `enough`. Links are not followed, and what goes while
/// it is looked at is passed over.
fn held_by(folder: &Path, enough: u64) -> u64 {
    let (mut held, mut folders) = (0_u64, vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.is_dir() {
                folders.push(entry.path());
            }
            // Blocks, not the length: a file may have holes.
            held = held.saturating_add((metadata.blocks() * 512).max(LEAST_FILE));
            if held > enough {
                return held;
            }
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_told_as_it_is_written() {
        for (bytes, told) in [
            (8 << 30, "8G"),
            (500 << 20, "500M"),
            (3 << 10, "3K"),
            (5, "5 bytes"),
        ] {
            assert_eq!(size(bytes), told);
        }
    }

    #[test]
    fn empty_files_in_deep_folders_count_and_holes_and_links_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        for number in 0..10 {
            fs::write(deep.join(number.to_string()), "").unwrap();
        }
        fs::File::create(deep.join("hole"))
            .unwrap()
            .set_len(1 << 30)
            .unwrap();
        std::os::unix::fs::symlink("/", deep.join("link")).unwrap();
        let held = held_by(folder.path(), u64::MAX);
        assert_eq!(held, 14 * LEAST_FILE);
        assert!(held_by(folder.path(), 1) < held);
    }
}
