//! Journals that were written before must replay to the state they had then, for ever. When the format grows, a new one
//! is added beside them; those that are there stay. All were exported from coordinators with real workers.
//!
//! `goldens/journal.jsonl` is of the format's first release of this form: four searches, one of them steered (failures,
//! retries, a candidate of the user's, a ban, other limits), one forked and paused, after kills of a worker and of the
//! coordinator. `goldens/later.jsonl` has the kinds of events that it lacks: six searches with a time budget, a trial
//! broken off with a checkpoint and one cancelled, a space used up, results of another search, a test of the best,
//! weights whose upload was interrupted and weights that were lost with their worker; tokens, one of them revoked, and a
//! data set that was kept for a while. `goldens/still.jsonl` is of a search with a time budget whose coordinator was
//! stopped for eight seconds, and whose worker was killed and followed by another one of its name.

#![allow(clippy::unwrap_used)]

mod cli_support;

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

fn journal(data: &Path, arguments: &[&str]) -> Output {
    let mut command = cli_support::espalier();
    command.arg("journal").args(arguments);
    command.arg("--data-dir").arg(data).output().unwrap()
}

/// What does not hang on when this test runs: a start of the coordinator is an event of a search that has not ended.
fn lasting(mut search: Value) -> Value {
    let map = search.as_object_mut().unwrap();
    map.remove("events");
    map.remove("updated_ms");
    search
}

/// What a coordinator says of the searches of a golden journal.
fn state_of(golden: &str) -> Vec<Value> {
    let golden = format!("{}/tests/goldens/{golden}", env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let imported = journal(&data, &["import", &golden]);
    assert!(
        imported.status.success(),
        "{}",
        cli_support::stderr(&imported)
    );
    let verified = journal(&data, &["verify"]);
    assert!(
        verified.status.success(),
        "{}",
        cli_support::stdout(&verified)
    );

    let coordinator = cli_support::Coordinator::start(&data, 0);
    let searches = coordinator.json(&["list"]);
    let searches = searches.as_array().unwrap().iter().cloned().map(lasting);
    searches
        .map(|search| {
            let id = search["id"].as_str().unwrap().to_owned();
            let trials = coordinator.json(&["trials", &id]);
            let history = coordinator.json(&["history", &id]);
            json!({ "search": search, "trials": trials, "history": history })
        })
        .collect()
}

#[test]
fn a_journal_of_before_replays_to_the_state_it_had() {
    let state = state_of("journal.jsonl");
    assert_eq!(state.len(), 4);
    insta::assert_json_snapshot!(state);
}

#[test]
fn a_journal_with_the_kinds_of_events_that_came_later_replays_to_the_state_it_had() {
    let state = state_of("later.jsonl");
    assert_eq!(state.len(), 6);
    insta::assert_json_snapshot!(state);
}

#[test]
fn a_journal_of_a_coordinator_that_stood_still_replays_to_the_state_it_had() {
    let state = state_of("still.jsonl");
    assert_eq!(state.len(), 1);
    insta::assert_json_snapshot!(state);
}
