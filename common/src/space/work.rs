//! How much a count may cost. What is counted is work, never time, so that the same space has the same size
//! everywhere. Imports nothing.

use std::cell::Cell;

/// The most things that the size of a space looks at, over all its sums and products: bounds the time to about
/// a tenth of a second.
const MOST: u64 = 1_000_000;

/// What is left to spend on one count. Once a part of it could not be paid, nothing is left.
#[derive(Debug)]
pub(super) struct Work(Cell<u64>);

impl Work {
    /// For an exact count, while it lasts.
    pub(super) fn of_a_size() -> Self {
        Self::of(MOST)
    }

    /// For a count in which only bounds are wanted.
    pub(super) fn none() -> Self {
        Self::of(0)
    }

    /// So much.
    pub(super) fn of(most: u64) -> Self {
        Self(Cell::new(most))
    }

    /// Takes so much; `false` when that is not left.
    pub(super) fn take(&self, much: u64) -> bool {
        let left = self.0.get().checked_sub(much);
        self.0.set(left.unwrap_or(0));
        left.is_some()
    }
}
