//! Telling a running attempt to stop, and why. May import tokio's `watch`.

use tokio::sync::watch;

/// Why an attempt stops. The order is that of precedence: what is dropped is not handed back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// This worker ends: hand the job back.
    Drain,
    /// The attempt is no longer this worker's, or the trial no longer wants it: report nothing.
    Dropped,
}

/// The side that stops an attempt.
#[derive(Clone, Debug)]
pub(crate) struct StopHandle(watch::Sender<Option<Stop>>);

impl StopHandle {
    /// A handle and the signal it controls.
    pub(crate) fn new() -> (Self, StopSignal) {
        let (sender, receiver) = watch::channel(None);
        (Self(sender), StopSignal(receiver))
    }

    /// Stops the attempt; a weaker reason than the one given before changes nothing.
    pub(crate) fn stop(&self, why: Stop) {
        self.0.send_if_modified(|state| {
            let stronger = *state < Some(why);
            if stronger {
                *state = Some(why);
            }
            stronger
        });
    }

    /// Whether the attempt was dropped.
    pub(crate) fn is_dropped(&self) -> bool {
        *self.0.borrow() == Some(Stop::Dropped)
    }
}

/// The side that is stopped.
#[derive(Clone, Debug)]
pub(crate) struct StopSignal(watch::Receiver<Option<Stop>>);

impl StopSignal {
    /// Waits until the attempt is to stop.
    pub(crate) async fn stopped(&mut self) -> Stop {
        self.at_least(Stop::Drain).await
    }

    /// Waits until there is a reason to stop beyond the one that is known.
    pub(crate) async fn more_than(&mut self, known: Option<Stop>) -> Stop {
        let why = match known {
            None => Stop::Drain,
            Some(Stop::Drain | Stop::Dropped) => Stop::Dropped,
        };
        self.at_least(why).await
    }

    /// Waits until the attempt is dropped.
    pub(crate) async fn dropped(&mut self) {
        self.at_least(Stop::Dropped).await;
    }

    async fn at_least(&mut self, why: Stop) -> Stop {
        let reason = self
            .0
            .wait_for(|state| *state >= Some(why))
            .await
            .map(|state| *state);
        match reason {
            Ok(Some(reason)) => reason,
            // Nobody is left who could stop it.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dropped_attempt_stays_dropped_when_the_worker_drains() {
        let (handle, mut signal) = StopHandle::new();
        handle.stop(Stop::Drain);
        assert_eq!(signal.stopped().await, Stop::Drain);
        handle.stop(Stop::Dropped);
        handle.stop(Stop::Drain);
        signal.dropped().await;
        assert!(handle.is_dropped());
        assert_eq!(signal.stopped().await, Stop::Dropped);
    }
}
