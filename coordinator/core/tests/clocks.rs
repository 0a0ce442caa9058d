//! The machine's clock is set while no coordinator runs: budgets count time that has passed, and no other.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use espalier_core::clock::{Clock, Jumps};
use espalier_core::search::Command;
use espalier_core::search::Steer;
use support::{FLAT, Run, definition};

const HOUR: u64 = 3_600_000;

fn run(budget: &str) -> Run {
    let text = FLAT.replace("budget: {trials: 100}", &format!("budget: {{{budget}}}"));
    let mut run = Run::new(&definition(&text));
    run.now_ms = 100 * HOUR;
    run.ask();
    run.deliver();
    assert_eq!(run.lease(1, 1).len(), 1);
    run
}

#[test]
fn a_clock_set_back_before_a_start_uses_up_no_time_budget_at_the_next_one() {
    let mut run = run("time: 2h");
    run.now_ms += 60_000;
    run.command(Command::CheckTime).unwrap();
    // Set back by a whole hour; then a minute passes, and the coordinator starts once more.
    run.now_ms -= HOUR;
    run.command(Command::Recover).unwrap();
    run.now_ms += 60_000;
    run.command(Command::CheckTime).unwrap();
    run.command(Command::Recover).unwrap();
    assert_eq!(run.search.elapsed_ms(run.now_ms), 120_000);
}

#[test]
fn the_passing_of_time_is_noted_after_the_clock_was_set_back() {
    let mut run = run("time: 2h");
    run.now_ms -= HOUR;
    run.command(Command::Recover).unwrap();
    run.now_ms += 60_000;
    assert_eq!(run.search.time_to_look_ms(run.now_ms), Some(0));
    assert_eq!(run.command(Command::CheckTime).unwrap().events.len(), 1);
}

#[test]
fn time_without_a_coordinator_and_clocks_that_are_set_use_up_no_compute() {
    for set in [-2 * HOUR as i64, 2 * HOUR as i64] {
        let mut run = run("trials: 9, compute: 1h");
        run.now_ms += 10_000;
        run.command(Steer::Pause.into()).unwrap();
        run.now_ms = run.now_ms.checked_add_signed(set).unwrap();
        run.command(Command::Recover).unwrap();
        run.now_ms += 5_000;
        let (&trial, live) = run.search.live().first_key_value().unwrap();
        let attempt = live.attempt;
        run.command(Command::ExpireLease { trial, attempt })
            .unwrap();
        assert_eq!(run.search.compute_seconds(), 15.0);
    }
}

#[test]
fn what_the_clock_did_between_the_coordinators_start_and_the_recovery_counts_no_downtime() {
    const SECOND: u64 = 1_000;
    let mut run = run("time: 2h, compute: 1h");
    run.now_ms += 60 * SECOND;
    run.command(Command::CheckTime).unwrap();
    // An hour without a coordinator. The next one stands still before the search is there, and once more later.
    let start_ms = run.now_ms + HOUR;
    let mut clock = Clock::new(Duration::ZERO, start_ms);
    let mut read = |seconds: u64| {
        let passed = Duration::from_secs(seconds);
        clock.read(passed, start_ms + seconds * SECOND)
    };
    let first = read(20);
    assert_eq!(first.jumped_ms, 20_000);
    let mut jumps = Jumps::since(first);
    let mut tell = |run: &mut Run, reading| {
        if let Some(by_ms) = jumps.look(reading) {
            run.command(Command::ClockJumped { by_ms }).unwrap();
        }
    };
    run.now_ms = first.unix_ms;
    tell(&mut run, first);
    run.command(Command::Recover).unwrap();
    assert_eq!(run.search.elapsed_ms(run.now_ms), 60 * SECOND);
    let later = [read(23), read(53), read(54)];
    for reading in later {
        run.now_ms = reading.unix_ms;
        tell(&mut run, reading);
    }
    assert_eq!(run.search.elapsed_ms(run.now_ms), 64 * SECOND);
    let (&trial, live) = run.search.live().first_key_value().unwrap();
    let attempt = live.attempt;
    run.command(Command::ExpireLease { trial, attempt })
        .unwrap();
    assert_eq!(run.search.compute_seconds(), 64.0);
    assert_eq!(run.replayed().0, run.search);
}
