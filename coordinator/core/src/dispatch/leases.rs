//! Who holds which attempt until when. Deadlines are monotonic and live only here: a renewal is not an
//! event. Plain data with time as an argument, in the caller's own measure: the coordinator's dispatcher has
//! instants of a clock, a simulation has durations since its beginning. May import `espalier-common` only.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Add, Sub};
use std::time::Duration;

use espalier_common::ids::{AttemptKey, WorkerId};

/// Stands for the Lease call that granted an attempt before this coordinator started: not known any more,
/// and certainly ended.
pub const BEFORE_START: u64 = 0;
/// Stands for the Lease call of an attempt that gets its lease back to upload its weights: its worker
/// knows of it without any reply.
pub const NO_CALL: u64 = u64::MAX;

#[derive(Clone, Debug)]
struct Entry<T> {
    worker: WorkerId,
    call: u64,
    deadline: T,
}

/// Live leases and their deadlines.
#[derive(Clone, Debug)]
pub struct LeaseTable<T> {
    ttl: Duration,
    leases: BTreeMap<AttemptKey, Entry<T>>,
    by_worker: BTreeMap<WorkerId, BTreeSet<AttemptKey>>,
    /// When deadlines were last looked at.
    looked: T,
}

/// What a look at the deadlines found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Leases whose deadline has passed.
    pub expired: Vec<AttemptKey>,
    /// Nobody had looked for longer than half a time to live: the process or the machine stood still and
    /// no renewal could be heard, so every lease was given a fresh deadline and none has expired.
    pub stalled: bool,
}

/// What a renewal found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// Held by the worker, but not its lease any more: it is to stop them.
    pub drop: Vec<AttemptKey>,
    /// Granted by a call that has ended, yet not held: the reply was lost on the way.
    pub lost: Vec<AttemptKey>,
}

