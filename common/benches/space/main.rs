//! Candidates a second: drawn at random, built with all shapes, and identified; and how long the largest specs
//! and networks take. Run by `make bench-space`, or `cargo bench -p espalier-common --bench space`, with a
//! preset's name for that alone. On one core, in the time that it works for this process where the system
//! tells that, so that a machine which does other things as well changes little.

mod large;

use std::time::{Duration, Instant};

use espalier_common::dataset::{DatasetFormat, DatasetInfo, DatasetReference};
use espalier_common::ids::Digest;
use espalier_common::network::Shape;
use espalier_common::presets;
use espalier_common::spec::{Spec, read};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// As in the coordinator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long each preset is measured: long enough to be stable to a few per cent.
const TIME: Duration = Duration::from_secs(3);

fn main() {
    let wanted = std::env::args()
        .skip(1)
        .find(|word| !word.starts_with("--"));
    if wanted.is_none() {
        reading();
        identities();
    }
    for preset in presets::all() {
        if wanted.as_ref().is_some_and(|wanted| wanted != preset.name) {
            continue;
        }
        let spec = spec(preset.name);
        let data = data(preset.name);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut candidates, mut built, mut nodes) = (0_u32, 0_u32, 0);
        let clock = Clock::start();
        let mut sampling = Duration::ZERO;
        while clock.time() < TIME {
            // Many at a time: asking for the time takes a while.
            for _ in 0..100 {
                let begin = Instant::now();
                let candidate = spec.space.sample(&mut rng);
                sampling += begin.elapsed();
                candidates += 1;
                if let Ok(network) = spec.space.build(&candidate, Some(&data)) {
                    built += 1;
                    nodes += network.network.map_or(0, |network| network.nodes.len());
                }
            }
        }
        let seconds = clock.time().as_secs_f64();
        println!(
            "{:<14} {:>8.0} candidates/s ({:.0}% feasible, {} nodes each; sampling alone {:.1} us)",
            preset.name,
            f64::from(candidates) / seconds,
            100.0 * f64::from(built) / f64::from(candidates),
            nodes / (built.max(1) as usize),
            1e6 * sampling.as_secs_f64() / f64::from(candidates),
        );
    }
}

/// How long the largest specs take, of forms that are hard to count: read, checked and counted.
fn reading() {
    println!("the largest specs are read, checked and counted (to be met: 1 s)");
    for (form, text) in large::specs() {
        let clock = Clock::start();
        let counted = read(&text, "bench").map(|spec| (spec.space.count(), spec.space.size()));
        let time = milliseconds(clock.time());
        match counted {
            Ok((count, size)) => {
                let decisions = count.decisions;
                let bound = if size.at_most { "at most " } else { "" };
                println!(
                    "  {form:<40} {decisions:>6} decisions {time:>10}, {bound}10^{:.1} candidates",
                    size.log10
                );
            }
            Err(errors) => println!("  {form:<40} {errors}"),
        }
    }
}

/// How long the identity of the largest networks takes.
fn identities() {
    println!("identity of the largest networks (to be met: 50 ms)");
    for (form, network) in large::networks() {
        // The best of some, since the system tells working time in steps of milliseconds.
        let once = || {
            let begin = Instant::now();
            std::hint::black_box(network.network_id());
            begin.elapsed()
        };
        let best = (0..20).map(|_| once()).min().unwrap_or_default();
        let (nodes, time) = (network.nodes.len(), milliseconds(best));
        println!("  {form:<40} {nodes:>6} nodes {time:>10}");
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", 1e3 * time.as_secs_f64())
}

/// Measures the time that a core works for this thread; where the system does not tell, the time that passes.
struct Clock {
    worked: Option<Duration>,
    begin: Instant,
}

impl Clock {
    fn start() -> Self {
        Self {
            worked: Self::worked(),
            begin: Instant::now(),
        }
    }

    fn time(&self) -> Duration {
        match (self.worked, Self::worked()) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => self.begin.elapsed(),
        }
    }

    /// Linux tells it as the first number of this file, in nanoseconds.
    fn worked() -> Option<Duration> {
        let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        told.split_whitespace()
            .next()?
            .parse()
            .ok()
            .map(Duration::from_nanos)
    }
}

fn spec(preset: &str) -> Spec {
    let text = format!(
        "name: x\npreset: {preset}\ndataset: {{format: idx, path: x, validation: 1}}\nobjectives: [{{maximize: accuracy}}]\nbudget: {{trials: 1}}\n"
    );
    match read(&text, "bench") {
        Ok(spec) => spec,
        Err(errors) => panic!("{errors}"),
    }
}

/// A description of data that fit a preset.
fn data(preset: &str) -> DatasetInfo {
    let of_tokens = ["text-cnn", "transformer"].contains(&preset);
    DatasetInfo {
        reference: DatasetReference {
            format: DatasetFormat::Idx,
            path: "x".to_owned(),
            train: None,
            validation: 1,
            split_seed: 0,
        },
        fingerprint: Digest::of(b"images"),
        input: if of_tokens {
            Shape::tokens(64)
        } else {
            Shape::image(3, 32, 32)
        },
        vocabulary: of_tokens.then_some(10_000),
        classes: 10,
        train: 50_000,
        validation: 1,
        test: 10_000,
    }
}
