//! Virtual time: what is to happen when, chance, and the network that messages travel through.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use espalier_common::failure::Failure;
use espalier_common::ids::{AttemptKey, Digest, WorkerId};
use espalier_common::job::{Checkpoint, LeasedJob};
use espalier_common::metrics::Measurement;
use espalier_core::search::{Completion, WeightsAnswer};
use espalier_core::searcher::Answer as Proposal;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::faults::Fault;
use super::worker::Wake;

/// What a worker asks of the coordinator.
#[derive(Clone, Debug)]
pub enum Call {
    Register {
        worker: WorkerId,
        /// What an older instance has left, and this one delivers next.
        results: BTreeSet<AttemptKey>,
    },
    Lease {
        worker: WorkerId,
        call: u64,
        slots: u32,
    },
    Renew {
        worker: WorkerId,
        held: BTreeSet<AttemptKey>,
        ended: u64,
    },
    Report {
        worker: WorkerId,
        key: AttemptKey,
        number: u32,
        measurement: Measurement,
    },
    Complete {
        worker: WorkerId,
        key: AttemptKey,
        completion: Completion,
    },
    Fail {
        worker: WorkerId,
        key: AttemptKey,
        failure: Failure,
    },
    /// Uploads a checkpoint, and with it hands the job back.
    BreakOff {
        worker: WorkerId,
        key: AttemptKey,
        checkpoint: Checkpoint,
    },
    Release {
        worker: WorkerId,
        key: AttemptKey,
    },
    Upload {
        worker: WorkerId,
        key: AttemptKey,
        weights: Digest,
    },
    Leave {
        worker: WorkerId,
    },
}

/// What the coordinator answers.
#[derive(Clone, Debug)]
pub enum Answer {
    Done,
    Leased(Vec<LeasedJob>),
    Renewed(Vec<AttemptKey>),
    Reported {
        stop: bool,
    },
    Weights(WeightsAnswer),
    /// For good: asking again would change nothing.
    Refused,
    NotRegistered,
    /// None came in time.
    Lost,
}

/// Whom an answer is for: one call of one start of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub worker: usize,
    pub start: u64,
    pub call: u64,
}

/// What may happen.
#[derive(Clone, Debug)]
pub enum Thing {
    Call(Caller, Call),
    Answer(Caller, Answer),
    Worker {
        worker: usize,
        start: u64,
        wake: Wake,
    },
    /// Something inside of one start of the coordinator.
    Coordinator {
        start: u64,
        inside: Inside,
    },
    Fault(Fault),
}

/// What happens inside of the coordinator.
#[derive(Clone, Debug)]
pub enum Inside {
    Look,
    Commit,
    Proposed {
        search: usize,
        answer: Box<Proposal>,
    },
}

/// How the network is in a history; per mille, milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Network {
    pub loss: u32,
    pub duplication: u32,
    pub delay: u64,
    /// The share of messages that take ten times as long.
    pub stragglers: u32,
}

/// Time, chance and the network.
pub struct Agenda {
    pub now: u64,
    pub network: Network,
    /// Per mille of the moments at which a crash hurts most (before a commit, at an upload) with one.
    pub fragile: u32,
    /// Until when each worker is cut off.
    pub cut: Vec<u64>,
    /// What happened, and how often: a fault that never fires tests nothing.
    pub tally: BTreeMap<&'static str, u64>,
    /// The last things that happened, for who looks at a failure.
    pub trace: Option<Vec<String>>,
    rng: ChaCha8Rng,
    order: BinaryHeap<Reverse<(u64, u8, u64)>>,
    things: BTreeMap<u64, Thing>,
    next: u64,
}

impl Agenda {
    pub fn new(seed: u64) -> Self {
        Self {
            now: 0,
            network: Network::default(),
            fragile: 0,
            cut: Vec::new(),
            tally: BTreeMap::new(),
            trace: None,
            rng: ChaCha8Rng::seed_from_u64(seed),
            order: BinaryHeap::new(),
            things: BTreeMap::new(),
            next: 0,
        }
    }

    /// True in so many of a thousand cases.
    pub fn hit(&mut self, per_mille: u32) -> bool {
        self.rng.random_range(0..1_000_u32) < per_mille
    }

    /// A number of these, both ends included.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        self.rng.random_range(from..=to)
    }

    pub fn pick(&mut self, count: usize) -> usize {
        self.rng.random_range(0..count)
    }

    pub fn note(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    pub fn say(&mut self, words: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{now:>8} {}", words()));
        }
    }

    pub fn after(&mut self, delay: u64, thing: Thing) {
        // A coordinator that wakes up looks at its deadlines before it hears anything, as its task does.
        let looks = matches!(
            thing,
            Thing::Coordinator {
                inside: Inside::Look,
                ..
            }
        );
        self.next += 1;
        self.order
            .push(Reverse((self.now + delay, u8::from(!looks), self.next)));
        self.things.insert(self.next, thing);
    }

    /// The next thing; time goes on to it.
    pub fn pop(&mut self) -> Option<Thing> {
        let Reverse((time, _, number)) = self.order.pop()?;
        self.now = self.now.max(time);
        self.things.remove(&number)
    }

    /// Sends a call: it may get lost, come twice, late, or after a later one.
    pub fn call(&mut self, from: Caller, call: Call) {
        let copies = self.copies();
        for _ in 0..copies {
            let delay = self.delay();
            self.after(delay, Thing::Call(from, call.clone()));
        }
    }

    /// Sends an answer, with the same chances.
    pub fn answer(&mut self, to: Caller, answer: Answer) {
        let copies = self.copies();
        for _ in 0..copies {
            let delay = self.delay();
            self.after(delay, Thing::Answer(to, answer.clone()));
        }
    }

    fn copies(&mut self) -> u32 {
        let Network {
            loss, duplication, ..
        } = self.network;
        if loss > 0 && self.hit(loss) {
            self.note("message lost");
            return 0;
        }
        if duplication > 0 && self.hit(duplication) {
            self.note("message doubled");
            return 2;
        }
        1
    }

    fn delay(&mut self) -> u64 {
        let Network {
            delay, stragglers, ..
        } = self.network;
        let usual = self.between(1, delay.max(1));
        if stragglers > 0 && self.hit(stragglers) {
            self.note("message late");
            return usual * 10;
        }
        usual
    }

    pub fn is_cut(&self, worker: usize) -> bool {
        self.cut[worker] > self.now
    }
}
