//! Uploads that failed for a fault of the artifacts' folder: how often each is tried. Not in the journal,
//! since a restart may be what mends the folder. May import the core.

use std::collections::HashMap;

use espalier_common::ids::{AttemptKey, WorkerId};
use espalier_core::search::{FinishReason, LivePhase, Phase, Search};

use super::Retry;

/// Tries of one upload: no more than a worker makes, which takes it ten to twenty seconds. There must be an
/// end, since a search does not end while an upload goes on; and giving up costs no more than training the
/// best once more, when there may be room again.
pub(super) const MAX_TRIES: u32 = 8;

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
