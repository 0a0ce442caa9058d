//! One search: its actor, which owns the state and is reached through a cheap handle, the thread of its
//! searcher, and what others see of it.

mod actor;
mod kept;
mod log;
mod record;
mod settle;
mod status;
mod tally;
mod uploads;

use std::collections::BTreeSet;
use std::sync::Arc;

use espalier_common::ids::{AttemptKey, Digest, SearchId, TrialNumber, WorkerId};
use espalier_common::job::Checkpoint;
use espalier_core::search::{
    Command, Completion, Definition, Rejection, ReleaseReason, Reply, Search, WeightsAnswer,
};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::dispatcher::Poll;
use super::error::CallError;
use super::reuse::Proposed;

pub(crate) use actor::Context;
pub(crate) use kept::Kept;
pub(crate) use status::{SearchStatus, TrialChange, Update, reused_from};
pub(crate) use tally::SearchTally;
use tally::Tally;

/// Commands that wait for a search: a few batches' worth; more wait in their handlers.
const MAILBOX: usize = 2_048;

/// What is asked of a search's actor.
#[derive(Debug)]
pub(crate) enum Request {
    /// A command; with `by`, only if that worker holds the attempt in it.
    Command {
        command: Box<Command>,
        by: Option<WorkerId>,
        reply: oneshot::Sender<Result<Reply, CallError>>,
    },
    /// A worker's slots are to get jobs of this search.
    Lease {
        poll: Poll,
        slots: u32,
        can_test: bool,
        can_resume: bool,
        /// Trials that failed elsewhere and that this worker may get.
        retries: BTreeSet<TrialNumber>,
    },
    /// The dispatcher ends a lease; nothing is wrong should it have ended before.
    Release {
        key: AttemptKey,
        reason: ReleaseReason,
    },
    /// A lease was not renewed in time.
    Expire { key: AttemptKey },
    /// The searcher's answer to an ask.
    Proposed(Proposed),
    /// The state as it is now, once it is durable.
    Status(oneshot::Sender<SearchStatus>),
    /// The state as it is now, and every change after it.
    Watch(oneshot::Sender<Watching>),
    /// Whether this attempt is to upload weights with this digest.
    MayUpload {
        key: AttemptKey,
        worker: WorkerId,
        weights: Digest,
        reply: oneshot::Sender<Result<(), CallError>>,
    },
    /// Whether this attempt may hand itself back with this checkpoint.
    MayStoreCheckpoint {
        key: AttemptKey,
        worker: WorkerId,
        checkpoint: Checkpoint,
        reply: oneshot::Sender<Result<(), CallError>>,
    },
    /// The artifacts' folder could not take the weights that this attempt uploads.
    NotStored {
        key: AttemptKey,
        worker: WorkerId,
        reply: oneshot::Sender<Retry>,
    },
}

/// Whether an upload that failed is to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// So many times more.
    Again { left: u32 },
    /// It is given up; the attempt has ended.
    GivenUp,
}

/// What of a search never changes, as far as others need to know it.
#[derive(Debug)]
pub(crate) struct SearchProfile {
    pub(crate) id: SearchId,
    pub(crate) name: String,
    pub(crate) evaluator: String,
    pub(crate) dataset: Option<Digest>,
    pub(crate) definition: Arc<Definition>,
}

impl SearchProfile {
    pub(crate) fn of(search: &Search) -> Self {
        let definition = Arc::clone(search.definition());
        Self {
            id: search.id(),
            name: definition.spec.name.clone(),
            evaluator: definition.evaluator().to_owned(),
            dataset: definition.needs(),
            definition,
        }
    }
}

/// The dispatcher's way to a search.
#[derive(Clone, Debug)]
pub(crate) struct SearchLink {
    pub(crate) profile: Arc<SearchProfile>,
    pub(crate) mailbox: mpsc::Sender<Request>,
    /// How many slots wait that the search could fill.
    pub(crate) demand: watch::Sender<u32>,
}

/// What a watcher gets.
#[derive(Debug)]
pub(crate) struct Watching {
    /// The state when it began to watch.
    pub(crate) status: SearchStatus,
    /// Every change after it, as it becomes durable. A watcher that is too slow misses some, is told so,
    /// and asks for the state again.
    pub(crate) updates: broadcast::Receiver<Update>,
}

