//! Which attempts a worker may speak of: those that it holds, and those that ended a while ago, since what an
//! evaluator printed last arrives behind its result. Plain data; the dispatcher owns it.

use std::collections::{HashMap, VecDeque};

use espalier_common::ids::{AttemptKey, WorkerId};

/// Minutes of a very busy cluster.
const MOST: usize = 16_384;

/// Attempts that have ended, the newest of them.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    holders: HashMap<AttemptKey, WorkerId>,
    order: VecDeque<AttemptKey>,
}

impl Remembered {
    /// An attempt of a worker has ended.
    pub(crate) fn ended(&mut self, key: AttemptKey, worker: WorkerId) {
        if self.holders.insert(key, worker).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > MOST {
            if let Some(oldest) = self.order.pop_front() {
                self.holders.remove(&oldest);
            }
        }
    }

    /// Who held an attempt.
    pub(crate) fn holder(&self, key: &AttemptKey) -> Option<WorkerId> {
        self.holders.get(key).copied()
    }
}

#[cfg(test)]
mod tests {
    use espalier_common::ids::{AttemptNumber, SearchId, TrialNumber};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_newest_ended_attempts_are_remembered() {
        let worker = WorkerId(Uuid::from_u128(1));
        let key = |trial| AttemptKey {
            search: SearchId(Uuid::from_u128(2)),
            trial: TrialNumber(trial),
            attempt: AttemptNumber(1),
        };
        let mut remembered = Remembered::default();
        for trial in 0..=MOST as u32 {
            remembered.ended(key(trial), worker);
            remembered.ended(key(trial), worker);
        }
        assert_eq!(remembered.holder(&key(0)), None);
        assert_eq!(remembered.holder(&key(1)), Some(worker));
        assert_eq!(remembered.order.len(), MOST);
    }
}
