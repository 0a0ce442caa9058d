//! What thousands of workers, TLS and a reader of the log cost a coordinator: `espalier serve` as a process of its
//! own, and synthetic workers that speak to it as real ones do, each over a connection of its own. Prints ratios
//! to a baseline of the same run, and the targets beside. It fails when one of them is missed: a lease that expired, a
//! trial or a call that was lost, memory that grew, a slow Renew, workers that cost too much while they wait, a rate that
//! TLS or a reader of the log takes down too far.
//!
//! `cargo bench -p espalier-coordinator --bench load [-- PART…]`; the parts are `load`, `idle`, `crowd`, `tls`, `logs`.

mod fleet;
mod process;
mod targets;
mod worker;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use fleet::{Fleet, Probe, Search};
use process::Coordinator;
use targets::{Seen, Targets, at};
use tokio::time::{Instant, sleep};
use worker::{Call, Tally, Work};

/// The allocator of `espalier`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Workers of one slot and trials of the load.
const WORKERS: usize = 2_000;
const TRIALS: u32 = 50_000;
/// Trials of about two seconds: a thousand a second come from so many workers. Some take longer than a lease lives.
const WORK: Work = Work {
    trial: Duration::from_secs(2),
    reports: 2,
    long_every: 100,
    long: Duration::from_secs(45),
};
/// Memory was 1.12 and 1.20 times as much after 40,000 more trials: their state is a few percent of it, and what an
/// allocator holds back comes and goes. A leak of a message for each trial would be seen.
const TARGETS: Targets = Targets {
    renew_p99: Duration::from_millis(200),
    growth: 1.3,
};
/// Trials until memory is warm.
const WARM: u32 = 10_000;
/// How long workers then only send heartbeats.
const AFTER: Duration = Duration::from_secs(30);
/// Workers without work, and how long they are watched: two long polls.
const IDLE_WORKERS: usize = 1_000;
const IDLE: Duration = Duration::from_secs(60);
/// As of `make bench-coordinator`: workers with jobs of no length, and trials of one run.
const BUSY_WORKERS: usize = 64;
const BUSY_SLOTS: u32 = 4;
const BUSY_TRIALS: u32 = 20_000;
const BUSY: (usize, u32) = (BUSY_WORKERS, BUSY_SLOTS);
/// Parts of a run whose times are shown apart.
const PARTS: usize = 12;
/// What they may cost of a core, and in bytes.
const IDLE_SHARE: f64 = 0.1;
const IDLE_BYTES: u64 = 100_000_000;
/// Pairs of runs, one with and one without.
const PAIRS: usize = 3;
/// Where the target is nearer to what the machine does of itself.
const MANY_PAIRS: usize = 5;
/// The least part of the rate that is left with TLS, and with a reader of the log.
const TLS_RATE: f64 = 0.7;
const READ_RATE: f64 = 0.95;

fn main() -> ExitCode {
    let files = espalier_coordinator::raise_open_files().expect("a limit");
    let parts: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<&str> = parts.iter().map(String::as_str).collect();
    let wanted: Vec<&str> = wanted
        .into_iter()
        .filter(|part| *part != "--bench")
        .collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("cores {cores}, at most {} open files", files.now);
    let wants = |part: &str| wanted.is_empty() || wanted.contains(&part);
    let missed = runtime.block_on(async {
        let mut missed = Vec::new();
        if wants("load") {
            missed.extend(load().await);
        }
        if wants("idle") {
            missed.extend(idle().await);
        }
        if wants("crowd") {
            crowd().await;
        }
        if wants("tls") {
            missed.extend(tls().await);
        }
        if wants("logs") {
            missed.extend(logs().await);
        }
        missed
    });
    // Nothing of it is worth waiting for.
    runtime.shutdown_background();
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    for target in missed {
        eprintln!("load: target missed: {target}");
    }
    ExitCode::FAILURE
}

/// A folder on the disk that the build uses: `/tmp` is memory on some machines.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder is writable")
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Waits until so many trials were completed.
async fn completed(tally: &Tally, trials: u32) {
    while tally.completed() < u64::from(trials) {
        sleep(Duration::from_millis(2)).await;
    }
}

