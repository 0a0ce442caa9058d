//! The commands against a coordinator process, with a worker that this test plays over the wire.

// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

mod cli_support;
#[path = "cli_support/played.rs"]
mod played;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use cli_support::{Coordinator, SPEC, espalier, stderr, stdout, write_spec};
use played::{Played, WEIGHTS};

#[tokio::test]
async fn a_search_is_submitted_listed_ended_and_its_best_is_downloaded() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(&folder.path().join("data"), 0);
    let spec = write_spec(folder.path(), SPEC);
    let output = coordinator.output(&["submit", spec.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let id = stdout(&output).trim().to_owned();
    assert!(uuid::Uuid::parse_str(&id).is_ok(), "{id}");

    let mut worker = Played::join(&coordinator.address).await;
    let cluster = coordinator.json(&["status"]);
    assert_eq!(cluster["workers"][0]["name"], "played");
    for loss in [0.5, 0.25, 0.75] {
        let attempt = worker.lease().await.expect("a job");
        worker.complete(attempt, loss).await;
    }
    // By its name, by its id, by a beginning of it.
    for name in ["tiny", &id, &id[..6]] {
        let search = coordinator.json(&["status", name]);
        assert_eq!(search["phase"], "finished", "{search}");
        assert_eq!(search["trials"]["completed"], 3);
        assert_eq!(search["best"]["score"], 0.25);
    }
    let trials = coordinator.json(&["trials", "tiny"]);
    assert_eq!(trials.as_array().unwrap().len(), 3);
    assert_eq!(trials[1]["score"], 0.25);
    assert!(trials[1]["decisions"]["hyperparameters.x"].is_number());
    let some = coordinator.json(&["trials", "tiny", "--limit", "2"]);
    assert_eq!(some.as_array().unwrap().len(), 2);
    let none = coordinator.json(&["trials", "tiny", "--state", "failed"]);
    assert_eq!(none.as_array().unwrap().len(), 0);

    let best = folder.path().join("best");
    let scores = coordinator.json(&["best", "tiny", "--download", best.to_str().unwrap()]);
    assert_eq!(scores[0]["score"], 0.25);
    assert_eq!(
        std::fs::read(best.join("weights.safetensors")).unwrap(),
        WEIGHTS
    );
    let candidate = std::fs::read_to_string(best.join("candidate.json")).unwrap();
    let candidate: serde_json::Value = serde_json::from_str(&candidate).unwrap();
    assert_eq!(candidate["trial"]["trial"], 2);
    assert_eq!(candidate["search"]["id"], id);

    let list = coordinator.output(&["list"]);
    assert!(stdout(&list).contains("tiny"), "{}", stdout(&list));
    // It has ended: watching prints the end at once, and steering it is refused.
    let watched = coordinator.output(&["watch", "tiny"]);
    assert_eq!(watched.status.code(), Some(0), "{}", stderr(&watched));
    assert!(stdout(&watched).contains("VALIDATION LOSS"));
    let resumed = coordinator.output(&["resume", "tiny"]);
    assert_eq!(resumed.status.code(), Some(5), "{}", stderr(&resumed));
}

#[test]
fn a_search_is_paused_resumed_and_stopped_and_unknown_ones_are_exit_code_3() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(&folder.path().join("data"), 0);
    let spec = write_spec(folder.path(), SPEC);
    let spec = spec.to_str().unwrap();
    assert!(coordinator.output(&["submit", spec]).status.success());
    assert_eq!(coordinator.json(&["pause", "tiny"])["phase"], "paused");
    assert_eq!(coordinator.json(&["resume", "tiny"])["phase"], "running");
    assert_eq!(
        coordinator.output(&["status", "tint"]).status.code(),
        Some(3)
    );
    // A second one of that name: the name alone says too little.
    assert!(coordinator.output(&["submit", spec]).status.success());
    let ambiguous = coordinator.output(&["stop", "tiny"]);
    assert_eq!(ambiguous.status.code(), Some(3), "{}", stderr(&ambiguous));
    let searches = coordinator.json(&["list"]);
    let id = searches[0]["id"].as_str().unwrap();
    assert_eq!(coordinator.json(&["stop", id])["phase"], "finished");
    // No trial was completed.
    assert_eq!(coordinator.output(&["watch", id]).status.code(), Some(1));
    assert_eq!(coordinator.output(&["best", id]).status.code(), Some(1));
}

/// Runs commands that must fail, each with an exit code.
fn fail_with(coordinator: &Coordinator, code: i32, commands: &[&str]) {
    for command in commands {
        let arguments: Vec<&str> = command.split(' ').collect();
        let output = coordinator.output(&arguments);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{command}: {said}");
        // One line that says it, or the places of a spec.
        assert!(said.starts_with("espalier: "), "{command}: {said}");
    }
}

