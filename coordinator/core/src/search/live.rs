//! The leases that are held, at most one a trial. May import `espalier-common` only.

use std::collections::BTreeMap;
use std::ops::Deref;

use espalier_common::ids::TrialNumber;

use super::state::{LiveAttempt, LivePhase, count};

/// Leases by trial. How many of them run is kept beside them, since it is asked for after every batch of commands,
/// and thousands may be held.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Live {
    leases: BTreeMap<TrialNumber, LiveAttempt>,
    running: u32,
}

impl Deref for Live {
    type Target = BTreeMap<TrialNumber, LiveAttempt>;

    fn deref(&self) -> &Self::Target {
        &self.leases
    }
}

impl Live {
    /// Leases whose job runs.
    pub(super) fn running(&self) -> u32 {
        self.running
    }

    /// A lease begins, in the place of an older one of the trial.
    pub(super) fn insert(&mut self, trial: TrialNumber, live: LiveAttempt) {
        self.running += runs(&live);
        if let Some(older) = self.leases.insert(trial, live) {
            self.running -= runs(&older);
        }
    }

    /// A lease ends.
    pub(super) fn remove(&mut self, trial: TrialNumber) -> Option<LiveAttempt> {
        let ended = self.leases.remove(&trial)?;
        self.running -= runs(&ended);
        Some(ended)
    }

    /// Changes a lease.
    pub(super) fn change(&mut self, trial: TrialNumber, change: impl FnOnce(&mut LiveAttempt)) {
        if let Some(live) = self.leases.get_mut(&trial) {
            self.running -= runs(live);
            change(live);
            self.running += runs(live);
        }
    }

    /// Changes every lease.
    pub(super) fn change_all(&mut self, change: impl FnMut(&mut LiveAttempt)) {
        self.leases.values_mut().for_each(change);
        self.running = count(self.leases.values().filter(|live| runs(live) > 0).count());
    }
}

fn runs(live: &LiveAttempt) -> u32 {
    u32::from(live.phase == LivePhase::Running)
}

#[cfg(test)]
mod tests {
    use espalier_common::ids::{AttemptNumber, WorkerId};
    use espalier_common::job::JobKind;
    use uuid::Uuid;

    use super::*;

    fn lease(phase: LivePhase) -> LiveAttempt {
        LiveAttempt {
            attempt: AttemptNumber(1),
            worker: WorkerId(Uuid::from_u128(1)),
            job: JobKind::Train,
            resumed: false,
            phase,
            reported: 0,
            step: 0,
            since_ms: 0,
        }
    }

    #[test]
    fn the_leases_that_run_are_counted_whatever_becomes_of_them() {
        let (one, two) = (TrialNumber(1), TrialNumber(2));
        let mut live = Live::default();
        live.insert(one, lease(LivePhase::Running));
        live.insert(one, lease(LivePhase::Running));
        live.insert(two, lease(LivePhase::Running));
        assert_eq!((live.len(), live.running()), (2, 2));
        live.change(one, |live| live.phase = LivePhase::Uploading);
        live.change(two, |live| live.reported = 3);
        live.change(TrialNumber(3), |live| live.reported = 3);
        assert_eq!((live.len(), live.running()), (2, 1));
        live.insert(two, lease(LivePhase::Uploading));
        assert_eq!(live.running(), 0);
        live.change_all(|live| live.phase = LivePhase::Running);
        assert_eq!(live.running(), 2);
        assert!(live.remove(one).is_some() && live.remove(one).is_none());
        assert_eq!((live.len(), live.running()), (1, 1));
    }
}
