//! A model of a worker: what `espalier-worker` does as far as the coordinator sees it. It leases, renews, reports,
//! completes, uploads, tries again what was not answered, and keeps results on its disk until they are delivered.

use std::collections::{BTreeMap, VecDeque};

use espalier_common::failure::Failure;
use espalier_common::ids::{AttemptKey, Digest, WorkerId};
use espalier_common::job::{Checkpoint, LeasedJob};
use espalier_common::metrics::Measurement;
use espalier_core::search::Completion;
use uuid::Uuid;

use super::agenda::{Agenda, Answer, Call, Caller, Thing};

/// How often a worker renews, and how long it waits for answers.
const RENEW_EVERY: u64 = 10_000;
const ANSWER_WITHIN: u64 = 15_000;
const POLL: u64 = 30_000;

/// What a worker wakes up for.
#[derive(Clone, Debug)]
pub enum Wake {
    Lease,
    Renew,
    /// An epoch is over.
    Step(AttemptKey),
    /// A call was not answered.
    Again(Wants),
    Timeout(u64),
}

/// What a call is for.
#[derive(Clone, Debug)]
pub enum Wants {
    Register,
    Lease,
    Renew,
    Report(AttemptKey),
    Complete(AttemptKey),
    Fail(AttemptKey, Failure),
    BreakOff(AttemptKey, Checkpoint),
    Release(AttemptKey),
    Upload(AttemptKey),
    Leave,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stage {
    Running,
    Ending,
    Uploading,
}

/// How an attempt will end.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    Well,
    Fails {
        at: u32,
        failure: Failure,
    },
    /// Ends without having measured anything.
    Silent,
}

#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) job: LeasedJob,
    pub(super) stage: Stage,
    pub(super) fate: Fate,
    pub(super) step: u32,
    pub(super) began: u64,
    pub(super) pace: u64,
    pub(super) waiting: VecDeque<Measurement>,
    pub(super) number: u32,
    pub(super) reporting: bool,
    pub(super) dropped: bool,
}

/// A completion on the worker's disk.
#[derive(Clone, Debug)]
pub(super) struct Spooled {
    pub(super) worker: WorkerId,
    pub(super) completion: Completion,
}

/// A worker.
pub struct Worker {
    pub index: usize,
    pub up: bool,
    pub start: u64,
    pub still_until: u64,
    pub instance: WorkerId,
    pub failures: bool,
    slots: u32,
    registered: bool,
    lease_open: bool,
    lease_last: u64,
    renew_open: bool,
    pub(super) draining: Option<u64>,
    pub(super) held: BTreeMap<AttemptKey, Held>,
    pub(super) spool: BTreeMap<AttemptKey, Spooled>,
    calls: BTreeMap<u64, Wants>,
    next_call: u64,
}

/// The score that an attempt measures.
pub fn score(key: AttemptKey, step: u32) -> f64 {
    let bytes = [key.trial.0, key.attempt.0, step]
        .map(u32::to_le_bytes)
        .concat();
    f64::from(Digest::of(&bytes).0[0]) / 300.0
}

impl Worker {
    pub fn new(index: usize, slots: u32, failures: bool) -> Self {
        Self {
            index,
            up: false,
            start: 0,
            still_until: 0,
            instance: WorkerId(Uuid::nil()),
            failures,
            slots,
            registered: false,
            lease_open: false,
            lease_last: 0,
            renew_open: false,
            draining: None,
            held: BTreeMap::new(),
            spool: BTreeMap::new(),
            calls: BTreeMap::new(),
            next_call: 0,
        }
    }

