//! A whole history: a coordinator, workers and a network in virtual time, from a seed.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use espalier_common::ids::SearchId;
use espalier_core::search::Definition;
use uuid::Uuid;

use super::account::Account;
use super::agenda::{Agenda, Network, Thing};
use super::coordinator::{Coordinator, Disk};
use super::faults::{Fault, Plan};
use super::worker::{Wake, Worker};
use crate::support::{FLAT, IMAGES, definition};

/// Everything must have ended so long after the last fault.
const PATIENCE: u64 = 3 * 3_600_000;

/// What the machine's clock says when a history begins.
const CLOCK: i64 = 1_000_000_000;

static DEFINITIONS: LazyLock<[Arc<Definition>; 2]> =
    LazyLock::new(|| [FLAT, &format!("{IMAGES}budget: {{trials: 9}}\n")].map(definition));

/// What a history came to.
pub struct Told {
    pub tally: BTreeMap<&'static str, u64>,
}

/// A history that goes on.
pub struct World {
    pub agenda: Agenda,
    pub(super) coordinator: Coordinator,
    pub(super) disk: Disk,
    workers: Vec<Worker>,
    pub(super) account: Account,
    /// Unix time less virtual time, as the machine has it.
    clock: i64,
    pub(super) healed: Option<u64>,
}

impl World {
    pub fn new(seed: u64, plan: Plan) -> Self {
        let mut agenda = Agenda::new(seed);
        let mut disk = Disk::default();
        let searches = 1 + usize::from(agenda.hit(250));
        for number in 0..searches {
            let definition = draw(&mut agenda, seed);
            Coordinator::create(
                &mut disk,
                SearchId(Uuid::from_u128(number as u128 + 1)),
                &definition,
            );
        }
        let count = 1 + agenda.pick(4);
        let workers: Vec<Worker> = (0..count)
            .map(|index| {
                let slots = 1 + u32::from(agenda.hit(400)) + u32::from(agenda.hit(200));
                Worker::new(index, slots, plan.failures)
            })
            .collect();
        agenda.cut = vec![0; count];
        plan.draw(&mut agenda, count, searches);
        Self {
            agenda,
            coordinator: Coordinator::new(),
            disk,
            workers,
            account: Account::default(),
            clock: CLOCK,
            healed: None,
        }
    }

    /// Runs to the end of everything.
    pub fn run(&mut self) -> Told {
        self.start_coordinator();
        for worker in 0..self.workers.len() {
            self.workers[worker].begin(&mut self.agenda);
        }
        while !self.has_ended() {
            let thing = self.agenda.pop().expect("something is always to happen");
            let limit = self.healed.map_or(u64::MAX, |healed| healed + PATIENCE);
            assert!(self.agenda.now <= limit, "stuck: {}", self.stand());
            self.happen(thing);
        }
        self.account
            .check_end(&self.agenda, &self.disk, &self.coordinator.searches);
        Told {
            tally: std::mem::take(&mut self.agenda.tally),
        }
    }

    fn has_ended(&self) -> bool {
        self.healed.is_some()
            && self.coordinator.up
            && self.coordinator.has_finished()
            && self.coordinator.is_settled()
            && self.workers.iter().all(Worker::is_idle)
    }

    fn stand(&self) -> String {
        let searches = self.coordinator.searches.iter().map(|live| {
            let search = &live.search;
            format!(
                "{:?} {:?} live {:?} waiting {:?}",
                search.phase(),
                search.counts(),
                search.live(),
                search.waiting()
            )
        });
        searches.collect::<Vec<_>>().join("; ")
    }

    fn happen(&mut self, thing: Thing) {
        match thing {
            Thing::Call(caller, call) => {
                if !self.coordinator.up || self.agenda.is_cut(caller.worker) {
                    return;
                }
                if self.coordinator.still_until > self.agenda.now {
                    let left = self.coordinator.still_until - self.agenda.now;
                    return self.agenda.after(left, Thing::Call(caller, call));
                }
                self.coordinator.call(
                    &mut self.agenda,
                    &mut self.disk,
                    &mut self.account,
                    caller,
                    call,
                );
            }
            Thing::Coordinator { start, inside } => {
                if !self.coordinator.up || self.coordinator.start != start {
                    return;
                }
                if self.coordinator.still_until > self.agenda.now {
                    let left = self.coordinator.still_until - self.agenda.now;
                    return self
                        .agenda
                        .after(left, Thing::Coordinator { start, inside });
                }
                self.coordinator.inside(
                    &mut self.agenda,
                    &mut self.disk,
                    &mut self.account,
                    inside,
                );
            }
            Thing::Answer(caller, answer) => {
                let worker = &mut self.workers[caller.worker];
                if !worker.up || worker.start != caller.start || self.agenda.is_cut(caller.worker) {
                    return;
                }
                if worker.still_until > self.agenda.now {
                    let left = worker.still_until - self.agenda.now;
                    return self.agenda.after(left, Thing::Answer(caller, answer));
                }
                worker.answered(&mut self.agenda, caller.call, answer);
                self.has_left(caller.worker);
            }
            Thing::Worker {
                worker,
                start,
                wake,
            } => self.wake(worker, start, wake),
            Thing::Fault(fault) => self.fault(fault),
        }
    }

