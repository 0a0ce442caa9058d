//! Which workers are paused since jobs kept failing on them, by the name that a worker keeps when it is started
//! again. Plain data with time as an argument; the dispatcher owns it.

use std::collections::BTreeMap;
use std::time::Duration;

use espalier_core::dispatch::Health;
use tokio::time::Instant;

use super::registry::Registry;

/// How the workers fare of which something bad is known.
#[derive(Debug)]
pub(super) struct Infirmary {
    /// Where the clock of [`Health`] begins.
    start: Instant,
    patients: BTreeMap<String, Health>,
}

impl Infirmary {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            start,
            patients: BTreeMap::new(),
        }
    }

    /// A job failed on a worker by a fault of the machine.
    pub(super) fn fault(&mut self, name: &str, now: Instant) {
        let now_ms = self.millis(now);
        let health = self.patients.entry(name.to_owned()).or_default();
        if let Some(duration_ms) = health.fault(now_ms) {
            tracing::warn!(
                worker = name,
                from = "serving",
                to = "paused",
                duration_ms,
                "jobs keep failing on this worker: it gets none for a while; its log says why they fail"
            );
        }
    }

    /// A job was done on a worker: whatever failed before, it is well now.
    pub(super) fn success(&mut self, name: &str) {
        self.patients.remove(name);
    }

    /// Whether a worker is paused.
    pub(super) fn rests(&self, name: &str, now: Instant) -> bool {
        let health = self.patients.get(name);
        health.is_some_and(|health| health.pause_left_ms(self.millis(now)).is_some())
    }

    /// How many of the registered workers are paused.
    pub(super) fn resting(&self, registry: &Registry, now: Instant) -> usize {
        let now_ms = self.millis(now);
        let paused = self.patients.iter();
        let paused = paused.filter(|(_, health)| health.pause_left_ms(now_ms).is_some());
        paused
            .filter(|(name, _)| registry.named(name).is_some())
            .count()
    }

    /// When the next pause ends.
    pub(super) fn next_return(&self, now: Instant) -> Option<Instant> {
        let now_ms = self.millis(now);
        let left = self.patients.values();
        let left = left.filter_map(|health| health.pause_left_ms(now_ms)).min();
        left.map(|left| now + Duration::from_millis(left))
    }

    /// Forgets what lies far back: names come and go.
    pub(super) fn forget(&mut self, now: Instant) {
        let now_ms = self.millis(now);
        self.patients
            .retain(|_, health| !health.is_forgotten(now_ms));
    }

    fn millis(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.start).as_millis();
        // Half a billion years.
        u64::try_from(passed).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_paused_by_its_name_until_it_has_done_a_job_or_the_pause_is_over() {
        let now = Instant::now();
        let mut infirmary = Infirmary::new(now);
        infirmary.fault("sick", now);
        assert!(!infirmary.rests("sick", now), "after the first fault");
        infirmary.fault("sick", now);
        assert!(infirmary.rests("sick", now));
        assert!(!infirmary.rests("other", now));
        let back = infirmary.next_return(now).unwrap();
        assert!(!infirmary.rests("sick", back));
        infirmary.fault("sick", back);
        assert!(infirmary.rests("sick", back));
        infirmary.success("sick");
        assert!(!infirmary.rests("sick", back));
        assert_eq!(infirmary.next_return(back), None);
    }

    #[test]
    fn what_lies_far_back_is_forgotten() {
        let now = Instant::now();
        let mut infirmary = Infirmary::new(now);
        infirmary.fault("gone", now);
        infirmary.forget(now + Duration::from_secs(60));
        assert_eq!(infirmary.patients.len(), 1);
        infirmary.forget(now + Duration::from_secs(24 * 3600));
        assert_eq!(infirmary.patients.len(), 0);
    }
}