impl<T> LeaseTable<T>
where
    T: Copy + Ord + Add<Duration, Output = T> + Sub<T, Output = Duration>,
{
    /// A table without leases, whose leases live for `ttl`.
    #[must_use]
    pub fn new(ttl: Duration, now: T) -> Self {
        Self {
            ttl,
            leases: BTreeMap::new(),
            by_worker: BTreeMap::new(),
            looked: now,
        }
    }

    /// A lease begins, or goes on with a fresh deadline.
    pub fn grant(&mut self, key: AttemptKey, worker: WorkerId, call: u64, now: T) {
        let deadline = now + self.ttl;
        if let Some(known) = self.leases.get_mut(&key) {
            known.deadline = deadline;
            return;
        }
        self.leases.insert(
            key,
            Entry {
                worker,
                call,
                deadline,
            },
        );
        self.by_worker.entry(worker).or_default().insert(key);
    }

    /// A lease has ended, however that came.
    pub fn end(&mut self, key: &AttemptKey) {
        let Some(entry) = self.leases.remove(key) else {
            return;
        };
        if let Some(held) = self.by_worker.get_mut(&entry.worker) {
            held.remove(key);
            if held.is_empty() {
                self.by_worker.remove(&entry.worker);
            }
        }
    }

    /// Gives every lease that `worker` lists as held a fresh deadline. `calls_ended`: every Lease call
    /// numbered up to this has ended at the worker.
    pub fn renew(
        &mut self,
        worker: WorkerId,
        held: &BTreeSet<AttemptKey>,
        calls_ended: u64,
        now: T,
    ) -> Renewal {
        let mut renewal = Renewal::default();
        for key in held {
            match self.leases.get_mut(key) {
                Some(entry) if entry.worker == worker => entry.deadline = now + self.ttl,
                _ => renewal.drop.push(*key),
            }
        }
        renewal.lost = self
            .of_worker(worker)
            .filter(|(key, call)| *call <= calls_ended && !held.contains(key))
            .map(|(key, _)| key)
            .collect();
        renewal
    }

    /// The worker that holds this lease.
    pub fn holder(&self, key: &AttemptKey) -> Option<WorkerId> {
        Some(self.leases.get(key)?.worker)
    }

    /// Gives one lease a fresh deadline, if the worker holds it.
    pub fn touch(&mut self, worker: WorkerId, key: &AttemptKey, now: T) {
        let entry = self.leases.get_mut(key);
        if let Some(entry) = entry.filter(|entry| entry.worker == worker) {
            entry.deadline = now + self.ttl;
        }
    }

    /// The leases of a worker, each with the call that granted it.
    pub fn of_worker(&self, worker: WorkerId) -> impl Iterator<Item = (AttemptKey, u64)> + '_ {
        self.by_worker
            .get(&worker)
            .into_iter()
            .flatten()
            .filter_map(|key| self.leases.get(key).map(|entry| (*key, entry.call)))
    }

    /// The workers that hold leases.
    pub fn holders(&self) -> impl Iterator<Item = WorkerId> + '_ {
        self.by_worker.keys().copied()
    }

    /// The leases that are live.
    pub fn keys(&self) -> impl Iterator<Item = AttemptKey> + '_ {
        self.leases.keys().copied()
    }

    /// Whether no lease is live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// How many leases are live.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Looks at the deadlines. An expired lease stays until [`Self::end`], with a fresh deadline, so that
    /// it is reported again should its search not get the news.
    pub fn look(&mut self, now: T) -> Look {
        let stalled = now > self.looked && now - self.looked > self.ttl / 2;
        self.looked = now;
        let mut expired = Vec::new();
        for (key, entry) in &mut self.leases {
            let late = entry.deadline <= now;
            if late && !stalled {
                expired.push(*key);
            }
            if late || stalled {
                entry.deadline = now + self.ttl;
            }
        }
        Look { expired, stalled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use espalier_common::ids::{AttemptNumber, SearchId, TrialNumber};
    use uuid::Uuid;

    const TTL: Duration = Duration::from_secs(30);

    fn key(trial: u32) -> AttemptKey {
        AttemptKey {
            search: SearchId(Uuid::from_u128(7)),
            trial: TrialNumber(trial),
            attempt: AttemptNumber(1),
        }
    }

    fn worker(number: u128) -> WorkerId {
        WorkerId(Uuid::from_u128(number))
    }

    fn held(trials: &[u32]) -> BTreeSet<AttemptKey> {
        trials.iter().map(|&trial| key(trial)).collect()
    }

    /// Looks often enough not to count as a stall, until `until`.
    fn look_until(
        table: &mut LeaseTable<Duration>,
        from: Duration,
        until: Duration,
    ) -> Vec<AttemptKey> {
        let mut now = from;
        let mut found = Vec::new();
        while now < until {
            now += Duration::from_secs(1);
            found.extend(table.look(now).expired);
        }
        found
    }

    #[test]
    fn a_lease_that_is_not_renewed_expires_after_its_time_to_live() {
        let start = Duration::from_secs(1_000);
        let mut table = LeaseTable::new(TTL, start);
        table.grant(key(1), worker(1), 1, start);
        let before = look_until(&mut table, start, start + Duration::from_secs(29));
        assert_eq!(before, vec![]);
        assert_eq!(table.look(start + TTL).expired, vec![key(1)]);
    }

    #[test]
    fn a_renewed_lease_lives_on() {
        let start = Duration::from_secs(1_000);
        let mut table = LeaseTable::new(TTL, start);
        table.grant(key(1), worker(1), 1, start);
        table.grant(key(2), worker(1), 1, start);
        let middle = start + Duration::from_secs(20);
        assert_eq!(look_until(&mut table, start, middle), vec![]);
        table.renew(worker(1), &held(&[1]), 0, middle);
        assert_eq!(
            look_until(&mut table, middle, start + Duration::from_secs(40)),
            vec![key(2)]
        );
    }

    #[test]
    fn after_a_stall_of_half_a_time_to_live_nothing_expires() {
        let start = Duration::from_secs(1_000);
        let mut table = LeaseTable::new(TTL, start);
        table.grant(key(1), worker(1), 1, start);
        let late = start + Duration::from_secs(300);
        assert_eq!(
            table.look(late),
            Look {
                expired: vec![],
                stalled: true
            }
        );
        assert_eq!(
            look_until(&mut table, late, late + Duration::from_secs(31)),
            vec![key(1)]
        );
    }

    #[test]
    fn a_grant_of_an_ended_call_that_is_not_held_was_lost() {
        let now = Duration::from_secs(1_000);
        let mut table = LeaseTable::new(TTL, now);
        table.grant(key(1), worker(1), 1, now);
        table.grant(key(2), worker(1), 2, now);
        table.grant(key(3), worker(1), 3, now);
        let renewal = table.renew(worker(1), &held(&[1]), 2, now);
        assert_eq!(renewal.lost, vec![key(2)]);
        assert_eq!(renewal.drop, vec![]);
    }

    #[test]
    fn what_a_worker_holds_without_a_lease_is_dropped() {
        let now = Duration::from_secs(1_000);
        let mut table = LeaseTable::new(TTL, now);
        table.grant(key(1), worker(1), 1, now);
        table.grant(key(2), worker(2), 1, now);
        table.end(&key(1));
        let renewal = table.renew(worker(1), &held(&[1, 2]), 1, now);
        assert_eq!(renewal.drop, vec![key(1), key(2)]);
        assert_eq!(table.len(), 1);
    }
}
