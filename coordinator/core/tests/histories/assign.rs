//! The dispatcher's work of the modelled coordinator: waiting slots get jobs by the core's own choice.

use std::collections::{BTreeMap, BTreeSet};

use espalier_common::ids::WorkerId;
use espalier_common::job::{Abilities, JobKind};
use espalier_common::labels::Labels;
use espalier_core::dispatch::{Demand, Grant, Offer, Retry, pick, retry_wait_ms};
use espalier_core::search::{Command, Phase, Reply, WaitingRetry};

use super::account::Account;
use super::agenda::{Agenda, Answer, Inside, Thing};
use super::coordinator::{Coordinator, Live};

/// Every second worker can test the best, and goes on from checkpoints.
fn abilities(worker: usize) -> Abilities {
    if worker.is_multiple_of(2) {
        Abilities {
            jobs: BTreeSet::from([JobKind::Train, JobKind::Test]),
            checkpoints: true,
        }
    } else {
        Abilities::of([JobKind::Train])
    }
}

impl Coordinator {
    pub(super) fn assign(&mut self, agenda: &mut Agenda, account: &mut Account) {
        // Twice: what one search did not want after all may go to another.
        for _ in 0..2 {
            if self.polls.is_empty() {
                return;
            }
            for live in &mut self.searches {
                live.note_retries(agenda.now);
            }
            let offers: Vec<Offer> = self
                .polls
                .iter()
                .filter_map(|poll| {
                    let known = self.registry.get(&poll.worker)?;
                    Some(self.offer(agenda, poll.worker, known.name, poll.slots))
                })
                .collect();
            let open = self
                .searches
                .iter()
                .filter(|live| !matches!(live.search.phase(), Phase::Finished(_)));
            let demands: Vec<Demand> = open.map(|live| self.demand(agenda, live)).collect();
            let mut chosen: BTreeMap<WorkerId, Grant> = BTreeMap::new();
            for grant in pick(&offers, &demands) {
                match chosen.get(&grant.worker) {
                    Some(best) if best.slots >= grant.slots => {}
                    _ => {
                        chosen.insert(grant.worker, grant);
                    }
                }
            }
            for grant in chosen.into_values() {
                self.grant(agenda, account, grant);
            }
        }
    }

    fn offer(&self, agenda: &Agenda, worker: WorkerId, name: usize, slots: u32) -> Offer {
        Offer {
            worker,
            slots,
            unasked: 0,
            evaluators: ["mine", "trainer"]
                .map(|evaluator| (evaluator.to_owned(), abilities(name)))
                .into(),
            missing: BTreeSet::new(),
            labels: Labels::default(),
            resting: self.rests(agenda, name),
        }
    }

    fn rests(&self, agenda: &Agenda, name: usize) -> bool {
        self.health
            .get(&name)
            .is_some_and(|health| health.pause_left_ms(agenda.now).is_some())
    }

    fn demand(&self, agenda: &Agenda, live: &Live) -> Demand {
        let definition = live.search.definition();
        let waiting = live.search.waiting();
        Demand {
            search: live.search.id(),
            training: waiting.training,
            test: waiting.test,
            retries: waiting
                .retries
                .iter()
                .map(|retry| self.retry(agenda, live, retry))
                .collect(),
            running: live.search.running(),
            parallel: live.search.limits().parallel,
            weight: live.search.limits().weight,
            labels: definition.spec.worker.labels.clone(),
            evaluator: definition.evaluator().to_owned(),
            dataset: None,
        }
    }

    fn retry(&self, agenda: &Agenda, live: &Live, retry: &WaitingRetry) -> Retry {
        let elsewhere = self.registry.iter().any(|(worker, known)| {
            !retry.failed_on.contains(worker)
                && (!retry.test || abilities(known.name).runs(JobKind::Test))
                && !self.rests(agenda, known.name)
        });
        Retry {
            trial: retry.trial,
            test: retry.test,
            failed_on: retry.failed_on.clone(),
            elsewhere,
            rested: live
                .rested
                .get(&retry.trial)
                .is_none_or(|(_, rested)| *rested <= agenda.now),
        }
    }

    fn grant(&mut self, agenda: &mut Agenda, account: &mut Account, grant: Grant) {
        let Some(place) = self
            .polls
            .iter()
            .position(|poll| poll.worker == grant.worker)
        else {
            return;
        };
        let Some(search) = self.index(grant.search) else {
            return;
        };
        let poll = self.polls[place].clone();
        let command = Command::LeaseJobs {
            worker: grant.worker,
            slots: grant.slots,
            can_test: grant.can_test,
            can_resume: grant.can_resume,
            retries: grant.retries,
        };
        let Ok(Reply::Leased(jobs)) = self.command(agenda, account, search, command, poll.call)
        else {
            panic!("a lease is answered with jobs");
        };
        assert!(jobs.len() <= grant.slots as usize);
        if !jobs.is_empty() {
            self.polls.remove(place);
            self.answer(agenda, account, poll.caller, Answer::Leased(jobs));
        }
    }

    /// Asks for what slots wait for, as a search's actor does; the answer takes its time.
    pub(super) fn ask(&mut self, agenda: &mut Agenda) {
        let waiting: u32 = self.polls.iter().map(|poll| poll.slots).sum();
        let start = self.start;
        for (index, live) in self.searches.iter_mut().enumerate() {
            let running = live.search.running();
            let ahead = if running <= 1 { 0 } else { running / 4 };
            let demand = waiting.min(live.search.free_parallel());
            let fresh = live.search.queued() - live.search.queued_again();
            let missing = (demand + ahead).saturating_sub(fresh + live.asking);
            let wanted = live.search.proposals_wanted().saturating_sub(live.asking);
            for _ in 0..missing.min(wanted) {
                live.last_ask = (live.last_ask + 1).max(live.search.next_ask());
                live.asking += 1;
                let answer = Box::new(live.proposer.ask(live.last_ask));
                let inside = Inside::Proposed {
                    search: index,
                    answer,
                };
                // The thread answers in order, and the mailbox keeps it.
                agenda.after(5, Thing::Coordinator { start, inside });
            }
        }
    }
}

impl Live {
    fn note_retries(&mut self, now: u64) {
        let before = std::mem::take(&mut self.rested);
        for retry in self.search.waiting().retries {
            let known = before
                .get(&retry.trial)
                .copied()
                .filter(|(failures, _)| *failures == retry.failures);
            let rested = known.unwrap_or((retry.failures, now + retry_wait_ms(retry.failures)));
            self.rested.insert(retry.trial, rested);
        }
    }
}
