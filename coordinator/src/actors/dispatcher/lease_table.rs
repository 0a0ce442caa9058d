//! Who holds which attempt until when. Deadlines are monotonic and live only here: a renewal is not an
//! event. Plain data with time as an argument; the dispatcher owns it. May import common and tokio's
//! `Instant`.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use espalier_common::ids::{AttemptKey, WorkerId};
use tokio::time::Instant;

/// Stands for the Lease call that granted an attempt before this coordinator started: not known any more,
/// and certainly ended.
pub(super) const BEFORE_START: u64 = 0;
/// Stands for the Lease call of an attempt that gets its lease back to upload its weights: its worker
/// knows of it without any reply.
pub(crate) const NO_CALL: u64 = u64::MAX;

#[derive(Debug)]
struct Entry {
    worker: WorkerId,
    call: u64,
    deadline: Instant,
}

/// Live leases and their deadlines.
#[derive(Debug)]
pub(super) struct LeaseTable {
    ttl: Duration,
    leases: HashMap<AttemptKey, Entry>,
    /// Ordered, so that what is released or listed comes in one order.
    by_worker: HashMap<WorkerId, BTreeSet<AttemptKey>>,
    /// When deadlines were last looked at.
    looked: Instant,
}

/// What a look at the deadlines found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Leases whose deadline has passed.
    pub expired: Vec<AttemptKey>,
    /// Nobody had looked for longer than half a time to live: the process or the machine stood still and
    /// no renewal could be heard, so every lease was given a fresh deadline and none has expired.
    pub stalled: bool,
}

/// What a renewal found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Renewal {
    /// Held by the worker, but not its lease any more: it is to stop them.
    pub drop: Vec<AttemptKey>,
    /// Granted by a call that has ended, yet not held: the reply was lost on the way.
    pub lost: Vec<AttemptKey>,
}

impl LeaseTable {
    pub(super) fn new(ttl: Duration, now: Instant) -> Self {
        Self {
            ttl,
            leases: HashMap::new(),
            by_worker: HashMap::new(),
            looked: now,
        }
    }

    /// A lease begins, or goes on with a fresh deadline.
    pub(super) fn grant(&mut self, key: AttemptKey, worker: WorkerId, call: u64, now: Instant) {
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
    pub(super) fn end(&mut self, key: &AttemptKey) {
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
    pub(super) fn renew(
        &mut self,
        worker: WorkerId,
        held: &BTreeSet<AttemptKey>,
        calls_ended: u64,
        now: Instant,
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
    pub(super) fn holder(&self, key: &AttemptKey) -> Option<WorkerId> {
        Some(self.leases.get(key)?.worker)
    }

    /// Gives one lease a fresh deadline, if the worker holds it.
    pub(super) fn touch(&mut self, worker: WorkerId, key: &AttemptKey, now: Instant) {
        let entry = self.leases.get_mut(key);
        if let Some(entry) = entry.filter(|entry| entry.worker == worker) {
            entry.deadline = now + self.ttl;
        }
    }

    /// The leases of a worker, each with the call that granted it.
    pub(super) fn of_worker(
        &self,
        worker: WorkerId,
    ) -> impl Iterator<Item = (AttemptKey, u64)> + '_ {
        self.by_worker
            .get(&worker)
            .into_iter()
            .flatten()
            .filter_map(|key| self.leases.get(key).map(|entry| (*key, entry.call)))
    }

    /// The workers that hold leases.
    pub(super) fn holders(&self) -> impl Iterator<Item = WorkerId> + '_ {
        self.by_worker.keys().copied()
    }

    /// How many leases are live.
    pub(super) fn len(&self) -> usize {
        self.leases.len()
    }

    /// Looks at the deadlines. An expired lease stays until [`Self::end`], with a fresh deadline, so that
    /// it is reported again should its search not get the news.
    pub(super) fn look(&mut self, now: Instant) -> Look {
        let stalled = now.duration_since(self.looked) > self.ttl / 2;
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
        expired.sort_unstable();
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
    fn look_until(table: &mut LeaseTable, from: Instant, until: Instant) -> Vec<AttemptKey> {
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
        let start = Instant::now();
        let mut table = LeaseTable::new(TTL, start);
        table.grant(key(1), worker(1), 1, start);
        let before = look_until(&mut table, start, start + Duration::from_secs(29));
        assert_eq!(before, vec![]);
        assert_eq!(table.look(start + TTL).expired, vec![key(1)]);
    }

    #[test]
    fn a_renewed_lease_lives_on() {
        let start = Instant::now();
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
        let start = Instant::now();
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
        let now = Instant::now();
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
        let now = Instant::now();
        let mut table = LeaseTable::new(TTL, now);
        table.grant(key(1), worker(1), 1, now);
        table.grant(key(2), worker(2), 1, now);
        table.end(&key(1));
        let renewal = table.renew(worker(1), &held(&[1, 2]), 1, now);
        assert_eq!(renewal.drop, vec![key(1), key(2)]);
        assert_eq!(table.len(), 1);
    }
}
