//! The task that owns a search. It takes commands in batches, decides and applies each at once on the
//! state in memory, and sends one batch of events to the journal; answers go out once that is durable.
//!
//! The state thus runs ahead of the disk by at most what the journal has queued, and nobody outside sees
//! that lead: should the journal fail, the coordinator stops and its memory with it. What stays inside
//! (tells and asks for the searcher's thread, the dispatcher's view of what may be leased) need not wait,
//! since all that comes of it passes through the journal behind the events it came from.

use std::sync::Arc;
use std::time::Duration;

use espalier_common::ids::{AttemptKey, Digest, WorkerId};
use espalier_core::clock::Jumps;
use espalier_core::search::{
    Command, DropReason, Phase, Rejection, ReleaseReason, Reply, Search, step,
};
use espalier_runtime::Shutdown;
use tokio::sync::{broadcast, mpsc, watch};

use super::kept::Kept;
use super::log::EventLog;
use super::record::key;
use super::settle::{Answer, Settlement, Shared};
use super::status::{self, SearchStatus, TrialChange, Update};
use super::tally::Tally;
use super::uploads::FailedUploads;
use super::{MAILBOX, Request, Retry, SearchHandle, SearchLink, SearchProfile};
use crate::actors::cluster::WorkerNames;
use crate::actors::dispatcher::{
    Answered, DispatcherHandle, NO_CALL, News, Poll, SearchSummary, Sign,
};
use crate::actors::error::CallError;
use crate::actors::recovery::Recovered;
use crate::actors::reuse::{Proposed, Results};
use crate::actors::searcher::{SearcherThread, ToSearcher};
use crate::artifacts::{ArtifactStore, Hold};
use crate::clock;
use crate::journal::{Batch, JournalHandle, Listing, Record, StreamId};
use crate::metrics::AskTimes;

/// Commands taken at once: their events become durable together.
const BATCH: usize = 256;
/// The most proposals that wait ready beyond the slots that wait for them.
const MAX_AHEAD: u32 = 8;
/// One proposal ahead for so many running jobs.
const RUNNING_PER_AHEAD: u32 = 4;
/// The longest sleep until a search looks at the time.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// Updates kept for a watcher that is slow; one that is slower gets the present state instead.
const UPDATES: usize = 64;
/// What every search's actor needs of the coordinator.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) journal: JournalHandle,
    pub(crate) dispatcher: DispatcherHandle,
    pub(crate) artifacts: ArtifactStore,
    pub(crate) ask_times: AskTimes,
    pub(crate) names: WorkerNames,
    pub(crate) shutdown: Shutdown,
}

/// What one batch of commands has come to so far.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) time_ms: u64,
    pub(super) records: Vec<Record>,
    pub(super) changes: Vec<TrialChange>,
    settlement: Settlement,
    pub(super) answered: Vec<Answered>,
    pub(super) granted: Vec<(AttemptKey, WorkerId, u64)>,
    pub(super) ended: Vec<AttemptKey>,
    pub(super) signs: Vec<(AttemptKey, Sign)>,
    pub(super) returned: Vec<Poll>,
    /// Weights of results that were found, until the search has claimed what it wants of them.
    held: Vec<Hold>,
}

/// A search's actor.
pub(super) struct SearchActor {
    pub(super) search: Search,
    /// Until the search begins to end: from then on nothing is asked of it.
    pub(super) searcher: Option<SearcherThread>,
    journal: JournalHandle,
    pub(super) shutdown: Shutdown,
    demand: watch::Receiver<u32>,
    pub(super) shared: Arc<Shared>,
    pub(super) log: EventLog,
    pub(super) listing: Listing,
    pub(super) pending: Pending,
    tally: Tally,
    pub(super) kept: Kept,
    /// The artifacts that the search has claimed. They are released only behind the event that replaced
    /// them, and not at the end: what is stored then is to be there at the next start.
    claimed: Vec<Digest>,
    failed_uploads: FailedUploads,
    /// The summary that the dispatcher was sent last.
    pub(super) summary: SearchSummary,
    last_ask: u64,
    /// Asks without an answer yet.
    pub(super) asking: u32,
    /// Settlements that were sent to the journal.
    sent: u64,
}

