//! The dispatcher's choice with what it is made from: workers, how they fare, searches and what they wait for.

use std::collections::BTreeMap;

use espalier_common::ids::{AttemptKey, WorkerId};
use espalier_core::dispatch::{self, Demand, Grant, Offer, Retry, Waiting};
use espalier_core::search::WaitingRetry;
use tokio::time::Instant;

use super::Dispatcher;
use crate::actors::dispatcher::Sign;
use crate::actors::dispatcher::registry::Worker;
use crate::actors::dispatcher::searches::OpenSearch;
use crate::actors::search::Request;

/// The most slots that a search is told are waiting: it never has more proposals under way at one time.
const MAX_DEMAND: u32 = 1_024;

impl Dispatcher {
    /// Notes how a worker fares. A lease that has ended before says nothing about now.
    pub(super) fn note_sign(&mut self, key: &AttemptKey, sign: Sign, now: Instant) {
        let holder = self.leases.holder(key);
        let Some(name) = holder.and_then(|holder| self.cluster.names().known(holder)) else {
            return;
        };
        match sign {
            Sign::Well => self.infirmary.success(&name),
            Sign::Sick => self.infirmary.fault(&name, now),
        }
    }

    pub(super) fn rests(&self, worker: &Worker, now: Instant) -> bool {
        self.infirmary.rests(&worker.registration.name, now)
    }

    /// What a search could have leased now.
    fn demand(&self, open: &OpenSearch, now: Instant) -> Demand {
        open.demand(|retry| self.retry(open, retry, now))
    }

    fn retry(&self, open: &OpenSearch, retry: &WaitingRetry, now: Instant) -> Retry {
        let mut failed_on = retry.failed_on.clone();
        // A worker that was started again is another instance on the same machine.
        let names = retry.failed_on.iter();
        let names = names.filter_map(|worker| self.cluster.names().known(*worker));
        failed_on.extend(names.filter_map(|name| self.registry.named(&name)));
        let profile = &open.link.profile;
        let elsewhere = self.registry.iter().any(|worker| {
            !failed_on.contains(&worker.registration.worker)
                && worker.can_run(profile)
                && (!retry.test || worker.can_test(profile))
                && !self.rests(worker, now)
        });
        Retry {
            trial: retry.trial,
            test: retry.test,
            failed_on,
            elsewhere,
            rested: open.is_rested(retry.trial, now),
        }
    }

    /// Gives waiting slots their jobs. A poll is answered by one search: should several have been chosen
    /// for it, the one that gives most; the worker asks again for the slots that are left.
    pub(super) fn assign(&mut self, now: Instant) {
        if self.waiting.is_empty() || !self.searches.iter().any(OpenSearch::has_work) {
            return;
        }
        // Only those that can do something are looked at closely: thousands of idle workers cost little.
        let useful = |worker: &&Worker| {
            let mut searches = self.searches.iter().filter(|open| open.has_work());
            searches.any(|open| worker.can_run(&open.link.profile))
        };
        let polls = self.waiting.iter();
        let offers: Vec<Offer> = polls
            .filter_map(|poll| {
                let worker = self.registry.get(poll.worker).filter(useful)?;
                Some(worker.offer(poll.free_slots, self.rests(worker, now)))
            })
            .collect();
        let wanting = self.searches.iter().filter(|open| open.has_work());
        let demands: Vec<Demand> = wanting.map(|open| self.demand(open, now)).collect();
        let mut chosen: BTreeMap<WorkerId, Grant> = BTreeMap::new();
        for grant in dispatch::pick(&offers, &demands) {
            match chosen.get(&grant.worker) {
                Some(best) if best.slots >= grant.slots => {}
                _ => {
                    chosen.insert(grant.worker, grant);
                }
            }
        }
        for grant in chosen.into_values() {
            let Some(poll) = self.waiting.take_of(grant.worker) else {
                continue;
            };
            if let Some(open) = self.searches.get_mut(grant.search) {
                open.promise(&grant);
            }
            if let Some(worker) = self.registry.get(grant.worker) {
                let could = |open: &OpenSearch| worker.can_run(&open.link.profile);
                self.searches.note_outrun(grant.search, could);
            }
            let request = Request::Lease {
                poll,
                slots: grant.slots,
                can_test: grant.can_test,
                can_resume: grant.can_resume,
                retries: grant.retries,
            };
            self.outbox.push((grant.search, request));
        }
    }

    /// Tells every search how many slots wait that it could fill; one that others outran is to be ready for the next.
    pub(super) fn publish_demand(&mut self, now: Instant) {
        self.searches.forget_outrun();
        for open in self.searches.iter() {
            let mut demand = 0_u32;
            if open.summary.would_ask {
                for poll in self.waiting.iter() {
                    let worker = self.registry.get(poll.worker);
                    let serves = |worker: &Worker| {
                        worker.can_run(&open.link.profile) && !self.rests(worker, now)
                    };
                    if worker.is_some_and(serves) {
                        demand = demand.saturating_add(poll.free_slots);
                    }
                    if demand >= MAX_DEMAND {
                        break;
                    }
                }
            }
            let demand = demand.clamp(u32::from(open.is_to_be_ready()), MAX_DEMAND);
            open.link.demand.send_if_modified(|now| {
                let changed = *now != demand;
                *now = demand;
                changed
            });
        }
    }

    /// Why a search that has work gets no worker.
    pub(super) fn why_waiting(&self, open: &OpenSearch, now: Instant) -> Option<String> {
        let mut demand = self.demand(open, now);
        if open.summary.would_ask && demand.training == 0 {
            demand.training = 1; // it would propose one, were there a slot for it
        }
        let offers: Vec<Offer> = self
            .registry
            .iter()
            .map(|worker| {
                let id = worker.registration.worker;
                let free = self.waiting.free_slots(id);
                let held = self.leases.of_worker(id).count();
                let held = u32::try_from(held).unwrap_or(u32::MAX);
                let asked = free.saturating_add(held);
                Offer {
                    unasked: worker.registration.slots.saturating_sub(asked),
                    ..worker.offer(free, self.rests(worker, now))
                }
            })
            .collect();
        let reasons: Vec<String> = dispatch::explain(&demand, &offers)
            .iter()
            .map(Waiting::to_string)
            .collect();
        if reasons.is_empty() {
            let reason = open.summary.waits_for.clone();
            return reason.map(std::borrow::Cow::into_owned);
        }
        Some(reasons.join("; "))
    }
}
