//! What is done once a batch of events is durable: answers, and news for watchers. It runs on the journal's
//! thread (or at once, when nothing waits to become durable), so nothing here blocks. Dropped without
//! being run when the journal fails: then every caller finds its answer's channel closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use espalier_common::ids::{AttemptKey, Digest};
use espalier_common::job::LeasedJob;
use espalier_core::search::Reply;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{Retry, SearchStatus, Update, Watching};
use crate::actors::dispatcher::{News, Poll};
use crate::actors::error::CallError;
use crate::artifacts::ArtifactStore;

/// One answer that waits for the journal.
#[derive(Debug)]
pub(super) enum Answer {
    /// To a command.
    Command(
        oneshot::Sender<Result<Reply, CallError>>,
        Result<Reply, CallError>,
    ),
    /// To a worker's poll.
    Lease(Poll, Vec<LeasedJob>),
    /// To who asked for the state.
    Status(oneshot::Sender<SearchStatus>, Box<SearchStatus>),
    /// To who begins to watch.
    Watch(oneshot::Sender<Watching>, Box<SearchStatus>),
    /// To who asked whether it may upload.
    Upload(
        oneshot::Sender<Result<(), CallError>>,
        Result<(), CallError>,
    ),
    /// To who asked whether to upload again.
    Retry(oneshot::Sender<Retry>, Retry),
}

/// What a search's actor shares with its settlements.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) updates: broadcast::Sender<Update>,
    pub(super) news: mpsc::UnboundedSender<News>,
    pub(super) artifacts: ArtifactStore,
    /// Settlements that have run.
    settled: AtomicU64,
    /// Watchers that have asked and are not subscribed yet.
    subscribing: AtomicU32,
}

impl Shared {
    pub(super) fn new(
        updates: broadcast::Sender<Update>,
        news: mpsc::UnboundedSender<News>,
        artifacts: ArtifactStore,
    ) -> Self {
        Self {
            updates,
            news,
            artifacts,
            settled: AtomicU64::new(0),
            subscribing: AtomicU32::new(0),
        }
    }

    /// Whether an update would be seen by anybody.
    pub(super) fn is_watched(&self) -> bool {
        self.updates.receiver_count() > 0 || self.subscribing.load(Ordering::Acquire) > 0
    }

    /// Somebody has asked to watch: updates are wanted from now on.
    pub(super) fn expect_watcher(&self) {
        self.subscribing.fetch_add(1, Ordering::AcqRel);
    }

    /// How many settlements have run.
    pub(super) fn settled(&self) -> u64 {
        self.settled.load(Ordering::Acquire)
    }
}

/// What is done once one batch is durable.
#[derive(Debug, Default)]
pub(super) struct Settlement {
    pub(super) answers: Vec<Answer>,
    pub(super) update: Option<Update>,
    /// Artifacts that are not wanted any more.
    pub(super) released: Vec<Digest>,
}

impl Settlement {
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.update.is_none() && self.released.is_empty()
    }

    /// Answers everybody and tells the watchers.
    pub(super) fn run(self, shared: &Arc<Shared>) {
        // A closed channel below means that the caller is gone, which only matters for leases.
        if let Some(update) = self.update {
            let _ = shared.updates.send(update);
        }
        for answer in self.answers {
            match answer {
                Answer::Command(reply, result) => drop(reply.send(result)),
                Answer::Lease(poll, jobs) => deliver(poll, jobs, shared),
                Answer::Status(reply, status) => drop(reply.send(*status)),
                Answer::Upload(reply, result) => drop(reply.send(result)),
                Answer::Retry(reply, retry) => drop(reply.send(retry)),
                Answer::Watch(reply, status) => {
                    let updates = shared.updates.subscribe();
                    shared.subscribing.fetch_sub(1, Ordering::AcqRel);
                    let status = *status;
                    let _ = reply.send(Watching { status, updates });
                }
            }
        }
        for digest in &self.released {
            shared.artifacts.release(digest);
        }
        shared.settled.fetch_add(1, Ordering::AcqRel);
    }
}

/// Hands the jobs to the waiting handler. Should it be gone, its worker never learns of them, so they
/// return to the queue at once.
fn deliver(poll: Poll, jobs: Vec<LeasedJob>, shared: &Shared) {
    if let Err(Ok(jobs)) = poll.reply.send(Ok(jobs)) {
        let keys: Vec<AttemptKey> = jobs.iter().map(LeasedJob::key).collect();
        // The dispatcher ends only with the coordinator.
        let _ = shared.news.send(News::Undelivered(keys));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use espalier_common::ids::WorkerId;
    use tokio::time::Instant;
    use uuid::Uuid;

    fn job() -> LeasedJob {
        serde_json::from_value(serde_json::json!({
            "search": Uuid::from_u128(1), "search_name": "s", "trial": 3, "attempt": 2,
            "job": {"train": {"from": 0, "to": 1}}, "evaluator": "mine", "network": null,
            "decisions": {}, "dataset": null, "seed": 1,
            "training": {
                "epochs": 1, "batch_size": 1, "label_smoothing": 0.0,
                "schedule": {"constant": {"warmup_epochs": 0.0}},
                "optimizer": {"adamw": {"learning_rate": 0.1, "weight_decay": 0.0}},
            },
            "objective": {"metric": "score", "direction": "maximize"},
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn jobs_for_a_caller_that_has_gone_go_back_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = ArtifactStore::open(folder.path(), 1).unwrap();
        let (updates, _) = broadcast::channel(1);
        let (news, mut read) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(updates, news, artifacts));
        let (reply, answer) = oneshot::channel();
        drop(answer);
        let poll = Poll {
            worker: WorkerId(Uuid::from_u128(2)),
            call: 1,
            free_slots: 1,
            missing: BTreeSet::new(),
            deadline: Instant::now(),
            ticket: 1,
            reply,
        };
        let settlement = Settlement {
            answers: vec![Answer::Lease(poll, vec![job()])],
            ..Settlement::default()
        };
        settlement.run(&shared);
        match read.try_recv() {
            Ok(News::Undelivered(keys)) => assert_eq!(keys, vec![job().key()]),
            other => panic!("{other:?}"),
        }
    }
}
