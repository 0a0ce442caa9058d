//! The conversation with the coordinator: one task that owns what is held and what is free. It asks for
//! jobs, renews leases, and at the end hands back what is unfinished. May import proto, common, tokio.
//!
//! One Lease call is open at a time. It asks for every slot that was free when it began; a slot that gets
//! free meanwhile need not break it off, since an open call means that the coordinator has no job to give,
//! and the call that follows its answer asks for all free slots again.

mod again;
mod earlier;
mod registration;

pub(crate) use registration::{Registration, Welcome, offer};

use earlier::Earlier;
use registration::Unknown;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::AttemptKey;
use espalier_proto::{
    MAX_LEASE_WAIT_MS, attempt_from_wire, attempt_to_wire, failure_to_wire, leased_job_from_wire,
    uuid_to_wire, v1,
};
use espalier_runtime::Shutdown;
use espalier_runtime::backoff::Waits;
use espalier_runtime::logging::millis;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tonic::{Code, Status};

use crate::alive::Alive;
use crate::client::is_transient;
use crate::config::WorkerConfig;
use crate::dataset::Datasets;
use crate::delivery::Delivery;
use crate::error::WorkerError;
use crate::slot::Assignment;
use crate::stop::{Stop, StopHandle};
use crate::transfer::MAX_WAITING_UPLOADS;

/// After a Renew that failed: several more tries fit into a lease's time to live.
const RENEW_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Saying goodbye is a courtesy: without it the leases run out.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);

/// What other tasks tell the session.
#[derive(Debug)]
pub(crate) enum Event {
    /// A slot can take the next job.
    SlotFree(u32),
    /// The coordinator knows how an attempt ended, and its weights are where they belong.
    Closed(AttemptKey),
}

/// A call that ended.
enum Ended {
    Lease(Result<v1::LeaseReply, Status>),
    Renew(Result<v1::RenewReply, Status>),
    Register(Box<Registration>, Result<Welcome, WorkerError>),
    /// All results of earlier instances were said.
    Earlier,
    /// Their leases were renewed.
    RenewEarlier,
}

/// The Lease calls of this instance.
struct LeaseCalls {
    /// Number of the latest one.
    last: u64,
    open: bool,
    not_before: Instant,
    waits: Waits,
}

/// The Renew calls of this instance.
struct RenewCalls {
    every: Duration,
    next: Instant,
    open: bool,
}

/// One slot as the session sees it.
struct SlotState {
    jobs: mpsc::Sender<Assignment>,
    busy: bool,
}

/// The conversation.
pub(crate) struct Session {
    config: Arc<WorkerConfig>,
    datasets: Datasets,
    delivery: Arc<Delivery>,
    /// Not there while this worker registers again.
    registration: Option<Registration>,
    events: mpsc::Receiver<Event>,
    slots: Vec<SlotState>,
    held: BTreeMap<AttemptKey, StopHandle>,
    earlier: Earlier,
    /// With the number of the registration under which they began.
    calls: FuturesUnordered<BoxFuture<'static, (u64, Ended)>>,
    registered: u64,
    lease: LeaseCalls,
    renew: RenewCalls,
    away_since: Option<Instant>,
    idle_since: Instant,
    alive: Alive,
    /// Set when the worker ends: what is not done by then is left.
    deadline: Option<Instant>,
}

impl Session {
    /// A session that is registered, with its slots free.
    pub(crate) fn new(
        config: Arc<WorkerConfig>,
        datasets: Datasets,
        delivery: Arc<Delivery>,
        (registration, welcome): (Registration, Welcome),
        events: mpsc::Receiver<Event>,
        slots: Vec<mpsc::Sender<Assignment>>,
    ) -> Self {
        let (now, alive) = (Instant::now(), Alive::new(&config.work_dir));
        Self {
            config,
            datasets,
            delivery,
            registration: Some(registration),
            events,
            slots: slots
                .into_iter()
                .map(|jobs| SlotState { jobs, busy: false })
                .collect(),
            held: BTreeMap::new(),
            earlier: Earlier::default(),
            calls: FuturesUnordered::new(),
            registered: 0,
            lease: LeaseCalls {
                last: 0,
                open: false,
                not_before: now,
                waits: Waits::default(),
            },
            renew: RenewCalls {
                every: welcome.renew_every,
                next: now + welcome.renew_every,
                open: false,
            },
            away_since: None,
            idle_since: now,
            alive,
            deadline: None,
        }
    }

