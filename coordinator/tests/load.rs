//! A short form of `make bench-load`: hundreds of workers against one coordinator process. Some trials take longer than
//! a lease lives, so that heartbeats must keep theirs. Without TLS, whose handshakes take most of the time in a build
//! without optimisation. Bounds are such that no other work of the machine breaks them.

// What is printed by the benchmark is not all used here.
#[allow(dead_code)]
#[path = "../benches/load/fleet.rs"]
mod fleet;
#[allow(dead_code)]
#[path = "../benches/load/process.rs"]
mod process;
#[path = "../benches/load/targets.rs"]
mod targets;
#[allow(dead_code)]
#[path = "../benches/load/worker.rs"]
mod worker;

use std::time::Duration;

use fleet::{Fleet, Search};
use process::Coordinator;
use targets::{Seen, Targets, at};
use worker::{Call, Work};

const WORKERS: usize = 200;
const TRIALS: u32 = 1_200;
/// Workers send a heartbeat every third of it: a machine that lets none of them run for ten seconds on end does not
/// get to the end of this test either.
const LEASE_TTL: &str = "15000";
const WORK: Work = Work {
    trial: Duration::from_millis(300),
    reports: 1,
    long_every: 100,
    long: Duration::from_secs(18),
};
/// Trials until memory is warm.
const WARM: u32 = 600;
/// A heartbeat is answered before the next is due. The 600 trials that are left need no memory worth mentioning.
const TARGETS: Targets = Targets {
    renew_p99: Duration::from_secs(5),
    growth: 1.5,
};
/// Nothing waits for it when all is well.
const LIMIT: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_lease_of_hundreds_of_workers_expires_and_every_trial_is_counted_once() {
    let files = espalier_coordinator::raise_open_files().unwrap();
    assert!(files.now > 2 * WORKERS as u64, "{files:?}");
    let folder = tempfile::tempdir().unwrap();
    let options = ["--tls", "off", "--lease-ttl-ms", LEASE_TTL];
    let coordinator = Coordinator::start(folder.path(), &options);
    let mut search = Search::create(&coordinator, "load", TRIALS, "").await;
    let fleet = Fleet::join(&coordinator, WORKERS, 1, WORK).await;
    let tally = &fleet.tally;
    let mut warm = 0;
    let done = tokio::time::timeout(LIMIT, async {
        while tally.completed() < u64::from(TRIALS) {
            if warm == 0 && tally.completed() >= u64::from(WARM) {
                warm = coordinator.process.resident();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        while search.status().await.phase != "finished" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let done = done.await;
    let (completed, failed) = (tally.completed(), tally.failures());
    assert!(done.is_ok(), "{completed} trials, {failed:?}");
    let mut renewals = tally.times(Call::Renew);
    // Long trials were renewed, each a few times.
    assert!(renewals.len() > WORKERS, "{}", renewals.len());
    let seen = Seen {
        renew_p99: at(&mut renewals, 0.99),
        renewals: renewals.len(),
        warm,
        most: coordinator.process.resident(),
        expired: coordinator.lines_with("lease expired"),
        failed,
        differences: search.differences(TRIALS).await,
    };
    println!("{seen:?}");
    let missed = TARGETS.missed(&seen);
    assert!(missed.is_empty(), "{missed:#?} of {seen:?}");
    drop(fleet);
    coordinator.stop();
}

#[test]
fn whatever_of_the_targets_is_missed_is_said() {
    let kept = Seen {
        renew_p99: Duration::from_millis(4_999),
        renewals: 1,
        warm: 200,
        most: 300,
        expired: 0,
        failed: (0, String::new()),
        differences: String::new(),
    };
    assert!(TARGETS.missed(&kept).is_empty());
    let one = |seen: Seen, word: &str| {
        let missed = TARGETS.missed(&seen);
        assert!(missed.len() == 1 && missed[0].contains(word), "{missed:?}");
    };
    let mut slow = kept.clone();
    slow.renew_p99 = TARGETS.renew_p99;
    one(slow, "p99 of Renew is 5.0s");
    let mut silent = kept.clone();
    silent.renewals = 0;
    one(silent, "no Renew call");
    let mut grown = kept.clone();
    grown.most = 301;
    one(grown, "not flat: 200 bytes");
    let mut unread = kept.clone();
    unread.warm = 0;
    one(unread, "not flat");
    let mut expired = kept.clone();
    expired.expired = 2;
    one(expired, "2 leases expired");
    let mut refused = kept.clone();
    refused.failed = (3, "Renew: gone".to_owned());
    one(
        refused,
        "3 calls were refused or not answered; the first: Renew: gone",
    );
    let mut lost = kept;
    lost.differences = "1199 trials are listed".to_owned();
    one(lost, "1199 trials are listed");
}
