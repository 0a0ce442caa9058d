//! The task that owns a search. It takes commands in batches, decides and applies each at once on the
//! state in memory, and sends one batch of events to the journal; answers go out once that is durable.
//!
//! The state thus runs ahead of the disk by at most what the journal has queued, and nobody outside sees
//! that lead: should the journal fail, the coordinator stops and its memory with it. What stays inside
//! (tells and asks for the searcher's thread, the dispatcher's view of what may be leased) need not wait,
//! since all that comes of it passes through the journal behind the events it came from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use espalier_common::ids::{AttemptKey, AttemptNumber, Digest, SearchId, TrialNumber, WorkerId};
use espalier_core::search::{
    Command, DropReason, Effect, Event, LiveAttempt, LivePhase, Phase, Rejection, ReleaseReason,
    Reply, Search, step,
};
use espalier_runtime::Shutdown;
use tokio::sync::{broadcast, mpsc, watch};

use super::kept::Kept;
use super::log::EventLog;
use super::settle::{Answer, Settlement, Shared};
use super::status::{self, SearchStatus, TrialChange, Update};
use super::uploads::FailedUploads;
use super::{MAILBOX, Request, Retry, SearchHandle, SearchLink, SearchProfile};
use crate::actors::dispatcher::{Changed, DispatcherHandle, NO_CALL, News, Poll, SearchSummary};
use crate::actors::error::CallError;
use crate::actors::recovery::Recovered;
use crate::actors::searcher::{SearcherThread, ToSearcher};
use crate::artifacts::ArtifactStore;
use crate::clock;
use crate::journal::{Batch, JournalHandle, Record, StreamId, rows};

/// Commands taken at once: their events become durable together.
const BATCH: usize = 256;
/// The most proposals that wait ready beyond the slots that wait for them.
const MAX_AHEAD: u32 = 8;
/// One proposal ahead for so many running jobs.
const RUNNING_PER_AHEAD: u32 = 4;
/// Updates kept for a watcher that is slow; one that is slower gets the present state instead.
const UPDATES: usize = 64;
/// What every search's actor needs of the coordinator.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) journal: JournalHandle,
    pub(crate) dispatcher: DispatcherHandle,
    pub(crate) artifacts: ArtifactStore,
    pub(crate) shutdown: Shutdown,
}

/// What one batch of commands has come to so far.
#[derive(Debug, Default)]
struct Pending {
    time_ms: u64,
    records: Vec<Record>,
    changes: Vec<TrialChange>,
    settlement: Settlement,
    answered: u32,
    granted: Vec<(AttemptKey, WorkerId, u64)>,
    ended: Vec<AttemptKey>,
    returned: Vec<Poll>,
}

/// A search's actor.
pub(super) struct SearchActor {
    search: Search,
    searcher: SearcherThread,
    journal: JournalHandle,
    shutdown: Shutdown,
    demand: watch::Receiver<u32>,
    shared: Arc<Shared>,
    log: EventLog,
    pending: Pending,
    kept: Kept,
    /// The artifacts that the search has claimed. They are released only behind the event that replaced
    /// them, and not at the end: what is stored then is to be there at the next start.
    claimed: Vec<Digest>,
    failed_uploads: FailedUploads,
    /// The summary that the dispatcher was sent last.
    summary: SearchSummary,
    last_ask: u64,
    /// Asks without an answer yet.
    asking: u32,
    /// Settlements that were sent to the journal.
    sent: u64,
}

impl Context {
    /// Starts the actor and the searcher's thread of a search whose events so far are durable.
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
        } = recovered;
        let profile = Arc::new(SearchProfile::of(&search));
        let (mailbox, requests) = mpsc::channel(MAILBOX);
        let (demand, demanded) = watch::channel(0);
        let (updates, _) = broadcast::channel(UPDATES);
        let news = self.dispatcher.news();
        let weak = mailbox.downgrade();
        let searcher = SearcherThread::start(profile.id, proposer, weak, self.shutdown.clone())?;
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
        let mut actor = SearchActor {
            last_ask: search.next_ask().saturating_sub(1),
            search,
            searcher,
            journal: self.journal.clone(),
            shutdown: self.shutdown.clone(),
            demand: demanded,
            shared: Arc::new(Shared::new(updates, news, self.artifacts.clone())),
            log: EventLog::default(),
            pending: Pending::default(),
            kept,
            claimed: Vec::new(),
            failed_uploads: FailedUploads::default(),
            summary,
            asking: 0,
            sent: 0,
        };
        actor.claim();
        let name = format!("search {}", profile.id);
        let task = espalier_runtime::spawn_critical(name, &self.shutdown, actor.run(requests));
        Ok((SearchHandle { profile, mailbox }, task))
    }
}

