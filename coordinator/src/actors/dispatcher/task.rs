//! The dispatcher's task: takes messages in batches, keeps the tables, and after each batch gives waiting
//! slots their jobs.

mod assign;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use espalier_common::ids::{AttemptKey, SearchId, WorkerId};
use espalier_core::dispatch::{BEFORE_START, LeaseTable, NO_CALL};
use espalier_core::search::ReleaseReason;
use espalier_runtime::Shutdown;
use espalier_runtime::logging::millis;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::health::Infirmary;
use super::registry::{Registry, Worker};
use super::searches::OpenSearches;
use super::stall::{Change, Stalls};
use super::tally::ClusterTally;
use super::waiting::{Polls, answer_empty};
use super::{Changed, ClusterStatus, DispatcherHandle, MAILBOX, Message, News, Poll, WorkerStatus};
use crate::actors::cluster::{ClusterEvent, ClusterLog, Departure, Waiter};
use crate::actors::error::CallError;
use crate::actors::search::Request;
use crate::logs::Remembered;

/// Messages taken at once; the tables are looked through once for all of them.
const BATCH: usize = 256;
/// A worker that was not heard of for so many times to live is forgotten: its leases have expired long
/// before, this only clears the list.
const SILENT_TTLS: u32 = 3;
/// How often deadlines are looked at within a time to live.
const LOOKS_PER_TTL: u32 = 20;

/// What the dispatcher is told at its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Time to live of a lease.
    pub(crate) lease_ttl: Duration,
}

/// The dispatcher's state.
pub(crate) struct Dispatcher {
    /// Since when workers can be heard: since the start, or the last time it stood still.
    pub(super) listening_since: Instant,
    pub(super) settings: Settings,
    pub(super) cluster: ClusterLog,
    searches: OpenSearches,
    pub(super) registry: Registry,
    infirmary: Infirmary,
    stalls: Stalls,
    remembered: Remembered,
    pub(super) leases: LeaseTable<Instant>,
    pub(super) waiting: Polls,
    tally: Arc<ClusterTally>,
    /// Commands for searches that the present batch has called for.
    outbox: Vec<(SearchId, Request)>,
    /// Events of the cluster that the present batch has come to.
    pub(super) events: Vec<(ClusterEvent, Option<Waiter>)>,
}

impl Dispatcher {
    /// Starts the dispatcher's task; it ends when every handle is gone or when the end is asked for.
    pub(crate) fn start(
        settings: Settings,
        cluster: ClusterLog,
        shutdown: &Shutdown,
    ) -> (DispatcherHandle, tokio::task::JoinHandle<()>) {
        let (mailbox, messages) = mpsc::channel(MAILBOX);
        let (news, newspaper) = mpsc::unbounded_channel();
        let tally = Arc::new(ClusterTally::default());
        let dispatcher = Self {
            listening_since: Instant::now(),
            tally: Arc::clone(&tally),
            settings,
            cluster,
            searches: OpenSearches::default(),
            registry: Registry::default(),
            infirmary: Infirmary::new(Instant::now()),
            stalls: Stalls::new(settings.lease_ttl),
            remembered: Remembered::default(),
            leases: LeaseTable::new(settings.lease_ttl, Instant::now()),
            waiting: Polls::default(),
            outbox: Vec::new(),
            events: Vec::new(),
        };
        let task = dispatcher.run(messages, newspaper, shutdown.clone());
        let task = espalier_runtime::spawn_critical("dispatcher", shutdown, task);
        let handle = DispatcherHandle {
            mailbox,
            news,
            tally,
        };
        (handle, task)
    }

