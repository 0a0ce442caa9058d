//! Checks, back-ups, exports and imports of journals that are sound, live, damaged or cut off.

use std::fs;
use std::path::Path;

use super::*;
use crate::journal::tests::{commit_each, history, sqlite, written};
use crate::journal::{FILE, Journal, JournalReader};

fn reader(folder: &Path) -> JournalReader {
    JournalReader::open(folder).unwrap()
}

fn exported(folder: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    export(&reader(folder), &mut text).unwrap();
    text
}

/// The message of an import that must be refused, and that must leave no journal.
fn refused(text: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let error = import(&mut &text[..], folder.path()).unwrap_err();
    assert!(!folder.path().join(FILE).exists(), "a journal is there");
    error.to_string()
}

#[tokio::test]
async fn a_sound_journal_is_told_with_its_searches() {
    let folder = written(&history()).await;
    let checked = check(&reader(folder.path())).unwrap();
    assert_eq!(checked.problems, [""; 0]);
    assert_eq!(checked.listings, Listings::Sound);
    assert_eq!(checked.records, history().len() as u64);
    let search = &checked.searches[0];
    assert_eq!(
        (search.name.as_str(), search.phase),
        ("a search", "finished")
    );
    assert_eq!(search.completed, 2);
}

#[tokio::test]
async fn a_journal_is_checked_exported_and_backed_up_while_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap().start().unwrap();
    commit_each(&journal, &history()[..9]).await;
    assert!(check(&reader(folder.path())).unwrap().is_sound());
    let text = String::from_utf8(exported(folder.path())).unwrap();
    assert_eq!(text.lines().count(), 9 + 2);
    let copy = folder.path().join("copy.db");
    assert_eq!(
        back_up(&reader(folder.path()), &copy)
            .unwrap()
            .checked
            .records,
        9
    );
    // What comes later is not in the copy, and the copy is a journal like any other.
    commit_each(&journal, &[]).await;
    journal.close().await;
    let restored = tempfile::tempdir().unwrap();
    fs::copy(&copy, restored.path().join(FILE)).unwrap();
    assert_eq!(exported(restored.path()), text.as_bytes());
    drop(Journal::open(restored.path()).unwrap());
}

#[tokio::test]
async fn a_back_up_overwrites_nothing_and_of_a_damaged_journal_there_is_none() {
    let folder = written(&history()).await;
    let copy = folder.path().join("copy.db");
    fs::write(&copy, "mine").unwrap();
    let error = back_up(&reader(folder.path()), &copy).unwrap_err();
    assert!(matches!(error, MaintenanceError::Exists { .. }), "{error}");
    assert_eq!(fs::read_to_string(&copy).unwrap(), "mine");
    sqlite(folder.path())
        .execute(
            "UPDATE record SET time_ms = 1 WHERE row % (1 << 40) = 7",
            [],
        )
        .unwrap();
    let other = folder.path().join("other.db");
    let error = back_up(&reader(folder.path()), &other)
        .unwrap_err()
        .to_string();
    assert!(error.contains("record 7 of stream"), "{error}");
    assert!(!other.exists());
    let left = fs::read_dir(folder.path()).unwrap();
    let left = left.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with(".espalier-")
    });
    assert_eq!(left.count(), 0, "something is left behind");
}

#[tokio::test]
async fn an_import_of_an_export_is_the_same_journal() {
    let folder = written(&history()).await;
    let text = exported(folder.path());
    let to = tempfile::tempdir().unwrap();
    let place = to.path().join("new");
    let imported = import(&mut &text[..], &place).unwrap();
    let before = check(&reader(folder.path())).unwrap();
    assert_eq!(imported.checked.searches, before.searches);
    assert_eq!(imported.checked.cluster, before.cluster);
    assert_eq!(imported.checked.listings, Listings::Sound);
    assert_eq!(exported(&place), text);
    // It is not only whole: it goes on.
    let journal = Journal::open(&place).unwrap().start().unwrap();
    journal.close().await;
}

#[tokio::test]
async fn nothing_is_imported_over_a_journal_or_beside_a_coordinator() {
    let folder = written(&history()).await;
    let text = exported(folder.path());
    let error = import(&mut &text[..], folder.path())
        .unwrap_err()
        .to_string();
    assert!(error.contains("is there already"), "{error}");
    let busy = tempfile::tempdir().unwrap();
    let journal = Journal::open(busy.path()).unwrap();
    let error = import(&mut &text[..], busy.path()).unwrap_err().to_string();
    assert!(error.contains("in use by another coordinator"), "{error}");
    drop(journal);
    assert_eq!(exported(folder.path()), text);
}

#[tokio::test]
async fn an_export_that_was_cut_off_anywhere_is_refused() {
    let folder = written(&history()[..5]).await;
    let text = exported(folder.path());
    for length in (0..text.len()).step_by(97).chain([text.len() - 1]) {
        let message = refused(&text[..length]);
        assert!(
            message.contains("the text ends here") || message.contains("no line of an export"),
            "{length}: {message}"
        );
    }
}

