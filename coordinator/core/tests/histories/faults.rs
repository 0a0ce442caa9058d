//! What goes wrong in a history, and what the user does meanwhile: drawn from the seed, by a plan that says which
//! kinds there are.

use super::agenda::{Agenda, Network, Thing};
use super::user::WISHES;

/// Something that goes wrong, or that somebody does.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The coordinator dies, for so long.
    CrashCoordinator {
        down: u64,
    },
    /// It is there again.
    StartCoordinator,
    /// The coordinator stands still: a suspended machine, a stopped process.
    StallCoordinator {
        time: u64,
    },
    /// The machine's clock is set, by so many milliseconds.
    StepClock {
        by: i64,
    },
    /// A worker dies, for so long.
    CrashWorker {
        worker: usize,
        down: u64,
    },
    StartWorker {
        worker: usize,
    },
    /// A worker stands still.
    StopWorker {
        worker: usize,
        time: u64,
    },
    /// A worker is told to end, and is there again later.
    DrainWorker {
        worker: usize,
    },
    /// A worker is cut off.
    Cut {
        worker: usize,
        time: u64,
    },
    /// The user pauses a search, ...
    Pause {
        search: usize,
    },
    /// ... goes on with whatever is paused, ...
    Resume,
    /// ... or ends one.
    Stop {
        search: usize,
    },
    /// The user wants something else of it.
    Steer {
        search: usize,
        wish: usize,
        number: u32,
    },
    /// From now on nothing goes wrong any more.
    Heal,
}

/// Which kinds of faults there are in a history.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    pub messages: bool,
    pub crashes: bool,
    pub clocks: bool,
    pub cuts: bool,
    pub failures: bool,
    pub user: bool,
}

impl Plan {
    pub const MESSAGES: Self = Self {
        messages: true,
        cuts: true,
        ..Self::NONE
    };
    pub const CRASHES: Self = Self {
        crashes: true,
        failures: true,
        ..Self::NONE
    };
    pub const CLOCKS: Self = Self {
        clocks: true,
        ..Self::NONE
    };
    pub const ALL: Self = Self {
        messages: true,
        crashes: true,
        clocks: true,
        cuts: true,
        failures: true,
        user: true,
    };
    const NONE: Self = Self {
        messages: false,
        crashes: false,
        clocks: false,
        cuts: false,
        failures: false,
        user: false,
    };

    /// Puts the faults of a history on the agenda.
    pub fn draw(self, agenda: &mut Agenda, workers: usize, searches: usize) {
        let heal = agenda.between(20_000, 400_000);
        agenda.network = Network {
            delay: agenda.between(2, 400),
            ..Network::default()
        };
        if self.messages {
            agenda.network.loss = [0, 20, 100, 300][agenda.pick(4)];
            agenda.network.duplication = [0, 50, 200][agenda.pick(3)];
            agenda.network.stragglers = [0, 50, 200][agenda.pick(3)];
        }
        if self.crashes {
            agenda.fragile = [0, 5, 30][agenda.pick(3)];
        }
        for _ in 0..agenda.between(1, 12) {
            if let Some(fault) = self.fault(agenda, workers, searches) {
                let at = agenda.between(0, heal);
                agenda.after(at, Thing::Fault(fault));
            }
        }
        agenda.after(heal, Thing::Fault(Fault::Heal));
    }

    fn fault(self, agenda: &mut Agenda, workers: usize, searches: usize) -> Option<Fault> {
        let (worker, search) = (agenda.pick(workers), agenda.pick(searches));
        let short = agenda.between(50, 5_000);
        let long = agenda.between(5_000, 100_000);
        let time = if agenda.hit(500) { short } else { long };
        let steer = Fault::Steer {
            search,
            wish: agenda.pick(WISHES),
            number: 1 + agenda.pick(9) as u32,
        };
        let kinds = [
            (self.crashes, Fault::CrashCoordinator { down: time }),
            (self.crashes, Fault::CrashCoordinator { down: short }),
            (self.crashes, Fault::CrashWorker { worker, down: time }),
            (
                self.crashes,
                Fault::CrashWorker {
                    worker,
                    down: short,
                },
            ),
            (self.crashes, Fault::DrainWorker { worker }),
            (
                self.crashes || self.cuts,
                Fault::StopWorker { worker, time },
            ),
            (self.clocks, Fault::StallCoordinator { time }),
            (
                self.clocks,
                Fault::StepClock {
                    by: time as i64 * 60,
                },
            ),
            (
                self.clocks,
                Fault::StepClock {
                    by: time as i64 * -60,
                },
            ),
            // A clock that was set while there was no process shows to the next one.
            (self.clocks, Fault::CrashCoordinator { down: short }),
            (self.cuts, Fault::Cut { worker, time }),
            (self.user, Fault::Pause { search }),
            (self.user, Fault::Resume),
            (self.user && agenda.hit(200), Fault::Stop { search }),
            (self.user, steer.clone()),
            (self.user, steer),
        ];
        let there: Vec<&Fault> = kinds
            .iter()
            .filter(|(there, _)| *there)
            .map(|(_, fault)| fault)
            .collect();
        (!there.is_empty()).then(|| there[agenda.pick(there.len())].clone())
    }
}
