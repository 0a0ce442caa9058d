//! A short form of `make bench-load`: hundreds of workers against one coordinator process. Leases here live for three
//! seconds, so heartbeats must keep those of the longer trials. Without TLS, whose handshakes take most of the time
//! in a build without optimisation.

// What is printed by the benchmark is not all used here.
#[allow(dead_code)]
#[path = "../benches/load/fleet.rs"]
mod fleet;
#[allow(dead_code)]
#[path = "../benches/load/process.rs"]
mod process;
#[allow(dead_code)]
#[path = "../benches/load/worker.rs"]
mod worker;

use std::sync::atomic::Ordering;
use std::time::Duration;

use fleet::{Fleet, Search};
use process::Coordinator;
use worker::{Call, Work};

const WORKERS: usize = 200;
const TRIALS: u32 = 1_200;
const WORK: Work = Work {
    trial: Duration::from_millis(300),
    reports: 1,
    long_every: 30,
    long: Duration::from_secs(5),
};
/// Nothing waits for it when all is well.
const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_lease_of_hundreds_of_workers_expires_and_every_trial_is_counted_once() {
    let files = espalier_coordinator::raise_open_files().unwrap();
    assert!(files.now > 2 * WORKERS as u64, "{files:?}");
    let folder = tempfile::tempdir().unwrap();
    let options = ["--tls", "off", "--lease-ttl-ms", "3000"];
    let coordinator = Coordinator::start(folder.path(), &options);
    let mut search = Search::create(&coordinator, "load", TRIALS, "").await;
    let fleet = Fleet::join(&coordinator, WORKERS, 1, WORK).await;
    let tally = &fleet.tally;
    let done = tokio::time::timeout(LIMIT, async {
        while tally.completed() < u64::from(TRIALS) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        while search.status().await.phase != "finished" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let done = done.await;
    let failures = tally.first_failure();
    assert!(done.is_ok(), "{} trials, {failures}", tally.completed());
    assert_eq!(search.differences(TRIALS).await, "");
    assert_eq!(tally.failed.load(Ordering::Relaxed), 0, "{failures}");
    assert_eq!(coordinator.lines_with("lease expired"), 0);
    // Long trials were renewed, each a few times.
    let renewals = tally.times(Call::Renew).len();
    assert!(renewals > WORKERS, "{renewals}");
    drop(fleet);
    coordinator.stop();
}
