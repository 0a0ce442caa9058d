//! Which faults there are, and the order of a run: a pure function of its seed. May import rand only.

use std::fmt;

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand::{Rng, RngExt as _};
use rand_chacha::ChaCha8Rng;

/// What is done to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// `kill -9` of the coordinator; it is started again after a while.
    CoordinatorKilled,
    /// SIGTERM to the coordinator; it is started again after a while.
    CoordinatorStopped,
    /// SIGSTOP of the coordinator, later SIGCONT.
    CoordinatorFrozen,
    /// The coordinator's disk fills up; it is started again when there is room.
    CoordinatorDiskFull,
    /// `kill -9` of a worker; it is started again after a while.
    WorkerKilled,
    /// SIGTERM to a worker; it is started again after a while.
    WorkerStopped,
    /// SIGSTOP of a worker, later SIGCONT.
    WorkerFrozen,
    /// A worker's disk fills up, and has room again later.
    WorkerDiskFull,
    /// `kill -9` of an evaluator.
    EvaluatorKilled,
    /// SIGSTOP of an evaluator, for ever.
    EvaluatorFrozen,
    /// All connections of a worker are closed at once.
    ConnectionsCut,
    /// What a worker sends and receives takes long.
    ConnectionsSlow,
    /// Connections stay open and carry nothing, then go on or are reset.
    ConnectionsHalfOpen,
    /// Requests arrive, replies do not; then the connections are reset.
    RepliesLost,
    /// A worker's connections are closed, and new ones too, for a while.
    ConnectionsRefused,
    /// A worker's connections are cut when a file is half on its way.
    UploadCut,
}

impl Fault {
    /// Faults of processes and disks: one at a time.
    pub const OF_PROCESSES: [Self; 10] = [
        Self::CoordinatorKilled,
        Self::CoordinatorStopped,
        Self::CoordinatorFrozen,
        Self::CoordinatorDiskFull,
        Self::WorkerKilled,
        Self::WorkerStopped,
        Self::WorkerFrozen,
        Self::WorkerDiskFull,
        Self::EvaluatorKilled,
        Self::EvaluatorFrozen,
    ];
    /// Faults of connections: one at a time, beside those of processes.
    pub const OF_CONNECTIONS: [Self; 6] = [
        Self::ConnectionsCut,
        Self::ConnectionsSlow,
        Self::ConnectionsHalfOpen,
        Self::RepliesLost,
        Self::ConnectionsRefused,
        Self::UploadCut,
    ];

    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::OF_PROCESSES.into_iter().chain(Self::OF_CONNECTIONS)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::CoordinatorKilled => "coordinator: kill -9",
            Self::CoordinatorStopped => "coordinator: SIGTERM",
            Self::CoordinatorFrozen => "coordinator: SIGSTOP",
            Self::CoordinatorDiskFull => "coordinator: disk full",
            Self::WorkerKilled => "worker: kill -9",
            Self::WorkerStopped => "worker: SIGTERM",
            Self::WorkerFrozen => "worker: SIGSTOP",
            Self::WorkerDiskFull => "worker: disk full",
            Self::EvaluatorKilled => "evaluator: kill -9",
            Self::EvaluatorFrozen => "evaluator: SIGSTOP",
            Self::ConnectionsCut => "connections cut",
            Self::ConnectionsSlow => "connections slow",
            Self::ConnectionsHalfOpen => "connections half-open",
            Self::RepliesLost => "replies lost",
            Self::ConnectionsRefused => "connections refused",
            Self::UploadCut => "upload cut",
        })
    }
}

/// One fault of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub fault: Fault,
    /// Which worker, of those there are.
    pub worker: usize,
    /// Quiet time before it.
    pub after_ms: u64,
    /// How long it lasts, at least.
    pub hold_ms: u64,
    /// Which of two ways it ends in, where there are two.
    pub second_way: bool,
}

/// What happens in a run, in two lanes that run beside each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Faults of processes and disks.
    pub processes: Vec<Step>,
    /// Faults of connections.
    pub connections: Vec<Step>,
}

/// Leases of the cluster live for so long: some faults last longer, some do not.
pub(super) const LEASE_TTL_MS: u64 = 2_500;

impl Schedule {
    /// The schedule of a seed for `workers` workers: every kind at least once, `rounds` times each lane.
    #[must_use]
    pub fn new(seed: u64, workers: usize, rounds: usize) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut processes = Vec::new();
        let mut connections = Vec::new();
        for _ in 0..rounds.max(1) {
            processes.extend(lane(&mut random, &Fault::OF_PROCESSES, workers));
            // They are fewer and take less time.
            for _ in 0..2 {
                connections.extend(lane(&mut random, &Fault::OF_CONNECTIONS, workers));
            }
        }
        Self {
            processes,
            connections,
        }
    }
}

fn lane(random: &mut ChaCha8Rng, faults: &[Fault], workers: usize) -> Vec<Step> {
    let mut faults = faults.to_vec();
    faults.shuffle(random);
    faults
        .into_iter()
        .map(|fault| Step {
            fault,
            worker: random.random_range(0..workers.max(1)),
            after_ms: random.random_range(100..1_200),
            hold_ms: hold(random),
            second_way: random.random(),
        })
        .collect()
}

/// Half of the faults are over before a lease runs out, half are not.
fn hold(random: &mut impl Rng) -> u64 {
    if random.random() {
        random.random_range(100..LEASE_TTL_MS / 2)
    } else {
        random.random_range(LEASE_TTL_MS..LEASE_TTL_MS * 2)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_schedule_and_another_one_another() {
        assert_eq!(Schedule::new(7, 3, 2), Schedule::new(7, 3, 2));
        assert_ne!(Schedule::new(7, 3, 2), Schedule::new(8, 3, 2));
    }

    #[test]
    fn every_schedule_has_every_fault_for_workers_that_exist() {
        for seed in 0..200 {
            let schedule = Schedule::new(seed, 3, 1);
            let steps = schedule.processes.iter().chain(&schedule.connections);
            let faults: BTreeSet<Fault> = steps.clone().map(|step| step.fault).collect();
            assert_eq!(faults, Fault::all().collect());
            assert!(steps.into_iter().all(|step| step.worker < 3));
        }
    }
}
