//! The time budget: wall time while the search is running, from its first lease on, by the coordinator's clock.
//! The journal is its only memory, so while nothing happens the passing of time is an event now and then. And the
//! deadline: a time of that clock, whatever the search does meanwhile.

use super::event::Event;
use super::state::{Phase, Search};

/// So much of the budget may be lost when the coordinator dies, ...
const LOST_PART: u64 = 100;
/// ... but a budget of seconds does not fill the journal,
const LEAST_LOST_MS: u64 = 1_000;
/// and one of days loses no more than a minute.
const MOST_LOST_MS: u64 = 60_000;

impl Search {
    /// Running time that counts against the time budget, in milliseconds.
    #[must_use]
    pub fn elapsed_ms(&self, now_ms: u64) -> u64 {
        self.elapsed_ms
            + self
                .running_since
                .map_or(0, |since| now_ms.saturating_sub(since))
    }

    pub(super) fn time_is_up(&self, now_ms: u64) -> bool {
        let budget = self.limits.budget.time_ms;
        budget.is_some_and(|budget| self.elapsed_ms(now_ms) >= budget)
    }

    pub(super) fn deadline_has_passed(&self, now_ms: u64) -> bool {
        let deadline = self.limits.budget.deadline_ms;
        deadline.is_some_and(|deadline| now_ms >= deadline)
    }

    /// In how many milliseconds the search wants to be asked to look at the time; `None` while no clock runs.
    #[must_use]
    pub fn time_to_look_ms(&self, now_ms: u64) -> Option<u64> {
        let budget = self.time_to_note_ms(now_ms).map(|(budget, to_note)| {
            let left = budget.saturating_sub(self.elapsed_ms(now_ms));
            left.min(to_note)
        });
        let goes_on = matches!(self.phase, Phase::Running | Phase::Paused(_));
        let deadline = self.limits.budget.deadline_ms.filter(|_| goes_on);
        let deadline = deadline.map(|deadline| deadline.saturating_sub(now_ms));
        budget.into_iter().chain(deadline).min()
    }

    pub(super) fn decide_time(&self, now_ms: u64) -> Vec<Event> {
        match self.time_to_note_ms(now_ms) {
            Some((_, 0)) => vec![Event::TimePassed],
            _ => Vec::new(),
        }
    }

    /// Only a clock that runs can be wrong: of the search, or of an attempt.
    pub(super) fn decide_jump(&self, by_ms: i64) -> Vec<Event> {
        let runs = self.running_since.is_some() || !self.live.is_empty();
        if runs && by_ms != 0 {
            vec![Event::ClockJumped { by_ms }]
        } else {
            Vec::new()
        }
    }

    /// What runs goes on as if it had begun by the new clock.
    pub(super) fn apply_jump(&mut self, by_ms: i64, time_ms: u64) {
        let shifted = |since: u64| since.saturating_add_signed(by_ms).min(time_ms);
        self.running_since = self.running_since.map(shifted);
        self.live
            .change_all(|live| live.since_ms = shifted(live.since_ms));
    }

    /// The budget, and in how many milliseconds it is to be noted that time has passed.
    fn time_to_note_ms(&self, now_ms: u64) -> Option<(u64, u64)> {
        let budget = self.limits.budget.time_ms?;
        self.running_since?;
        let every = (budget / LOST_PART).clamp(LEAST_LOST_MS, MOST_LOST_MS);
        let since = now_ms.saturating_sub(self.last_ms);
        Some((budget, every.saturating_sub(since)))
    }
}
