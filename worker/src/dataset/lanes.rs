//! Who waits for whom: look-ups of the same data happen one after another, so that nothing is read or fetched
//! twice; those of different data beside one another, so that nobody waits for somebody else's gigabytes. Plain data.

use std::collections::{BTreeMap, VecDeque};

use espalier_common::ids::Digest;

/// Jobs that wait, by the data that they are about. Each waits for somebody's slot, so there are few.
#[derive(Debug)]
pub(super) struct Lanes<J>(BTreeMap<Digest, VecDeque<J>>);

impl<J> Lanes<J> {
    pub(super) fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// A job comes: back at once if it may begin, else it waits for those before it.
    pub(super) fn enter(&mut self, data: Digest, job: J) -> Option<J> {
        if let Some(waiting) = self.0.get_mut(&data) {
            waiting.push_back(job);
            return None;
        }
        self.0.insert(data, VecDeque::new());
        Some(job)
    }

    /// The job that was under way has ended: the next one, which begins now.
    pub(super) fn leave(&mut self, data: Digest) -> Option<J> {
        let next = self.0.get_mut(&data).and_then(VecDeque::pop_front);
        if next.is_none() {
            self.0.remove(&data);
        }
        next
    }
}

/// Absent data that are looked for again at one time. More would only share the same disks.
const RECHECKS: usize = 4;

/// What was absent and is looked for again, a few at a time.
#[derive(Debug)]
pub(super) struct Rechecks<T> {
    waiting: VecDeque<T>,
    running: usize,
}

impl<T: Clone> Rechecks<T> {
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            running: 0,
        }
    }

    /// All of these, unless those of the last time are not over yet.
    pub(super) fn begin<'a>(&mut self, all: impl IntoIterator<Item = &'a T>)
    where
        T: 'a,
    {
        if self.waiting.is_empty() && self.running == 0 {
            self.waiting.extend(all.into_iter().cloned());
        }
    }

    /// The next one that begins now. [`Rechecks::ended`] is called once for each.
    pub(super) fn next(&mut self) -> Option<T> {
        if self.running >= RECHECKS {
            return None;
        }
        let next = self.waiting.pop_front();
        self.running += usize::from(next.is_some());
        next
    }

    pub(super) fn ended(&mut self) {
        self.running -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_on_the_same_data_come_in_their_order_and_others_do_not_wait() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let mut lanes = Lanes::new();
        assert_eq!(lanes.enter(a, 1), Some(1));
        assert_eq!(lanes.enter(a, 2), None);
        assert_eq!(lanes.enter(a, 3), None);
        assert_eq!(lanes.enter(b, 4), Some(4));
        assert_eq!(lanes.leave(a), Some(2));
        assert_eq!(lanes.leave(a), Some(3));
        assert_eq!(lanes.leave(b), None);
        assert_eq!(lanes.leave(a), None);
        assert_eq!(lanes.enter(a, 5), Some(5));
    }

    #[test]
    fn a_few_are_looked_for_again_at_a_time_and_all_of_them_before_it_begins_anew() {
        let mut rechecks = Rechecks::new();
        rechecks.begin(&[1, 2, 3, 4, 5]);
        let begun: Vec<i32> = std::iter::from_fn(|| rechecks.next()).collect();
        assert_eq!(begun, [1, 2, 3, 4]);
        rechecks.ended();
        assert_eq!((rechecks.next(), rechecks.next()), (Some(5), None));
        rechecks.begin(&[6]);
        for _ in 0..4 {
            assert_eq!(rechecks.next(), None);
            rechecks.ended();
        }
        rechecks.begin(&[6]);
        assert_eq!(rechecks.next(), Some(6));
    }
}