    /// Serves until the worker is asked to end, or idles for long enough.
    pub(crate) async fn run(mut self, shutdown: &Shutdown) -> Result<(), WorkerError> {
        loop {
            self.alive.beat();
            self.check_idle();
            self.begin_calls();
            if self.is_over() {
                break;
            }
            let wake = self.next_wake();
            tokio::select! {
                Some((registered, ended)) = self.calls.next() => {
                    self.call_ended(registered, ended)?;
                }
                Some(event) = self.events.recv() => self.event(event),
                () = shutdown.requested(), if self.deadline.is_none() => self.drain("asked to end"),
                () = sleep_until(wake) => {}
            }
        }
        self.leave().await;
        Ok(())
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::SlotFree(index) => {
                // Slots know their own number.
                if let Some(slot) = self.slots.get_mut(index as usize) {
                    slot.busy = false;
                }
            }
            Event::Closed(key) => {
                self.held.remove(&key);
                self.earlier.closed(key);
            }
        }
        self.idle_since = Instant::now();
    }

    fn free_slots(&self) -> u32 {
        let free = self.slots.iter().filter(|slot| !slot.busy).count();
        // Slots are counted by a u32 in the configuration.
        u32::try_from(free).unwrap_or(u32::MAX)
    }

    fn wants_jobs(&self) -> bool {
        self.deadline.is_none()
            && self.registration.is_some()
            && self.earlier.is_said()
            && !self.lease.open
            && self.free_slots() > 0
            && self.delivery.transfers.waiting() < MAX_WAITING_UPLOADS
    }

    fn begin_calls(&mut self) {
        let now = Instant::now();
        if !self.renew.open && now >= self.renew.next {
            self.begin_renew();
            self.renew_earlier();
        }
        if self.wants_jobs() && now >= self.lease.not_before {
            self.begin_lease();
        }
    }

    fn begin_lease(&mut self) {
        self.lease.open = true;
        self.lease.last += 1;
        let missing = self.datasets.known().missing;
        let request = v1::LeaseRequest {
            worker: uuid_to_wire(self.delivery.worker.0),
            call: self.lease.last,
            free_slots: self.free_slots(),
            wait_ms: MAX_LEASE_WAIT_MS,
            missing_datasets: missing.iter().map(ToString::to_string).collect(),
        };
        let (client, registered) = (self.delivery.client.clone(), self.registered);
        self.calls.push(Box::pin(async move {
            (registered, Ended::Lease(client.lease(request).await))
        }));
    }

    fn begin_renew(&mut self) {
        self.renew.open = true;
        let held = self
            .held
            .iter()
            .filter(|(_, stop)| !stop.is_dropped())
            .map(|(&key, _)| attempt_to_wire(key))
            .collect();
        let request = v1::RenewRequest {
            worker: uuid_to_wire(self.delivery.worker.0),
            held,
            // What an open call may bring is not held yet, and not lost either.
            calls_ended: self.lease.last - u64::from(self.lease.open),
        };
        let (client, registered) = (self.delivery.client.clone(), self.registered);
        self.calls.push(Box::pin(async move {
            (registered, Ended::Renew(client.renew(request).await))
        }));
    }

    fn call_ended(&mut self, registered: u64, ended: Ended) -> Result<(), WorkerError> {
        let failed = match ended {
            Ended::Lease(answer) => {
                self.lease.open = false;
                match answer {
                    Ok(reply) => {
                        self.lease.waits.reset();
                        self.granted(reply);
                        None
                    }
                    Err(status) => {
                        self.lease.not_before = Instant::now() + self.lease.waits.next_wait();
                        Some(status)
                    }
                }
            }
            Ended::Renew(answer) => {
                self.renew.open = false;
                let again = self.renew.every;
                let wait = match &answer {
                    Ok(_) => again,
                    Err(_) => again.min(RENEW_AGAIN_AFTER),
                };
                self.renew.next = Instant::now() + wait;
                answer.map(|reply| self.renewed(&reply)).err()
            }
            Ended::Register(registration, outcome) => {
                return self.registered_again(*registration, outcome);
            }
            Ended::Earlier => {
                self.earlier.said();
                return Ok(());
            }
            Ended::RenewEarlier => {
                self.earlier.renewed();
                return Ok(());
            }
        };
        match failed {
            None => self.coordinator_answers(),
            Some(status) if is_transient(&status) && status.code() != Code::Unauthenticated => {
                self.coordinator_is_away(&status)
            }
            Some(status) => {
                let why = match status.code() {
                    Code::NotFound | Code::FailedPrecondition => Unknown::Forgotten,
                    Code::AlreadyExists => Unknown::Displaced,
                    Code::Unauthenticated => Unknown::Unidentified,
                    _ => {
                        return Err(WorkerError::refused(&self.config.join, &status));
                    }
                };
                // An answer to a call from before the last registration says nothing new.
                if registered == self.registered {
                    self.register_again(why);
                }
            }
        }
        Ok(())
    }

    fn coordinator_answers(&mut self) {
        if let Some(since) = self.away_since.take() {
            let duration_ms = millis(since.elapsed());
            tracing::info!(
                worker = self.config.name,
                from = "away",
                to = "reached",
                duration_ms,
                "coordinator reached again"
            );
        }
    }

    fn coordinator_is_away(&mut self, status: &Status) {
        if self.away_since.is_none() {
            self.away_since = Some(Instant::now());
            tracing::warn!(worker = self.config.name, from = "reached", to = "away", %status,
                "coordinator away; running jobs go on, and it is tried again until it is back");
        }
    }

    fn renewed(&mut self, reply: &v1::RenewReply) {
        for wire in &reply.drop {
            let Ok(key) = attempt_from_wire(Some(wire)) else {
                tracing::warn!(
                    ?wire,
                    "the coordinator drops an attempt that cannot be read"
                );
                continue;
            };
            if let Some(stop) = self.held.get(&key) {
                stop.stop(Stop::Dropped);
            }
        }
    }

    fn granted(&mut self, reply: v1::LeaseReply) {
        for lease in reply.leases {
            match leased_job_from_wire(&lease) {
                Ok(job) => self.assign(Box::new(job)),
                Err(error) => match attempt_from_wire(lease.attempt.as_ref()) {
                    Ok(key) => self.refuse(key, &error.to_string()),
                    // Comes back by itself: it is not among what is held.
                    Err(_) => tracing::warn!(%error, "a lease that cannot be read"),
                },
            }
        }
    }

    fn assign(&mut self, job: Box<espalier_common::job::LeasedJob>) {
        let key = job.key();
        if self.held.contains_key(&key) {
            tracing::warn!(search = %key.search, trial = key.trial.0, attempt = key.attempt.0,
                "leased twice; the second one is ignored");
            return;
        }
        let (stop, signal) = StopHandle::new();
        let free = self.slots.iter_mut().find(|slot| !slot.busy);
        let Some(slot) = free.filter(|_| self.deadline.is_none()) else {
            // More than was asked for, or the worker ends.
            self.held.insert(key, stop);
            self.delivery
                .in_background(|delivery| async move { delivery.release(key).await });
            return;
        };
        let assignment = Assignment {
            job: *job,
            stop: stop.clone(),
            signal,
        };
        match slot.jobs.try_send(assignment) {
            Ok(()) => slot.busy = true,
            // The slot's task died; the whole worker is about to end, and says why.
            Err(_) => return,
        }
        self.held.insert(key, stop);
    }

    /// A job that this release cannot read.
    fn refuse(&mut self, key: AttemptKey, reason: &str) {
        let failure = Failure::new(
            FailureDomain::Internal,
            FailureKind::Unsupported,
            format!(
                "worker {} (release {}) cannot read the job: {reason}; run coordinator and workers of the same \
                 release",
                self.config.name,
                env!("CARGO_PKG_VERSION")
            ),
        )
        .bounded();
        let failure = failure_to_wire(&failure);
        tracing::warn!(search = %key.search, trial = key.trial.0, attempt = key.attempt.0, reason = failure.message,
            "attempt failed");
        self.delivery
            .in_background(|delivery| async move { delivery.fail(key, failure).await });
    }

    fn check_idle(&mut self) {
        if let (Some(limit), None) = (self.config.until_idle, self.deadline)
            && self.is_idle()
            && self.idle_since.elapsed() >= limit
        {
            self.drain("no job for the time given with --until-idle");
        }
    }

    /// Without a job and without weights on their way. What an earlier start left and nobody takes keeps no worker.
    fn is_idle(&self) -> bool {
        self.held.is_empty() && self.delivery.transfers.waiting() == 0
    }

    fn has_delivered(&self) -> bool {
        self.held.is_empty() && self.earlier.is_over()
    }

    fn drain(&mut self, why: &str) {
        tracing::info!(
            worker = self.config.name,
            from = "serving",
            to = "draining",
            reason = why,
            held = self.held.len(),
            "worker is draining"
        );
        self.deadline = Some(Instant::now() + self.config.drain_timeout);
        for stop in self.held.values() {
            stop.stop(Stop::Drain);
        }
    }

    fn is_over(&self) -> bool {
        // A slot without a job may be busy starting its evaluator; that need not be waited for.
        self.deadline
            .is_some_and(|deadline| self.has_delivered() || Instant::now() >= deadline)
    }

    fn next_wake(&self) -> Instant {
        let renew = (!self.renew.open).then_some(self.renew.next);
        let lease = self.wants_jobs().then_some(self.lease.not_before);
        let idle = self
            .config
            .until_idle
            .filter(|_| self.is_idle() && self.deadline.is_none())
            .map(|limit| self.idle_since + limit);
        let due = [renew, lease, idle, self.deadline];
        due.into_iter()
            .flatten()
            .fold(self.alive.next(), Instant::min)
    }

    async fn leave(self) {
        if !self.has_delivered() {
            tracing::warn!(
                worker = self.config.name,
                held = self.held.len(),
                "ending before everything was delivered; results on disk are delivered at the next start"
            );
        }
        let request = v1::LeaveRequest {
            worker: uuid_to_wire(self.delivery.worker.0),
        };
        if let Err(status) = self.delivery.client.leave(request, LEAVE_LIMIT).await {
            tracing::warn!(worker = self.config.name, %status, "could not say goodbye; leases run out by themselves");
        }
        tracing::info!(
            worker = self.config.name,
            from = "draining",
            to = "left",
            "worker left"
        );
    }
}