    fn wake(&mut self, index: usize, start: u64, wake: Wake) {
        let worker = &mut self.workers[index];
        if !worker.up || worker.start != start {
            return;
        }
        if worker.still_until > self.agenda.now {
            let left = worker.still_until - self.agenda.now;
            return self.agenda.after(
                left,
                Thing::Worker {
                    worker: index,
                    start,
                    wake,
                },
            );
        }
        worker.wake(&mut self.agenda, wake);
        self.has_left(index);
    }

    /// A worker that was told to end and has ended is started again, sooner or later.
    fn has_left(&mut self, worker: usize) {
        if !self.workers[worker].up {
            let down = self.agenda.between(100, 60_000);
            self.agenda
                .after(down, Thing::Fault(Fault::StartWorker { worker }));
        }
    }

    fn start_coordinator(&mut self) {
        self.coordinator
            .begin(&mut self.agenda, &self.disk, &mut self.account, self.clock);
        self.account.check_after_start(&self.coordinator.searches);
    }

    fn fault(&mut self, fault: Fault) {
        self.agenda.say(|| format!("{fault:?}"));
        let now = self.agenda.now;
        match fault {
            Fault::CrashCoordinator { down } if self.coordinator.up => {
                self.agenda.note("coordinator crashed");
                self.account.crashed(now);
                self.coordinator.crash(&mut self.agenda, &mut self.disk);
                self.agenda
                    .after(down, Thing::Fault(Fault::StartCoordinator));
            }
            Fault::StartCoordinator => self.start_coordinator(),
            Fault::StallCoordinator { time } if self.coordinator.up => {
                self.agenda.note("coordinator stalled");
                self.account.stalled(now, now + time);
                // A shorter one within a longer one ends nothing: what waits was put off to the end of that.
                let still = &mut self.coordinator.still_until;
                *still = (*still).max(now + time);
            }
            Fault::StepClock { by } => {
                self.agenda.note("clock stepped");
                self.clock += by;
                self.coordinator.machine = self.clock;
            }
            Fault::CrashWorker { worker, down } if self.workers[worker].up => {
                self.agenda.note("worker crashed");
                self.workers[worker].crash(&mut self.agenda);
                self.agenda
                    .after(down, Thing::Fault(Fault::StartWorker { worker }));
            }
            Fault::StartWorker { worker } if !self.workers[worker].up => {
                self.workers[worker].begin(&mut self.agenda)
            }
            Fault::StopWorker { worker, time } => {
                self.agenda.note("worker stood still");
                let still = &mut self.workers[worker].still_until;
                *still = (*still).max(now + time);
            }
            Fault::DrainWorker { worker } if self.workers[worker].up => {
                self.agenda.note("worker drained");
                self.workers[worker].drain(&mut self.agenda);
                self.has_left(worker);
            }
            Fault::Cut { worker, time } => {
                self.agenda.note("worker cut off");
                let cut = &mut self.agenda.cut[worker];
                *cut = (*cut).max(now + time);
            }
            Fault::Heal => {
                self.healed = Some(now);
                self.agenda.fragile = 0;
                self.agenda.network = Network {
                    delay: 50,
                    ..Network::default()
                };
                for worker in &mut self.workers {
                    worker.failures = false;
                }
                self.agenda.after(1, Thing::Fault(Fault::Resume));
            }
            Fault::Pause { .. } | Fault::Resume | Fault::Stop { .. } | Fault::Steer { .. } => {
                self.user(fault);
            }
            _ => {}
        }
    }
}

/// A small search: its space, budget and the rest by chance.
fn draw(agenda: &mut Agenda, seed: u64) -> Arc<Definition> {
    let mut definition = DEFINITIONS[agenda.pick(2)].as_ref().clone();
    let spec = &mut definition.spec;
    spec.seed = seed;
    spec.budget.trials = Some(1 + agenda.pick(9) as u32);
    if agenda.hit(150) {
        spec.budget.time_ms = Some(agenda.between(10_000, 300_000));
    }
    if agenda.hit(100) {
        spec.budget.compute_ms = Some(agenda.between(10_000, 200_000));
    }
    if agenda.hit(100) {
        spec.budget.deadline_ms = Some(CLOCK.unsigned_abs() + agenda.between(10_000, 400_000));
    }
    if agenda.hit(100) {
        spec.budget.target = Some(0.5);
    }
    if agenda.hit(100) {
        spec.budget.patience = Some(1 + agenda.pick(4) as u32);
    }
    if agenda.hit(300) {
        spec.parallel = Some(1 + agenda.pick(3) as u32);
    }
    spec.attempts = 1 + agenda.pick(4) as u32;
    Arc::new(definition)
}
