//! The coordinator's benchmark: trials per second over real gRPC on loopback with a durable journal, beside
//! what the same machine does with bare calls in the same run; how cost and memory grow with the number of
//! trials; how long a restart takes. Prints ratios; asserts nothing, for machines differ.
//!
//! `cargo bench -p espalier-coordinator --bench coordinator`; `ESPALIER_BENCH_TRIALS` (200,000 by default)
//! makes it shorter.

mod bare;
mod load;
mod restart;
mod server;

use std::time::Duration;

/// The allocator of `espalier`, for the bare calls as well.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Workers, each a gRPC connection of its own.
const WORKERS: usize = 64;
/// Slots of a worker, thus calls that a client has under way at one time.
const SLOTS: u32 = 4;
/// How long bare calls are counted, before and after the trials.
const BARE: Duration = Duration::from_secs(4);
/// Trials over which a rate is taken.
const WINDOW: u32 = 10_000;
/// A search this young is what growth is measured against.
const YOUNG: u32 = 2_000;
/// Young searches, each on a coordinator of its own: one window of this size alone says little.
const YOUNG_SEARCHES: usize = 5;

fn main() {
    let trials: u32 = std::env::var("ESPALIER_BENCH_TRIALS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(200_000)
        .max(4 * WINDOW);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("cores {cores}, workers {WORKERS} x {SLOTS} slots, trials {trials}");
    println!("fsync of 4 KiB      p50 {:>10.2?}", server::fsync_p50());
    runtime.block_on(run(trials));
    // Nothing of it is worth waiting for.
    runtime.shutdown_background();
}

/// Processor time per trial between `YOUNG / 2` and `3 YOUNG / 2` trials: the median of several searches.
async fn young() -> f64 {
    let mut costs = Vec::with_capacity(YOUNG_SEARCHES);
    for _ in 0..YOUNG_SEARCHES {
        let folder = server::folder();
        let server = server::Running::start(folder.path()).await;
        let load = load::run(&server, WORKERS, SLOTS, 2 * YOUNG, YOUNG / 2).await;
        server.stop().await;
        costs.push(load.seconds_per_trial);
    }
    costs.sort_by(f64::total_cmp);
    costs[YOUNG_SEARCHES / 2]
}

async fn run(trials: u32) {
    let before = bare::calls(WORKERS, SLOTS, BARE).await;
    let folder = server::folder();
    let server = server::Running::start(folder.path()).await;
    let load = load::run(&server, WORKERS, SLOTS, trials, WINDOW).await;
    server.stop().await;
    let young = young().await;
    let after = bare::calls(WORKERS, SLOTS, BARE).await;

    let calls = (before.per_second + after.per_second) / 2.0;
    let call_cost = (before.seconds_per_call + after.seconds_per_call) / 2.0;
    let rate = load.trials_per_second;
    println!(
        "bare unary calls    {calls:>10.0} /s  ({:.0} before, {:.0} after), {:.0} us of processor time each",
        before.per_second,
        after.per_second,
        1e6 * call_cost
    );
    println!(
        "trials              {rate:>10.0} /s  {:.2} calls and {:.0} us of processor time each (target: at least 5,000 /s on 2 cores)",
        load.calls_per_trial,
        1e6 * load.seconds_per_trial
    );
    println!(
        "2 x trials / calls  {:>10.2}     {:.2} by processor time (target: at least 0.4)",
        2.0 * rate / calls,
        2.0 * call_cost / load.seconds_per_trial
    );
    println!(
        "growth              {:>10.2} x   processor time per trial at {trials} trials against {YOUNG} (target: at most 1.3)",
        load.last_seconds_per_trial / young
    );
    println!(
        "memory              {:>10.0} bytes per trial (target: at most 1,024)",
        load.bytes_per_trial
    );

    let folder = server::folder();
    restart::write(folder.path(), trials).await;
    let started = std::time::Instant::now();
    let server = server::Running::start(folder.path()).await;
    server.first_answer().await;
    println!(
        "restart             {:>10.2} s   with {trials} trials of 3 measurements (target: at most 10 for 200,000)",
        started.elapsed().as_secs_f64()
    );
    server.stop().await;
}
