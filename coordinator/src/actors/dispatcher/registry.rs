//! Registered workers. Plain data with time as an argument; the dispatcher owns it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use espalier_common::ids::{Digest, WorkerId};
use espalier_common::job::JobKind;
use espalier_core::dispatch::Offer;
use tokio::time::Instant;

use super::Registration;
use crate::actors::search::SearchProfile;

/// Of so many that ask for one name in vain each is told in the log; of more, no further one is.
const MAX_CLASHES: usize = 16;

/// A registered worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) registration: Registration,
    pub(super) missing: BTreeSet<Digest>,
    pub(super) last_seen: Instant,
    /// Every Lease call numbered up to this has ended at the worker.
    pub(super) calls_ended: u64,
}

impl Worker {
    /// Whether the worker can run the jobs of this search.
    pub(super) fn can_run(&self, search: &SearchProfile) -> bool {
        let lacks_data = search
            .dataset
            .is_some_and(|dataset| self.missing.contains(&dataset));
        let able = self.registration.evaluators.get(&search.evaluator);
        let wanted = &search.definition.spec.worker.labels;
        !lacks_data
            && self.registration.labels.meet(wanted)
            && able.is_some_and(|able| able.runs(JobKind::Train))
    }

    /// Whether the worker can test the best of this search.
    pub(super) fn can_test(&self, search: &SearchProfile) -> bool {
        let able = self.registration.evaluators.get(&search.evaluator);
        able.is_some_and(|able| able.runs(JobKind::Test))
    }

    /// The worker with so many free slots, for the dispatcher's choice.
    pub(super) fn offer(&self, slots: u32, resting: bool) -> Offer {
        Offer {
            worker: self.registration.worker,
            slots,
            unasked: 0,
            evaluators: self.registration.evaluators.clone(),
            missing: self.missing.clone(),
            labels: self.registration.labels.clone(),
            resting,
        }
    }
}

/// Registered workers by instance, and the one instance that a name stands for.
#[derive(Debug, Default)]
pub(super) struct Registry {
    workers: BTreeMap<WorkerId, Worker>,
    names: BTreeMap<String, WorkerId>,
    /// By the name they asked for in vain: who did so while the same worker had it.
    clashes: BTreeMap<String, BTreeSet<WorkerId>>,
    /// Of all workers together: kept, since thousands of workers are not counted over for each message.
    slots: u64,
}

impl Registry {
    /// Adds a worker's instance, in the place of the older instance of the same name.
    pub(super) fn add(&mut self, registration: Registration, now: Instant) {
        let (worker, name) = (registration.worker, registration.name.clone());
        // An instance keeps what is known of its calls when it registers once more.
        let calls_ended = self.workers.get(&worker).map_or(0, |old| old.calls_ended);
        self.remove(worker);
        self.slots += u64::from(registration.slots);
        self.workers.insert(
            worker,
            Worker {
                registration,
                missing: BTreeSet::new(),
                last_seen: now,
                calls_ended,
            },
        );
        let older = self.names.get(&name).copied();
        if let Some(older) = older {
            self.remove(older);
        }
        self.clashes.remove(&name);
        self.names.insert(name, worker);
    }

    fn remove_name_of(&mut self, worker: WorkerId) {
        if let Some(known) = self.workers.get(&worker) {
            self.names.remove(&known.registration.name);
            self.clashes.remove(&known.registration.name);
        }
    }

    /// Whether it is news that this instance asks for a name that is taken.
    pub(super) fn note_clash(&mut self, name: &str, asking: WorkerId) -> bool {
        let known = self.clashes.entry(name.to_owned()).or_default();
        known.len() < MAX_CLASHES && known.insert(asking)
    }

    /// Whether a name stands for another instance than this one.
    pub(super) fn is_of_another(&self, name: &str, worker: WorkerId) -> bool {
        self.names.get(name).is_some_and(|holder| *holder != worker)
    }

    /// Removes an instance.
    pub(super) fn remove(&mut self, worker: WorkerId) -> Option<Worker> {
        self.remove_name_of(worker);
        let removed = self.workers.remove(&worker)?;
        self.slots -= u64::from(removed.registration.slots);
        Some(removed)
    }