/// The way to a search.
#[derive(Clone, Debug)]
pub(crate) struct SearchHandle {
    profile: Arc<SearchProfile>,
    mailbox: mpsc::Sender<Request>,
    tally: Tally,
}

impl SearchHandle {
    /// The counts after the last batch, without asking the actor: also when the journal is slow.
    pub(crate) fn tally(&self) -> SearchTally {
        self.tally.read()
    }

    /// Requests that wait for the actor.
    pub(crate) fn queued(&self) -> usize {
        self.mailbox.max_capacity() - self.mailbox.capacity()
    }

    /// Checks that there is such a trial.
    ///
    /// # Errors
    /// [`Rejection::NoTrial`] says how many there are.
    pub(crate) async fn require_trial(&self, trial: TrialNumber) -> Result<(), CallError> {
        let last = self.status().await?.counts.trials();
        if (1..=last).contains(&trial.0) {
            return Ok(());
        }
        Err(Rejection::NoTrial { trial, last }.into())
    }

    /// What of the search never changes.
    pub(crate) fn profile(&self) -> &SearchProfile {
        &self.profile
    }

    /// Carries a command out; answered once its events are durable.
    pub(crate) async fn command(&self, command: Command) -> Result<Reply, CallError> {
        self.command_by(None, command).await
    }

    /// Completes an attempt; the answer says what to do with its weights.
    pub(crate) async fn complete(
        &self,
        worker: WorkerId,
        key: AttemptKey,
        completion: Completion,
    ) -> Result<WeightsAnswer, CallError> {
        let command = Command::CompleteJob {
            worker,
            trial: key.trial,
            attempt: key.attempt,
            completion,
        };
        match self.command_of(worker, command).await? {
            Reply::Weights(answer) => Ok(answer),
            // A test leaves no weights, and neither does a completion that counted as a failure.
            Reply::Done | Reply::Leased(_) | Reply::Retried { .. } => Ok(WeightsAnswer::Discard),
        }
    }

    /// Carries out a command about an attempt, if `worker` holds it.
    pub(crate) async fn command_of(
        &self,
        worker: WorkerId,
        command: Command,
    ) -> Result<Reply, CallError> {
        self.command_by(Some(worker), command).await
    }

    async fn command_by(&self, by: Option<WorkerId>, command: Command) -> Result<Reply, CallError> {
        let command = Box::new(command);
        self.call(|reply| Request::Command { command, by, reply })
            .await?
    }

    /// The state as it is now.
    pub(crate) async fn status(&self) -> Result<SearchStatus, CallError> {
        self.call(Request::Status).await
    }

    /// The state as it is now, and every change after it.
    pub(crate) async fn watch(&self) -> Result<Watching, CallError> {
        self.call(Request::Watch).await
    }

    /// Whether this attempt is to upload weights with this digest.
    pub(crate) async fn may_upload(
        &self,
        worker: WorkerId,
        key: AttemptKey,
        weights: Digest,
    ) -> Result<(), CallError> {
        self.call(|reply| Request::MayUpload {
            key,
            worker,
            weights,
            reply,
        })
        .await?
    }

    /// Whether this attempt may hand itself back with this checkpoint.
    pub(crate) async fn may_store_checkpoint(
        &self,
        worker: WorkerId,
        key: AttemptKey,
        checkpoint: Checkpoint,
    ) -> Result<(), CallError> {
        self.call(|reply| Request::MayStoreCheckpoint {
            key,
            worker,
            checkpoint,
            reply,
        })
        .await?
    }

    /// The artifacts' folder could not take the weights of this attempt: is its worker to try again?
    pub(crate) async fn not_stored(
        &self,
        worker: WorkerId,
        key: AttemptKey,
    ) -> Result<Retry, CallError> {
        self.call(|reply| Request::NotStored { key, worker, reply })
            .await
    }

    async fn call<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, CallError> {
        let (reply, answer) = oneshot::channel();
        self.mailbox
            .send(request(reply))
            .await
            .map_err(|_| CallError::Stopping)?;
        answer.await.map_err(|_| CallError::Stopping)
    }
}
