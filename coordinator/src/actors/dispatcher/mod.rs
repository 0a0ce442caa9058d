//! Workers, their leases and their waiting polls, in one task: who is registered, who holds what until
//! when, and which waiting slot gets which search's next job. Everything here is soft state, but for the
//! cluster's events: leases are the searches' to grant and to end, and a restart rebuilds the table from
//! them.

mod datasets;
mod health;
mod registration;
mod registry;
mod searches;
mod stall;
mod tally;
mod task;
mod tokens;
mod waiting;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use espalier_common::ids::{AttemptKey, Digest, SearchId, TrialNumber, WorkerId};
use espalier_common::job::{Abilities, LeasedJob};
use espalier_common::labels::Labels;
use espalier_core::search::WaitingJobs;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use super::error::CallError;
use super::search::SearchLink;
use crate::access::{Token, TokenId};
use crate::datasets::StoredDataset;

pub(crate) use espalier_core::dispatch::NO_CALL;
use tally::ClusterTally;
pub(crate) use task::{Dispatcher, Settings};

/// Messages that wait for the dispatcher: as many as there may be calls in flight from a few thousand
/// workers; more wait in their handlers.
const MAILBOX: usize = 4_096;

/// What a worker says about itself.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    pub(crate) worker: WorkerId,
    pub(crate) name: String,
    pub(crate) slots: u32,
    pub(crate) evaluators: BTreeMap<String, Abilities>,
    pub(crate) device: String,
    pub(crate) version: String,
    pub(crate) labels: Labels,
    /// The token by which it joined; none without TLS.
    pub(crate) token: Option<TokenId>,
    /// Where it runs; an older release does not say so.
    pub(crate) home: Option<Home>,
    /// What its older instance has done and not delivered: it does so next.
    pub(crate) results: BTreeSet<AttemptKey>,
}

/// Where a worker's instance runs: a folder that only one process at a time has, on one boot of its machine. So
/// an instance of the same home as another one is its successor, and the other one has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Home(pub(crate) Uuid);

/// A worker that waits for jobs.
#[derive(Debug)]
pub(crate) struct Poll {
    pub(crate) worker: WorkerId,
    pub(crate) call: u64,
    pub(crate) free_slots: u32,
    pub(crate) missing: BTreeSet<Digest>,
    pub(crate) deadline: Instant,
    /// Its place among the waiting; given by the dispatcher.
    pub(in crate::actors) ticket: u64,
    pub(crate) reply: oneshot::Sender<Result<Vec<LeasedJob>, CallError>>,
}

/// What a search's actor tells the dispatcher after each batch of commands, in the order in which the
/// commands took effect.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) search: SearchId,
    pub(crate) summary: SearchSummary,
    /// The Lease requests that this batch has answered.
    pub(crate) answered: Vec<Answered>,
    pub(crate) granted: Vec<(AttemptKey, WorkerId, u64)>,
    pub(crate) ended: Vec<AttemptKey>,
    /// What attempts say about the machines they ran on.
    pub(crate) signs: Vec<(AttemptKey, Sign)>,
    /// Polls for which there was no job after all.
    pub(crate) returned: Vec<Poll>,
}

/// A Lease request that was answered.
#[derive(Debug)]
pub(crate) struct Answered {
    /// Slots it promised.
    pub(crate) slots: u32,
    /// Retries it promised.
    pub(crate) retries: BTreeSet<TrialNumber>,
}

/// What an attempt says about the machine it ran on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// Its job was done.
    Well,
    /// It failed by a fault of the machine.
    Sick,
}

/// How far a search is, as far as the dispatcher is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SearchSummary {
    /// Jobs that may be leased at once.
    pub(crate) waiting: WaitingJobs,
    pub(crate) running: u32,
    /// Whether it would propose more, were there slots waiting for it.
    pub(crate) would_ask: bool,
    pub(crate) finished: bool,
    /// The most jobs that may run at one time.
    pub(crate) parallel: Option<u32>,
    /// Its share of the workers.
    pub(crate) weight: u32,
    /// Why nothing can be leased although the search has not ended.
    pub(crate) waits_for: Option<Cow<'static, str>>,
}

/// A worker, as listed.
#[derive(Clone, Debug)]
pub(crate) struct WorkerStatus {
    pub(crate) registration: Registration,
    pub(crate) held: Vec<AttemptKey>,
    pub(crate) missing: BTreeSet<Digest>,
    pub(crate) last_seen: Duration,
}

/// The cluster, as listed.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterStatus {
    pub(crate) workers: Vec<WorkerStatus>,
    pub(crate) busy: u32,
    pub(crate) waiting: Vec<(SearchId, String)>,
}

/// What is asked of the dispatcher.
#[derive(Debug)]
pub(crate) enum Message {
    Register(Registration, oneshot::Sender<Result<(), CallError>>),
    Poll(Poll),
    Renew {
        worker: WorkerId,
        held: BTreeSet<AttemptKey>,
        calls_ended: u64,
        reply: oneshot::Sender<Result<Vec<AttemptKey>, CallError>>,
    },
    /// Sign of life of one lease, by another way than a renewal.
    Touch(WorkerId, AttemptKey),
    Leave(WorkerId, oneshot::Sender<Result<(), CallError>>),
    /// Which of the attempts a worker holds, or held a while ago.
    Held(WorkerId, Vec<AttemptKey>, oneshot::Sender<Vec<bool>>),
    List(oneshot::Sender<ClusterStatus>),
    CreateToken(Token, oneshot::Sender<Result<(), CallError>>),
    RevokeToken(TokenId, oneshot::Sender<Result<(), CallError>>),
    StoreDataset(StoredDataset, oneshot::Sender<Result<(), CallError>>),
    RemoveDataset(Digest, oneshot::Sender<Result<(), CallError>>),
}