    /// An instance that was heard of just now.
    pub(super) fn seen(&mut self, worker: WorkerId, now: Instant) -> Option<&mut Worker> {
        let known = self.workers.get_mut(&worker)?;
        known.last_seen = now;
        Some(known)
    }

    pub(super) fn get(&self, worker: WorkerId) -> Option<&Worker> {
        self.workers.get(&worker)
    }

    /// The instance that goes by this name.
    pub(super) fn named(&self, name: &str) -> Option<WorkerId> {
        self.names.get(name).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Worker> {
        self.workers.values()
    }

    pub(super) fn len(&self) -> usize {
        self.workers.len()
    }

    /// Slots of all workers together.
    pub(super) fn slots(&self) -> u64 {
        self.slots
    }

    /// Removes those not heard of for so long.
    pub(super) fn forget_silent(&mut self, now: Instant, silence: Duration) -> Vec<Worker> {
        let silent: Vec<WorkerId> = self
            .workers
            .values()
            .filter(|worker| now.duration_since(worker.last_seen) > silence)
            .map(|worker| worker.registration.worker)
            .collect();
        silent
            .into_iter()
            .filter_map(|worker| self.remove(worker))
            .collect()
    }

    /// Counts the time in which nothing could be heard as if it had not been.
    pub(super) fn forgive_silence(&mut self, now: Instant) {
        for worker in self.workers.values_mut() {
            worker.last_seen = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use espalier_common::job::Abilities;
    use espalier_common::labels::Labels;

    use super::*;
    use uuid::Uuid;

    fn registration(worker: u128, name: &str) -> Registration {
        Registration {
            worker: WorkerId(Uuid::from_u128(worker)),
            name: name.to_owned(),
            slots: 1,
            evaluators: BTreeMap::from([("mine".to_owned(), Abilities::of([JobKind::Train]))]),
            device: "cpu".to_owned(),
            version: "0.1.0".to_owned(),
            labels: Labels::default(),
            token: None,
            home: None,
            results: BTreeSet::new(),
        }
    }

    #[test]
    fn a_new_instance_takes_the_place_of_the_older_one_of_its_name() {
        let mut registry = Registry::default();
        let now = Instant::now();
        let (one, two) = (WorkerId(Uuid::from_u128(1)), WorkerId(Uuid::from_u128(2)));
        registry.add(registration(1, "node"), now);
        registry.add(registration(1, "node"), now);
        assert_eq!(registry.named("node"), Some(one));
        registry.add(registration(2, "node"), now);
        assert_eq!(registry.named("node"), Some(two));
        assert_eq!((registry.len(), registry.slots()), (1, 1));
        assert!(registry.is_of_another("node", one) && !registry.is_of_another("node", two));
        assert!(!registry.is_of_another("other", one));
        registry.remove(two);
        registry.remove(two);
        assert_eq!(registry.slots(), 0);
        assert!(!registry.is_of_another("node", one));
    }

    #[test]
    fn a_name_that_is_asked_for_again_and_again_is_news_once() {
        let mut registry = Registry::default();
        registry.add(registration(1, "node"), Instant::now());
        let asking = |n| WorkerId(Uuid::from_u128(n));
        assert!(registry.note_clash("node", asking(2)));
        assert!(!registry.note_clash("node", asking(2)));
        assert!(registry.note_clash("node", asking(3)));
        assert!(!registry.note_clash("node", asking(2)));
        registry.remove(asking(1));
        registry.add(registration(4, "node"), Instant::now());
        assert!(registry.note_clash("node", asking(3)));
    }

    #[test]
    fn a_silent_worker_is_forgotten() {
        let mut registry = Registry::default();
        let now = Instant::now();
        registry.add(registration(1, "a"), now);
        registry.add(registration(2, "b"), now + Duration::from_secs(50));
        let gone = registry.forget_silent(now + Duration::from_secs(91), Duration::from_secs(90));
        assert_eq!(gone.len(), 1);
        assert_eq!(gone[0].registration.name, "a");
    }
}
