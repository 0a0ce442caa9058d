//! What is done with a journal beside its coordinator, killed at each of its steps and done again.

use std::path::Path;
use std::process::Command;

use espalier_coordinator::journal::{FILE, JournalReader};
use espalier_coordinator::maintenance::{Checked, Listings, check};
use espalier_coordinator::steps::Step;

use crate::cli_support::{espalier, stderr};
use crate::life::{assert_command_killed, ending_at};
use crate::{folder, steps};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/journal.jsonl");

fn journal(data_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = espalier();
    command.arg("journal").args(arguments);
    command.arg("--data-dir").arg(data_dir);
    command
}

fn must(mut command: Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", stderr(&output));
}

fn killed(command: Command, step: Step, times: u32) {
    let output = ending_at(command, step, times).output().unwrap();
    assert_command_killed(&output, step);
}

/// A folder with a journal of four searches, whose listings are to be made again, and an artifact that nobody
/// refers to.
fn made(data_dir: &Path) -> Checked {
    must(journal(data_dir, &["import", GOLDEN]));
    let content = b"of nobody";
    let name = espalier_common::ids::Digest::of(content).to_string();
    let folder = data_dir.join("artifacts").join(&name[..2]);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(&name[2..]), content).unwrap();
    folder::sound(data_dir).unwrap()
}

/// The same records as before, hash by hash.
fn same(found: &Checked, before: &Checked) {
    assert_eq!(found.cluster, before.cluster);
    assert_eq!(found.records, before.records);
    assert_eq!(found.searches, before.searches);
}

#[test]
fn a_compaction_that_is_killed_at_any_step_has_removed_no_record_and_can_be_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let before = made(&whole);
    for (number, step) in [steps("rebuild"), steps("compact")]
        .concat()
        .iter()
        .enumerate()
    {
        let place = folder.path().join(number.to_string());
        folder::copy(&whole, &place);
        // The second search's rows, say, while those of two more are to be made.
        let times = if *step == Step::RebuildSearch { 2 } else { 1 };
        killed(journal(&place, &["compact"]), *step, times);
        same(&folder::sound(&place).unwrap(), &before);
        must(journal(&place, &["compact"]));
        let after = folder::sound(&place).unwrap();
        same(&after, &before);
        assert_eq!(after.listings, Listings::Sound);
        assert!(folder::artifacts(&place).is_empty(), "not swept");
    }
}

#[test]
fn listings_whose_making_was_killed_are_made_by_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let before = made(&whole);
    for step in steps("rebuild") {
        let place = folder.path().join(step.name());
        folder::copy(&whole, &place);
        killed(journal(&place, &["compact"]), step, 1);
        let mut coordinator = espalier_coordinator::journal::Journal::open(&place).unwrap();
        let made = check(coordinator.reader()).unwrap();
        same(&made, &before);
        assert_eq!(made.listings, Listings::Sound);
        coordinator.rebuild_projections().unwrap();
    }
}

#[test]
fn a_back_up_or_export_that_is_killed_at_any_step_is_whole_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let before = made(&state);
    for verb in ["backup", "export"] {
        for step in steps("file") {
            let target = folder.path().join(format!("{verb}-{}", step.name()));
            let name = target.to_str().unwrap();
            killed(journal(&state, &[verb, name]), step, 1);
            let named = matches!(step, Step::FileNamed | Step::FileDurable);
            assert_eq!(target.exists(), named, "{verb} at {}", step.name());
            if !named {
                must(journal(&state, &[verb, name]));
            }
            if verb == "backup" {
                let copy = JournalReader::open_file(&target).unwrap();
                same(&check(&copy).unwrap(), &before);
            } else {
                let place = folder.path().join(format!("of-{}", step.name()));
                must(journal(&place, &["import", name]));
                same(&folder::sound(&place).unwrap(), &before);
            }
        }
    }
    same(&folder::sound(&state).unwrap(), &before);
}

#[test]
fn an_import_that_is_killed_at_any_step_is_whole_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let before = made(&folder.path().join("whole"));
    for step in steps("import") {
        let place = folder.path().join(step.name());
        let times = if step == Step::ImportAdded { 40 } else { 1 };
        killed(journal(&place, &["import", GOLDEN]), step, times);
        let named = matches!(step, Step::ImportNamed | Step::ImportDurable);
        assert_eq!(place.join(FILE).exists(), named, "at {}", step.name());
        if !named {
            must(journal(&place, &["import", GOLDEN]));
        }
        same(&folder::sound(&place).unwrap(), &before);
    }
}
