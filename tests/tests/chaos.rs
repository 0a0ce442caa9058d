//! Random faults against real processes, by a seeded schedule: every kind of fault takes place, and at the end
//! every trial was counted once, budgets are exact, and nothing is left. `make chaos MINUTES=30` runs it for
//! longer.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use espalier_tests::chaos::{Report, run};

/// The schedule of a seed again: after a failure, which names its seed.
const SEED: &str = "ESPALIER_CHAOS_SEED";
/// For how many minutes the long test goes on beginning new runs.
const MINUTES: &str = "ESPALIER_CHAOS_MINUTES";
/// How often a run has every kind of fault.
const ROUNDS: usize = 3;

/// A number in the environment.
fn number(name: &str) -> Result<Option<u64>> {
    match std::env::var(name) {
        Ok(text) => {
            Ok(Some(text.parse().with_context(|| {
                format!("{name}={text} is not a whole number")
            })?))
        }
        Err(_) => Ok(None),
    }
}

/// Another one for every start, unless the environment names one.
fn seed() -> Result<u64> {
    let now = SystemTime::UNIX_EPOCH.elapsed()?;
    Ok(number(SEED)?.unwrap_or(now.as_secs() % 1_000_000_000))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_trial_counts_once_whatever_is_killed_cut_frozen_or_full() -> Result<()> {
    let seed = seed()?;
    eprintln!("chaos: {SEED}={seed}");
    let report = run(seed, ROUNDS).await?;
    eprintln!("{}", report.markdown());
    report.complete()
}

/// The table on stdout; goes on after nothing: the first failure ends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes as long as asked: make chaos MINUTES=30"]
async fn every_trial_counts_once_for_as_long_as_asked() -> Result<()> {
    let minutes = number(MINUTES)?.unwrap_or(30);
    let first = seed()?;
    let begin = Instant::now();
    let mut all = Report::default();
    for seed in first.. {
        eprintln!("chaos: {SEED}={seed}");
        let report = run(seed, ROUNDS).await;
        let report = report.inspect_err(|_| println!("until then:\n{}", all.markdown()))?;
        report.complete()?;
        all.add(&report);
        if begin.elapsed() >= Duration::from_secs(minutes * 60) {
            break;
        }
    }
    println!(
        "first seed {first}, {:.0} minutes\n\n{}",
        begin.elapsed().as_secs_f64() / 60.0,
        all.markdown()
    );
    all.had_everything()
}
