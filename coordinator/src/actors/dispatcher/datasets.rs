//! Data sets that are kept, as the dispatcher has to do with them: it writes the cluster's stream.

use espalier_common::ids::Digest;
use tokio::sync::oneshot;

use super::task::Dispatcher;
use crate::actors::cluster::ClusterEvent;
use crate::actors::error::CallError;
use crate::datasets::{MAX_DATASETS, StoredDataset};

type Reply = oneshot::Sender<Result<(), CallError>>;

impl Dispatcher {
    pub(super) fn store_dataset(&mut self, dataset: StoredDataset, reply: Reply) {
        let kept = self.cluster.datasets();
        // The same once more is another event: it may have come from elsewhere, and its files have come anew.
        if kept.len() >= MAX_DATASETS && kept.find(&dataset.fingerprint).is_none() {
            let message = format!(
                "{MAX_DATASETS} data sets are kept, which is the most there can be: `espalier dataset remove`"
            );
            let _ = reply.send(Err(CallError::TooMany(message)));
            return;
        }
        let event = ClusterEvent::DatasetStored { dataset };
        self.events.push((event, Some(reply)));
    }

    pub(super) fn remove_dataset(&mut self, fingerprint: Digest, reply: Reply) {
        let event = ClusterEvent::DatasetRemoved { fingerprint };
        self.events.push((event, Some(reply)));
    }
}
