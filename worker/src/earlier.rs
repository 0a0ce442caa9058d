//! What an earlier instance of this worker left on disk, delivered at the next start. May import proto, common, tokio.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use espalier_common::ids::{AttemptKey, WorkerId};
use espalier_proto::{attempt_to_wire, uuid_to_wire, v1};
use tokio::time::sleep;

use crate::delivery::Delivery;
use crate::transfer::blocking;

/// The instances that held what is not delivered yet.
type Waiting = Mutex<BTreeMap<AttemptKey, WorkerId>>;

/// Delivers what an earlier instance left, before this one asks for jobs: one of them could be the same
/// trial again. That may take long, so this instance and those leases are kept alive meanwhile.
pub(crate) async fn deliver_spooled(delivery: &Delivery, renew_every: Duration) -> io::Result<()> {
    let waiting = Waiting::default();
    let keeping = async {
        loop {
            // A start that does not live so long prolongs nothing.
            sleep(renew_every).await;
            keep(delivery, &waiting).await;
        }
    };
    tokio::select! {
        delivered = deliver(delivery, &waiting) => delivered,
        () = keeping => Ok(()),
    }
}

async fn deliver(delivery: &Delivery, waiting: &Waiting) -> io::Result<()> {
    let spool = delivery.spool.clone();
    let spooled = blocking(move || spool.load()).await?;
    *locked(waiting) = spooled
        .iter()
        .map(|one| (one.record.attempt, one.record.worker))
        .collect();
    for one in spooled {
        let key = one.record.attempt;
        tracing::info!(search = %key.search, trial = key.trial.0, attempt = key.attempt.0,
            "delivering a result of an earlier run");
        delivery.deliver(one, None).await;
        locked(waiting).remove(&key);
    }
    Ok(())
}

/// Renews for this instance, which holds nothing yet, and for those that held what is to be delivered.
async fn keep(delivery: &Delivery, waiting: &Waiting) {
    let mut held: BTreeMap<WorkerId, BTreeSet<AttemptKey>> = BTreeMap::new();
    held.insert(delivery.worker, BTreeSet::new());
    for (key, worker) in &*locked(waiting) {
        held.entry(*worker).or_default().insert(*key);
    }
    for (worker, held) in held {
        let request = v1::RenewRequest {
            worker: uuid_to_wire(worker.0),
            held: held.into_iter().map(attempt_to_wire).collect(),
            calls_ended: 0,
        };
        // An earlier instance is told that it is not registered any more; its leases are prolonged all the same.
        if let Err(status) = delivery.client.renew(request).await {
            tracing::debug!(instance = %worker.0, %status, "renewed for results that are not delivered yet");
        }
    }
}

/// Nobody panics while it is held, and a map is whole at any time.
fn locked(waiting: &Waiting) -> std::sync::MutexGuard<'_, BTreeMap<AttemptKey, WorkerId>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}
