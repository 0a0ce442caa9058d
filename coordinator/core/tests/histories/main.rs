//! Ten thousand histories of the real core, each from a seed: a coordinator that loses what it had not written,
//! workers that die, stop and come back, messages that get lost, come twice, late or out of order, clocks that are
//! set. After every step: each trial counted once, budgets exact, at most one lease of a trial, no acknowledged
//! result lost. At the end of each: everything has finished.
//!
//! `ESPALIER_HISTORY=crashes:17` replays one history and prints what happened in it (with `-- --nocapture`, also if
//! it ends well); `ESPALIER_HISTORIES=100000` makes so many of every kind.

// Helpers stand outside of `#[test]` functions: a failure in them is to fail the test.
#![allow(clippy::unwrap_used, unreachable_pub, missing_docs)]

mod account;
mod agenda;
mod assign;
mod calls;
mod coordinator;
mod faults;
mod jobs;
#[path = "../support/mod.rs"]
mod support;
mod user;
mod worker;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use faults::Plan;
use world::{Told, World};

/// Histories of each kind.
const HISTORIES: u64 = 2_600;

/// Runs the histories of one kind; the faults and outcomes in `fired` must have come about.
fn histories(kind: &str, plan: Plan, fired: &[&str], each: impl Fn(u64, &Told)) {
    if let Ok(wanted) = std::env::var("ESPALIER_HISTORY") {
        if let Some(seed) = wanted
            .strip_prefix(kind)
            .and_then(|rest| rest.strip_prefix(':'))
        {
            let seed = seed.parse().expect("ESPALIER_HISTORY=kind:seed");
            replay(plan, seed, each);
        }
        return;
    }
    let count = std::env::var("ESPALIER_HISTORIES")
        .ok()
        .and_then(|count| count.parse().ok());
    let mut tally: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..count.unwrap_or(HISTORIES) {
        let history = || {
            let told = World::new(seed, plan).run();
            each(seed, &told);
            told
        };
        match catch_unwind(AssertUnwindSafe(history)) {
            Ok(told) => {
                for (what, times) in told.tally {
                    *tally.entry(what).or_default() += times;
                }
            }
            Err(_) => panic!(
                "history {kind}:{seed} breaks a promise; the message is above. It alone, step by step:\n\
                 ESPALIER_HISTORY={kind}:{seed} cargo test -p espalier-core --test histories {kind} -- --nocapture"
            ),
        }
    }
    println!("{kind}: {tally:#?}");
    for what in fired {
        assert!(tally.contains_key(what), "in no history: {what}");
    }
}

fn replay(plan: Plan, seed: u64, each: impl Fn(u64, &Told)) {
    let mut world = World::new(seed, plan);
    world.agenda.trace = Some(Vec::new());
    let outcome = catch_unwind(AssertUnwindSafe(|| each(seed, &world.run())));
    for line in world.agenda.trace.iter().flatten() {
        println!("{line}");
    }
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn messages_that_get_lost_come_twice_or_late_lose_nothing() {
    histories(
        "messages",
        Plan::MESSAGES,
        &[
            "message lost",
            "message doubled",
            "message late",
            "worker cut off",
            "worker stood still",
            "lease expired",
            "stale completion taken",
            "lost lease returned",
            "job dropped",
            "best tested",
        ],
        |_, _| {},
    );
}

#[test]
fn crashes_of_the_coordinator_and_of_workers_lose_nothing() {
    histories(
        "crashes",
        Plan::CRASHES,
        &[
            "coordinator crashed",
            "crash before a commit",
            "crash between commit and answer",
            "worker crashed",
            "worker drained",
            "checkpoint stored",
            "trial gone on with from a checkpoint",
            "spooled result delivered by a later start",
            "lease kept for a result that is to be delivered",
            "older instance displaced",
            "best trained again",
            "worker's disk lost",
            "search paused",
            "attempt failed",
        ],
        |_, _| {},
    );
}

#[test]
fn clocks_that_are_set_and_a_coordinator_that_stalls_expire_nothing() {
    histories(
        "clocks",
        Plan::CLOCKS,
        &[
            "clock stepped",
            "coordinator stalled",
            "stall noticed",
            "clock jumped",
            "clock set back",
            "coordinator crashed",
            "slow start",
            "finished: time",
            "passing of time noted",
            "finished: compute",
            "finished: deadline",
        ],
        |seed, told| {
            let expired = told.tally.get("lease expired");
            assert_eq!(
                expired, None,
                "in history {seed} a lease of a worker that is well expired"
            );
        },
    );
}

#[test]
fn everything_at_once_loses_nothing() {
    histories(
        "everything",
        Plan::ALL,
        &[
            "upload resumed",
            "user stopped a search",
            "trial cancelled",
            "finished: stopped",
            "finished: target",
            "user was heeded",
            "wish: cancel",
            "wish: pin",
            "wish: budget of trials",
            "wish: parallel",
            "wish: budget of time",
            "wish: budget of compute",
            "wish: deadline",
            "wish: retry",
            "wish: enqueue",
            "wish: ban",
        ],
        |_, _| {},
    );
}
