//! Tells work from a hang: long work counts what it got done, and whoever waits for it looks at the count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A count that grows while work makes progress. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// Something got done.
    pub(crate) fn beat(&self) {
        // Only the number is looked at; no other memory is ordered by it.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How much got done so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