/// 2,000 workers and 50,000 trials; answers with the targets that were missed.
async fn load() -> Vec<String> {
    println!("\nload: {WORKERS} workers, {TRIALS} trials, TLS on");
    let folder = folder();
    let coordinator = Coordinator::start(folder.path(), &["--tls", "on"]);
    let start = Instant::now();
    let fleet = Fleet::join(&coordinator, WORKERS, 1, WORK).await;
    println!(
        "joined              {:>10.1} s   {:.1} s of the coordinator's processor time",
        start.elapsed().as_secs_f64(),
        coordinator.process.processor_seconds()
    );
    let probe = Probe::start(&coordinator).await;
    let mut search = Search::create(&coordinator, "load", TRIALS, "").await;
    let (start, cost) = (Instant::now(), coordinator.process.processor_seconds());
    completed(&fleet.tally, WARM).await;
    let warm = coordinator.process.resident();
    completed(&fleet.tally, TRIALS).await;
    let (end, took) = (coordinator.process.resident(), start.elapsed());
    let cost = coordinator.process.processor_seconds() - cost;
    println!(
        "trials              {:>10.0} /s  {:.0} us of the coordinator's processor time each, {:.2} of a core",
        f64::from(TRIALS) / took.as_secs_f64(),
        1e6 * cost / f64::from(TRIALS),
        cost / took.as_secs_f64()
    );
    let own = probe.stop();
    print_times(
        "empty calls",
        own,
        "(what machine, TLS and gRPC take of the others)",
    );
    let target = format!("(target: p99 under {:?})", TARGETS.renew_p99);
    print_times("Renew", fleet.tally.times(Call::Renew), &target);
    print_times("Report", fleet.tally.times(Call::Report), "");
    print_times("Complete", fleet.tally.times(Call::Complete), "");
    sleep(AFTER).await;
    let after = coordinator.process.resident();
    println!(
        "memory              {:>10.1} MiB at {WARM} trials, {:.1} at {TRIALS} (x {:.3}, {:.0} bytes per trial), {:.1} after {AFTER:?} of heartbeats (target: at most x {})",
        mib(warm),
        mib(end),
        end as f64 / warm as f64,
        end.saturating_sub(warm) as f64 / f64::from(TRIALS - WARM),
        mib(after),
        TARGETS.growth
    );
    let expired = coordinator.lines_with("lease expired");
    println!("leases expired      {expired:>10}     (target: 0)");
    let differences = check(&fleet.tally, &mut search, TRIALS).await;
    let mut renewals = fleet.tally.times(Call::Renew);
    let seen = Seen {
        renew_p99: at(&mut renewals, 0.99),
        renewals: renewals.len(),
        warm,
        most: end.max(after),
        expired,
        failed: fleet.tally.failures(),
        differences,
    };
    drop(fleet);
    coordinator.stop();
    TARGETS.missed(&seen)
}

fn print_times(name: &str, mut times: Vec<Duration>, note: &str) {
    let p99s: Vec<String> = times
        .chunks((times.len() / PARTS).max(1))
        .map(|part| format!("{:.0}", 1e3 * at(&mut part.to_vec(), 0.99).as_secs_f64()))
        .collect();
    println!(
        "{name:<12} p99    {:>10.1?}     p50 {:.1?}, longest {:.1?} of {} {note}",
        at(&mut times, 0.99),
        at(&mut times, 0.5),
        at(&mut times, 1.0),
        times.len()
    );
    println!("  by time, ms       {}", p99s.join(" "));
}

/// Prints whether every trial was completed once, at its first attempt, and no call was refused; answers with how the
/// trials differ from that.
async fn check(tally: &Tally, search: &mut Search, trials: u32) -> String {
    let mut differences = search.differences(trials).await;
    // The last news may be a moment on its way.
    for _ in 0..20 {
        if differences.is_empty() {
            break;
        }
        sleep(Duration::from_millis(100)).await;
        differences = search.differences(trials).await;
    }
    let (failed, first) = tally.failures();
    println!("calls refused       {failed:>10}     {first}");
    let exact = if differences.is_empty() {
        "each once, at its first attempt"
    } else {
        &differences
    };
    println!("trials              {exact}");
    differences
}

/// 1,000 workers that wait for jobs; answers with the targets that were missed.
async fn idle() -> Vec<String> {
    println!("\nidle: {IDLE_WORKERS} workers without work, TLS on");
    let folder = folder();
    let coordinator = Coordinator::start(folder.path(), &["--tls", "on"]);
    sleep(Duration::from_secs(1)).await;
    let before = coordinator.process.resident();
    let fleet = Fleet::join(&coordinator, IDLE_WORKERS, 1, WORK).await;
    sleep(Duration::from_secs(2)).await;
    let (start, cost) = (Instant::now(), coordinator.process.processor_seconds());
    sleep(IDLE).await;
    let cost = coordinator.process.processor_seconds() - cost;
    let after = coordinator.process.resident();
    let (share, more) = (
        cost / start.elapsed().as_secs_f64(),
        after.saturating_sub(before),
    );
    println!(
        "processor time      {:>10.1} %   of one core (target: at most {:.0})",
        100.0 * share,
        100.0 * IDLE_SHARE
    );
    println!(
        "memory              {:>10.1} MiB more than the {:.1} without them (target: at most {:.1})",
        mib(more),
        mib(before),
        mib(IDLE_BYTES)
    );
    print_times("Renew", fleet.tally.times(Call::Renew), "");
    drop(fleet);
    coordinator.stop();
    let mut missed = Vec::new();
    if share > IDLE_SHARE {
        missed.push(format!(
            "{IDLE_WORKERS} idle workers cost {share:.3} of a core, more than {IDLE_SHARE}"
        ));
    }
    // Memory that could not be read is none that was small.
    if before == 0 || more > IDLE_BYTES {
        missed.push(format!(
            "{IDLE_WORKERS} idle workers cost {more} bytes, more than {IDLE_BYTES}"
        ));
    }
    missed
}