    /// Whether it has nothing left to do.
    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && self.spool.is_empty()
    }

    /// A start of the process: another instance, with what its disk holds.
    pub fn begin(&mut self, agenda: &mut Agenda) {
        self.start += 1;
        self.up = true;
        self.instance = WorkerId(Uuid::from_u128(
            (self.index as u128 + 1) << 64 | u128::from(self.start),
        ));
        self.registered = false;
        (self.lease_open, self.lease_last, self.renew_open) = (false, 0, false);
        self.draining = None;
        self.send(agenda, Wants::Register);
        let spooled: Vec<AttemptKey> = self.spool.keys().copied().collect();
        for key in spooled {
            agenda.note("spooled result delivered by a later start");
            self.send(agenda, Wants::Complete(key));
        }
    }

    /// The process is gone, and sometimes its disk with it.
    pub fn crash(&mut self, agenda: &mut Agenda) {
        if agenda.hit(300) && !self.spool.is_empty() {
            agenda.note("worker's disk lost");
            self.spool.clear();
        }
        self.stop();
    }

    fn stop(&mut self) {
        self.up = false;
        self.held.clear();
        self.calls.clear();
    }

    /// It is told to end: hands back what runs, delivers what is done, says goodbye.
    pub fn drain(&mut self, agenda: &mut Agenda) {
        self.draining = Some(agenda.now + 10_000);
        let running = self
            .held
            .iter()
            .filter(|(_, held)| held.stage == Stage::Running);
        let running: Vec<AttemptKey> = running.map(|(key, _)| *key).collect();
        for key in running {
            let left = self.checkpoint(agenda, key);
            self.end(key);
            match left {
                Some(checkpoint) => self.send(agenda, Wants::BreakOff(key, checkpoint)),
                None => self.send(agenda, Wants::Release(key)),
            }
        }
        self.part(agenda);
    }

    pub(super) fn part(&mut self, agenda: &mut Agenda) {
        if self.draining.is_some() && self.held.is_empty() {
            self.send(agenda, Wants::Leave);
        }
    }

    pub(super) fn end(&mut self, key: AttemptKey) {
        if let Some(held) = self.held.get_mut(&key) {
            held.stage = Stage::Ending;
        }
    }

    pub(super) fn close(&mut self, agenda: &mut Agenda, key: AttemptKey) {
        self.held.remove(&key);
        self.part(agenda);
        self.lease(agenda);
    }

    pub(super) fn free_slots(&self) -> u32 {
        let busy = self
            .held
            .values()
            .filter(|held| held.stage != Stage::Uploading);
        self.slots
            .saturating_sub(u32::try_from(busy.count()).unwrap())
    }

    pub(super) fn lease(&mut self, agenda: &mut Agenda) {
        if self.registered && !self.lease_open && self.draining.is_none() && self.free_slots() > 0 {
            self.lease_open = true;
            self.lease_last += 1;
            self.send(agenda, Wants::Lease);
        }
    }

    pub fn wake(&mut self, agenda: &mut Agenda, wake: Wake) {
        match wake {
            Wake::Lease => self.lease(agenda),
            Wake::Renew => {
                if !self.renew_open {
                    self.renew_open = true;
                    self.send(agenda, Wants::Renew);
                }
            }
            Wake::Step(key) => self.step(agenda, key),
            Wake::Again(wants) => self.send(agenda, wants),
            Wake::Timeout(call) => {
                if self.calls.contains_key(&call) {
                    self.answered(agenda, call, Answer::Lost);
                }
            }
        }
    }

    pub(super) fn send(&mut self, agenda: &mut Agenda, wants: Wants) {
        let worker = self.instance;
        let call = match &wants {
            Wants::Register => Call::Register {
                worker,
                results: self.spool.keys().copied().collect(),
            },
            Wants::Lease => Call::Lease {
                worker,
                call: self.lease_last,
                slots: self.free_slots(),
            },
            Wants::Renew => Call::Renew {
                worker,
                held: self
                    .held
                    .iter()
                    .filter(|(_, held)| !held.dropped)
                    .map(|(key, _)| *key)
                    .collect(),
                ended: self.lease_last - u64::from(self.lease_open),
            },
            Wants::Report(key) => {
                let Some(held) = self.held.get(key) else {
                    return;
                };
                let Some(measurement) = held.waiting.front().cloned() else {
                    return;
                };
                Call::Report {
                    worker,
                    key: *key,
                    number: held.number,
                    measurement,
                }
            }
            Wants::Complete(key) => {
                let Some(spooled) = self.spool.get(key) else {
                    return;
                };
                Call::Complete {
                    worker: spooled.worker,
                    key: *key,
                    completion: spooled.completion.clone(),
                }
            }
            Wants::Fail(key, failure) => Call::Fail {
                worker,
                key: *key,
                failure: failure.clone(),
            },
            Wants::BreakOff(key, checkpoint) => Call::BreakOff {
                worker,
                key: *key,
                checkpoint: *checkpoint,
            },
            Wants::Release(key) => Call::Release { worker, key: *key },
            Wants::Upload(key) => {
                let Some(spooled) = self.spool.get(key) else {
                    return;
                };
                let Some(weights) = spooled.completion.weights else {
                    return;
                };
                Call::Upload {
                    worker: spooled.worker,
                    key: *key,
                    weights,
                }
            }
            Wants::Leave => Call::Leave { worker },
        };
        let within = if matches!(wants, Wants::Lease) {
            POLL + ANSWER_WITHIN
        } else {
            ANSWER_WITHIN
        };
        self.next_call += 1;
        let number = self.next_call;
        self.calls.insert(number, wants);
        let from = Caller {
            worker: self.index,
            start: self.start,
            call: number,
        };
        agenda.call(from, call);
        self.later(agenda, within, Wake::Timeout(number));
    }

    pub(super) fn later(&self, agenda: &mut Agenda, delay: u64, wake: Wake) {
        let (worker, start) = (self.index, self.start);
        agenda.after(
            delay,
            Thing::Worker {
                worker,
                start,
                wake,
            },
        );
    }

    pub(super) fn again(&self, agenda: &mut Agenda, wants: Wants) {
        let wait = agenda.between(500, 4_000);
        self.later(agenda, wait, Wake::Again(wants));
    }

    /// The answer to a call, or that there is none.
    pub fn answered(&mut self, agenda: &mut Agenda, call: u64, answer: Answer) {
        // One that is known has been answered, or was given up.
        let Some(wants) = self.calls.remove(&call) else {
            return;
        };
        match (wants, answer) {
            (Wants::Register, Answer::Done) => {
                self.registered = true;
                self.later(agenda, 1, Wake::Renew);
                self.lease(agenda);
            }
            (Wants::Lease, answer) => self.leased(agenda, answer),
            (Wants::Renew, answer) => self.renewed(agenda, answer),
            (Wants::Report(key), answer) => self.reported(agenda, key, answer),
            (Wants::Complete(key), Answer::Weights(answer)) => self.completed(agenda, key, answer),
            (Wants::Complete(key) | Wants::Upload(key), Answer::Done | Answer::Refused) => {
                self.spool.remove(&key);
                self.close(agenda, key);
            }
            // It is handed back without, then.
            (Wants::BreakOff(key, _), Answer::Refused) => {
                self.send(agenda, Wants::Release(key));
            }
            (Wants::BreakOff(key, _), Answer::Done)
            | (Wants::Fail(key, _) | Wants::Release(key), Answer::Done | Answer::Refused) => {
                self.close(agenda, key);
            }
            (Wants::Leave, _) => self.stop(),
            (wants, _) => self.again(agenda, wants),
        }
    }

    fn forgotten(&mut self, agenda: &mut Agenda) {
        if self.registered && self.draining.is_none() {
            self.registered = false;
            self.send(agenda, Wants::Register);
        }
    }

    fn leased(&mut self, agenda: &mut Agenda, answer: Answer) {
        self.lease_open = false;
        match answer {
            Answer::Leased(jobs) => {
                for job in jobs {
                    self.assign(agenda, job);
                }
                self.lease(agenda);
            }
            Answer::NotRegistered => self.forgotten(agenda),
            _ => {
                let wait = agenda.between(500, 4_000);
                self.later(agenda, wait, Wake::Lease);
            }
        }
    }

    fn renewed(&mut self, agenda: &mut Agenda, answer: Answer) {
        self.renew_open = false;
        let mut wait = RENEW_EVERY;
        match answer {
            Answer::Renewed(drop) => {
                for key in drop {
                    self.dropped(agenda, key);
                }
            }
            Answer::NotRegistered => self.forgotten(agenda),
            _ => wait = 1_000,
        }
        self.later(agenda, wait, Wake::Renew);
    }

    /// What runs is stopped. A result that is on its way may count all the same.
    pub(super) fn dropped(&mut self, agenda: &mut Agenda, key: AttemptKey) {
        let Some(held) = self.held.get_mut(&key) else {
            return;
        };
        agenda.note("job dropped");
        if held.stage == Stage::Running {
            self.close(agenda, key);
        } else {
            held.dropped = true;
        }
    }
}
