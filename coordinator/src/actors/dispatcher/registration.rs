//! Who goes by which name. A worker that starts again takes the place of its older instance at once; another one
//! does not get a name for as long as its owner is alive, or two workers of one name would take each other's
//! jobs for ever.

use std::collections::BTreeSet;

use espalier_common::ids::{AttemptKey, WorkerId};
use espalier_core::search::ReleaseReason;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Registration;
use super::task::Dispatcher;
use crate::actors::cluster::{ClusterEvent, Departure};
use crate::actors::error::CallError;

/// The most workers one coordinator registers: bounds its memory whatever connects.
const MAX_WORKERS: usize = 20_000;

impl Dispatcher {
    pub(super) fn register(
        &mut self,
        mut registration: Registration,
        reply: oneshot::Sender<Result<(), CallError>>,
    ) {
        if self.registry.len() >= MAX_WORKERS && self.registry.get(registration.worker).is_none() {
            let message = format!("{MAX_WORKERS} workers are registered, which is the most taken");
            let _ = reply.send(Err(CallError::TooMany(message)));
            return;
        }
        // The call may have been let in just before its token was revoked.
        let token = registration.token.as_ref();
        if let Some(token) = token.filter(|token| self.cluster.tokens().is_revoked(token)) {
            let _ = reply.send(Err(CallError::RevokedToken(token.to_string())));
            return;
        }
        let (now, owner) = (Instant::now(), self.owner(&registration));
        if let Some(owner) = owner.filter(|owner| self.keeps_name(*owner, &registration, now)) {
            self.say_clash(owner, &registration);
            let _ = reply.send(Err(CallError::NameInUse {
                name: registration.name,
                free_after: self.settings.lease_ttl,
            }));
            return;
        }
        for older in self.older(&registration) {
            if self.is_elsewhere(older, &registration) {
                // What it holds is its own for as long as it renews it.
                self.waiting.dismiss(older);
            } else {
                self.succeed(older, owner == Some(older), &registration.results, now);
            }
            self.events
                .push((ClusterEvent::left(older, Departure::Restarted), None));
        }
        // Nobody asks for them again.
        registration.results.clear();
        let event = ClusterEvent::registered(&registration);
        self.registry.add(registration, now);
        self.events.push((event, Some(reply)));
    }

    /// What an instance was at when it ended returns to the queue; what it had done is about to be delivered, and has
    /// time for that. Once: of one that ended before the last one, results wait only until their leases run out.
    fn succeed(
        &mut self,
        older: WorkerId,
        is_last: bool,
        results: &BTreeSet<AttemptKey>,
        now: Instant,
    ) {
        for key in results.iter().filter(|_| is_last) {
            self.leases.touch(older, key, now);
        }
        let lost = self.leases.of_worker(older).map(|(key, _)| key);
        let lost = lost.filter(|key| !results.contains(key)).collect();
        self.release(lost, ReleaseReason::WorkerRestarted);
        self.waiting.dismiss(older);
    }

    /// The other instance that has the name, by what is known here or from before this coordinator's start.
    fn owner(&self, registration: &Registration) -> Option<WorkerId> {
        let name = &registration.name;
        let owner = self.registry.named(name);
        let owner = owner.or_else(|| self.cluster.names().owner(name));
        owner.filter(|owner| *owner != registration.worker)
    }

    /// Other instances of this name that make room for it: the registered one, and those that held something at this
    /// coordinator's start and have run in the same place.
    fn older(&self, registration: &Registration) -> BTreeSet<WorkerId> {
        let (worker, name) = (registration.worker, &registration.name);
        let holders = self.leases.holders().filter(|holder| {
            self.registry.get(*holder).is_none()
                && self.cluster.names().is_called(*holder, name)
                && !self.is_elsewhere(*holder, registration)
        });
        let registered = self.registry.named(name);
        let all = holders.chain(registered);
        all.filter(|older| *older != worker).collect()
    }

    /// Whether an instance is another worker, and no earlier start of this one.
    fn is_elsewhere(&self, older: WorkerId, registration: &Registration) -> bool {
        let known = self.registry.get(older);
        let home = known.map_or_else(
            || self.cluster.names().home(older),
            |known| known.registration.home,
        );
        let homes = home.zip(registration.home);
        homes.is_some_and(|(one, other)| one != other)
    }

    /// Whether the one that has the name is another worker and alive, as far as can be known: one from before this
    /// coordinator's start has had no time yet to say so.
    fn keeps_name(&self, owner: WorkerId, registration: &Registration, now: Instant) -> bool {
        let heard = self
            .registry
            .get(owner)
            .map_or(self.listening_since, |known| known.last_seen);
        self.is_elsewhere(owner, registration)
            && now.saturating_duration_since(heard) <= self.settings.lease_ttl
    }

    /// Once for each that asks: it does so again and again.
    fn say_clash(&mut self, owner: WorkerId, asking: &Registration) {
        if self.registry.note_clash(&asking.name, asking.worker) {
            tracing::warn!(
                worker = asking.name,
                instance = %asking.worker,
                owner = %owner,
                "a second worker of this name is refused while the first one is at work: give each a --name of \
                 its own"
            );
        }
    }

    /// A worker that this coordinator has only forgotten registers again, as often as that happens. One whose
    /// name has gone to another meanwhile is told so.
    pub(super) fn why_unknown(&self, worker: WorkerId) -> CallError {
        let name = self.cluster.names().known(worker);
        name.filter(|name| self.registry.is_of_another(name, worker))
            .map_or(CallError::NotRegistered, |name| {
                CallError::NameTaken(name.to_string())
            })
    }
}