/// What a busy search came to.
struct Busy {
    per_second: f64,
    /// Processor time of the coordinator.
    seconds_per_trial: f64,
}

/// One busy search; with a reader of its log or without.
async fn busy(folder: &Path, tls: &str, (workers, slots): (usize, u32), read: bool) -> Busy {
    let coordinator = Coordinator::start(folder, &["--tls", tls]);
    let work = Work::default();
    let mut search = Search::create(&coordinator, "load", BUSY_TRIALS, "").await;
    let reader = match read {
        true => Some(search.follow().await),
        false => None,
    };
    let fleet = Fleet::join(&coordinator, workers, slots, work).await;
    // The first thousands warm up connections and allocator.
    completed(&fleet.tally, BUSY_TRIALS / 10).await;
    let (first, start) = (fleet.tally.completed(), Instant::now());
    let cost = coordinator.process.processor_seconds();
    completed(&fleet.tally, BUSY_TRIALS).await;
    let trials = (u64::from(BUSY_TRIALS) - first) as f64;
    let busy = Busy {
        per_second: trials / start.elapsed().as_secs_f64(),
        seconds_per_trial: (coordinator.process.processor_seconds() - cost) / trials,
    };
    let differences = search.differences(BUSY_TRIALS).await;
    if !differences.is_empty() {
        println!("trials              {differences}");
    }
    if let Some(reader) = reader {
        let (lines, gaps) = reader.await.expect("no panic");
        println!(
            "lines read          {lines:>10}     {gaps} gaps for which the reader was too slow"
        );
    }
    drop(fleet);
    coordinator.stop();
    busy
}

/// Prints the rates of pairs, each with and without something, and their median ratios; answers with what is missed of
/// the rate that is to be left.
fn compare(pairs: &[(Busy, Busy)], with: &str, least: f64) -> Option<String> {
    for (without, with_it) in pairs {
        println!(
            "trials              {:>10.0} /s  without, {:.0} with {with}; {:.0} and {:.0} us of the coordinator's processor time each",
            without.per_second,
            with_it.per_second,
            1e6 * without.seconds_per_trial,
            1e6 * with_it.seconds_per_trial
        );
    }
    let rates = pairs
        .iter()
        .map(|(without, with)| with.per_second / without.per_second);
    let costs = pairs
        .iter()
        .map(|(without, with)| without.seconds_per_trial / with.seconds_per_trial);
    let rate = median(rates.collect());
    println!("rate with / without {rate:>10.2}     (target: at least {least})");
    println!("by processor time   {:>10.2}", median(costs.collect()));
    (rate < least)
        .then(|| format!("the rate with {with} is {rate:.2} of that without, not {least}"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The rate of trials of many workers that mostly wait against that of few with as many calls under way as help.
async fn crowd() {
    println!(
        "\ncrowd: {WORKERS} workers of one slot, against {BUSY_WORKERS} x {BUSY_SLOTS}, {BUSY_TRIALS} trials of no length"
    );
    let mut pairs = Vec::with_capacity(PAIRS);
    for _ in 0..PAIRS {
        let (one, other) = (folder(), folder());
        let few = busy(one.path(), "off", BUSY, false).await;
        pairs.push((few, busy(other.path(), "off", (WORKERS, 1), false).await));
    }
    // For comparison: nothing is promised.
    compare(&pairs, "2,000 workers", 0.0);
}

/// The rate of trials with TLS against that without; answers with the target if it was missed.
async fn tls() -> Option<String> {
    println!(
        "\ntls: {BUSY_WORKERS} workers x {BUSY_SLOTS} slots, {BUSY_TRIALS} trials of no length"
    );
    let mut pairs = Vec::with_capacity(PAIRS);
    for _ in 0..PAIRS {
        let (one, other) = (folder(), folder());
        let without = busy(one.path(), "off", BUSY, false).await;
        pairs.push((without, busy(other.path(), "on", BUSY, false).await));
    }
    compare(&pairs, "TLS", TLS_RATE)
}

/// The rate of trials while somebody follows the log against that without; answers with the target if it was missed.
async fn logs() -> Option<String> {
    println!("\nlogs: the same without TLS, its log followed to its end");
    let mut pairs = Vec::with_capacity(MANY_PAIRS);
    for _ in 0..MANY_PAIRS {
        let (one, other) = (folder(), folder());
        let without = busy(one.path(), "off", BUSY, false).await;
        pairs.push((without, busy(other.path(), "off", BUSY, true).await));
    }
    compare(&pairs, "a reader", READ_RATE)
}
