//! `espalier simulate` as users run it: on the table that ships, from the repository's root.

// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

mod cli_support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cli_support::{espalier, stderr, stdout};

/// The shipped example.
const EXAMPLE: &str = "examples/table.yaml";

fn simulate(options: &[&str]) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut command = espalier();
    command.current_dir(root).args(["simulate", EXAMPLE]);
    command.args(options);
    command
}

/// The report without what differs between two runs: the searchers' own time.
fn report(options: &[&str]) -> serde_json::Value {
    let output = simulate(options)
        .args(["--output", "json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "", "no terminal, no progress");
    let mut report: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    for searcher in report["searchers"].as_array_mut().unwrap() {
        assert!(searcher["thinking_ms"].take()["p99"].as_f64() > Some(0.0));
    }
    report
}

#[test]
fn the_shipped_table_is_searched_from_the_repositorys_root() {
    let output = simulate(&["--seeds", "8"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    for words in [
        "search     table: 40 trials, 1 worker, 8 seeds from 1",
        "table.csv, 144 rows; the best accuracy 0.8500",
        "REACHED BY",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn bayesian_finds_the_best_of_the_shipped_table_sooner_than_chance() {
    let options = ["--searcher", "random,bayesian", "--seeds", "30"];
    let report = report(&options);
    let until = &report["comparisons"].as_array().unwrap().last().unwrap();
    assert_eq!(until["until"], 0.0);
    let difference = &until["differences"][0];
    assert_eq!(
        (&difference["better"], &difference["worse"]),
        (&1.into(), &0.into())
    );
    assert!(difference["p"].as_f64().unwrap() < 0.01, "{difference}");
}

#[test]
fn files_are_the_same_with_one_thread_and_with_two() {
    let folder = tempfile::tempdir().unwrap();
    let of = |threads: &str| {
        let place = |end: &str| folder.path().join(format!("{threads}.{end}"));
        let (rows, drawn) = (place("csv"), place("svg"));
        let report = report(&[
            "--searcher",
            "random,tpe",
            "--seeds",
            "6",
            "--workers",
            "3",
            "--threads",
            threads,
            "--csv",
            rows.to_str().unwrap(),
            "--svg",
            drawn.to_str().unwrap(),
        ]);
        let rows = std::fs::read_to_string(rows).unwrap();
        assert_eq!(rows.lines().count(), 1 + 2 * 6 * 40);
        (report, rows, std::fs::read_to_string(drawn).unwrap())
    };
    assert_eq!(of("1"), of("2"));
}

#[test]
fn an_interrupt_ends_in_order_and_tells_what_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("rows.csv");
    // Minutes of work.
    let child = simulate(&[
        "--seeds",
        "10000",
        "--trials",
        "144",
        "--searcher",
        "random",
    ])
    .args(["--threads", "1", "--csv"])
    .arg(&rows)
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    // Long enough for some searches to end.
    std::thread::sleep(Duration::from_secs(3));
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let asked = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(20));
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.contains("of 10000 searches had ended"), "{told}");
    assert!(stdout(&output).contains("random"), "{told}");
    // Whole searches alone are in the file.
    let rows = std::fs::read_to_string(rows).unwrap();
    assert_eq!((rows.lines().count() - 1) % 144, 0);
    assert!(rows.lines().count() > 144);
}

#[test]
fn bad_arguments_are_told_in_a_sentence_before_anything_runs() {
    for (options, words) in [
        (&["--seeds", "0"][..], "1..=10000"),
        (&["--speed-spread", "0.5"], "a number from 1 to 1000"),
        (&["--failure-rate", "2"], "a number from 0 to 1"),
        (&["--target", "-1"], "at least 0"),
        (&["--failure-rate", "-1"], "a number from 0 to 1"),
        (
            &["--csv", "docs/rows", "--svg", "./docs/rows"],
            "that is the file of --csv",
        ),
        (&["--csv", EXAMPLE], "that is the spec"),
        (&["--svg", "examples/table.csv"], "that is the table"),
        (&["--searcher", "gready"], "is not one of random"),
        (&["--checkpoints", "50"], "has 40 trials only"),
        (
            &["--csv", "/no/such/folder/rows.csv"],
            "/no/such/folder/rows.csv",
        ),
        (&["--svg", "/"], "is a folder"),
        (&["--address", "http://127.0.0.1:1"], "asks no coordinator"),
    ] {
        let output = simulate(options).output().unwrap();
        let told = stderr(&output);
        assert!(
            matches!(output.status.code(), Some(1 | 2)),
            "{options:?}: {told}"
        );
        assert!(told.contains(words), "{options:?}: {told}");
        assert!(output.stdout.is_empty());
    }
}