impl Context {
    /// Starts the actor of a search whose events so far are durable, and its searcher's thread unless the
    /// search ends or has ended.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(
        &self,
        recovered: Recovered,
    ) -> std::io::Result<(SearchHandle, tokio::task::JoinHandle<()>)> {
        let Recovered {
            search,
            proposer,
            kept,
            is_new,
        } = recovered;
        let profile = Arc::new(SearchProfile::of(&search));
        let (mailbox, requests) = mpsc::channel(MAILBOX);
        let (demand, demanded) = watch::channel(0);
        let (updates, _) = broadcast::channel(UPDATES);
        let news = self.dispatcher.news();
        let weak = mailbox.downgrade();
        let start = |proposer| {
            let shutdown = self.shutdown.clone();
            let reader = self.journal.reader();
            let results = Results::of(profile.id, search.definition(), reader, &self.artifacts);
            let times = &self.ask_times;
            SearcherThread::start(profile.id, proposer, results, times, weak, shutdown)
        };
        let proposer = proposer.filter(|_| search.may_ask());
        let searcher = proposer.map(start).transpose()?;
        let summary = status::summary(&search, 0);
        let leases = search
            .live()
            .iter()
            .map(|(trial, live)| (key(profile.id, *trial, live.attempt), live.worker))
            .collect();
        let opened = News::Opened {
            link: SearchLink {
                profile: Arc::clone(&profile),
                mailbox: mailbox.clone(),
                demand,
            },
            summary: summary.clone(),
            leases,
        };
        // The dispatcher ends only with the coordinator.
        let _ = news.send(opened);
        let tally = Tally::of(&search);
        let mut actor = SearchActor {
            last_ask: search.next_ask().saturating_sub(1),
            log: EventLog::new(&search, self.names.clone()),
            listing: Listing::of(search.definition()),
            search,
            searcher,
            journal: self.journal.clone(),
            shutdown: self.shutdown.clone(),
            demand: demanded,
            shared: Arc::new(Shared::new(updates, news, self.artifacts.clone())),
            pending: Pending::default(),
            tally: tally.clone(),
            kept,
            claimed: Vec::new(),
            failed_uploads: FailedUploads::default(),
            summary,
            asking: 0,
            sent: 0,
        };
        actor.claim();
        let name = format!("search {}", profile.id);
        let task = actor.run(requests, is_new);
        let task = espalier_runtime::spawn_critical(name, &self.shutdown, task);
        let handle = SearchHandle {
            profile,
            mailbox,
            tally,
        };
        Ok((handle, task))
    }
}

