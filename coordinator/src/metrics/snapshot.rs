//! What the gauges are set to: numbers that the actors keep, added up without asking them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::actors::{DispatcherHandle, SearchTally, Searches};
use crate::artifacts::{ArtifactStore, Usage};
use crate::disk::Room;
use crate::journal::JournalHandle;

/// Thousands of files are not looked at for every reader of the page.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Where the numbers come from.
pub(crate) struct Sources {
    searches: Searches,
    dispatcher: DispatcherHandle,
    journal: JournalHandle,
    artifacts: ArtifactStore,
    looked: Mutex<Option<(Instant, Usage)>>,
}

impl Sources {
    pub(crate) fn new(
        searches: Searches,
        dispatcher: DispatcherHandle,
        journal: JournalHandle,
        artifacts: ArtifactStore,
    ) -> Self {
        Self {
            searches,
            dispatcher,
            journal,
            artifacts,
            looked: Mutex::default(),
        }
    }

    /// The numbers as they are now. Looks at files: for a thread that may wait for a disk.
    pub(super) fn snapshot(&self) -> Snapshot {
        let cluster = self.dispatcher.tally();
        Snapshot {
            searches: self.searches.tallies(),
            workers: cluster.workers(),
            paused_workers: cluster.paused(),
            slots: cluster.slots(),
            slots_busy: cluster.leases(),
            dispatcher_queue: self.dispatcher.queued() as u64,
            journal_queue_bytes: self.journal.queued_bytes(),
            journal_bytes: self.journal.bytes(),
            artifacts: self.usage(),
            data_free_bytes: self.free(),
            log_lines_lost: espalier_runtime::logging::lines_lost(),
        }
    }

    fn free(&self) -> u64 {
        let folder = self.journal.path().parent();
        folder.and_then(Room::of).map_or(0, |room| room.free)
    }

    fn usage(&self) -> Usage {
        // Held while it looks: a second reader would only look at the same files.
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, usage)) = *looked
            && when.elapsed() < LOOK_EVERY
        {
            return usage;
        }
        let before = looked.map(|(_, usage)| usage).unwrap_or_default();
        let usage = self.artifacts.usage().unwrap_or_else(|error| {
            tracing::debug!(%error, "the artifacts cannot be counted");
            before
        });
        *looked = Some((Instant::now(), usage));
        usage
    }
}

/// The numbers at one time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Each with the requests that wait for it.
    pub(super) searches: Vec<(SearchTally, usize)>,
    pub(super) workers: u64,
    pub(super) paused_workers: u64,
    pub(super) slots: u64,
    pub(super) slots_busy: u64,
    pub(super) dispatcher_queue: u64,
    pub(super) journal_queue_bytes: u64,
    pub(super) journal_bytes: u64,
    pub(super) artifacts: Usage,
    pub(super) data_free_bytes: u64,
    pub(super) log_lines_lost: u64,
}

impl Snapshot {
    fn sum(&self, number: impl Fn(&SearchTally) -> u32) -> u64 {
        let tallies = self.searches.iter();
        tallies.map(|(tally, _)| u64::from(number(tally))).sum()
    }

    /// Searches by state.
    pub(super) fn searches(&self) -> [(&'static str, u64); 4] {
        ["running", "paused", "finishing", "finished"]
            .map(|phase| (phase, self.sum(|tally| u32::from(tally.phase == phase))))
    }

    /// Trials by state.
    pub(super) fn trials(&self) -> [(&'static str, u64); 6] {
        [
            ("queued", self.sum(|tally| tally.queued)),
            ("running", self.sum(|tally| tally.running)),
            ("completed", self.sum(|tally| tally.completed)),
            ("failed", self.sum(|tally| tally.failed)),
            ("infeasible", self.sum(|tally| tally.infeasible)),
            ("cancelled", self.sum(|tally| tally.cancelled)),
        ]
    }

    /// Leases whose job runs, and those whose weights are on their way.
    pub(super) fn leases(&self) -> (u64, u64) {
        let (running, uploading) = (
            |tally: &SearchTally| tally.running,
            |tally: &SearchTally| tally.uploading,
        );
        (self.sum(running), self.sum(uploading))
    }

    pub(super) fn slots_wanted(&self) -> u64 {
        self.sum(|tally| tally.wanted)
    }

    pub(super) fn searches_queue(&self) -> u64 {
        self.searches.iter().map(|(_, queued)| *queued as u64).sum()
    }
}
