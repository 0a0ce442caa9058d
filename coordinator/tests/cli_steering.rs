//! The commands that steer a search, against a coordinator process with a worker that this test plays: what they say
//! of what came of them.

// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

mod cli_support;
#[path = "cli_support/played.rs"]
mod played;

use std::path::{Path, PathBuf};

use cli_support::{Coordinator, SPEC, espalier, stderr, stdout, write_spec};
use played::Played;

/// A coordinator with the search `tiny`, and a worker.
async fn started(folder: &Path, spec: &str) -> (Coordinator, Played) {
    let coordinator = Coordinator::start(&folder.join("data"), 0);
    let spec = write_spec(folder, spec);
    let submitted = coordinator.output(&["submit", spec.to_str().unwrap()]);
    assert!(submitted.status.success(), "{}", stderr(&submitted));
    let worker = Played::join(&coordinator.address).await;
    (coordinator, worker)
}

/// The candidate of a trial, as a file.
fn candidate(coordinator: &Coordinator, folder: &Path, search: &str, trial: usize) -> PathBuf {
    let trials = coordinator.json(&["trials", search]);
    let path = folder.join(format!("{search}-{trial}.json"));
    std::fs::write(&path, trials[trial - 1]["decisions"].to_string()).unwrap();
    path
}

fn ban(coordinator: &Coordinator, search: &str, candidate: &Path) {
    let banned = coordinator.output(&["ban", search, candidate.to_str().unwrap()]);
    assert!(banned.status.success(), "{}", stderr(&banned));
}