/// What searches tell the dispatcher. This channel has no bound of its own, since a search that waited
/// for the dispatcher while the dispatcher waits for the search would stand still for ever; what is in
/// it is bounded by the commands in the searches' mailboxes, which are.
#[derive(Debug)]
pub(crate) enum News {
    /// A search exists, with the leases that are live in it.
    Opened {
        link: SearchLink,
        summary: SearchSummary,
        leases: Vec<(AttemptKey, WorkerId)>,
    },
    Changed(Changed),
    /// Granted, and on no way to the worker: its caller had gone by the time the grant was durable, or the
    /// reply was full.
    Undelivered(Vec<AttemptKey>),
}

/// The way to the dispatcher.
#[derive(Clone, Debug)]
pub(crate) struct DispatcherHandle {
    mailbox: mpsc::Sender<Message>,
    news: mpsc::UnboundedSender<News>,
    tally: std::sync::Arc<ClusterTally>,
}

impl DispatcherHandle {
    /// The counts after the last batch, without asking the task.
    pub(crate) fn tally(&self) -> &ClusterTally {
        &self.tally
    }

    /// Messages that wait for the dispatcher.
    pub(crate) fn queued(&self) -> usize {
        self.mailbox.max_capacity() - self.mailbox.capacity()
    }

    /// Registers one start of a worker; answered once that is durable.
    pub(crate) async fn register(&self, registration: Registration) -> Result<(), CallError> {
        self.call(|reply| Message::Register(registration, reply))
            .await?
    }

    /// Waits for jobs until the poll's deadline. Empty when there are none by then.
    pub(crate) async fn lease(
        &self,
        worker: WorkerId,
        call: u64,
        free_slots: u32,
        missing: BTreeSet<Digest>,
        wait: Duration,
    ) -> Result<Vec<LeasedJob>, CallError> {
        let poll = |reply| {
            Message::Poll(Poll {
                worker,
                call,
                free_slots,
                missing,
                deadline: Instant::now() + wait,
                ticket: 0,
                reply,
            })
        };
        self.call(poll).await?
    }

    /// Prolongs what is held; answers with what is to be dropped.
    ///
    /// # Errors
    /// The worker is not registered. What it holds is prolonged all the same.
    pub(crate) async fn renew(
        &self,
        worker: WorkerId,
        held: BTreeSet<AttemptKey>,
        calls_ended: u64,
    ) -> Result<Vec<AttemptKey>, CallError> {
        self.call(|reply| Message::Renew {
            worker,
            held,
            calls_ended,
            reply,
        })
        .await?
    }

    /// Prolongs one lease: something of its attempt is on its way here.
    pub(crate) async fn touch(&self, worker: WorkerId, key: AttemptKey) -> Result<(), CallError> {
        let touch = Message::Touch(worker, key);
        let sent = self.mailbox.send(touch).await;
        sent.map_err(|_| CallError::Stopping)
    }

    /// These grants do not reach their worker: they go back at once, and cost no attempt.
    pub(crate) fn undelivered(&self, keys: Vec<AttemptKey>) {
        // The dispatcher ends only with the coordinator.
        let _ = self.news.send(News::Undelivered(keys));
    }

    /// The worker ends; answered once that is durable.
    pub(crate) async fn leave(&self, worker: WorkerId) -> Result<(), CallError> {
        self.call(|reply| Message::Leave(worker, reply)).await?
    }

    /// Which of the attempts a worker holds, or held a while ago.
    pub(crate) async fn held(
        &self,
        worker: WorkerId,
        keys: Vec<AttemptKey>,
    ) -> Result<Vec<bool>, CallError> {
        self.call(|reply| Message::Held(worker, keys, reply)).await
    }

    /// The cluster as it is now.
    pub(crate) async fn list(&self) -> Result<ClusterStatus, CallError> {
        self.call(Message::List).await
    }

    /// Makes a token; answered once that is durable.
    pub(crate) async fn create_token(&self, token: Token) -> Result<(), CallError> {
        self.call(|reply| Message::CreateToken(token, reply))
            .await?
    }

    /// Revokes a token and cuts off the workers that joined by it; answered once that is durable.
    pub(crate) async fn revoke_token(&self, token: TokenId) -> Result<(), CallError> {
        self.call(|reply| Message::RevokeToken(token, reply))
            .await?
    }

    /// Keeps a data set, whose files are stored; answered once that is durable.
    pub(crate) async fn store_dataset(&self, dataset: StoredDataset) -> Result<(), CallError> {
        self.call(|reply| Message::StoreDataset(dataset, reply))
            .await?
    }

    /// Keeps a data set no more; answered once that is durable.
    pub(crate) async fn remove_dataset(&self, fingerprint: Digest) -> Result<(), CallError> {
        self.call(|reply| Message::RemoveDataset(fingerprint, reply))
            .await?
    }

    /// Where searches send their news.
    pub(crate) fn news(&self) -> mpsc::UnboundedSender<News> {
        self.news.clone()
    }

    async fn call<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<T>) -> Message,
    ) -> Result<T, CallError> {
        let (reply, answer) = oneshot::channel();
        self.mailbox
            .send(message(reply))
            .await
            .map_err(|_| CallError::Stopping)?;
        answer.await.map_err(|_| CallError::Stopping)
    }
}
