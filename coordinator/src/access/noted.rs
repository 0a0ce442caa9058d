//! Refused calls and connections in the log: each kind from each address once in a while, so that one peer cannot fill the
//! disk.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What one peer does wrong is said so often.
const SAID_EVERY: Duration = Duration::from_secs(60);
/// Peers and kinds that are remembered; when there are more, all are forgotten, and said once more.
const MOST: usize = 1_024;

/// What was said when.
#[derive(Debug, Default)]
pub(super) struct Noted(Mutex<BTreeMap<(Option<IpAddr>, &'static str), Instant>>);

impl Noted {
    /// Whether this is to be said now.
    pub(super) fn is_new(&self, peer: Option<IpAddr>, kind: &'static str, now: Instant) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = said.get(&(peer, kind));
        if last.is_some_and(|last| now.duration_since(*last) < SAID_EVERY) {
            return false;
        }
        if said.len() >= MOST {
            said.clear();
        }
        said.insert((peer, kind), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_repeats_itself_is_noted_once_a_minute() {
        let noted = Noted::default();
        let now = Instant::now();
        let peer = Some(IpAddr::from([127, 0, 0, 1]));
        assert!(noted.is_new(peer, "no token", now));
        assert!(!noted.is_new(peer, "no token", now + Duration::from_secs(59)));
        assert!(noted.is_new(peer, "wrong role", now));
        assert!(noted.is_new(None, "no token", now));
        assert!(noted.is_new(peer, "no token", now + Duration::from_secs(61)));
    }
}