impl SearchActor {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut inbox = Vec::with_capacity(BATCH);
        let shutdown = self.shutdown.clone();
        self.begin();
        if self.search.events() > 1 {
            self.internal(Command::Recover);
        }
        self.end().await;
        loop {
            let time_left = self.time_left();
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                taken = requests.recv_many(&mut inbox, BATCH) => if taken == 0 { return },
                changed = self.demand.changed() => if changed.is_err() { return },
                () = sleep(time_left) => {}
            }
            self.begin();
            // Whatever woke it up: the sleep begins anew with every request, and might never end.
            if self.time_left().is_some_and(|left| left.is_zero()) {
                self.internal(Command::CheckTime);
            }
            for request in inbox.drain(..) {
                self.take(request);
            }
            self.end().await;
        }
    }

    fn begin(&mut self) {
        self.pending.time_ms = clock::now_ms();
    }

    /// Ends a batch: asks for what is needed next, tells the dispatcher, sends the events off.
    async fn end(&mut self) {
        self.ask();
        self.claim();
        self.tell_dispatcher();
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
            } => return self.lease(poll, slots, can_test),
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
            Request::Proposed(answer) => {
                self.asking = self.asking.saturating_sub(1);
                return self.internal(answer.into());
            }
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
            } => Answer::Upload(reply, self.may_upload(key, worker, weights)),
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

    fn lease(&mut self, poll: Poll, slots: u32, can_test: bool) {
        self.pending.answered += slots;
        if poll.reply.is_closed() {
            return; // the caller has gone, so there is nobody to lease to
        }
        let command = Command::LeaseJobs {
            worker: poll.worker,
            slots,
            can_test,
        };
        let outcome = step(&mut self.search, command, self.pending.time_ms);
        let jobs = match outcome {
            Ok(outcome) => {
                self.record(outcome.events, outcome.effects, poll.call);
                match outcome.reply {
                    Reply::Leased(jobs) => jobs,
                    Reply::Done | Reply::Weights(_) => Vec::new(),
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

    /// Takes in what a command came to: records for the journal, tells, leases that began or ended.
    fn record(&mut self, events: Vec<Event>, effects: Vec<Effect>, call: u64) {
        let time_ms = self.pending.time_ms;
        let watched = self.shared.is_watched();
        let definition = Arc::clone(self.search.definition());
        for event in events {
            self.kept.apply(&self.search, &event);
            self.log.write(&self.search, &event, time_ms);
            match serde_json::to_string(&event) {
                Ok(body) => self.pending.records.push(Record {
                    body,
                    rows: rows(&definition.spec.objective, &event),
                }),
                // Every event has a JSON form. Should one not, the state in memory is ahead of anything
                // that can ever be durable.
                Err(error) => self
                    .shutdown
                    .fail(format!("an event cannot be written: {error}")),
            }
            if watched {
                let change = TrialChange::of(&event, &self.search, time_ms);
                self.pending.changes.extend(change);
            }
            if let Some((trial, attempt)) = lease_of(&event) {
                self.note_lease(trial, attempt, call);
            }
            if is_about_proposals(&event) {
                self.searcher.send(ToSearcher::Recorded(event));
            }
        }
        for effect in effects {
            match effect {
                Effect::Tell(observation) => self.searcher.send(ToSearcher::Tell(observation)),
                Effect::Drop { trial, attempt, .. } => self.note_lease(trial, attempt, call),
            }
        }
    }

    /// Notes for the dispatcher whether an attempt holds its lease.
    fn note_lease(&mut self, trial: TrialNumber, attempt: AttemptNumber, call: u64) {
        let key = key(self.search.id(), trial, attempt);
        match self.search.live().get(&trial) {
            Some(live) if live.attempt == attempt => {
                self.pending.granted.push((key, live.worker, call));
            }
            _ => self.pending.ended.push(key),
        }
    }

    fn may_upload(
        &self,
        key: AttemptKey,
        worker: WorkerId,
        weights: Digest,
    ) -> Result<(), CallError> {
        let (trial, attempt) = (key.trial, key.attempt);
        let best = self.search.best().filter(|best| best.trial == trial);
        if best.is_some_and(|best| best.stored && best.weights == Some(weights)) {
            return Ok(()); // once more, since the acknowledgement was lost
        }
        let live = self.search.live().get(&trial);
        let Some(live) = live.filter(|live| live.attempt == attempt && live.worker == worker)
        else {
            let reason = DropReason::Stale;
            return Err(CallError::Rejected(Rejection::NotHeld {
                trial,
                attempt,
                reason,
            }));
        };
        if live.phase != LivePhase::Uploading {
            return Err(CallError::Invalid(format!(
                "attempt {attempt} of trial {trial} was not asked for its weights"
            )));
        }
        match best.and_then(|best| best.weights) {
            Some(announced) if announced != weights => Err(CallError::Invalid(format!(
                "attempt {attempt} of trial {trial} announced the weights {announced}, not {weights}"
            ))),
            _ => Ok(()),
        }
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
        let wanted: Vec<Digest> = self
            .kept
            .wanted(&self.search)
            .into_iter()
            .flatten()
            .collect();
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
    /// time, so that the same history asks the same.
    fn ask(&mut self) {
        let running = self.search.running();
        let ahead = if running <= 1 {
            0
        } else {
            MAX_AHEAD.min(running / RUNNING_PER_AHEAD)
        };
        let demand = (*self.demand.borrow_and_update()).min(self.search.free_parallel());
        let ready = self.search.queued().saturating_add(self.asking);
        let missing = demand.saturating_add(ahead).saturating_sub(ready);
        let wanted = self.search.proposals_wanted().saturating_sub(self.asking);
        for _ in 0..missing.min(wanted) {
            self.last_ask = (self.last_ask + 1).max(self.search.next_ask());
            self.asking += 1;
            self.searcher.send(ToSearcher::Ask(self.last_ask));
        }
    }

    fn tell_dispatcher(&mut self) {
        let summary = status::summary(&self.search, self.asking);
        let pending = &mut self.pending;
        keep_live(&mut pending.granted, self.search.live());
        let nothing = pending.answered == 0
            && pending.granted.is_empty()
            && pending.ended.is_empty()
            && pending.returned.is_empty();
        if nothing && summary == self.summary {
            return;
        }
        self.summary.clone_from(&summary);
        // The dispatcher ends only with the coordinator.
        let _ = self.shared.news.send(News::Changed(Changed {
            search: self.search.id(),
            summary,
            answered: std::mem::take(&mut pending.answered),
            granted: std::mem::take(&mut pending.granted),
            ended: std::mem::take(&mut pending.ended),
            returned: std::mem::take(&mut pending.returned),
        }));
    }

    /// What is left of the time budget while its clock runs.
    fn time_left(&self) -> Option<Duration> {
        let budget = self.search.definition().spec.budget.time_ms?;
        if *self.search.phase() != Phase::Running {
            return None;
        }
        let elapsed = self.search.elapsed_ms(clock::now_ms());
        Some(Duration::from_millis(budget.saturating_sub(elapsed)))
    }
}

async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

fn key(search: SearchId, trial: TrialNumber, attempt: AttemptNumber) -> AttemptKey {
    AttemptKey {
        search,
        trial,
        attempt,
    }
}

/// Forgets the grants that the same batch has ended again: the dispatcher takes in what has ended before
/// what was granted, and would hold such a lease for ever.
fn keep_live(
    granted: &mut Vec<(AttemptKey, WorkerId, u64)>,
    live: &BTreeMap<TrialNumber, LiveAttempt>,
) {
    granted.retain(|(key, _, _)| {
        live.get(&key.trial)
            .is_some_and(|live| live.attempt == key.attempt)
    });
}

/// Whether the searcher's side is to know of this event.
fn is_about_proposals(event: &Event) -> bool {
    matches!(
        event,
        Event::ProposalRefused { .. } | Event::TrialProposed { .. } | Event::ProposalsEnded { .. }
    )
}

/// The attempt whose lease an event may have begun or ended.
fn lease_of(event: &Event) -> Option<(TrialNumber, AttemptNumber)> {
    match event {
        Event::JobLeased { trial, attempt, .. }
        | Event::TrialCompleted { trial, attempt, .. }
        | Event::TrialRetrained { trial, attempt, .. }
        | Event::WeightsStored { trial, attempt, .. }
        | Event::TestCompleted { trial, attempt, .. }
        | Event::AttemptFailed { trial, attempt, .. }
        | Event::LeaseExpired { trial, attempt }
        | Event::AttemptReleased { trial, attempt, .. } => Some((*trial, *attempt)),
        Event::SearchCreated { .. }
        | Event::SearchRecovered
        | Event::ProposalRefused { .. }
        | Event::TrialProposed { .. }
        | Event::ProposalsEnded { .. }
        | Event::Measured { .. }
        | Event::TrialFailed { .. }
        | Event::TrialCancelled { .. }
        | Event::SearchPaused { .. }
        | Event::SearchResumed
        | Event::SearchFinishing { .. }
        | Event::SearchFinished { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use espalier_common::job::JobKind;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_lease_that_begins_and_ends_in_one_batch_is_not_granted() {
        let search = SearchId(Uuid::from_u128(1));
        let worker = WorkerId(Uuid::from_u128(2));
        let attempt = |trial, attempt| key(search, TrialNumber(trial), AttemptNumber(attempt));
        let held = LiveAttempt {
            attempt: AttemptNumber(2),
            worker,
            job: JobKind::Train,
            phase: LivePhase::Running,
            reported: 0,
        };
        let live = BTreeMap::from([(TrialNumber(1), held)]);
        // Trial 1 was granted, given back and granted again; trial 2 was granted and has ended.
        let mut granted: Vec<_> = [attempt(1, 1), attempt(1, 2), attempt(2, 1)]
            .map(|key| (key, worker, 7))
            .into();
        keep_live(&mut granted, &live);
        assert_eq!(granted, [(attempt(1, 2), worker, 7)]);
    }
}