#[tokio::test]
async fn an_export_with_a_changed_byte_anywhere_is_refused_or_means_the_same() {
    let folder = written(&history()[..5]).await;
    let text = exported(folder.path());
    let sound = check(&reader(folder.path())).unwrap().searches;
    let mut refusals = 0;
    for place in (0..text.len()).step_by(41) {
        for flip in [1, 0x20] {
            let mut changed = text.clone();
            changed[place] ^= flip;
            let to = tempfile::tempdir().unwrap();
            match import(&mut &changed[..], to.path()) {
                // The release of who wrote it, or capitals in a digest or an id.
                Ok(imported) => assert_eq!(imported.checked.searches, sound, "at {place}"),
                Err(_) => refusals += 1,
            }
        }
    }
    assert!(refusals > text.len() / 41, "{refusals} refusals");
}

#[tokio::test]
async fn lines_that_are_missing_doubled_scattered_or_follow_the_end_are_refused() {
    let folder = written(&history()[..5]).await;
    let text = String::from_utf8(exported(folder.path())).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let with = |change: &dyn Fn(&mut Vec<&str>)| {
        let mut lines = lines.clone();
        change(&mut lines);
        refused((lines.join("\n") + "\n").as_bytes())
    };
    let message = with(&|lines| lines.retain(|line| *line != text.lines().nth(3).unwrap()));
    assert!(message.contains("record 3 of stream"), "{message}");
    let message = with(&|lines| lines.retain(|line| *line != text.lines().nth(5).unwrap()));
    assert!(message.contains("should be 5 records"), "{message}");
    let message = with(&|lines| lines.insert(3, lines[2]));
    assert!(message.contains("record 3 of stream"), "{message}");
    let message = with(&|lines| lines.push(lines[2]));
    assert!(message.contains("something follows"), "{message}");
    let newer = lines[0].replace("\"espalier_journal\":1", "\"espalier_journal\":2");
    let message = refused(newer.as_bytes());
    assert!(message.contains("the text ends here"), "{message}");
    let message = refused((newer + "\n").as_bytes());
    assert!(message.contains("versions up to 1"), "{message}");
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_and_wrong_listings_are_made_again() {
    let folder = written(&history()).await;
    let connection = sqlite(folder.path());
    connection
        .execute("UPDATE trial SET score = 0.75 WHERE score IS NOT NULL", [])
        .unwrap();
    let checked = check(&reader(folder.path())).unwrap();
    assert_eq!(checked.listings, Listings::Wrong);
    assert!(checked.problems[0].contains("table trial"), "{checked:?}");
    let done = compact(folder.path()).await.unwrap();
    assert_eq!(done.records, history().len() as u64);
    assert!(check(&reader(folder.path())).unwrap().is_sound());

    connection
        .execute_batch(
            "INSERT INTO record SELECT 99 << 40, time_ms, schema, hash, body FROM record LIMIT 1;
             UPDATE record SET body = '{}' WHERE row % (1 << 40) = 3;",
        )
        .unwrap();
    let checked = check(&reader(folder.path())).unwrap();
    assert_eq!(checked.problems.len(), 3, "{:?}", checked.problems);
    assert!(checked.problems[0].contains("stream number 2 is missing"));
    assert!(checked.problems[1].contains("record 3 of stream"));
    assert!(checked.problems[2].contains("1 records belong to no stream"));
    assert_eq!(checked.listings, Listings::Unknown);
    let before = fs::read(folder.path().join(FILE)).unwrap();
    let error = compact(folder.path()).await.unwrap_err().to_string();
    assert!(error.contains("record 3 of stream"), "{error}");
    assert_eq!(fs::read(folder.path().join(FILE)).unwrap(), before);
}

#[tokio::test]
async fn compaction_keeps_every_record_and_what_searches_refer_to() {
    let folder = written(&history()).await;
    let text = exported(folder.path());
    let artifacts = folder.path().join(crate::server::ARTIFACTS);
    let kept = espalier_common::ids::Digest::of(b"weights");
    let orphan = espalier_common::ids::Digest::of(b"nobody's");
    for digest in [kept, orphan] {
        let name = digest.to_string();
        fs::create_dir_all(artifacts.join(&name[..2])).unwrap();
        fs::write(artifacts.join(&name[..2]).join(&name[2..]), "x").unwrap();
    }
    let connection = sqlite(folder.path());
    // Gaps, as former versions of the listings leave them.
    connection
        .execute_batch(
            "CREATE TABLE gap (a); INSERT INTO gap VALUES (zeroblob(1000000)); DROP TABLE gap;",
        )
        .unwrap();
    drop(connection);
    let done = compact(folder.path()).await.unwrap();
    assert_eq!(done.artifacts_removed, 1);
    assert!(done.bytes + 900_000 < done.bytes_before, "{done:?}");
    assert_eq!(exported(folder.path()), text);
    let name = kept.to_string();
    assert!(artifacts.join(&name[..2]).join(&name[2..]).exists());
}

#[tokio::test]
async fn compaction_is_refused_beside_a_coordinator_and_where_there_is_no_journal() {
    let folder = written(&history()).await;
    let running = Journal::open(folder.path()).unwrap();
    let error = compact(folder.path()).await.unwrap_err().to_string();
    assert!(error.contains("in use by another coordinator"), "{error}");
    drop(running);
    let empty = tempfile::tempdir().unwrap();
    assert!(compact(empty.path()).await.is_err());
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_file_cut_short_is_told_as_damaged() {
    let folder = written(&history()).await;
    let file = folder.path().join(FILE);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 4096]).unwrap();
    match JournalReader::open(folder.path()).and_then(|reader| check(&reader)) {
        Ok(checked) => assert!(!checked.is_sound()),
        Err(error) => assert!(error.to_string().contains("damaged"), "{error}"),
    }
}
