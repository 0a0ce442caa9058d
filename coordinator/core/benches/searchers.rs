//! How long searchers take to be asked and told. Run by `make bench-searchers`, or
//! `cargo bench -p espalier-core --bench searchers [-- [--long] [SEARCHER]]`. One core.
//!
//! For each searcher: ask and tell together at 1,000 observations, the longest tell and ask on the way there (a
//! model that learns again), and with `--long` ask and tell at 100,000 observations and the memory then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use espalier_common::candidate::Candidate;
use espalier_common::dataset::{DatasetFormat, DatasetInfo, DatasetReference};
use espalier_common::ids::{Digest, TrialNumber};
use espalier_common::network::Shape;
use espalier_common::observation::{Observation, Outcome};
use espalier_core::search::Definition;
use espalier_core::searcher::{AskContext, Searcher, create, rng_for};

/// As in the coordinator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Six choices of eight: 262,144 candidates, so that a pool of 2,000 stands for them.
const FLAT: &str = "
hyperparameters:
  a: {choice: [0, 1, 2, 3, 4, 5, 6, 7]}
  b: {choice: [0, 1, 2, 3, 4, 5, 6, 7]}
  c: {choice: [0, 1, 2, 3, 4, 5, 6, 7]}
  d: {choice: [0, 1, 2, 3, 4, 5, 6, 7]}
  e: {choice: [0, 1, 2, 3, 4, 5, 6, 7]}
  f: {choice: [0, 1, 2, 3, 4, 5, 6, 7]}
";
/// Networks of two cells: each candidate is built to be described.
const CELLS: &str = "
preset: darts
dataset: {format: idx, path: x, validation: 1}
";

/// Observations at which asks and tells are measured, and how many of them.
const OBSERVATIONS: u32 = 1_000;
const MEASURED: u32 = 200;
/// With `--long`.
const MANY: u32 = 100_000;

fn main() {
    let long = std::env::args().any(|argument| argument == "--long");
    let only = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let searchers = [
        "random",
        "evolution",
        "local-search",
        "tpe",
        "bananas",
        "reinforce",
        "bayesian",
    ];
    for (space, text) in [("flat", FLAT), ("darts", CELLS)] {
        for searcher in searchers {
            if only.as_ref().is_some_and(|only| only != searcher) {
                continue;
            }
            let mut run = Run::new(text, searcher);
            let longest = (0..OBSERVATIONS).map(|_| run.ask_and_tell()).max();
            let mut times: Vec<Duration> = (0..MEASURED).map(|_| run.ask_and_tell()).collect();
            times.sort();
            println!(
                "{space:<6} {searcher:<12} at {OBSERVATIONS}: p50 {:>8.3} ms, p99 {:>8.3} ms; longest before {:>8.1} ms",
                milliseconds(times[times.len() / 2]),
                milliseconds(times[times.len() * 99 / 100]),
                milliseconds(longest.unwrap_or_default()),
            );
        }
    }
    if long {
        at_many();
    }
}

/// Only the model needs it: what the others keep grows with the observations, and does no work.
fn at_many() {
    let mut run = Run::new(FLAT, "bayesian");
    let before = resident();
    let mut rng = rng_for(2, 0, 0);
    while run.told < MANY {
        let candidate = run.definition.spec.space.sample(&mut rng);
        run.tell(candidate);
    }
    let mut times: Vec<Duration> = (0..MEASURED).map(|_| run.ask_and_tell()).collect();
    times.sort();
    println!(
        "flat   bayesian     at {MANY}: p50 {:>8.3} ms, p99 {:>8.3} ms; memory {} MB, of them {} MB before the first",
        milliseconds(times[times.len() / 2]),
        milliseconds(times[times.len() * 99 / 100]),
        resident() / 1_000_000,
        before / 1_000_000,
    );
}

struct Run {
    definition: Arc<Definition>,
    searcher: Box<dyn Searcher>,
    told: u32,
}

impl Run {
    fn new(space: &str, searcher: &str) -> Self {
        let text = format!(
            "name: bench\n{space}\nevaluator: own\nsearcher: {searcher}\nobjectives: [{{maximize: score}}]\n\
             budget: {{trials: 1000000}}\n"
        );
        let spec = espalier_common::spec::read(&text, "bench").expect("the bench's own spec");
        let dataset = spec.space.network.is_some().then(dataset);
        let definition = Arc::new(Definition::new(spec, text, dataset, None));
        Self {
            searcher: create(&definition, &Arc::default()),
            definition,
            told: 0,
        }
    }

    fn ask_and_tell(&mut self) -> Duration {
        let start = Instant::now();
        let number = u64::from(self.told);
        let context = AskContext {
            space: &self.definition.spec.space,
            number,
            pending: &[],
            refused: &[],
        };
        let proposal = self.searcher.ask(&context, &mut rng_for(1, number, 0));
        self.tell(proposal.candidate);
        start.elapsed()
    }

    fn tell(&mut self, candidate: Candidate) {
        self.told += 1;
        let utility = score(&candidate);
        self.searcher.tell(&Observation {
            trial: Some(TrialNumber(self.told)),
            candidate,
            outcome: Outcome::Scored {
                utility,
                fidelity: 1,
            },
            memo: None,
        });
    }
}

/// A number that has to do with the candidate: each value of a decision has its share in it.
fn score(candidate: &Candidate) -> f64 {
    let share = |text: String| f64::from(Digest::of(text.as_bytes()).0[0]) / 255.0;
    let of = candidate.0.iter();
    of.map(|(path, value)| share(format!("{path}={value}")))
        .sum()
}

fn dataset() -> DatasetInfo {
    DatasetInfo {
        reference: DatasetReference {
            format: DatasetFormat::Idx,
            path: "x".into(),
            train: None,
            validation: 1,
            split_seed: 0,
        },
        fingerprint: Digest::of(b"x"),
        input: Shape::image(3, 32, 32),
        vocabulary: None,
        classes: 10,
        train: 1,
        validation: 1,
        test: 1,
    }
}

/// Bytes of memory in use, where the system says.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0_u64) * 4_096
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