#[test]
fn whatever_is_refused_has_the_exit_code_that_is_documented_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(&folder.path().join("data"), 0);
    let spec = write_spec(folder.path(), SPEC);
    let submit = ["submit", spec.to_str().unwrap()];
    assert!(coordinator.output(&submit).status.success());
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let own = file(
        "own.json",
        r#"{"hyperparameters.x": 0.5, "hyperparameters.y": 2}"#,
    );
    let other = file(
        "other.json",
        r#"{"hyperparameters.x": 0.25, "hyperparameters.y": 3}"#,
    );
    let strange = file(
        "strange.json",
        r#"{"hyperparameters.x": 7.0, "hyperparameters.y": 2}"#,
    );
    for candidate in [&own, &other] {
        let enqueued = coordinator.output(&["enqueue", "tiny", candidate]);
        assert!(enqueued.status.success(), "{}", stderr(&enqueued));
    }
    // No completed trial.
    fail_with(&coordinator, 1, &["best tiny"]);
    // What can never be.
    let (banned, enqueued) = (
        format!("ban tiny {strange}"),
        format!("enqueue tiny {strange}"),
    );
    fail_with(
        &coordinator,
        2,
        &[
            &banned,
            &enqueued,
            "set tiny --weight 1000001",
            "set tiny --parallel 4000000000",
            "set tiny",
            "fork tiny --set searcher=nothing",
            "fork tiny",
        ],
    );
    // What is not there.
    let unknown = [
        "status", "watch", "trials", "best", "logs", "pause", "resume", "stop", "failures",
        "history",
    ];
    let unknown: Vec<String> = unknown.iter().map(|verb| format!("{verb} tint")).collect();
    let unknown: Vec<&str> = unknown.iter().map(String::as_str).collect();
    fail_with(&coordinator, 3, &unknown);
    fail_with(
        &coordinator,
        3,
        &[
            "fork tint",
            "set tint --trials 5",
            "retry tint --failed",
            "cancel tiny 9",
            "pin tiny 9",
            "retry tiny 9",
            "explain tiny 9",
            "dataset remove 0123456789abcdef",
        ],
    );
    // What cannot be as things are.
    let again = format!("enqueue tiny {own}");
    fail_with(
        &coordinator,
        5,
        &[
            &again,
            "retry tiny 1",
            "retry tiny 1 --reason memory",
            "set tiny --trials 1",
            "set tiny --deadline 2020-01-01T00:00:00Z",
            "token list",
        ],
    );
    assert!(coordinator.output(&["stop", "tiny"]).status.success());
    fail_with(
        &coordinator,
        5,
        &[
            "pause tiny",
            "resume tiny",
            "set tiny --trials 9",
            "pin tiny 1",
            "retry tiny 1",
        ],
    );
    let address = coordinator.address.clone();
    coordinator.kill();
    let gone = espalier().args(["list", "--address", &address]).output();
    assert_eq!(gone.unwrap().status.code(), Some(4));
}

#[test]
fn watching_goes_on_when_the_coordinator_was_killed_and_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let coordinator = Coordinator::start(&data, 0);
    let port = coordinator.port();
    let spec = write_spec(folder.path(), SPEC);
    let submitted = coordinator.output(&["submit", spec.to_str().unwrap()]);
    let id = stdout(&submitted).trim().to_owned();
    let mut watch = coordinator
        .ask(&["watch", &id])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stderr.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "search tiny: running");
    coordinator.kill();
    let away = lines.next().unwrap().unwrap();
    assert!(away.contains("is away"), "{away}");

    let coordinator = Coordinator::start(&data, port);
    let stopped = coordinator.output(&["stop", &id]);
    assert!(stopped.status.success(), "{}", stderr(&stopped));
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(
        rest.iter()
            .any(|line| line.starts_with("search tiny: finished: stopped by the user (")),
        "{rest:?}"
    );
    assert_eq!(watch.wait().unwrap().code(), Some(1));
}

#[test]
fn watched_changes_are_lines_of_json_and_the_last_one_is_the_search() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(&folder.path().join("data"), 0);
    let spec = write_spec(folder.path(), SPEC);
    let submitted = coordinator.output(&["submit", spec.to_str().unwrap()]);
    let id = stdout(&submitted).trim().to_owned();
    assert!(coordinator.output(&["stop", &id]).status.success());
    let output = coordinator.output(&["watch", &id, "--output", "json"]);
    let lines: Vec<serde_json::Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines[0]["changes"].is_array());
    assert_eq!(lines.last().unwrap()["phase"], "finished");
}

#[test]
fn a_spec_that_the_coordinator_refuses_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(&folder.path().join("data"), 0);
    let spec = write_spec(folder.path(), &SPEC.replace("trials: 3", "trials: none"));
    let output = coordinator.output(&["submit", spec.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(coordinator.json(&["list"]).as_array().unwrap().len(), 0);
}

#[test]
fn a_coordinator_takes_its_settings_from_a_file_and_refuses_what_it_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("coordinator.toml");
    let data = folder.path().join("data");
    let text = format!(
        "listen = '127.0.0.1:0'\noutput = 'json'\ndata_dir = '{}'\n",
        data.display()
    );
    std::fs::write(&file, &text).unwrap();
    let serve = |file: &std::path::Path| {
        let mut command = espalier();
        command.args(["serve", "--config"]).arg(file);
        command
    };
    let mut child = serve(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    let read = BufReader::new(stdout).read_line(&mut line);
    child.kill().unwrap();
    child.wait().unwrap();
    read.unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(ready["data_dir"], data.display().to_string());

    std::fs::write(&file, format!("{text}lease_ttl = 5\n")).unwrap();
    let refused = serve(&file).output().unwrap();
    let said = stderr(&refused);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.contains(":4:1: ") && said.contains("lease_ttl_ms"),
        "{said}"
    );
}