/// The first line of what a command that must go well says.
fn said(coordinator: &Coordinator, arguments: &[&str]) -> String {
    let output = coordinator.output(arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn what_is_banned_is_not_counted_among_what_is_retried() {
    let folder = tempfile::tempdir().unwrap();
    let (coordinator, mut worker) =
        started(folder.path(), &SPEC.replace("trials: 3", "trials: 9")).await;
    for _ in 0..3 {
        let attempt = worker.lease().await.expect("a job");
        worker.fail(attempt).await;
    }
    assert_eq!(
        said(
            &coordinator,
            &["retry", "tiny", "--failed", "--reason", "the moon"]
        ),
        "no trial failed so"
    );
    ban(
        &coordinator,
        "tiny",
        &candidate(&coordinator, folder.path(), "tiny", 1),
    );
    let retry = ["retry", "tiny", "--failed"];
    assert_eq!(
        said(&coordinator, &retry),
        "2 trials wait again; 1 stays as it is, since its candidate is banned"
    );
    assert_eq!(
        said(&coordinator, &retry),
        "no trial waits again; 1 stays as it is, since its candidate is banned"
    );
    // Asked for by its number it is refused, with the reason.
    let refused = coordinator.output(&["retry", "tiny", "1"]);
    assert_eq!(refused.status.code(), Some(5));
    assert!(stderr(&refused).contains("was banned since, as trial "));
    let history = coordinator.json(&["history", "tiny"]);
    let wishes: Vec<&str> = history
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|wish| wish["wish"].as_str())
        .collect();
    assert!(
        wishes[0].starts_with("ban candidate ") && wishes[0].ends_with(" of trial 1"),
        "{wishes:?}"
    );
    assert_eq!(wishes[1..], ["retry trial 2, 3"]);
    let states = coordinator.json(&["trials", "tiny"]);
    let state = |trial: usize| states[trial - 1]["state"].as_str().unwrap().to_owned();
    assert_eq!(
        [state(1), state(2), state(3)],
        ["failed", "queued", "queued"]
    );
}

#[tokio::test]
async fn what_is_banned_stays_banned_in_a_fork_through_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    // Two candidates in all.
    let two = SPEC
        .replace(
            "x: {range: [0.0, 1.0]}, y: {choice: [1, 2, 3]}",
            "y: {choice: [1, 2]}",
        )
        .replace("trials: 3", "trials: 9");
    let (coordinator, mut worker) = started(folder.path(), &two).await;
    let attempt = worker.lease().await.expect("a job");
    let tried = coordinator.json(&["trials", "tiny"])[0]["decisions"].clone();
    let other = 3 - tried["hyperparameters.y"].as_u64().unwrap();
    let other = serde_json::json!({ "hyperparameters.y": other });
    let file = folder.path().join("other.json");
    std::fs::write(&file, other.to_string()).unwrap();
    ban(&coordinator, "tiny", &file);
    worker.complete(attempt, 0.5).await;

    let beyond = coordinator.output(&["fork", "tiny", "--at", "3"]);
    assert_eq!(beyond.status.code(), Some(3));
    let message = stderr(&beyond);
    assert!(
        message.contains("there is no trial 3; the last one is 2"),
        "{message}"
    );
    let forked = coordinator.json(&["fork", "tiny", "--at", "1", "--set", "searcher=random"]);
    assert_eq!(forked["trials"]["infeasible"], 1, "{forked}");
    // Its creation and the ban: nothing was recovered.
    let begun = coordinator.json(&["status", "tiny-fork"]);
    assert_eq!(begun["events"], 2, "{begun}");
    let history = coordinator.json(&["history", "tiny-fork"]);
    let wish = history[0]["wish"].as_str().unwrap();
    assert!(
        wish.ends_with("up to trial 1, with its banned candidate"),
        "{history}"
    );
    assert!(history[0]["by"].is_string(), "{history}");

    let port = coordinator.port();
    coordinator.kill();
    let coordinator = Coordinator::start(&folder.path().join("data"), port);
    let mut worker = Played::join(&coordinator.address).await;
    while let Some(attempt) = worker.lease().await {
        worker.complete(attempt, 0.25).await;
    }
    let ended = coordinator.json(&["status", "tiny-fork"]);
    assert_eq!(ended["phase"], "finished", "{ended}");
    assert_eq!(ended["trials"]["completed"], 1, "{ended}");
    let trials = coordinator.json(&["trials", "tiny-fork"]);
    assert_eq!(trials[0]["decisions"], other);
    assert_eq!(trials[0]["reason"], "banned by a user");
    assert_eq!(trials[1]["decisions"], tried);
    // And in a fork of the fork.
    let again = coordinator.json(&["fork", "tiny-fork", "--name", "again"]);
    assert_eq!(again["trials"]["infeasible"], 1, "{again}");
    coordinator.kill();
    let replayed = espalier()
        .args(["replay", "tiny-fork", "--data-dir"])
        .arg(folder.path().join("data"))
        .output()
        .unwrap();
    assert!(replayed.status.success(), "{}", stdout(&replayed));
}

#[tokio::test]
async fn only_what_failed_for_the_reason_that_is_named_is_retried() {
    let folder = tempfile::tempdir().unwrap();
    let (coordinator, mut worker) =
        started(folder.path(), &SPEC.replace("trials: 3", "trials: 9")).await;
    for message in ["the loss is NaN", "No Space left", "the loss is infinite"] {
        let attempt = worker.lease().await.expect("a job");
        worker.fail_with(attempt, message.to_owned()).await;
    }
    let retry = |reason| {
        let command = ["retry", "tiny", "--failed", "--reason", reason];
        said(&coordinator, &command)
    };
    let states = || {
        let trials = coordinator.json(&["trials", "tiny"]);
        let state = |trial: usize| trials[trial - 1]["state"].as_str().unwrap().to_owned();
        [state(1), state(2), state(3)]
    };
    assert_eq!(retry("no space LEFT"), "1 trial waits again");
    assert_eq!(states(), ["failed", "queued", "failed"]);
    assert_eq!(retry("LOSS"), "2 trials wait again");
    assert_eq!(states(), ["queued", "queued", "queued"]);
}
