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
}
