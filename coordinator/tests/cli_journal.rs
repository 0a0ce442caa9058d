//! `espalier journal`, beside a coordinator that runs and on folders without one.

// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

mod cli_support;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use cli_support::{Coordinator, SPEC, espalier, stderr, stdout, write_spec};

fn journal(arguments: &[&str], folder: &Path) -> Output {
    let mut command = espalier();
    command.arg("journal").args(arguments);
    command.arg("--data-dir").arg(folder).output().unwrap()
}

/// Runs it, which must go well, and reads its JSON.
fn json(arguments: &[&str], folder: &Path) -> serde_json::Value {
    let output = journal(&[arguments, &["--output", "json"]].concat(), folder);
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

/// A coordinator with one search, and its folder.
fn with_a_search() -> (Coordinator, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let spec = write_spec(folder.path(), SPEC);
    let coordinator = Coordinator::start(&folder.path().join("state"), 0);
    coordinator.json(&["submit", spec.to_str().unwrap()]);
    (coordinator, folder)
}

#[test]
fn a_running_coordinators_journal_is_verified_backed_up_and_exported_and_each_starts_a_coordinator()
{
    let (coordinator, folder) = with_a_search();
    let state = folder.path().join("state");
    let sound = json(&["verify"], &state);
    assert_eq!(sound["searches"][0]["name"], "tiny");
    assert_eq!(sound["listings"], "sound");
    assert_eq!(sound["problems"], serde_json::json!([]));

    let (copy, text) = (
        folder.path().join("copy.db"),
        folder.path().join("text.jsonl"),
    );
    let copied = json(&["backup", copy.to_str().unwrap()], &state);
    assert_eq!(copied["searches"], sound["searches"]);
    let done = journal(&["export", text.to_str().unwrap()], &state);
    assert!(done.status.success(), "{}", stderr(&done));
    let printed = journal(&["export", "-"], &state);
    assert_eq!(stdout(&printed), std::fs::read_to_string(&text).unwrap());

    // What needs the folder for itself is refused with a sentence, and says by whom.
    for arguments in [&["compact"][..], &["import", text.to_str().unwrap()]] {
        let refused = journal(arguments, &state);
        assert_eq!(
            refused.status.code(),
            Some(5),
            "{arguments:?}: {}",
            stderr(&refused)
        );
        assert!(stderr(&refused).contains("in use by another coordinator (process "));
    }
    let before = coordinator.json(&["status", "tiny"]);
    coordinator.kill();

    let imported = folder.path().join("imported");
    json(&["import", text.to_str().unwrap()], &imported);
    let copied = folder.path().join("copied");
    std::fs::create_dir(&copied).unwrap();
    std::fs::copy(&copy, copied.join("journal.db")).unwrap();
    for place in [imported, copied] {
        let again = Coordinator::start(&place, 0);
        let status = again.json(&["status", "tiny"]);
        assert_eq!(status["id"], before["id"]);
        assert_eq!(status["phase"], before["phase"]);
    }
}

#[test]
fn compaction_and_verification_of_a_folder_that_a_killed_coordinator_left() {
    let (coordinator, folder) = with_a_search();
    let state = folder.path().join("state");
    coordinator.kill();
    let before = json(&["verify"], &state);
    let done = json(&["compact"], &state);
    assert_eq!(done["records"], before["records"]);
    let log = std::fs::metadata(state.join("journal.db-wal"));
    assert_eq!(log.map_or(0, |log| log.len()), 0, "the log is left");
    let after = json(&["verify"], &state);
    assert_eq!(after["searches"], before["searches"]);
}

#[test]
fn a_damaged_journal_is_told_with_exit_code_1_and_neither_copied_nor_exported() {
    let (coordinator, folder) = with_a_search();
    let state = folder.path().join("state");
    coordinator.kill();
    json(&["compact"], &state);
    let file = state.join("journal.db");
    let mut bytes = std::fs::read(&file).unwrap();
    let place = bytes
        .windows(14)
        .rposition(|piece| piece == b"search_created")
        .unwrap();
    bytes[place] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let output = journal(&["verify"], &state);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("record 1 of stream"),
        "{}",
        stderr(&output)
    );
    for verb in ["backup", "export"] {
        let target = folder.path().join("target");
        let output = journal(&[verb, target.to_str().unwrap()], &state);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains("record 1 of stream"),
            "{}",
            stderr(&output)
        );
        assert!(!target.exists(), "{verb}");
    }
}

