//! `kill -9` between any two steps by which something becomes durable. The real program ends itself at each step of
//! `espalier_coordinator::steps` in turn and is started again: everything that was acknowledged is there, nothing is
//! there half, the hashes are right, and what was at work goes on to its exact end.

// A release has no steps to end at.
#![cfg(debug_assertions)]
// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

#[path = "../cli_support/mod.rs"]
mod cli_support;
mod folder;
mod life;
mod offline;
mod served;
#[path = "../support/mod.rs"]
mod support;

use espalier_coordinator::steps::Step;

/// The areas of steps, each with a test that ends a process at every one of them.
const SERVED: [&str; 4] = ["open", "commit", "close", "artifact"];
const OFFLINE: [&str; 4] = ["rebuild", "compact", "file", "import"];

/// The steps of an area.
fn steps(area: &str) -> Vec<Step> {
    let of_area = |step: &&Step| step.name().split('-').next() == Some(area);
    Step::ALL.iter().filter(of_area).copied().collect()
}

#[test]
fn every_step_is_one_at_which_a_test_ends_a_process() {
    let areas = SERVED.iter().chain(&OFFLINE);
    let tested: usize = areas.map(|area| steps(area).len()).sum();
    assert_eq!(tested, Step::ALL.len());
}
