//! The end of a search whose model expects too little of further trials.

use super::event::Prepared;
use super::state::Search;

/// So many proposals in a row must promise too little: one alone may be a whim of a model that was just fitted anew.
const IN_A_ROW: u32 = 3;

impl Search {
    /// Notes what is expected of a proposal. One of which nothing is said (drawn at random, say) begins anew.
    pub(super) fn note_expectation(&mut self, proposal: &Prepared) {
        let Some(least) = self.limits.budget.expected_improvement else {
            return;
        };
        let small = proposal
            .origin
            .improvement
            .is_some_and(|expected| expected < least);
        // What is decided stays so: no proposal is made any more that could say otherwise.
        if !self.expects_too_little() {
            self.small_improvements = if small {
                self.small_improvements + 1
            } else {
                0
            };
        }
    }

    /// Whether further trials are not worth it.
    pub(super) fn expects_too_little(&self) -> bool {
        self.small_improvements >= IN_A_ROW
    }

    /// Whether the budget of compute is used up, by attempts that have ended.
    pub(super) fn compute_is_used_up(&self) -> bool {
        let budget = self.limits.budget.compute_ms;
        // Fits a double's whole numbers for 285,000 years.
        budget.is_some_and(|budget| self.compute_seconds * 1_000.0 >= budget as f64)
    }
}