#[test]
fn nothing_is_overwritten_and_what_is_not_there_is_said() {
    let (coordinator, folder) = with_a_search();
    let state = folder.path().join("state");
    coordinator.kill();
    let target = folder.path().join("mine");
    std::fs::write(&target, "mine").unwrap();
    for verb in ["backup", "export"] {
        let output = journal(&[verb, target.to_str().unwrap()], &state);
        assert_eq!(output.status.code(), Some(5));
        assert!(stderr(&output).contains("nothing is overwritten"));
    }
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "mine");
    let nowhere = folder.path().join("nowhere");
    for arguments in [&["verify"][..], &["compact"], &["export", "-"]] {
        let output = journal(arguments, &nowhere);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
    }
    assert!(!nowhere.exists());
    let output = journal(&["import", "no-such-file"], &nowhere);
    assert_eq!(output.status.code(), Some(1));
    let output = espalier()
        .args(["journal", "verify", "--file"])
        .arg(&target)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("mine"), "{}", stderr(&output));
}

#[test]
fn a_reader_that_closes_the_pipe_ends_an_export_quietly() {
    let (coordinator, folder) = with_a_search();
    let mut child = espalier()
        .args(["journal", "export", "-", "--data-dir"])
        .arg(folder.path().join("state"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    drop(coordinator);
}

/// Whether nothing but these is in a folder.
fn holds_only(folder: &Path, names: &[&str]) -> bool {
    let mut found: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    found == names
}

#[test]
fn a_copy_that_cannot_be_written_to_its_end_leaves_nothing_behind_and_says_so() {
    let (coordinator, folder) = with_a_search();
    let state = folder.path().join("state");
    coordinator.kill();
    let copies = folder.path().join("copies");
    std::fs::create_dir(&copies).unwrap();
    // Room for what a reader of the journal needs, and not for a journal. The signal that goes with the limit is
    // ignored: then a write fails, as it does on a disk that fails.
    let script = "trap '' XFSZ; ulimit -f 66; exec \"$0\" journal backup \"$1\" --data-dir \"$2\"";
    let limited = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_espalier")])
        .arg(copies.join("copy.db"))
        .arg(&state)
        .output()
        .unwrap();
    let said = stderr(&limited);
    assert_eq!(limited.status.code(), Some(1), "{said}");
    let place = copies.display().to_string();
    assert!(
        said.contains("copy.db could not be written: ")
            && said.contains(&format!("the disk of {place} fails or is full"))
            && said.contains("nothing of it was left behind")
            && !said.contains(".espalier-"),
        "{said}"
    );
    assert!(holds_only(&copies, &[]));
    // A disk of its own, where mounting is permitted.
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=48k", "espalier-test"])
        .arg(&copies)
        .output();
    if !mount.is_ok_and(|mounted| mounted.status.success()) {
        eprintln!("a full disk cannot be made here: mounting is not permitted");
        return;
    }
    let full = std::fs::write(copies.join("ballast"), [0; 64 << 10]);
    let outputs = ["backup", "export"].map(|verb| {
        let target = copies.join(verb);
        journal(&[verb, target.to_str().unwrap()], &state)
    });
    let alone = holds_only(&copies, &["ballast"]);
    let unmounted = Command::new("umount").arg(&copies).output().unwrap();
    assert!(unmounted.status.success(), "{}", stderr(&unmounted));
    assert!(full.is_err() && alone);
    for output in outputs {
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains(&format!(
                "the disk of {place} is full; nothing of it was left behind"
            )),
            "{said}"
        );
    }
}
