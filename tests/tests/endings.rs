//! Programs that end by themselves: the reason is in their log and on stderr, and their code says to whoever starts
//! programs again whether that is of any use.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use espalier_tests::logs::Catalogue;
use espalier_tests::{Process, command, program, repository, scripted, serve_command};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
/// After which the units start nothing again.
const LASTING: i32 = 2;
const PASSING: i32 = 1;

/// Runs a program to its end with its log in a file: its code, what it said on stderr, and its last ERROR line.
fn ended(folder: &Path, mut command: Command) -> Result<(Option<i32>, String, Value)> {
    let log = folder.join("the.log");
    // Not there after an earlier one.
    let _ = std::fs::remove_file(&log);
    command.arg("--log-file").arg(&log).stdin(Stdio::null());
    let mut process = Process::start("ends", folder, command, false)?;
    let code = process.wait(LIMIT)?.code();
    let said = process.log();
    std::fs::remove_file(folder.join("ends.log"))?;
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    let mut last = Value::Null;
    for line in text.lines() {
        Catalogue::get().check(line)?;
        let line: Value = serde_json::from_str(line)?;
        if line["level"] == "ERROR" {
            last = line;
        }
    }
    Ok((code, said, last))
}

/// Holds the end of a program against what it should be.
fn check(
    what: &str,
    ended: (Option<i32>, String, Value),
    code: i32,
    words: &str,
    message: &str,
) -> Result<()> {
    let (found, said, line) = ended;
    ensure!(found == Some(code), "{what}: {found:?}: {said}");
    ensure!(said.contains(words), "{what}: stderr: {said}");
    ensure!(line["message"] == message, "{what}: {line}");
    ensure!(line["exit_code"] == code, "{what}: {line}");
    let reason = line["reason"].as_str().context("a reason")?;
    ensure!(reason.contains(words), "{what}: {line}");
    Ok(())
}

#[test]
fn a_worker_says_in_its_log_why_it_ends_and_by_its_code_whether_to_start_it_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file");
    std::fs::write(&file, "hunter2")?;
    let file = file.to_str().context("a path")?;
    let worker = |options: &[&str]| {
        let mut command = program("espalier-worker");
        command
            .args(["--join", "127.0.0.1:1", "--name", "node", "--trainer"])
            .arg(folder.path().join("none"))
            .arg("--cache-dir")
            .arg(folder.path().join("cache"))
            .env("ESPALIER_TEST_CONTROL", folder.path())
            .args(options);
        command
    };
    let cases: [(&[&str], i32, &str); 8] = [
        (&["--device", "gpu"], LASTING, "is not a device"),
        (&["--label", "x"], LASTING, "--label"),
        (&["--token-file", file], LASTING, "--token-file"),
        (&["--token-file", "/nowhere/x"], LASTING, "--token-file"),
        (&[], LASTING, "this worker has no evaluator"),
        (&["--work-dir", file], LASTING, "--work-dir"),
        (&["--evaluator", "x=false"], PASSING, "does not start"),
        // The driver may not be up yet.
        (
            &["--evaluator", &scripted(), "--device", "cuda:0"],
            PASSING,
            "cannot use the device",
        ),
    ];
    for (options, code, words) in cases {
        let ended = ended(folder.path(), worker(options))?;
        check(
            &format!("{options:?}"),
            ended,
            code,
            words,
            "worker ends with an error",
        )?;
    }
    Ok(())
}

#[test]
fn a_coordinator_says_in_its_log_why_it_ends_and_by_its_code_whether_to_start_it_again()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.to_string();
    std::fs::create_dir(folder.path().join("other"))?;
    std::fs::write(folder.path().join("other/journal.db"), "x".repeat(5_000))?;
    let other = folder.path().join("other");
    let other = other.to_str().context("a path")?;
    let any = "127.0.0.1:0";
    let cases: [(&str, &[&str], i32, &str); 5] = [
        (
            "0.0.0.0:0",
            &["--tls", "off"],
            LASTING,
            "reachable from other machines",
        ),
        (
            any,
            &[
                "--tls",
                "on",
                "--tls-cert",
                "/no/c",
                "--tls-key",
                "/no/k",
                "--tls-ca",
                "/no/a",
            ],
            LASTING,
            "/no/",
        ),
        (any, &["--data-dir", "/dev/null/x"], LASTING, "/dev/null/x"),
        (any, &["--data-dir", other], LASTING, "journal"),
        (&port, &[], PASSING, "--listen"),
    ];
    let message = "coordinator ends with an error";
    for (listen, options, code, words) in cases {
        let mut command = program("espalier");
        command.args(["serve", "--listen", listen]).args(options);
        if !options.contains(&"--data-dir") {
            command.arg("--data-dir").arg(folder.path().join("data"));
        }
        let ended = ended(folder.path(), command)?;
        check(
            &format!("{listen} {options:?}"),
            ended,
            code,
            words,
            message,
        )?;
    }

    let (_first, _) = Process::serve(folder.path(), any, &[])?;
    let second = ended(folder.path(), serve_command(folder.path(), any, &[]))?;
    check(
        "a second one",
        second,
        5,
        "in use by another coordinator",
        message,
    )
}

#[test]
fn a_disk_without_room_is_no_wrong_setting() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    // A write beyond the limit fails as on a full disk, when the signal that goes with it is ignored.
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\"";
    let mut command = command("sh");
    command
        .args(["-c", script])
        .arg(espalier_tests::binary("espalier"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(&data);
    let ended = ended(folder.path(), command)?;
    check(
        "a full disk",
        ended,
        PASSING,
        "journal",
        "coordinator ends with an error",
    )
}

#[test]
fn the_units_start_nothing_again_that_would_end_like_before() -> Result<()> {
    let mut units = 0;
    for entry in std::fs::read_dir(repository().join("deploy/systemd"))? {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path)?;
        let has = |line: &str| text.lines().any(|found| found == line);
        let prevented = format!("RestartPreventExitStatus={LASTING}");
        ensure!(
            has("Restart=on-failure") && has(&prevented),
            "{}",
            path.display()
        );
        units += 1;
    }
    ensure!(units == 3, "{units} units");
    Ok(())
}

#[test]
fn a_mistake_in_rust_log_is_told_and_every_crate_may_be_named_there() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // Ends in any case: at the filter, or with what is wrong besides.
    let run = |filter: &str| -> Result<String> {
        let mut command = program("espalier");
        command
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--data-dir",
                "/dev/null/x",
            ])
            .env("RUST_LOG", filter);
        let (code, said, _) = ended(folder.path(), command)?;
        ensure!(code == Some(LASTING), "{filter}: {code:?}: {said}");
        Ok(said)
    };
    let said = run("debgu")?;
    ensure!(said.contains("did you mean debug?"), "{said}");
    let manifest = std::fs::read_to_string(repository().join("Cargo.toml"))?;
    let crates = manifest
        .lines()
        .filter_map(|line| line.split_once(" = { path")?.0.into());
    let crates: Vec<&str> = crates
        .filter(|name: &&str| name.starts_with("espalier-"))
        .collect();
    ensure!(crates.len() > 6, "{crates:?}");
    for name in crates {
        let said = run(&format!("{}=debug", name.replace('-', "_")))?;
        ensure!(said.contains("/dev/null/x"), "{name}: {said}");
    }
    Ok(())
}
