//! Searches that stand still: they have something to run, and nothing of them runs. Plain data with time as an
//! argument; the dispatcher owns it.

use std::collections::BTreeMap;
use std::time::Duration;

use espalier_common::ids::SearchId;
use tokio::time::Instant;

/// Longer than a worker takes to start, or a retry to rest: five minutes of a lease's usual time to live.
const STALLED_TTLS: u32 = 10;

/// What has changed about a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing of it has run for so long.
    Stalled(Duration),
    /// Something runs again, or nothing is to run any more.
    Over(Duration),
}

#[derive(Clone, Copy, Debug)]
struct Still {
    since: Instant,
    said: bool,
}

/// Since when searches stand still.
#[derive(Debug)]
pub(super) struct Stalls {
    after: Duration,
    still: BTreeMap<SearchId, Still>,
}

impl Stalls {
    pub(super) fn new(lease_ttl: Duration) -> Self {
        Self {
            after: lease_ttl * STALLED_TTLS,
            still: BTreeMap::new(),
        }
    }

    /// Takes in which of the open searches stand still now; says of which there is something to say.
    pub(super) fn look(
        &mut self,
        searches: impl Iterator<Item = (SearchId, bool)>,
        now: Instant,
    ) -> Vec<(SearchId, Change)> {
        let before = std::mem::take(&mut self.still);
        let mut changes = Vec::new();
        for (id, stands) in searches {
            let known = before.get(&id).copied();
            if !stands {
                let said = known.filter(|still| still.said);
                changes.extend(said.map(|still| (id, Change::Over(now - still.since))));
                continue;
            }
            let mut still = known.unwrap_or(Still {
                since: now,
                said: false,
            });
            let passed = now - still.since;
            if !still.said && passed >= self.after {
                still.said = true;
                changes.push((id, Change::Stalled(passed)));
            }
            self.still.insert(id, still);
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_search_of_which_nothing_runs_for_long_is_said_once_and_its_going_on_too() {
        let mut stalls = Stalls::new(Duration::from_secs(30));
        let (start, id) = (Instant::now(), SearchId(Uuid::from_u128(1)));
        let mut look = |stands, seconds| {
            let now = start + Duration::from_secs(seconds);
            let changes = stalls.look([(id, stands)].into_iter(), now);
            changes.into_iter().map(|(_, change)| change).next()
        };
        assert_eq!(look(true, 0), None);
        assert_eq!(look(false, 200), None);
        assert_eq!(look(true, 201), None);
        assert_eq!(look(true, 500), None);
        let stalled = Change::Stalled(Duration::from_secs(300));
        assert_eq!(look(true, 501), Some(stalled));
        assert_eq!(look(true, 900), None);
        assert_eq!(
            look(false, 901),
            Some(Change::Over(Duration::from_secs(700)))
        );
        assert_eq!(look(false, 902), None);
    }

    #[test]
    fn searches_that_are_gone_are_forgotten() {
        let mut stalls = Stalls::new(Duration::from_secs(30));
        let id = SearchId(Uuid::from_u128(1));
        let now = Instant::now();
        stalls.look([(id, true)].into_iter(), now);
        stalls.look(std::iter::empty(), now);
        assert!(stalls.still.is_empty());
    }
}
