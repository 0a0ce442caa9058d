//! Uploads that failed for a fault of the artifacts' folder: how often each is tried. Not in the journal,
//! since a restart may be what mends the folder. May import the core.

use std::collections::HashMap;

use espalier_common::ids::{AttemptKey, WorkerId};
use espalier_core::search::{FinishReason, LivePhase, Phase, Search};

use super::Retry;

/// Tries of one upload. With the waits between them that is about two minutes: enough to make room, and
/// an end, since a search does not end while an upload goes on.
pub(super) const MAX_TRIES: u32 = 20;

/// The tries of every upload that has failed.
#[derive(Debug, Default)]
pub(super) struct FailedUploads(HashMap<AttemptKey, u32>);

impl FailedUploads {
    /// Counts a try of an attempt that failed.
    pub(super) fn count(&mut self, search: &Search, key: AttemptKey, worker: WorkerId) -> Retry {
        let uploads = |key: &AttemptKey| {
            let live = search.live().get(&key.trial);
            live.filter(|live| live.attempt == key.attempt && live.phase == LivePhase::Uploading)
        };
        self.0.retain(|known, _| uploads(known).is_some());
        if uploads(&key).is_none_or(|live| live.worker != worker) {
            return Retry::GivenUp;
        }
        let tries = self.0.entry(key).or_default();
        *tries += 1;
        let stopped = *search.phase() == Phase::Finishing(FinishReason::Stopped);
        if *tries >= MAX_TRIES || stopped {
            return Retry::GivenUp;
        }
        let left = MAX_TRIES - *tries;
        Retry::Again { left }
    }
}