impl SearchActor {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>, is_new: bool) {
        let mut inbox = Vec::with_capacity(BATCH);
        let shutdown = self.shutdown.clone();
        // What the clock did before does not matter here: to the search it is time without a coordinator.
        let reading = clock::read();
        self.pending.time_ms = reading.unix_ms;
        let mut jumps = Jumps::since(reading);
        if !is_new && self.search.events() > 1 {
            self.internal(Command::Recover);
        }
        self.end().await;
        loop {
            let time_to_look = self.time_to_look();
            let has_ended = self.has_ended();
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                taken = requests.recv_many(&mut inbox, BATCH) => if taken == 0 { return },
                // The dispatcher forgets a search that has ended, and ends itself only with the coordinator.
                changed = self.demand.changed(), if !has_ended => if changed.is_err() { return },
                () = sleep(time_to_look) => {}
            }
            self.begin(&mut jumps);
            // Whatever woke it up: the sleep begins anew with every request, and might never end.
            if self.search.time_to_look_ms(self.pending.time_ms) == Some(0) {
                self.internal(Command::CheckTime);
            }
            for request in inbox.drain(..) {
                self.take(request);
            }
            self.end().await;
        }
    }

    fn begin(&mut self, jumps: &mut Jumps) {
        let reading = clock::read();
        self.pending.time_ms = reading.unix_ms;
        if let Some(by_ms) = jumps.look(reading) {
            self.internal(Command::ClockJumped { by_ms });
        }
    }

    /// Ends a batch: asks for what is needed next, tells the dispatcher, sends the events off.
    async fn end(&mut self) {
        self.ask();
        self.claim();
        self.pending.held.clear();
        if !self.search.may_ask() {
            // Ends its thread, and gives its memory back.
            self.searcher = None;
        }
        self.tell_dispatcher();
        self.tally.update(&self.search);
        let pending = std::mem::take(&mut self.pending);
        let mut settlement = pending.settlement;
        if !pending.records.is_empty() && self.shared.is_watched() {
            let status = SearchStatus::of(&self.search, pending.time_ms);
            settlement.update = Some(Update {
                status: Arc::new(status),
                changes: pending.changes.into(),
            });
        }
        if pending.records.is_empty() {
            if settlement.is_empty() {
                return;
            }
            if self.shared.settled() == self.sent {
                // Nothing waits to become durable, so neither does this.
                self.sent += 1;
                return settlement.run(&self.shared);
            }
        }
        self.sent += 1;
        let shared = Arc::clone(&self.shared);
        let batch = Batch {
            stream: StreamId::Search(self.search.id()),
            time_ms: pending.time_ms,
            records: pending.records,
            after: Some(Box::new(move || settlement.run(&shared))),
        };
        if let Err(error) = self.journal.append(batch).await {
            // Whoever waits for an answer is told so by its closed channel; the server sees the journal's
            // failure by itself and stops.
            tracing::debug!(search = %self.search.id(), %error, "a batch of events is lost");
        }
    }

    fn take(&mut self, request: Request) {
        let answer = match request {
            Request::Command { command, by, reply } => {
                let result = self.command(*command, by).map_err(CallError::from);
                Answer::Command(reply, result)
            }
            Request::Lease {
                poll,
                slots,
                can_test,
                can_resume,
                retries,
            } => {
                let command = Command::LeaseJobs {
                    worker: poll.worker,
                    slots,
                    can_test,
                    can_resume,
                    retries: retries.clone(),
                };
                self.pending.answered.push(Answered { slots, retries });
                return self.lease(poll, command);
            }
            Request::Release { key, reason } => {
                let (trial, attempt) = (key.trial, key.attempt);
                return self.internal(Command::ReleaseJob {
                    trial,
                    attempt,
                    reason,
                });
            }
            Request::Expire { key } => {
                let (trial, attempt) = (key.trial, key.attempt);
                return self.internal(Command::ExpireLease { trial, attempt });
            }
            Request::Proposed(proposed) => return self.proposed(proposed),
            Request::Status(reply) => Answer::Status(reply, Box::new(self.status())),
            Request::Watch(reply) => {
                self.shared.expect_watcher();
                Answer::Watch(reply, Box::new(self.status()))
            }
            Request::MayUpload {
                key,
                worker,
                weights,
                reply,
            } => {
                let may = self
                    .search
                    .may_upload(worker, key.trial, key.attempt, weights);
                Answer::Upload(reply, may.map_err(CallError::from))
            }
            Request::MayStoreCheckpoint {
                key,
                worker,
                checkpoint,
                reply,
            } => {
                let (trial, attempt) = (key.trial, key.attempt);
                let may = self
                    .search
                    .may_store_checkpoint(worker, trial, attempt, checkpoint);
                Answer::Upload(reply, may.map_err(CallError::from))
            }
            Request::NotStored { key, worker, reply } => {
                Answer::Retry(reply, self.not_stored(key, worker))
            }
        };
        self.pending.settlement.answers.push(answer);
    }

    fn status(&self) -> SearchStatus {
        SearchStatus::of(&self.search, self.pending.time_ms)
    }

    /// Carries out a command that nobody waits for. A refusal means that it came too late (the lease has
    /// ended, say) and there is nothing to do.
    fn internal(&mut self, command: Command) {
        if let Err(rejection) = self.command(command, None) {
            tracing::debug!(search = %self.search.id(), %rejection, "nothing to do");
        }
    }

    fn command(&mut self, command: Command, by: Option<WorkerId>) -> Result<Reply, Rejection> {
        if let Some(worker) = by {
            self.check_holder(&command, worker)?;
        }
        let outcome = step(&mut self.search, command, self.pending.time_ms)?;
        self.record(outcome.events, outcome.effects, NO_CALL);
        Ok(outcome.reply)
    }

    /// Refuses a worker that speaks of another worker's attempt.
    fn check_holder(&self, command: &Command, worker: WorkerId) -> Result<(), Rejection> {
        let (Command::CompleteJob { trial, attempt, .. }
        | Command::FailJob { trial, attempt, .. }
        | Command::ReleaseJob { trial, attempt, .. }) = command
        else {
            return Ok(());
        };
        match self.search.live().get(trial) {
            Some(live) if live.attempt == *attempt && live.worker != worker => {
                Err(Rejection::NotHeld {
                    trial: *trial,
                    attempt: *attempt,
                    reason: DropReason::Stale,
                })
            }
            // Not live: the core says why.
            _ => Ok(()),
        }
    }

    fn lease(&mut self, poll: Poll, command: Command) {
        if poll.reply.is_closed() {
            return; // the caller has gone, so there is nobody to lease to
        }
        let outcome = step(&mut self.search, command, self.pending.time_ms);
        let jobs = match outcome {
            Ok(outcome) => {
                self.record(outcome.events, outcome.effects, poll.call);
                match outcome.reply {
                    Reply::Leased(jobs) => jobs,
                    Reply::Done | Reply::Weights(_) | Reply::Retried { .. } => Vec::new(),
                }
            }
            Err(_) => Vec::new(),
        };
        if jobs.is_empty() {
            self.pending.returned.push(poll);
        } else {
            let answer = Answer::Lease(poll, jobs);
            self.pending.settlement.answers.push(answer);
        }
    }

    fn proposed(&mut self, Proposed { answer, found }: Proposed) {
        self.asking = self.asking.saturating_sub(1);
        let mut command = answer.into();
        if let (Command::RecordProposal { stored, .. }, Some(found)) = (&mut command, found) {
            *stored = Some(found.result);
            self.pending.held.extend(found.weights);
        }
        self.internal(command);
    }

    /// Counts a try that failed; the last one, or one after the search was stopped, ends the attempt.
    fn not_stored(&mut self, key: AttemptKey, worker: WorkerId) -> Retry {
        let retry = self.failed_uploads.count(&self.search, key, worker);
        if retry == Retry::GivenUp {
            let (trial, attempt) = (key.trial, key.attempt);
            self.internal(Command::ReleaseJob {
                trial,
                attempt,
                reason: ReleaseReason::NotStored,
            });
        }
        retry
    }

    /// Claims the artifacts that are wanted now, and releases the others once this batch is durable.
    fn claim(&mut self) {
        let wanted = self.kept.wanted(&self.search);
        if wanted == self.claimed {
            return;
        }
        for digest in &wanted {
            self.shared.artifacts.want(*digest);
        }
        let before = std::mem::replace(&mut self.claimed, wanted);
        self.pending.settlement.released.extend(before);
    }

    /// Asks for as many proposals as slots wait for, and a few ahead: a number of them, never a matter of
    /// time, so that the same history asks the same. What waits to be tried elsewhere fills no slot that is
    /// free, or it would have been leased.
    fn ask(&mut self) {
        let Some(searcher) = &self.searcher else {
            return;
        };
        let running = self.search.running();
        let ahead = if running <= 1 {
            0
        } else {
            MAX_AHEAD.min(running / RUNNING_PER_AHEAD)
        };
        let demand = (*self.demand.borrow_and_update()).min(self.search.free_parallel());
        let fresh = self.search.queued() - self.search.queued_again();
        let ready = fresh.saturating_add(self.asking);
        let missing = demand.saturating_add(ahead).saturating_sub(ready);
        let wanted = self.search.proposals_wanted().saturating_sub(self.asking);
        for _ in 0..missing.min(wanted) {
            self.last_ask = (self.last_ask + 1).max(self.search.next_ask());
            self.asking += 1;
            searcher.send(ToSearcher::Ask(self.last_ask));
        }
    }

    /// In how long the search is to look at the time. Sleep follows no clock that is set or a machine that was
    /// suspended, so it is never long.
    fn time_to_look(&self) -> Option<Duration> {
        let left = self.search.time_to_look_ms(clock::now_ms());
        left.map(|left| Duration::from_millis(left).min(LONGEST_SLEEP))
    }

    fn has_ended(&self) -> bool {
        matches!(self.search.phase(), Phase::Finished(_))
    }
}

async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}