    async fn run(
        mut self,
        mut messages: mpsc::Receiver<Message>,
        mut newspaper: mpsc::UnboundedReceiver<News>,
        shutdown: Shutdown,
    ) {
        let mut inbox = Vec::with_capacity(BATCH);
        let mut news = Vec::with_capacity(BATCH);
        let mut looks = tokio::time::interval(self.settings.lease_ttl / LOOKS_PER_TTL);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let due = self.next_due();
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                // Before the news, of which there may always be more: it is due a few times in a lease's
                // time to live, and an expiry that is no longer true is refused by the search.
                _ = looks.tick() => self.look(),
                taken = newspaper.recv_many(&mut news, BATCH) => if taken == 0 { return },
                () = sleep_until(due) => {}
                taken = messages.recv_many(&mut inbox, BATCH) => if taken == 0 { return },
            }
            // Messages are taken out before the news, and the news looked at first: what a search has
            // granted is known here before its worker can speak of it.
            while inbox.len() < BATCH
                && let Ok(message) = messages.try_recv()
            {
                inbox.push(message);
            }
            while let Ok(item) = newspaper.try_recv() {
                news.push(item);
            }
            for item in news.drain(..) {
                self.take_news(item);
            }
            for message in inbox.drain(..) {
                self.take_message(message);
            }
            let now = Instant::now();
            self.waiting.answer_overdue(now);
            self.assign(now);
            self.publish_demand(now);
            let resting = self.infirmary.resting(&self.registry, now);
            self.tally
                .update(&self.registry, resting, self.leases.len());
            self.send().await;
        }
    }

    /// When something is to be done though nobody says anything: a poll's time is up, or a wait of a retry or
    /// a worker's pause is over while slots wait.
    fn next_due(&self) -> Option<Instant> {
        let now = Instant::now();
        let polls = self.waiting.next_deadline()?;
        let retries = self
            .searches
            .iter()
            .filter_map(|open| open.next_rested(now));
        let pauses = self.infirmary.next_return(now);
        retries.chain(pauses).chain([polls]).min()
    }

    /// Sends what the batch has called for. A full mailbox makes every worker wait, which is right: it is
    /// full only when the journal cannot keep up.
    async fn send(&mut self) {
        if !self.events.is_empty() {
            self.cluster.append(std::mem::take(&mut self.events)).await;
        }
        for (search, request) in self.outbox.drain(..) {
            // One that has ended wants nothing, and has no lease left to end.
            if let Some(open) = self.searches.get(search) {
                // A search whose actor is gone is one that stops with the coordinator.
                let _ = open.link.mailbox.send(request).await;
            }
        }
    }

    fn take_message(&mut self, message: Message) {
        match message {
            Message::Register(registration, reply) => self.register(registration, reply),
            Message::Poll(poll) => self.poll(poll),
            Message::Renew {
                worker,
                held,
                calls_ended,
                reply,
            } => {
                let _ = reply.send(self.renew(worker, &held, calls_ended));
            }
            Message::Touch(worker, key) => self.leases.touch(worker, &key, Instant::now()),
            Message::Leave(worker, reply) => self.leave(worker, reply),
            Message::Held(worker, keys, reply) => {
                let holder = |key| {
                    let holder = self.leases.holder(key);
                    holder.or_else(|| self.remembered.holder(key))
                };
                let held = keys.iter().map(|key| holder(key) == Some(worker));
                let _ = reply.send(held.collect());
            }
            Message::List(reply) => {
                let _ = reply.send(self.list());
            }
            Message::CreateToken(token, reply) => self.create_token(token, reply),
            Message::RevokeToken(token, reply) => self.revoke_token(token, reply),
            Message::StoreDataset(dataset, reply) => self.store_dataset(dataset, reply),
            Message::RemoveDataset(fingerprint, reply) => self.remove_dataset(fingerprint, reply),
        }
    }

    fn poll(&mut self, poll: Poll) {
        let Some(worker) = self.registry.seen(poll.worker, Instant::now()) else {
            let refusal = self.why_unknown(poll.worker);
            let _ = poll.reply.send(Err(refusal));
            return;
        };
        if poll.call <= worker.calls_ended {
            return answer_empty(poll); // a message that was under way for too long
        }
        worker.missing.clone_from(&poll.missing);
        self.waiting.add(poll);
    }

    /// An instance that is not known here is told so, and registers again: else one whose slots are all busy
    /// would be missing from every listing until it asks for a job. Its leases are its own all the same; what it is
    /// to drop it hears first, and no more of that with the next renewal.
    fn renew(
        &mut self,
        worker: WorkerId,
        held: &BTreeSet<AttemptKey>,
        calls_ended: u64,
    ) -> Result<Vec<AttemptKey>, CallError> {
        let now = Instant::now();
        let renewal = self.leases.renew(worker, held, calls_ended, now);
        self.release(renewal.lost, ReleaseReason::ReplyLost);
        let Some(known) = self.registry.seen(worker, now) else {
            if renewal.drop.is_empty() {
                return Err(self.why_unknown(worker));
            }
            return Ok(renewal.drop);
        };
        known.calls_ended = known.calls_ended.max(calls_ended);
        Ok(renewal.drop)
    }

    fn leave(&mut self, worker: WorkerId, reply: oneshot::Sender<Result<(), CallError>>) {
        self.part(worker, ReleaseReason::WorkerLeft);
        match self.registry.remove(worker) {
            Some(_) => self
                .events
                .push((ClusterEvent::left(worker, Departure::Left), Some(reply))),
            // It has left before, or this coordinator never knew it: nothing to write.
            None => drop(reply.send(Ok(()))),
        }
    }

    /// Releases everything an instance holds and answers its poll.
    pub(super) fn part(&mut self, worker: WorkerId, reason: ReleaseReason) {
        let held = self.leases.of_worker(worker).map(|(key, _)| key).collect();
        self.release(held, reason);
        self.waiting.dismiss(worker);
    }

    pub(super) fn release(&mut self, keys: Vec<AttemptKey>, reason: ReleaseReason) {
        for key in keys {
            self.outbox
                .push((key.search, Request::Release { key, reason }));
        }
    }

    fn take_news(&mut self, news: News) {
        match news {
            News::Opened {
                link,
                summary,
                leases,
            } => {
                let now = Instant::now();
                for (key, worker) in leases {
                    self.leases.grant(key, worker, BEFORE_START, now);
                }
                self.searches.open(link, summary, now);
            }
            News::Changed(changed) => self.changed(changed),
            News::Undelivered(keys) => self.release(keys, ReleaseReason::ReplyLost),
        }
    }

    fn changed(&mut self, changed: Changed) {
        let now = Instant::now();
        self.searches
            .change(changed.search, changed.summary, &changed.answered, now);
        for (key, sign) in changed.signs {
            self.note_sign(&key, sign, now);
        }
        for key in &changed.ended {
            if let Some(holder) = self.leases.holder(key) {
                self.remembered.ended(*key, holder);
            }
            self.leases.end(key);
        }
        for (key, worker, call) in changed.granted {
            self.leases.grant(key, worker, call, now);
            // Granted to an instance that has gone since, or by a call that ended without this answer.
            match self.registry.get(worker) {
                _ if call == NO_CALL => {}
                None => self.release(vec![key], ReleaseReason::WorkerLeft),
                Some(known) if call <= known.calls_ended => {
                    self.release(vec![key], ReleaseReason::ReplyLost);
                }
                Some(_) => {}
            }
        }
        for poll in changed.returned {
            self.waiting.put_back(poll);
        }
    }

    /// Looks at deadlines.
    fn look(&mut self) {
        let now = Instant::now();
        let looked = self.leases.look(now);
        if looked.stalled {
            tracing::warn!(
                leases = self.leases.len(),
                "the coordinator stood still for longer than half a lease's time to live; \
                 every lease gets a fresh one"
            );
            self.registry.forgive_silence(now);
            self.listening_since = now;
        }
        for key in looked.expired {
            self.outbox.push((key.search, Request::Expire { key }));
        }
        self.infirmary.forget(now);
        self.look_for_stalls(now);
        let silence = self.settings.lease_ttl * SILENT_TTLS;
        for worker in self.registry.forget_silent(now, silence) {
            let id = worker.registration.worker;
            self.waiting.dismiss(id);
            self.events
                .push((ClusterEvent::left(id, Departure::Lost), None));
        }
    }

    /// Says which searches have stood still for long, and why.
    fn look_for_stalls(&mut self, now: Instant) {
        let searches = self.searches.iter();
        let searches = searches.map(|open| (open.link.profile.id, open.stands_still()));
        for (id, change) in self.stalls.look(searches, now) {
            let Some(open) = self.searches.get(id) else {
                continue;
            };
            let name = &open.link.profile.name;
            match change {
                Change::Stalled(passed) => {
                    let reason = self.why_waiting(open, now);
                    let reason = reason.unwrap_or_else(|| "no worker asks for a job".to_owned());
                    tracing::warn!(search = %id, name, from = "running", to = "stalled", duration_ms = millis(passed), reason, "search stalled: it has jobs and none runs. Mend what the reason says");
                }
                Change::Over(passed) => {
                    tracing::info!(search = %id, name, from = "stalled", to = "running", duration_ms = millis(passed), "search stands still no longer");
                }
            }
        }
    }

    fn list(&self) -> ClusterStatus {
        let now = Instant::now();
        let status = |worker: &Worker| WorkerStatus {
            held: self
                .leases
                .of_worker(worker.registration.worker)
                .map(|(key, _)| key)
                .collect(),
            registration: worker.registration.clone(),
            missing: worker.missing.clone(),
            last_seen: now.duration_since(worker.last_seen),
        };
        ClusterStatus {
            workers: self.registry.iter().map(status).collect(),
            busy: u32::try_from(self.leases.len()).unwrap_or(u32::MAX),
            waiting: self
                .searches
                .iter()
                .filter_map(|open| Some((open.link.profile.id, self.why_waiting(open, now)?)))
                .collect(),
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
