//! What an earlier instance left on disk, delivered before this one asks for jobs: one of them could be the same trial
//! again. That may take long; the leases are kept meanwhile, beside everything else of the session. May import what the
//! session may.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use espalier_common::ids::{AttemptKey, WorkerId};
use espalier_proto::{attempt_to_wire, uuid_to_wire, v1};

use super::registration::MAX_RESULTS;
use super::{Ended, Session};
use crate::delivery::Delivery;
use crate::spool::Spooled;
use crate::transfer::blocking;

/// The results of earlier instances that the coordinator does not have yet.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    /// Who held each one; until its weights, too, are where they belong.
    waiting: BTreeMap<AttemptKey, WorkerId>,
    delivering: bool,
    renewing: bool,
}

impl Earlier {
    /// Whether every result was said: what is left of weights goes on in the background.
    pub(super) fn is_said(&self) -> bool {
        !self.delivering
    }

    /// Whether nothing is left of them on its way.
    pub(super) fn is_over(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What is not at the coordinator yet.
    pub(super) fn keys(&self) -> impl Iterator<Item = AttemptKey> {
        self.waiting.keys().copied()
    }

    /// Nothing is left of this one.
    pub(super) fn closed(&mut self, key: AttemptKey) {
        self.waiting.remove(&key);
    }

    /// A renewal has ended, well or not: the next one is due with the next of this instance.
    pub(super) fn renewed(&mut self) {
        self.renewing = false;
    }

    /// All was said.
    pub(super) fn said(&mut self) {
        self.delivering = false;
    }
}

impl Session {
    /// Begins to deliver what is in the spool.
    pub(crate) fn deliver_earlier(&mut self, spooled: Vec<Spooled>) {
        let attempts = spooled.iter().map(|one| &one.record);
        self.earlier.waiting = attempts
            .map(|record| (record.attempt, record.worker))
            .collect();
        self.earlier.delivering = !spooled.is_empty();
        let (delivery, registered) = (Arc::clone(&self.delivery), self.registered);
        if self.earlier.delivering {
            self.calls.push(Box::pin(async move {
                deliver(&delivery, spooled).await;
                (registered, Ended::Earlier)
            }));
        }
    }

    /// Renews the leases of earlier instances. Each is told that it is not registered; its leases are prolonged all
    /// the same.
    pub(super) fn renew_earlier(&mut self) {
        if self.earlier.renewing || self.earlier.waiting.is_empty() {
            return;
        }
        let mut held: BTreeMap<WorkerId, BTreeSet<AttemptKey>> = BTreeMap::new();
        for (key, worker) in &self.earlier.waiting {
            held.entry(*worker).or_default().insert(*key);
        }
        self.earlier.renewing = true;
        let (client, registered) = (self.delivery.client.clone(), self.registered);
        self.calls.push(Box::pin(async move {
            for (worker, held) in held {
                let request = v1::RenewRequest {
                    worker: uuid_to_wire(worker.0),
                    held: held.into_iter().take(MAX_RESULTS).map(attempt_to_wire).collect(),
                    calls_ended: 0,
                };
                if let Err(status) = client.renew(request).await {
                    tracing::debug!(instance = %worker.0, %status, "renewed for results that are not delivered yet");
                }
            }
            (registered, Ended::RenewEarlier)
        }));
    }
}

async fn deliver(delivery: &Delivery, spooled: Vec<Spooled>) {
    for one in spooled {
        let key = one.record.attempt;
        // Reading weights takes its time: of each only when it is due.
        match blocking(move || Ok(one.checked())).await {
            Ok(Some(one)) => {
                tracing::info!(search = %key.search, trial = key.trial.0, attempt = key.attempt.0,
                    "delivering a result of an earlier run");
                delivery.deliver(one, None).await;
            }
            // What was wrong is said, and it is gone.
            Ok(None) | Err(_) => delivery.close(key).await,
        }
    }
}
