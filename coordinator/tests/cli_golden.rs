//! A journal that was written by the format's first release of this form must replay to the state it had then, for
//! ever: `goldens/journal.jsonl` was exported from a coordinator with four searches, one of them steered (failures,
//! retries, a candidate of the user's, a ban, other limits), one forked and paused, after kills of a worker and of the
//! coordinator. When the format grows, a new journal is added beside it; this one stays.

#![allow(clippy::unwrap_used)]

mod cli_support;

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/journal.jsonl");

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

#[test]
fn a_journal_of_before_replays_to_the_state_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let imported = journal(&data, &["import", GOLDEN]);
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
    let searches: Vec<Value> = coordinator
        .json(&["list"])
        .as_array()
        .unwrap()
        .iter()
        .cloned()
        .map(lasting)
        .collect();
    assert_eq!(searches.len(), 4);
    let state: Vec<Value> = searches
        .into_iter()
        .map(|search| {
            let id = search["id"].as_str().unwrap().to_owned();
            let trials = coordinator.json(&["trials", &id]);
            let history = coordinator.json(&["history", &id]);
            json!({ "search": search, "trials": trials, "history": history })
        })
        .collect();
    insta::assert_json_snapshot!(state);
}
